"""Rows that come a batch at a time: what is kept of them, and where the mixture goes."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch

from infimix.mixture import (
    Block,
    FullCovariance,
    Reservoir,
    StickBreaking,
    Stream,
    e_step,
    fit_mixture,
    search,
    settle,
)
from infimix.mixture.blocks import SAMPLE_ROWS


def blocks_of(x: np.ndarray, weight: np.ndarray | None = None) -> list[Block]:
    return [Block(torch.from_numpy(x), None, None if weight is None else torch.from_numpy(weight))]


def numbered(n: int, size: int) -> Iterator[list[Block]]:
    for first in range(0, n, size):
        yield blocks_of(np.arange(first, min(first + size, n), dtype=np.float64)[:, None])


def test_reservoir_keeps_all_rows_while_there_is_room() -> None:
    reservoir = Reservoir(0, 1)
    for blocks in numbered(1000, 300):
        reservoir.add(blocks)
    assert reservoir.sample().z[:, 0].tolist() == list(range(1000))


def test_reservoir_draws_evenly_from_all_that_came() -> None:
    """Of four quarters of 20000 rows each a quarter stays, up to four standard deviations."""
    reservoir = Reservoir(1, 1)
    for blocks in numbered(4 * SAMPLE_ROWS, 7001):
        reservoir.add(blocks)
    kept = reservoir.sample()
    assert len(np.unique(kept.z.numpy())) == SAMPLE_ROWS
    share = np.bincount(kept.z[:, 0].long().numpy() // SAMPLE_ROWS) / SAMPLE_ROWS
    assert np.abs(share - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / SAMPLE_ROWS)
    assert kept.weights().sum().item() == pytest.approx(4 * SAMPLE_ROWS)


def test_reservoir_remembers_weights() -> None:
    reservoir = Reservoir(0, 3)
    weight = np.array([1.0, 4.0, 0.5])
    reservoir.add(blocks_of(np.eye(3), weight))
    reservoir.add(blocks_of(2 * np.eye(3), weight))
    np.testing.assert_allclose(reservoir.sample().weights().numpy(), [*weight, *weight])


def stream_of(seed: int = 0) -> Stream:
    plan = {"law": StickBreaking(1.0), "n_components": 10, "n_restarts": 1, "max_sweeps": 100}
    begin = partial(fit_mixture, FullCovariance(2), max_components=50, tol=1e-5, seed=seed, **plan)
    settle_on = partial(settle, max_sweeps=100, tol=1e-5)
    return Stream(begin, partial(search, settle_on=settle_on, max_components=50, seed=0), 2, seed)


def three(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) + np.array([[0, 0], [9, 0], [0, 9]])[rng.integers(3, size=n)]


def test_running_mean_is_the_weighted_sum_written_out() -> None:
    """Two batches after the start: 1500 and 1200 rows of 3000, weights by hand."""
    stream = stream_of()
    batches = [blocks_of(three(n, seed=n)) for n in (3000, 1500, 1200)]
    stream.step(batches[0])
    total = e_step(stream.fit.mixture, batches[0]).sums
    for n, before, batch in ((1500, 3000, batches[1]), (1200, 4500, batches[2])):
        rate = (n / (before + n)) ** 0.7
        new = e_step(stream.fit.mixture, batch).sums
        total = (before + n) * ((1 - rate) * total / before + rate * new / n)
        stream.step(batch)
        torch.testing.assert_close(stream.fit.mixture.sums, total)
    assert float(stream.fit.mixture.counts.sum()) == pytest.approx(5700)


def test_bound_of_the_stream_is_near_that_of_all_rows() -> None:
    stream, parts = stream_of(), [three(700, seed) for seed in range(20)]
    for part in parts:
        stream.step(blocks_of(part))
    every = blocks_of(np.concatenate(parts))
    exact = float(stream.fit.mixture.bound(e_step(stream.fit.mixture, every)))
    fresh = stream.begin(every, 14_000).bound
    assert stream.fit.bound / 14_000 == pytest.approx(exact / 14_000, abs=0.02)
    assert exact / 14_000 == pytest.approx(fresh / 14_000, abs=0.005)
