"""Rows: whatever holds them, the model is shown the same blocks and batches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from infimix.training import rows, rows_on
from infimix.training.rows import HeldRows, Rows, StreamedRows, is_memory_map

N, D = 53, 3
CPU = torch.device("cpu")
OFFSET, SCALE = np.array([1.0, 0.0, -2.0]), np.array([2.0, 1.0, 0.5])


@pytest.fixture
def X() -> np.ndarray:
    return np.random.default_rng(0).poisson(2.0, size=(N, D)).astype(np.float32)


@pytest.fixture(params=["array", "fortran", "float64", "bytes", "memmap", "csr", "read-only"])
def kept(request: pytest.FixtureRequest, X: np.ndarray, tmp_path: Path) -> object:
    """The same numbers, kept in another way."""
    if request.param == "memmap":
        np.save(tmp_path / "x.npy", X)
        return np.load(tmp_path / "x.npy", mmap_mode="r")
    if request.param == "read-only":
        X.setflags(write=False)
    makers = {
        "array": lambda: X,
        "fortran": lambda: np.asfortranarray(X),
        "float64": lambda: X.astype(np.float64),
        "bytes": lambda: X.astype(np.uint8),
        "csr": lambda: sparse.csr_array(X),
        "read-only": lambda: X,
    }
    return makers[request.param]()


def test_batches_and_blocks_are_the_scaled_rows(kept: object, X: np.ndarray) -> None:
    expected = ((X.astype(np.float64) - OFFSET) / SCALE).astype(np.float32)
    held = rows_on(kept, OFFSET, SCALE, CPU)
    assert isinstance(held, StreamedRows) == is_memory_map(kept)
    index = torch.tensor([40, 3, 3, 52, 0])
    x = held.take(index)
    assert x.dtype == torch.float32
    np.testing.assert_array_equal(x, expected[index])
    np.testing.assert_array_equal(torch.cat(list(held.blocks())), expected)
    np.testing.assert_array_equal(torch.cat(list(held.blocks(index))), expected[index])


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [((20, 2**22), [20, 20, 13]), ((20, 30), [10, 10, 10, 10, 10, 3]), ((20, 1), [1] * N)],
)
def test_blocks_cover_all_rows_once_within_both_limits(
    X: np.ndarray, monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], sizes: list[int]
) -> None:
    monkeypatch.setattr(rows, "BLOCK_ROWS", limits[0])
    monkeypatch.setattr(rows, "BLOCK_VALUES", limits[1])
    makers: list[Rows] = [
        rows_on(X, OFFSET, SCALE, CPU),
        StreamedRows(sparse.csr_array(X), OFFSET, SCALE, CPU),
    ]
    for held in makers:
        assert [len(block) for block in held.blocks()] == sizes
        np.testing.assert_array_equal(
            torch.cat(list(held.blocks())), torch.from_numpy((X - OFFSET) / SCALE).float()
        )


def test_held_rows_are_a_copy(X: np.ndarray) -> None:
    """What the user does to X during or after the fit changes nothing."""
    held = rows_on(X, np.zeros(D), np.ones(D), CPU)
    before = held.take(torch.arange(N))
    X += 1
    np.testing.assert_array_equal(held.take(torch.arange(N)), before)


def test_more_than_the_limit_is_streamed(X: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, x in (("HELD_BYTES", X), ("HELD_SPARSE_BYTES", sparse.csr_array(X))):
        held = rows_on(x, OFFSET, SCALE, CPU)
        assert isinstance(held, HeldRows)
        monkeypatch.setattr(rows, name, X.nbytes - 1)
        streamed = rows_on(x, OFFSET, SCALE, CPU)
        assert isinstance(streamed, StreamedRows)
        index = torch.tensor([40, 3, 3, 52, 0])
        assert torch.equal(streamed.take(index), held.take(index))


def test_a_view_of_a_memory_map_is_one(X: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert is_memory_map(mapped)
    assert is_memory_map(np.asarray(mapped)[5:, :2])
    assert not is_memory_map(X[5:])
    assert not is_memory_map(np.array(mapped, subok=False))
