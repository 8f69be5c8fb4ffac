"""Clefts: a component of two clusters is parted where its rows thin out, and nowhere else."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from infimix.mixture import (
    VALLEY,
    Block,
    DPMixture,
    Family,
    MixtureFit,
    StickBreaking,
    coarsen,
    merge_gains,
    most_probable,
    part_at_valleys,
    valley_falls,
)
from infimix.mixture.clefts import PEAK_ROWS

N_LARGE, N_SMALL = 4000, 60


def held(family: Family, groups: list[np.ndarray], dof: float = 5.0) -> tuple[MixtureFit, Block]:
    """Fit whose components hold groups of rows (n, 3), whole; and the rows."""
    rows = [torch.from_numpy(group) for group in groups]
    sample = Block(torch.cat(rows))
    reference = family.weak_prior(sample.z.mean(0), torch.cov(sample.z.mT), 0.05)
    sums = torch.stack([family.features(part).sum(0) for part in rows])
    mixture = DPMixture(family, reference, StickBreaking(1.0), sums, dof=dof)
    mixture = coarsen(mixture).with_learned_prior(reference)
    return MixtureFit(mixture, reference, -math.inf), sample


def clusters(*sizes: int) -> list[np.ndarray]:
    """The first two large ones far away, all others 10 standard deviations apart."""
    rng = np.random.default_rng(0)
    centres = np.array([[90, 0, 0], [-90, 0, 0], [0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    return [rng.normal(size=(n, 3)) + centre for n, centre in zip(sizes, centres, strict=False)]


@pytest.mark.parametrize("dof", [math.inf, 5.0], ids=["normal", "heavy"])
def test_small_clusters_that_merges_put_together_are_parted(family: Family, dof) -> None:
    groups = clusters(N_LARGE, N_LARGE, N_SMALL, N_SMALL, N_SMALL)
    apart, sample = held(family, groups, dof)
    fit, _ = held(family, [*groups[:2], np.concatenate(groups[2:])], dof)
    assert part_at_valleys(fit, sample, 20, seed=0)
    truth = np.repeat(np.arange(5), [len(group) for group in groups])
    assert adjusted_rand_score(truth, most_probable(fit.mixture, sample)) > 0.99
    found = fit.mixture.sums[fit.mixture.counts.argsort()]
    expected = apart.mixture.sums[apart.mixture.counts.argsort()]
    np.testing.assert_allclose(found[:3, 0], expected[:3, 0], atol=1)
    np.testing.assert_allclose(found[3:], expected[3:])
    assert float(fit.mixture.counts.sum()) == pytest.approx(len(sample.z))


def test_all_rows_say_merge_where_their_own_say_part(family: Family) -> None:
    """It is how many other rows there are that puts two clusters together."""
    small = clusters(0, 0, N_SMALL, N_SMALL)[2:]
    alone, _ = held(family, small)
    among, _ = held(family, [*clusters(N_LARGE, N_LARGE), *small])
    times = torch.tensor([[100.0], [100.0], [1.0], [1.0]], dtype=torch.float64)
    crowd = coarsen(among.mixture.with_statistics(times * among.mixture.sums))
    assert float(merge_gains(alone.mixture)[0, 1]) < 0 < float(merge_gains(crowd)[2, 3])


def test_whole_clusters_stay(family: Family) -> None:
    """A normal cloud, a box, a skewed one, and far rows too few to be a peak."""
    rng = np.random.default_rng(1)
    cloud = rng.normal(size=(3000, 3))
    box, skewed = rng.uniform(-1, 1, (3000, 3)), rng.exponential(size=(3000, 3))
    few = rng.normal(size=(PEAK_ROWS - 1, 3)) + np.array([30, 0, 0])
    for rows in (cloud, box, skewed, np.concatenate([cloud, few])):
        fit, sample = held(family, [rows])
        before = fit.mixture.sums
        assert not part_at_valleys(fit, sample, 20, seed=0)
        assert torch.equal(fit.mixture.sums, before)


def test_fewer_rows_than_a_peak_has_make_no_valley(family: Family) -> None:
    for n, is_deep in ((PEAK_ROWS - 1, False), (3 * PEAK_ROWS, True)):
        fit, sample = held(family, clusters(3000, n))
        falls = valley_falls(replace(fit.mixture, zeta=1.0), sample, far=math.inf)
        assert (float(falls[[0, 1], [1, 0]].min()) > VALLEY) is is_deep


def test_rows_of_a_sample_do_not_count_for_those_left_out(family: Family) -> None:
    """Thirty rows that stand for thirty thousand are no more evidence than thirty."""
    rows = np.random.default_rng(2).normal(size=(30, 3))
    fit, sample = held(family, [rows])
    fit.mixture = coarsen(fit.mixture.with_statistics(1000 * fit.mixture.sums))
    assert not part_at_valleys(fit, sample._replace(weight=torch.full((30,), 1e3)), 20, seed=0)


@pytest.mark.parametrize("most", [3, 4])
def test_no_parts_beyond_the_most_components(family: Family, most: int) -> None:
    groups = clusters(N_LARGE, N_LARGE, N_SMALL, N_SMALL, N_SMALL)
    fit, sample = held(family, [*groups[:2], np.concatenate(groups[2:])])
    part_at_valleys(fit, sample, most, seed=0)
    assert fit.mixture.n_components <= most
