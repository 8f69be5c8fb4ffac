"""Valleys against densities that are known, the tree against SciPy's, groups against their rows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import norm
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from infimix.mixture import (
    VALLEY,
    Block,
    DPMixture,
    Family,
    FullCovariance,
    StickBreaking,
    fit_mixture,
    group_moments,
    groups_of,
    join_parts,
    join_path,
    parted,
    valley_falls,
    without_background,
)
from infimix.mixture.valleys import FAR


def hard(family: Family, make_prior, groups: list[np.ndarray]) -> tuple[DPMixture, Block]:
    """Mixture whose components hold groups of rows (n, 3), whole; and the rows."""
    rows = [torch.from_numpy(group) for group in groups]
    sums = torch.stack([family.features(part).sum(0) for part in rows])
    prior = make_prior(family)._replace(m=torch.cat(rows).mean(0))
    mixture = DPMixture(family, prior, StickBreaking(1.0), sums)
    return mixture, Block(torch.cat(rows))


def pair(distance: float, n: tuple[int, int] = (20_000, 20_000)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=(size, 3)) for size in n]
    groups[1][:, 0] += distance
    return groups


@pytest.mark.parametrize(("distance", "n"), [(3.0, (20_000, 20_000)), (4.0, (20_000, 2_000))])
def test_falls_are_those_of_two_normal_densities(family: Family, make_prior, distance, n) -> None:
    mixture, rows = hard(family, make_prior, pair(distance, n))
    x = np.linspace(0, distance, 400)
    log_density = np.log(n[0] * norm.pdf(x) + n[1] * norm.pdf(x - distance))
    expected = log_density[[0, -1]] - log_density.min()
    falls = valley_falls(mixture, rows)
    assert [float(falls[0, 1]), float(falls[1, 0])] == pytest.approx(expected, abs=0.25)
    assert falls.diagonal().tolist() == [0, 0]


def test_depth_rises_over_the_border_to_far_components(family: Family, make_prior) -> None:
    depths = [
        float(valley_falls(*hard(family, make_prior, pair(distance, (3000, 3000))))[0, 1])
        for distance in (1.0, 2.5, 4.0, FAR - 0.3, FAR + 0.3, 12.0)
    ]
    assert depths == sorted(depths)
    assert depths[0] < 0.2
    assert depths[-1] == pytest.approx(12**2 / 8, rel=0.1)


def test_a_cluster_cut_in_two_has_no_valley(family: Family, make_prior) -> None:
    """Halves of a box, a normal cloud, a bent one; and a wide component around a narrow one."""
    rng = np.random.default_rng(0)
    box, cloud = rng.uniform(-1, 1, (4000, 3)), rng.normal(size=(4000, 3))
    angle = rng.uniform(0, np.pi, 4000)
    arc = np.stack([8 * np.cos(angle), 8 * np.sin(angle), 0 * angle], 1) + cloud
    for rows in (box, cloud, arc):
        left = rows[:, 0] < 0
        falls = valley_falls(*hard(family, make_prior, [rows[left], rows[~left]]))
        assert float(falls[[0, 1], [1, 0]].min()) < 0.6 * VALLEY
    around = valley_falls(*hard(family, make_prior, [cloud, 6 * rng.normal(size=(1000, 3))]))
    assert float(around[[0, 1], [1, 0]].min()) < 0.6 * VALLEY


def test_a_part_in_a_valley_bridges_nothing(family: Family, make_prior) -> None:
    """To either side it is but the foot of a slope; the clusters stand as high as without it."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(7000, 3))
    rows[4000:, 0] += 5
    part = np.digitize(rows[:, 0], [1.9, 3.1])
    mixture, block = hard(family, make_prior, [rows[part == k] for k in range(3)])
    falls = valley_falls(mixture, block)
    depths = torch.minimum(falls, falls.mT)
    assert max(float(depths[0, 1]), float(depths[1, 2])) < 0.6 * VALLEY
    x = np.linspace(0, 5, 400)
    log_density = np.log(4000 * norm.pdf(x) + 3000 * norm.pdf(x - 5))
    path = join_path(falls, mixture.counts)
    assert path[0].child == 1
    assert path[1].depth == pytest.approx(log_density[-1] - log_density.min(), abs=0.5)


def test_a_bent_cluster_of_many_parts_is_one(family: Family, make_prior) -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 1.5 * np.pi, 8000)
    arc = np.stack([10 * np.cos(angle), 10 * np.sin(angle), 0 * angle], 1)
    arc += rng.normal(size=arc.shape)
    part = (angle // (np.pi / 8)).astype(int)
    mixture, block = hard(family, make_prior, [arc[part == k] for k in range(12)])
    path = join_path(valley_falls(mixture, block), mixture.counts)
    assert len(path) == 11
    assert path[-1].depth < VALLEY


def test_depths_are_measured_from_the_summits() -> None:
    """A chain: two hills of two parts each, which become one hill, and a fifth part."""
    peak, valley = [0.0, -1.0, -0.9, -0.1, 0.5], [-1.05, -1.15, -1.0, -1.6]
    falls = torch.full((5, 5), 9.0, dtype=torch.float64)
    for k, between in enumerate(valley):
        falls[k, k + 1], falls[k + 1, k] = peak[k] - between, peak[k + 1] - between
    path = join_path(falls, torch.tensor([5.0, 1, 1, 4, 3]))
    assert [(join.parent, join.child) for join in path] == [(0, 1), (3, 2), (0, 3), (0, 4)]
    assert [join.depth for join in path] == pytest.approx([0.05, 0.1, 1.05, 1.6])


def test_weights_of_rows_deepen_a_valley_like_more_rows(family: Family, make_prior) -> None:
    mixture, rows = hard(family, make_prior, pair(3.5, (4000, 4000)))
    between = (rows.z[:, 0] - 1.75).abs() < 0.5
    lighter = rows._replace(weight=torch.where(between, 0.1, 1.0))
    depths = [float(valley_falls(mixture, block)[0, 1]) for block in (rows, lighter)]
    assert depths[1] > depths[0] + 1


@pytest.mark.parametrize(
    ("distance", "n", "is_parted"),
    [
        (4.0, (3000, 3000), True),
        (1.0, (3000, 3000), False),
        (30.0, (30, 3000), True),
        (90.0, (8, 3000), False),
    ],
)
def test_what_rows_show_to_be_apart(
    family: Family, make_prior, distance: float, n: tuple[int, int], is_parted: bool
) -> None:
    """Eight rows show no valley, however far away they are."""
    found = parted(*hard(family, make_prior, pair(distance, n)))
    assert found(0, 1) is found(1, 0) is is_parted


def test_components_of_rows_that_are_all_the_same(family: Family, make_prior) -> None:
    """Repeated rows have no width, as whole numbers on a short scale have them."""
    one, other = np.zeros((200, 3)), np.ones((200, 3))
    mixture, rows = hard(family, make_prior, [one, other, one + 0.5])
    for depth in (valley_falls(mixture, rows), valley_falls(mixture, rows, np.inf)):
        assert depth[depth > 0].min() > VALLEY
        assert int((depth > 0).sum()) == 6


def test_a_bump_wider_than_the_way_between_the_means_has_no_valley(
    family: Family, make_prior
) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 50, 3))
    right += left.mean(0) - right.mean(0) + 1e-9
    mixture, rows = hard(family, make_prior, [left, right])
    assert float(valley_falls(mixture, rows)[0, 1]) == 0


@pytest.fixture
def depths() -> Tensor:
    """Symmetric, of eight components, no two alike."""
    values = np.random.default_rng(4).uniform(0, 5, 28)
    return torch.from_numpy(squareform(values))


def test_path_is_single_linkage(depths: Tensor) -> None:
    weights = torch.arange(8, 0, -1).double()
    path = join_path(depths, weights)
    assert [join.n_components for join in path] == [7, 6, 5, 4, 3, 2, 1]
    tree = linkage(squareform(depths.numpy()), "single")
    np.testing.assert_allclose([join.depth for join in path], tree[:, 2])
    for n in range(1, 9):
        groups = groups_of(path, weights, n)
        assert sorted(set(groups.tolist())) == list(range(n))
        expected = fcluster(tree, n, "maxclust")
        assert adjusted_rand_score(expected, groups) == 1
        mass = [float(weights[groups == g].sum()) for g in range(n)]
        assert mass == sorted(mass, reverse=True)


def test_parents_are_the_larger_group(depths: Tensor) -> None:
    weights = torch.tensor([1.0, 9, 2, 8, 3, 7, 4, 6])
    mass = {k: float(w) for k, w in enumerate(weights)}
    for join in join_path(depths, weights):
        assert mass[join.parent] >= mass[join.child]
        mass[join.parent] += mass.pop(join.child)
    assert list(mass.values()) == [40]


def test_one_component_has_no_path() -> None:
    assert join_path(torch.zeros(1, 1), torch.ones(1)) == []
    assert groups_of([], torch.ones(1), 1).tolist() == [0]


def test_moments_of_groups_are_those_of_their_rows(family: Family, make_prior) -> None:
    rng = np.random.default_rng(2)
    parts = [
        rng.normal(size=(n, 3)) * s + m for n, s, m in ((4000, 1, 0), (2000, 2, 5), (900, 1, -9))
    ]
    mixture, _ = hard(family, make_prior, parts)
    weights, means, cov = group_moments(mixture, torch.tensor([0, 0, 1]))
    rows = np.concatenate(parts[:2])
    np.testing.assert_allclose(weights, [6000 / 6900, 900 / 6900], rtol=1e-3)
    np.testing.assert_allclose(means[0], rows.mean(0), atol=0.02)
    expected = np.cov(rows.T)
    expected = expected if family.name == "full" else expected.diagonal()
    np.testing.assert_allclose(cov[0], expected, rtol=0.02, atol=0.02)


def test_parts_without_a_valley_become_one_component() -> None:
    """A half circle and a ball: many parts, two components, or as many as are asked for."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, np.pi, 3000)
    bent = np.stack([10 * np.cos(angle), 10 * np.sin(angle)], 1) + rng.normal(size=(3000, 2)) / 2
    ball = rng.normal(size=(1500, 2)) - [0, 12]
    rows = Block(torch.from_numpy(np.concatenate([bent, ball])))
    blocks = [rows]
    plan = {"n_components": 10, "max_components": 20, "n_restarts": 2, "max_sweeps": 100}
    fit = fit_mixture(
        FullCovariance(2), blocks, 4500, law=StickBreaking(1.0), tol=1e-4, seed=0, **plan
    )
    n_parts, total = fit.mixture.n_components, fit.mixture.sums.sum(0)
    assert n_parts > 2
    for asked, expected in ((None, 2), (3, 3), (n_parts, n_parts), (n_parts + 2, n_parts + 2)):
        joined = replace(fit)
        join_parts(joined, rows, asked, seed=0)
        assert joined.mixture.n_components == expected
        torch.testing.assert_close(joined.mixture.sums[:, 0].sum(), total[0])
        if asked is None:
            torch.testing.assert_close(joined.mixture.sums.sum(0), total)
            label = joined.mixture.log_joint(joined.mixture.family.features(rows.z)).argmax(1)
            assert (label[3000:] == label[3000]).float().mean() > 0.99


def ring(n_clusters: int, n_wide: int, width: float) -> Block:
    """Small clusters on a circle of radius 6, and wide ones over all of them."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * np.arange(n_clusters) / n_clusters
    centres = 6 * np.stack([np.cos(angle), np.sin(angle)], 1)
    small = np.concatenate([rng.normal(c, 0.3, (400, 2)) for c in centres])
    wide = rng.normal(0, width, (300 * n_wide, 2))
    return Block(torch.from_numpy(np.concatenate([small, wide])))


@pytest.mark.parametrize(
    ("n_clusters", "n_wide", "width", "kept"),
    [(6, 1, 5.0, 6), (6, 0, 1.0, 6), (6, 1, 0.5, 7), (1, 1, 5.0, 2)],
    ids=["a background", "none", "a small one amidst", "two, one within the other"],
)
def test_a_component_over_all_others_is_dropped(
    n_clusters: int, n_wide: int, width: float, kept: int
) -> None:
    rows, family = ring(n_clusters, n_wide, width), FullCovariance(2)
    K = n_clusters + n_wide
    label = torch.arange(n_clusters).repeat_interleave(400)
    label = torch.cat([label, torch.full((300 * n_wide,), n_clusters)])
    sums = torch.nn.functional.one_hot(label, K).double().mT @ family.features(rows.z)
    prior = family.weak_prior(rows.z.mean(0), rows.z.mT.cov(), 0.05)
    mixture = DPMixture(family, prior, StickBreaking(1.0), sums)
    left = without_background(mixture)
    assert left.n_components == kept
    torch.testing.assert_close(left.sums[:n_clusters], sums[:n_clusters])
