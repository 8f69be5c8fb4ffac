"""Whole fits: what has to be found, what must not matter, what must not break."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from infimix.mixture import (
    Block,
    Blocks,
    DiagonalCovariance,
    Family,
    FullCovariance,
    MixtureFit,
    StickBreaking,
    Sweep,
    e_step,
    fit_mixture,
    responsibilities,
    rows_worth,
    sample_rows,
    settle,
)
from infimix.mixture.fit import _start

SAMPLE_ROWS = "infimix.mixture.blocks.SAMPLE_ROWS"
TOL = 1e-4


def fit(
    family_class: type[Family],
    blocks: Blocks | Tensor,
    *,
    n_components: int = 12,
    n_restarts: int = 2,
    max_sweeps: int = 60,
    tol: float = TOL,
    seed: int = 0,
    watch: Callable[[Sweep], None] = lambda sweep: None,
) -> MixtureFit:
    blocks = [Block(blocks)] if isinstance(blocks, Tensor) else list(blocks)
    return fit_mixture(
        family_class(blocks[0].z.shape[1]),
        blocks,
        sum(len(block.z) for block in blocks),
        n_components=n_components,
        max_components=n_components,
        law=StickBreaking(1.0),
        n_restarts=n_restarts,
        max_sweeps=max_sweeps,
        tol=tol,
        seed=seed,
        watch=watch,
    )


def labels(fitted: MixtureFit, rows: Tensor) -> np.ndarray:
    return responsibilities(fitted.mixture, [Block(rows)]).argmax(1).numpy()


def blobs(n_clusters: int, seed: int, n_rows: int = 240) -> tuple[Tensor, np.ndarray]:
    """Rows (N, 3) of clusters on a shaken grid, at least 10 standard deviations apart.

    Rows more than 3.3 standard deviations out are left away: of three such rows on one side, the
    evidence makes a cluster of their own now and then, and it is right.
    """
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*3 * [[0, 12]]), -1).reshape(-1, 3)
    centers = rng.permutation(grid)[:n_clusters] + rng.uniform(-1, 1, (n_clusters, 3))
    X, y = make_blobs(n_rows, centers=centers, cluster_std=1.0, random_state=seed)
    near = np.linalg.norm(X - centers[y], axis=1) < 3.3
    return torch.from_numpy(X[near]), y[near]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_clusters", [3, 4, 5])
def test_separated_clusters_are_found(
    family_class: type[Family], n_clusters: int, seed: int
) -> None:
    rows, y = blobs(n_clusters, seed)
    fitted = fit(family_class, rows, seed=seed)
    assert fitted.mixture.n_components == n_clusters
    assert adjusted_rand_score(y, labels(fitted, rows)) == 1
    assert sorted(np.bincount(y)) == pytest.approx(sorted(fitted.mixture.counts.tolist()))


@pytest.mark.parametrize("n_features", [1, 2, 6])
@pytest.mark.parametrize("n_rows", [150, 3000])
def test_one_cluster_is_one_component(
    family_class: type[Family], n_rows: int, n_features: int
) -> None:
    """Also where a row is worth little: a splinter of two rows in 3000 is no cluster."""
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(n_rows, n_features)))
    assert fit(family_class, rows, n_restarts=1).mixture.n_components == 1


def test_full_covariance_tells_crossing_clusters_apart() -> None:
    """Which no diagonal covariance and no k-means does."""
    rng = np.random.default_rng(0)
    arms = rng.normal(size=(2, 300, 2)) * [6.0, 0.2]
    turn = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)
    rows = torch.from_numpy(np.concatenate([arms[0] @ turn, arms[1] @ turn.T]))
    fitted = fit(FullCovariance, rows)
    assert fitted.mixture.n_components == 2
    assert adjusted_rand_score(np.repeat([0, 1], 300), labels(fitted, rows)) > 0.8


def test_same_seed_repeats_bit_for_bit(family_class: type[Family]) -> None:
    rows, _ = blobs(4, seed=1)
    first, again = fit(family_class, rows, seed=5), fit(family_class, rows, seed=5)
    assert torch.equal(first.mixture.sums, again.mixture.sums)
    assert (first.bound, first.sweeps, first.merges) == (again.bound, again.sweeps, again.merges)
    assert fit(family_class, rows, seed=6).sweeps != first.sweeps


def test_origin_scale_and_blocks_do_not_matter(family_class: type[Family]) -> None:
    rows, _ = blobs(3, seed=2)
    plain = fit(family_class, rows)
    factor = torch.tensor([1e3, 1.0, 1e-2], dtype=torch.float64)
    other = fit(family_class, rows * factor + 100)
    np.testing.assert_array_equal(labels(other, rows * factor + 100), labels(plain, rows))
    n_nats = len(rows) * float(factor.log().sum())  # of the change of units
    assert other.bound + n_nats == pytest.approx(plain.bound, rel=1e-4)
    in_blocks = fit(family_class, [Block(block) for block in rows.split(50)])
    assert in_blocks.bound == pytest.approx(plain.bound, rel=1e-5)


def test_components_fall_in_size_and_order_of_rows_does_not_matter(
    family_class: type[Family],
) -> None:
    rows, y = blobs(5, seed=3, n_rows=400)
    rows, y = rows[y < 4], y[y < 4]
    keep = np.random.default_rng(0).uniform(size=len(y)) < (1 + y) / 4  # unequal sizes
    rows = rows[torch.from_numpy(keep)]
    fitted = fit(family_class, rows)
    counts = fitted.mixture.counts
    assert bool((counts.diff() < 0).all())
    turned = fit(family_class, rows.flip(0))
    torch.testing.assert_close(turned.mixture.counts, counts, rtol=1e-4, atol=0)
    assert turned.bound == pytest.approx(fitted.bound, rel=1e-4)


def test_history_tells_of_every_sweep(family_class: type[Family]) -> None:
    rows, _ = blobs(4, seed=0)
    seen: list[Sweep] = []
    fitted = fit(family_class, rows, n_restarts=1, watch=seen.append)
    assert fitted.sweeps == seen
    assert fitted.sweeps[-1] == Sweep(fitted.bound, 4)
    assert fitted.converged
    assert fitted.mixture.zeta == rows_worth(len(rows), 4)
    statistics = e_step(fitted.mixture, [Block(rows)])
    bound = float(statistics.log_norm - fitted.mixture.kl)
    assert bound == pytest.approx(fitted.bound, abs=10 * TOL * len(rows))
    assert not fit(family_class, rows, max_sweeps=1).converged


def test_the_restart_of_the_best_bound_goes_on(family_class: type[Family]) -> None:
    """A negative tolerance lets every start take its ten sweeps."""
    rows = torch.from_numpy(np.random.default_rng(1).uniform(size=(100, 3)))
    options = {"max_sweeps": 1, "tol": -1.0, "n_components": 4}
    alone = [fit(family_class, rows, n_restarts=1, seed=seed, **options) for seed in range(2, 6)]
    bounds = [attempt.sweeps[9].bound for attempt in alone]
    best = fit(family_class, rows, n_restarts=4, seed=2, **options)
    assert best.sweeps == alone[int(np.argmax(bounds))].sweeps
    assert 0 < np.argmax(bounds) < 3  # neither the first nor the last


def test_uncertain_rows_widen_their_component(family_class: type[Family]) -> None:
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(2000, 2)))
    var = torch.tensor([3.0, 0.5], dtype=torch.float64).expand(2000, 2)
    fitted = fit(family_class, [Block(rows, var)], n_components=1)
    cov = fitted.mixture.family.covariance(fitted.mixture.components)[0]
    variance = cov.diagonal() if cov.ndim == 2 else cov
    np.testing.assert_allclose(variance, [4.0, 1.5], rtol=0.1)


def test_reference_has_the_moments_of_all_rows(family_class: type[Family]) -> None:
    rows, _ = blobs(3, seed=0)
    var = rows.abs()
    blocks = [Block(rows[part], var[part]) for part in torch.arange(len(rows)).split(70)]
    reference = fit(family_class, blocks, max_sweeps=1, n_restarts=1).reference
    cov = np.cov(rows.numpy().T, bias=True) + np.diag(var.mean(0))
    expected = cov if family_class is FullCovariance else cov.diagonal()
    np.testing.assert_allclose(reference.Psi / reference.nu, expected, rtol=2e-6, atol=1e-12)
    torch.testing.assert_close(reference.m, rows.mean(0))


def test_start_is_a_sample_scaled_up_to_all_rows(
    family_class: type[Family], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SAMPLE_ROWS, 50)
    rows = torch.arange(1000, dtype=torch.float64)[:, None]
    sample = sample_rows([Block(block) for block in rows.split(130)], 1000, seed=0)
    assert len(sample.z) == len(sample.z.unique()) == 50
    assert bool((sample.z.diff(dim=0) > 0).all())
    assert float(sample.z.max()) > 900
    assert sample.weights().tolist() == [20.0] * 50
    family = family_class(1)
    unit = torch.ones(1, 1, dtype=torch.float64)
    reference = family.weak_prior(rows.mean(0), rows.var() * unit, kappa=0.05)
    start = _start(family, sample, reference, 4, law=StickBreaking(1.0), seed=0)
    assert start.n_components == 4
    assert float(start.counts.sum()) == pytest.approx(1000)
    assert float(start.sums[:, 1].sum() / 1000) == pytest.approx(float(sample.z.mean()))


def test_starts_look_at_some_of_many_rows(
    family_class: type[Family], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SAMPLE_ROWS, 60)
    rows, y = blobs(4, seed=0, n_rows=2000)
    fitted = fit(family_class, [Block(block) for block in rows.split(300)])
    assert fitted.mixture.n_components == 4
    assert adjusted_rand_score(y, labels(fitted, rows)) == 1


def awkward() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 3))
    outlier = rows.copy()
    outlier[7] = 1e8
    return {
        "duplicates": np.repeat(rows[:5], 20, axis=0),
        "identical": np.full((20, 3), 7.3),
        "more features than rows": rng.normal(size=(8, 20)),
        "one row": rows[:1],
        "two rows": rows[:2],
        "huge outlier": outlier,
        "constant column": rows * [1, 0, 1] + [0, 7.3, 0],
        "column of zeros": rows * [1, 0, 1],
        "columns that sum up": np.c_[rows, rows.sum(1)],
        "single precision far away": (rows + 1e4).astype(np.float32),
        "tiny": 1e-12 * rows,
        "vast": 1e12 * rows,
    }


@pytest.mark.parametrize("name", awkward())
def test_awkward_data_give_a_finite_bound(family_class: type[Family], name: str) -> None:
    rows = torch.from_numpy(awkward()[name])
    fitted = fit(family_class, rows)
    assert all(np.isfinite(sweep.bound) for sweep in fitted.sweeps)
    assert bool(fitted.mixture.natural.isfinite().all())
    resp = responsibilities(fitted.mixture, [Block(rows)])
    torch.testing.assert_close(resp.sum(1), torch.ones_like(resp[:, 0]))
    assert float(fitted.mixture.counts.sum()) == pytest.approx(len(rows))


def test_duplicates_are_clusters_and_an_outlier_is_one() -> None:
    data = {name: torch.from_numpy(rows) for name, rows in awkward().items()}
    for family_class in (FullCovariance, DiagonalCovariance):
        fitted = fit(family_class, data["duplicates"])
        np.testing.assert_allclose(fitted.mixture.counts, 5 * [20.0], rtol=1e-6)
        fitted = fit(family_class, data["huge outlier"])
        np.testing.assert_allclose(fitted.mixture.counts, [119.0, 1.0], rtol=1e-6)


def test_settling_keeps_apart_what_it_is_told_to() -> None:
    """Two clusters of rows worth so little that evidence alone makes them one."""
    rows = torch.from_numpy(make_blobs([400, 400], 2, random_state=0)[0])
    rows[400:] += torch.tensor([5.0, 0])
    found = []
    for parting in (None, lambda mixture: lambda j, k: True):
        mixture = fit(FullCovariance, rows, n_components=2)
        assert mixture.mixture.n_components == 2
        settle(mixture, [Block(rows)], max_sweeps=20, tol=TOL, caution=0.03, parting=parting)
        found.append(mixture.mixture.n_components)
    assert found == [1, 2]
