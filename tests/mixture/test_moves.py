"""Merges against the exact evidence of partitions."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from infimix.mixture import (
    DPMixture,
    Family,
    NormalWishart,
    StickBreaking,
    coarsen,
    log_partition_evidence,
    merge,
    merge_gains,
    merge_while_better,
    rows_worth,
)
from infimix.mixture.moves import Parted

GROUPS = [[0, 3], [1, 2, 8], [4], [5, 6, 7]]
ALPHA = 0.6


def hard(
    family: Family,
    prior: NormalWishart,
    rows: Tensor,
    groups: list[list[int]] = GROUPS,
    zeta: float = 1.0,
) -> DPMixture:
    """Mixture whose components hold the groups of rows, whole."""
    sums = torch.stack([family.features(rows[group]).sum(0) for group in groups])
    return DPMixture(family, prior, StickBreaking(ALPHA), sums, zeta)


def test_partition_evidence_is_exact_for_whole_rows(
    family: Family, prior: NormalWishart, rows: Tensor, textbook
) -> None:
    exact = textbook.log_partition(prior, rows.numpy(), GROUPS, ALPHA)
    found = log_partition_evidence(hard(family, prior, rows))
    assert float(found) == pytest.approx(exact, rel=1e-12)


def test_merge_gains_are_ratios_of_exact_evidences(
    family: Family, prior: NormalWishart, rows: Tensor, textbook
) -> None:
    gains = merge_gains(hard(family, prior, rows))
    before = textbook.log_partition(prior, rows.numpy(), GROUPS, ALPHA)
    for j in range(4):
        for k in range(4):
            if j >= k:
                assert gains[j, k] == -math.inf
                continue
            others = [group for i, group in enumerate(GROUPS) if i not in (j, k)]
            together = [*others, GROUPS[j] + GROUPS[k]]
            after = textbook.log_partition(prior, rows.numpy(), together, ALPHA)
            assert float(gains[j, k]) == pytest.approx(after - before, rel=1e-9)


@pytest.mark.parametrize("zeta", [1.0, 0.6, 0.1])
def test_merge_gains_are_what_a_merge_changes(
    family: Family, prior: NormalWishart, rows: Tensor, zeta: float
) -> None:
    mixture = hard(family, prior, rows, zeta=zeta)
    before, gains = log_partition_evidence(mixture), merge_gains(mixture)
    for j, k in [(0, 1), (0, 3), (1, 2), (2, 3)]:
        change = log_partition_evidence(merge(mixture, j, k)) - before
        torch.testing.assert_close(change, gains[j, k])


def test_rows_worth_less_than_one_are_not_paid_for(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    """Gamma(n) grows without end as n falls to 0, so a splinter would win whatever it holds."""
    whole = family.features(rows).sum(0)
    for share in (1e-3, 1e-6, 1e-9):
        sums = torch.stack([(1 - share) * whole, share * whole])
        mixture = DPMixture(family, prior, StickBreaking(1.0), sums)
        assert float(merge_gains(mixture)[0, 1]) > -1


def test_merge_keeps_totals_and_the_order_of_the_rest(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    mixture = hard(family, prior, rows)
    merged = merge(mixture, 1, 2)
    torch.testing.assert_close(merged.sums[1], mixture.sums[1] + mixture.sums[2])
    assert torch.equal(merged.sums[[0, 2]], mixture.sums[[0, 3]])
    torch.testing.assert_close(merged.sums.sum(0), mixture.sums.sum(0))
    assert mixture.n_components == 4  # the old one is left as it was


def test_rows_are_worth_less_the_more_there_are() -> None:
    n = np.logspace(0, 8, 50)
    zeta = np.array([rows_worth(n_rows, 2) for n_rows in n])
    assert zeta[0] == rows_worth(20, 2) == 1
    assert np.all(np.diff(zeta) <= 0)
    assert np.all(np.diff(n * zeta) > 0)  # but all together never less
    assert rows_worth(1_000_000, 2) == rows_worth(1_000_000, 30) == pytest.approx(80 / 1000**1.5)
    assert rows_worth(1_000_000, 120) == pytest.approx(4 * 80 / 1000**1.5)


@pytest.fixture(params=[(30, 1.0), (600, 0.2)], ids=["few rows", "coarsened"])
def splinters(
    request: pytest.FixtureRequest, family: Family, make_prior: Callable[..., NormalWishart]
) -> DPMixture:
    """Two clusters far apart, each in four random pieces, in an order that mixes them."""
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(2, request.param[0], 3)))
    rows[1] += 12
    pieces = [piece for cluster in rows for piece in cluster.chunk(4)]
    pieces = [pieces[i] for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    sums = torch.stack([family.features(piece).sum(0) for piece in pieces])
    law = StickBreaking(ALPHA)
    return DPMixture(family, make_prior(family), law, sums, zeta=request.param[1])


def test_merges_put_clusters_together_and_end_where_none_is_better(splinters: DPMixture) -> None:
    merged, path = merge_while_better(splinters)
    even, odd = splinters.sums[::2].sum(0), splinters.sums[1::2].sum(0)
    torch.testing.assert_close(merged.sums, torch.stack([even, odd]))
    assert float(merge_gains(merged).max()) <= 0
    assert [step.n_components for step in path] == [7, 6, 5, 4, 3, 2]


def test_what_is_parted_is_not_merged_nor_what_was_merged_from_it(splinters: DPMixture) -> None:
    """Pieces 0 and 4 of the cluster at even places; evidence alone would put all four together."""
    asked = []

    def parting(mixture: DPMixture) -> Parted:
        asked.append(mixture.n_components)
        return lambda j, k: {j, k} == {0, 4}

    merged, path = merge_while_better(splinters, parting=parting)
    assert merged.n_components == 3
    assert asked == [8]
    odd = splinters.sums[1::2].sum(0)
    halves = [sums for sums in merged.sums if not torch.allclose(sums, odd)]
    assert len(halves) == 2
    torch.testing.assert_close(halves[0] + halves[1], splinters.sums[::2].sum(0))
    assert all(step.gain > 0 for step in path)


def test_nothing_is_asked_where_no_merge_is_better(splinters: DPMixture) -> None:
    merged, _ = merge_while_better(splinters)

    def parting(mixture: DPMixture) -> Parted:
        raise AssertionError("looked at all rows for nothing")

    assert merge_while_better(merged, parting=parting)[1] == []


def test_every_merge_of_the_path_is_the_best_one(splinters: DPMixture) -> None:
    mixture = splinters
    for step in merge_while_better(splinters)[1]:
        K = mixture.n_components
        before = float(log_partition_evidence(mixture))
        gains = {
            (j, k): float(log_partition_evidence(merge(mixture, j, k))) - before
            for j in range(K)
            for k in range(j + 1, K)
        }
        assert step.gain > 0
        assert step.gain == pytest.approx(max(gains.values()), rel=1e-9)
        assert gains[step.parent, step.child] == pytest.approx(step.gain, rel=1e-9)
        mixture = merge(mixture, step.parent, step.child)
        assert mixture.n_components == step.n_components


def test_merges_end_at_what_rows_are_worth_to_the_components_left(
    family: Family, make_prior: Callable[..., NormalWishart]
) -> None:
    """Sixty pieces of twenty overlapping clusters: rows are worth less the fewer are left."""
    rng = np.random.default_rng(0)
    centres = 3.0 * rng.normal(size=(20, 1, 3)).repeat(3, axis=0)
    rows = torch.from_numpy(centres + rng.normal(size=(60, 50, 3)))
    sums = torch.stack([family.features(piece).sum(0) for piece in rows])
    mixture = coarsen(DPMixture(family, make_prior(family), StickBreaking(ALPHA), sums))
    at_that_worth = merge_while_better(mixture)[0]
    merged, path = merge_while_better(mixture, caution=1.0)
    assert merged.n_components < at_that_worth.n_components < 60
    assert merged.zeta == pytest.approx(coarsen(merged).zeta, rel=1e-12)
    assert float(merge_gains(merged).max()) <= 0
    assert [step.n_components for step in path] == list(range(59, merged.n_components - 1, -1))


def test_merges_end_exactly_where_the_gain_changes_sign(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    def halves(distance: float) -> DPMixture:
        moved = torch.cat([rows, rows + distance])
        return hard(family, prior, moved, [list(range(9)), list(range(9, 18))])

    low, high = 0.0, 30.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if merge_gains(halves(middle))[0, 1] > 0 else (low, middle)
    assert merge_while_better(halves(low - 1e-3))[0].n_components == 1
    assert merge_while_better(halves(high + 1e-3))[0].n_components == 2


def test_merges_can_end_with_one_component(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    mixture = hard(
        family, prior, rows.repeat(40, 1) / 10, [list(range(100)), list(range(100, 360))]
    )
    merged, path = merge_while_better(mixture)
    assert merged.n_components == 1
    assert len(path) == 1
    torch.testing.assert_close(merged.sums[0], mixture.sums.sum(0))
