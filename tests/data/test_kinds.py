"""Detection of the kind of data, and kinds that are asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from infimix.data import KINDS, detect_kind, summarise_columns


def kind_of(X, kind="auto"):
    return detect_kind(summarise_columns(X), kind)


def uniform(low, high, shape=(200, 20), dtype=np.float64):
    return np.random.default_rng(0).integers(low, high + 1, size=shape).astype(dtype)


def ink(high, shape=(200, 20)):
    """Whole numbers of which most are near both ends of their range."""
    return np.round(high * np.random.default_rng(0).beta(0.3, 0.3, size=shape))


def poisson(rate, shape=(500, 50)):
    return np.random.default_rng(0).poisson(rate, size=shape)


@pytest.mark.parametrize(
    ("X", "name", "offset", "scale"),
    [
        (uniform(0, 1), "binary", 0, 1),
        (uniform(0, 1, dtype=np.uint8), "binary", 0, 1),
        (sparse.csr_array(uniform(0, 1)), "binary", 0, 1),
        (np.zeros((4, 3)), "binary", 0, 1),
        (uniform(0, 16), "levels", 0, 16),
        (uniform(0, 16, dtype=np.uint8), "levels", 0, 16),
        (uniform(1, 5), "levels", 1, 4),
        (ink(100), "unit", 0, 100),
        (ink(99) + 1, "unit", 1, 99),
        (ink(255).astype(np.uint8), "unit", 0, 255),
        (255 * (poisson(20) == 20).astype(np.uint8), "unit", 0, 255),
        (ink(99) / 99, "unit", 0, 1),
        (sparse.csr_array(uniform(0, 2) / 4), "unit", 0, 1),
        (poisson(0.5), "counts", 0, 1),
        (poisson(3), "counts", 0, 1),
        (poisson(3).astype(np.float32), "counts", 0, 1),
        (sparse.csr_array(poisson(0.1)), "counts", 0, 1),
        (poisson(30, (20000, 4)) * (uniform(0, 1, (20000, 4)) > 0), "counts", 0, 1),
    ],
)
def test_kinds_with_a_common_scale(X, name, offset, scale):
    kind = kind_of(X)
    assert kind.name == name
    np.testing.assert_array_equal(kind.offset, np.full(X.shape[1], offset))
    np.testing.assert_array_equal(kind.scale, np.full(X.shape[1], scale))
    assert kind.sentence.startswith(f"treating {X.shape[1]} column")
    assert "\n" not in kind.sentence


def test_counts_that_share_a_maximum_by_chance():
    X = poisson(2)
    rare = X.copy()
    rare[0, :25] = 15  # half of the columns, one row in 500
    assert kind_of(rare).name == "counts"
    alone = X.copy()
    alone[:, 0] = 15 * (np.arange(500) % 2)  # half of the rows, one column of 50
    assert kind_of(alone).name == "counts"
    both = X.copy()
    both[::4, :25] = 15
    assert kind_of(both).name == "levels"
    all_but_five = X.copy()
    all_but_five[0, :45] = 15  # nearly all columns, however rarely
    assert kind_of(all_but_five).name == "levels"


REAL = {
    "negative": uniform(-3, 3),
    "fractions": uniform(0, 30) / 7,
    "negative counts": -poisson(3),
    "uniform within 0 and 1": uniform(0, 99) / 99,
    "columns brought to 0 and 1 each": np.random.default_rng(0).beta(4, 4, (200, 5)),
    "coordinates that touch both ends": np.minimum(uniform(0, 120), 100),
    "bytes from the middle of the scale": poisson(90).astype(np.uint8),
    "whole numbers that never are zero": poisson(100),
    "one number": poisson(4, (500, 1)),
    "visits, age, income": np.column_stack([poisson(2, 500), poisson(40, 500), poisson(9e4, 500)]),
    "hour, day, riders": np.column_stack(
        [uniform(0, 23, 500), uniform(0, 6, 500), poisson(0.6, 500) * 90]
    ),
}


@pytest.mark.parametrize("X", REAL.values(), ids=REAL)
def test_everything_else_is_real(X):
    kind = kind_of(X)
    assert kind.name == "real"
    scaled = (X - kind.offset) / kind.scale
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1)


def test_constant_columns_are_only_shifted():
    X = np.column_stack([np.full(7, 0.1), np.arange(7) / 3])
    kind = kind_of(X)
    assert (kind.offset[0], kind.scale[0]) == (0.1, 1)


def test_sentences():
    assert kind_of(uniform(0, 16, (200, 64))).sentence == (
        "treating 64 columns of whole numbers in [0, 16] as levels of a scale"
    )
    assert "(shifted by -1, scaled by 1/99)" in kind_of(ink(99) + 1).sentence
    assert kind_of(np.eye(1)).sentence == "treating 1 column of 0 and 1 as binary"
    assert "as counts" in kind_of(poisson(3)).sentence
    assert "as real numbers" in kind_of(uniform(-3, 3)).sentence


def test_kind_can_be_asked_for():
    assert kind_of(uniform(0, 16), "counts").name == "counts"
    assert kind_of(uniform(0, 1), "real").name == "real"
    unit = kind_of(np.array([[-2.0, 1.0], [6.0, 0.0]]), "unit")
    assert (unit.offset[0], unit.scale[1]) == (-2, 8)
    assert kind_of(np.full((3, 2), 7), "unit").scale.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("X", "kind", "message"),
    [
        ([[0, 0.5]], "binary", "cannot be binary.*fractions"),
        ([[0, 2]], "binary", r"cannot be binary.*values in \[0, 2\]"),
        ([[-1, 2]], "counts", "cannot be counts.*values down to -1"),
        ([[1, 2.5]], "counts", "cannot be counts.*fractions"),
        ([[1, 2.5]], "levels", "cannot be levels.*fractions"),
        ([[0, 1]], "grey", "'binary', 'unit', 'levels', 'real', 'counts'; got 'grey'"),
    ],
)
def test_kinds_that_cannot_be(X, kind, message):
    with pytest.raises(ValueError, match=message):
        kind_of(np.array(X), kind)


@given(arrays(np.float64, (6, 3), elements=st.floats(-100, 100)), st.sampled_from(KINDS))
def test_scaled_values_lie_where_their_kind_says(X, asked):
    for X_of_kind, kind in ((X, "auto"), (np.abs(np.round(X)), asked)):
        if kind == "binary":
            X_of_kind = X_of_kind % 2
        found = kind_of(X_of_kind, kind)
        scaled = (X_of_kind - found.offset) / found.scale
        assert np.all(found.scale > 0)
        assert np.isfinite(scaled).all()
        if found.name in ("unit", "levels"):
            assert scaled.min() >= 0
            assert scaled.max() <= 1
