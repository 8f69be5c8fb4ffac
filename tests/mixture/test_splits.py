"""Splits: evidence rises, clusters that share a component come apart, single ones do not."""

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from infimix.mixture import (
    Block,
    DPMixture,
    Family,
    StickBreaking,
    fit_mixture,
    log_partition_evidence,
    most_probable,
    responsibilities,
    split,
)


def shared(family: Family, make_prior, n_clusters: int, n_rows: int = 600) -> tuple:
    """Clusters in a row, all in one component; rows and labels with it."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_clusters, size=n_rows)
    rows = torch.from_numpy(rng.normal(size=(n_rows, 3)) + 9 * y[:, None])
    prior = make_prior(family)._replace(m=rows.mean(0))
    sums = family.features(rows).sum(0, keepdim=True)
    return DPMixture(family, prior, StickBreaking(1.0), sums), rows, y


def test_a_split_raises_the_evidence_and_keeps_the_rows(family: Family, make_prior) -> None:
    mixture, rows, y = shared(family, make_prior, 2)
    halves, n_splits = split(mixture, mixture.prior, Block(rows), max_components=10, seed=0)
    assert (n_splits, halves.n_components) == (1, 2)
    assert float(log_partition_evidence(halves)) > float(log_partition_evidence(mixture))
    torch.testing.assert_close(halves.counts.sum(), mixture.counts.sum())
    assert adjusted_rand_score(y, most_probable(halves, Block(rows))) == 1


@pytest.mark.parametrize("case", ["one cluster", "equal rows", "three rows", "no room"])
def test_nothing_is_split_without_need(family: Family, make_prior, case: str) -> None:
    mixture, rows, _ = shared(family, make_prior, 2 if case == "no room" else 1)
    if case == "equal rows":
        rows = rows[:1].repeat(50, 1)
    if case == "three rows":
        rows = rows[:3]
    mixture = mixture.with_statistics(family.features(rows).sum(0, keepdim=True))
    most = 1 if case == "no room" else 10
    same, n_splits = split(mixture, mixture.prior, Block(rows), max_components=most, seed=0)
    assert n_splits == 0
    assert torch.equal(same.sums, mixture.sums)


@pytest.mark.parametrize("most", [None, 5, 40])
def test_a_fit_finds_more_clusters_than_it_begins_with(family: Family, most: int | None) -> None:
    rng = np.random.default_rng(1)
    centres = 12 * np.stack(np.meshgrid(*3 * [[0, 1, 2]]), -1).reshape(-1, 3)[:14]
    y = rng.integers(14, size=1400)
    rows = torch.from_numpy(rng.normal(size=(1400, 3)) + centres[y])
    fitted = fit_mixture(
        family,
        [Block(rows)],
        1400,
        n_components=3,
        max_components=most,
        law=StickBreaking(1.0),
        n_restarts=1,
        max_sweeps=50,
        tol=1e-4,
        seed=0,
    )
    least, most = {None: (3, 3), 5: (4, 5), 40: (14, 14)}[most]
    assert least <= fitted.mixture.n_components <= most
    if most == 14:
        label = responsibilities(fitted.mixture, [Block(rows)]).argmax(1)
        assert adjusted_rand_score(y, label) > 0.99
