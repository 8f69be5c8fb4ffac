"""The blocked pass over columns, against NumPy on the whole array."""

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse

from infimix.data import check_finite, checksum, columns, summarise_columns

SMALL_BLOCK = 7


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    """Blocks of a few values, so that small arrays take many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_BLOCK_VALUES", SMALL_BLOCK)
        yield


def assert_is_summary(summary, dense):
    """Compare with NumPy on the whole array in long double."""
    wide = dense.astype(np.longdouble)
    size = np.abs(wide).max(axis=0).astype(float) + 1e-30
    np.testing.assert_array_equal(summary.minimum, dense.min(axis=0))
    np.testing.assert_array_equal(summary.maximum, dense.max(axis=0))
    np.testing.assert_array_equal(summary.n_at_maximum, (dense == dense.max(axis=0)).sum(axis=0))
    np.testing.assert_allclose(summary.mean / size, wide.mean(axis=0) / size, atol=1e-14)
    np.testing.assert_allclose(summary.variance / size**2, wide.var(axis=0) / size**2, atol=1e-14)
    assert summary.is_integer == bool(np.all(dense == np.round(dense)))
    assert (summary.n_rows, summary.n_features) == dense.shape


@given(
    st.one_of(
        arrays(
            np.float64,
            array_shapes(min_dims=2, max_dims=2, max_side=9),
            elements=st.floats(-1e6, 1e6),
        ),
        arrays(np.int16, array_shapes(min_dims=2, max_dims=2, max_side=9)),
        arrays(
            np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 2)
        ),
    )
)
def test_dense_and_sparse_summaries(X):
    assert_is_summary(summarise_columns(X), X)
    assert_is_summary(summarise_columns(sparse.csr_array(X)), X)


def test_sparse_rows_with_duplicates_and_stored_zeros():
    parts = ([1, 2, 0, -3], ([0, 0, 1, 2], [1, 1, 0, 0]))
    X = sparse.csr_array(sparse.coo_array(parts, shape=(3, 2)))
    raw = sparse.csr_array(([1, 2, 0, -3], [1, 1, 0, 0], [0, 2, 3, 4]), shape=(3, 2))
    assert_is_summary(summarise_columns(X), np.array([[0, 3], [0, 0], [-3, 0]]))
    assert_is_summary(summarise_columns(raw), np.array([[0, 3], [0, 0], [-3, 0]]))
    assert raw.nnz == 4  # the caller's matrix is left alone


def test_variance_keeps_its_digits_far_from_zero():
    X = 1e8 + np.random.default_rng(0).normal(size=(1000, 3))
    exact = (X - 1e8).var(axis=0)
    np.testing.assert_allclose(summarise_columns(X).variance, exact, rtol=1e-7)


def test_the_checksum_is_of_the_rows_whatever_holds_them():
    X = np.random.default_rng(0).poisson(3.0, size=(150, 2)).astype(np.float32)
    for same in (X, X.astype(np.float64), X.astype(np.uint8), sparse.csr_array(X)):
        assert checksum(same) == f"{zlib.crc32(X.tobytes()):08x}"


def test_other_rows_and_another_order_have_another_checksum():
    X = np.random.default_rng(0).poisson(3.0, size=(150, 2)).astype(np.float32)
    other = X.copy()
    other[140, 1] += 1
    assert len({checksum(X), checksum(X[::-1]), checksum(other)}) == 3


def test_memory_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "_BLOCK_VALUES", 1 << 16)  # 0.5 MiB
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (40_000, 100))  # 16 MB
    X[:] = 1.5
    tracemalloc.start()
    try:
        summary = summarise_columns(X)
        check_finite(X)
        checksum(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
    np.testing.assert_array_equal(summary.mean, 1.5)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "inf"), (-np.inf, "-inf")])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_first_value_that_is_not_finite_is_named(make, value, word):
    X = np.zeros((9, 3), dtype=np.float32)
    X[0, 1] = 1
    check_finite(make(X))
    X[8, 0] = X[5, 2] = value
    with pytest.raises(ValueError, match=f"X has {word} in row 5, column 2, counting from 0"):
        check_finite(make(X))
    with pytest.raises(ValueError, match=rf"rows has {word} in row 5, column 2 \('c'\)"):
        check_finite(make(X), feature_names=["a", "b", "c"], name="rows")


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_values_that_cannot_be_squared_are_named(make):
    X = np.full((4, 3), 1e150)
    check_finite(make(X))
    X[2, 1] = -1e151
    with pytest.raises(ValueError, match=r"X has -1e\+151 in row 2, column 1, .* 1e\+150"):
        check_finite(make(X))


def test_integers_are_finite():
    check_finite(np.array([[1, 2]]))
