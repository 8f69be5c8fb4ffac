"""Memoised sweeps: the bound of all rows never falls, whatever the batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infimix.mixture import (
    Block,
    DiagonalCovariance,
    DPMixture,
    Family,
    FullCovariance,
    Memo,
    StickBreaking,
    e_step,
)
from infimix.mixture.blocks import batches


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(4, 60),
    size=st.integers(1, 30),
    n_components=st.integers(1, 5),
    dof=st.sampled_from([math.inf, 40.0, 3.0]),
    family_class=st.sampled_from([FullCovariance, DiagonalCovariance]),
)
def test_bound_never_falls(
    make_prior, seed: int, n_rows: int, size: int, n_components: int, dof: float, family_class
) -> None:
    rng, family = np.random.default_rng(seed), family_class(2)
    rows = torch.from_numpy(rng.standard_t(3, size=(n_rows, 2)) * 10 ** rng.uniform(-1, 1))
    resp = torch.from_numpy(rng.dirichlet(np.ones(n_components), n_rows))
    mixture = DPMixture(
        family,
        make_prior(family, seed, nu=4.0),
        StickBreaking(1.0),
        resp.mT @ family.features(rows),
        1.0,
        dof,
    )
    memo, blocks, previous = Memo(), [Block(part) for part in rows.split(size)], -math.inf
    for _ in range(6):
        mixture = memo.sweep(mixture, blocks, n_rows)
        bound = float(memo.bound(mixture))
        assert bound >= previous - 1e-8 * max(1.0, abs(previous))
        best = float(mixture.bound(e_step(mixture, blocks)))
        assert bound <= best + 1e-8 * abs(best)
        previous = bound


def test_sweeps_in_batches_end_where_those_over_all_rows_do(
    family: Family, prior, make_prior
) -> None:
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(400, 3)) + 8 * (np.arange(400) % 2)[:, None])
    resp = torch.eye(2, dtype=torch.float64)[torch.arange(400) % 2] * 0.8 + 0.1
    start = DPMixture(family, prior, StickBreaking(1.0), resp.mT @ family.features(rows))
    ends = []
    for size in (400, 50):
        mixture, memo = start, Memo()
        for _ in range(60):
            mixture = memo.sweep(mixture, [Block(part) for part in rows.split(size)], 400)
        ends.append((mixture, float(memo.bound(mixture))))
    torch.testing.assert_close(ends[1][0].sums, ends[0][0].sums)
    assert ends[1][1] == pytest.approx(ends[0][1], rel=1e-10)


def test_batches_hold_every_block_once() -> None:
    blocks = [Block(torch.zeros(n, 1)) for n in (3, 1, 4, 1, 5, 9, 2, 6)]
    found = list(batches(blocks, 31))
    assert [block for batch in found for block in batch] == blocks
    assert all(sum(len(block.z) for block in batch) >= 31 / 8 for batch in found[:-1])


def test_single_precision_gives_way_where_it_would_cancel(family: Family, make_prior) -> None:
    """Two narrow clusters far from the origin: their squares agree to seven digits."""
    rng = np.random.default_rng(0)
    rows = torch.from_numpy((rng.normal(size=(200, 3)) * 0.01 + 300).astype(np.float32))
    rows[:100] += 0.1
    prior = make_prior(family)._replace(m=rows.double().mean(0))
    prior = prior._replace(Psi=1e-4 * prior.Psi)
    sums = torch.stack([family.features(part.double()).sum(0) for part in rows.split(100)])
    mixture = DPMixture(family, prior, StickBreaking(1.0), sums)
    single, double = (e_step(mixture, [Block(z)]) for z in (rows, rows.double()))
    torch.testing.assert_close(single.log_norm, double.log_norm)
    plain = mixture.explain(family.features(rows)).log_norm.sum().double()
    assert abs(float(plain - double.log_norm)) > 1  # what single precision would have cost
