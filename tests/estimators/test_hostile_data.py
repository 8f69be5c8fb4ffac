"""DPGaussianMixture where the data are at their worst: finite, sane, and no other for their units.

`test_behaviour.py` asks both estimators for finite answers to hard data; this asks for the right
ones, of every covariance type.
"""

import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from infimix import DPGaussianMixture

TYPES = ("full", "diag", "spherical")
EACH_TYPE = pytest.mark.parametrize("covariance_type", TYPES)
EACH_TAIL = pytest.mark.parametrize("heavy_tails", [True, False], ids=["heavy", "normal"])
Data = tuple[np.ndarray, np.ndarray]


def clusters(n_rows: int = 180, dof: float = np.inf, seed: int = 0) -> Data:
    """Three clusters of 3 features and unequal size, 12 apart, and which is which."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=n_rows, p=[0.5, 0.3, 0.2])
    X = rng.normal(size=(n_rows, 3))
    if np.isfinite(dof):
        X /= np.sqrt(rng.chisquare(dof, size=(n_rows, 1)) / dof)
    return X + 12 * np.eye(3)[y], y


def fit(X: np.ndarray, **parameters: Any) -> DPGaussianMixture:
    """Fitted to X, with everything it says of X checked."""
    model = DPGaussianMixture(**{"random_state": 0, "n_init": 1, **parameters})
    is_wide = model.covariance_type == "full" and X.shape[0] <= X.shape[1]
    said = f"{X.shape[0]} rows for {X.shape[1]} columns"
    with pytest.warns(UserWarning, match=said) if is_wide else nullcontext():
        model.fit(X)
    check(model, X)
    return model


def check(model: DPGaussianMixture, X: np.ndarray) -> None:
    """Finite, and what probabilities and covariances have to be."""
    K, D = model.n_components_, X.shape[1]
    assert model.means_.shape == (K, D)
    proba = model.predict_proba(X)
    for values in (model.means_, model.weights_, proba, model.score_samples(X), model.transform(X)):
        assert np.isfinite(values).all()
    assert np.isfinite([model.lower_bound_, model.score(X), model.degrees_of_freedom_ > 2]).all()
    assert model.weights_.sum() == pytest.approx(1)
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(model.labels_, proba.argmax(1))
    for cov in model.covariances_:
        sd = np.sqrt(cov.diagonal() if cov.ndim == 2 else cov)
        varies = np.ptp(X, axis=0) > 0
        np.testing.assert_array_equal(sd > 0, varies if varies.any() else True)
        assert np.isfinite(sd).all()
        if cov.ndim == 2:
            np.testing.assert_allclose(cov, cov.T, rtol=1e-9)
            unit = np.where(sd > 0, sd, 1)
            assert np.linalg.eigvalsh(cov / unit / unit[:, None]).min() > -1e-9


def agreement(model: DPGaussianMixture, y: np.ndarray, but: int | None = None) -> float:
    """Adjusted Rand index, one row left out."""
    if but is None:
        return adjusted_rand_score(y, model.labels_)
    return adjusted_rand_score(np.delete(y, but), np.delete(model.labels_, but))


# ---------------------------------------------------------------------- what must not matter


@EACH_TYPE
@EACH_TAIL
def test_order_origin_and_units_of_the_data_do_not_matter(
    covariance_type: str, heavy_tails: bool
) -> None:
    X, y = clusters(dof=4 if heavy_tails else np.inf)
    parameters = {"covariance_type": covariance_type, "heavy_tails": heavy_tails}
    model, order = fit(X, **parameters), np.random.default_rng(1).permutation(len(X))
    assert model.n_components_ == 3
    assert agreement(model, y) > 0.97
    units = (
        {"one": 1e-3, "other": 1e4}
        if covariance_type == "spherical"
        else {"each its own": np.array([1e-3, 1.0, 1e4])}
    )
    changed = {
        "origin": X + np.array([1e5, -30.0, 0.0]),
        **{name: X * unit for name, unit in units.items()},
    }
    for name, Z in changed.items():
        other = fit(Z, **parameters)
        assert agreement(other, model.labels_) == 1, name
    assert agreement(fit(X[order], **parameters), model.labels_[order]) == 1
    assert agreement(fit(X[:, [2, 0, 1]], **parameters), model.labels_) == 1


# ------------------------------------------------------------- what must not hide the clusters


def disguised() -> dict[str, np.ndarray]:
    """The rows of `clusters`, made hard to see."""
    X, _ = clusters()
    far = X.copy()
    far[7, 0] = 1e3
    return {
        "each row three times": np.repeat(X, 3, axis=0),
        "whole numbers": np.round(X),
        "constant columns": np.column_stack([X, np.full(len(X), 7.1), np.zeros(len(X))]),
        "constant beside small units": np.column_stack([1e-6 * X, np.full(len(X), 7.1)]),
        "single precision at 1e6": (X + 1e6).astype(np.float32),
        "a sum of columns": np.column_stack([X, X.sum(1)]),
        "binary columns": (X > 6).astype(float),
        "one far value": far,
    }


@EACH_TYPE
@pytest.mark.parametrize("case", disguised())
def test_clusters_are_found_all_the_same(covariance_type: str, case: str) -> None:
    X, y = disguised()[case], clusters()[1]
    if covariance_type == "spherical" and case == "constant columns":
        X = X[:, :4]  # no sphere is flat in two of five directions
    model = fit(X, covariance_type=covariance_type)
    if case == "one far value":  # in a component of its own, or in the tail of another
        assert model.n_components_ in (3, 4)
        assert agreement(model, y, but=7) == 1
    else:
        assert model.n_components_ == 3
        assert agreement(model, np.repeat(y, len(X) // len(y))) == 1


@pytest.mark.parametrize("covariance_type", ["full", "diag"])  # spheres have one unit
def test_units_may_be_sixteen_orders_apart(covariance_type: str) -> None:
    X, y = clusters()
    assert agreement(fit(X * [1e-8, 1, 1e8], covariance_type=covariance_type), y) == 1


@pytest.mark.parametrize("covariance_type", ["full", "spherical"])  # "diag" cannot say it
def test_a_column_may_be_there_twice(covariance_type: str) -> None:
    X, y = clusters()
    assert agreement(fit(X[:, [0, 1, 2, 0]], covariance_type=covariance_type), y) == 1


@EACH_TYPE
@EACH_TAIL
def test_five_points_of_a_thousand_rows_are_five_clusters(
    covariance_type: str, heavy_tails: bool
) -> None:
    points, y = np.random.default_rng(2).normal(size=(5, 3)), np.arange(1000) % 5
    model = fit(points[y], covariance_type=covariance_type, heavy_tails=heavy_tails)
    assert agreement(model, y) == 1
    order = model.predict(points)
    np.testing.assert_allclose(model.means_[order], points, atol=1e-2)


@EACH_TYPE
@EACH_TAIL
def test_two_rows_are_one_cluster(covariance_type: str, heavy_tails: bool) -> None:
    X, _ = clusters()
    for few in (X[:2], X[:2, :1]):
        model = fit(few, covariance_type=covariance_type, heavy_tails=heavy_tails)
        assert model.n_components_ == 1


@EACH_TYPE
@EACH_TAIL
def test_more_columns_than_rows_do_not_make_clusters(
    covariance_type: str, heavy_tails: bool
) -> None:
    """Of 30 rows in 40 columns; two groups in all columns are seen by all but "full"."""
    rng, y = np.random.default_rng(0), np.arange(30) % 2
    X = rng.normal(size=(30, 40))
    parameters = {"covariance_type": covariance_type, "heavy_tails": heavy_tails}
    assert fit(X, **parameters).n_components_ == 1
    two = fit(X + 4 * y[:, None], **parameters)
    assert agreement(two, y) == (0 if covariance_type == "full" else 1)


@EACH_TYPE
@EACH_TAIL
def test_few_levels_break_nothing(covariance_type: str, heavy_tails: bool) -> None:
    """Points of a coarse lattice hold many rows each: how many components is not said here."""
    X, _ = clusters()
    parameters = {"covariance_type": covariance_type, "heavy_tails": heavy_tails}
    for levels in (np.round(X / 3).astype(int), np.clip(X // 4, 0, 2).astype(np.uint8)):
        fit(levels, **parameters)


# -------------------------------------------------------------------------- what must be said


@EACH_TYPE
@EACH_TAIL
@pytest.mark.parametrize("far", [1e6, -1e100])
def test_a_value_that_hides_all_others_is_said(
    covariance_type: str, heavy_tails: bool, far: float
) -> None:
    X, y = clusters()
    X[7, 1] = far
    parameters = {"covariance_type": covariance_type, "heavy_tails": heavy_tails}
    with pytest.warns(UserWarning, match="Row 7 of X is so far out in column 1, at ") as said:
        model = fit(X, **parameters)
    assert len(said) == 1
    assert said[0].filename == __file__
    assert (model.labels_ == model.labels_[7]).sum() == 1  # it is alone
    if covariance_type != "spherical":  # the other columns are as they were
        assert agreement(model, y, but=7) == 1


def test_a_rare_value_is_not_far_out() -> None:
    """Nor is a heavy tail, or a column that is constant but for one row."""
    rng = np.random.default_rng(0)
    rare = np.zeros(300)
    rare[3] = 1.0
    X = np.column_stack([rare, rng.normal(size=300), rng.standard_t(2, size=300)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(X)
    counts = rng.poisson(0.01, size=(300, 2))
    counts[5] = 1000
    fit(counts)


@EACH_TYPE
def test_equal_rows_are_said(covariance_type: str) -> None:
    X = np.full((50, 3), 7.3)
    with pytest.warns(UserWarning, match="All 50 rows of X are equal") as said:
        model = fit(X, covariance_type=covariance_type)
    assert len(said) == 1
    assert model.n_components_ == 1
    np.testing.assert_allclose(model.means_, X[:1])


@EACH_TYPE
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(covariance_type: str, value: float) -> None:
    X, _ = clusters()
    X[11, 2] = value
    with pytest.raises(ValueError, match=r"row 11, column 2"):
        DPGaussianMixture(covariance_type=covariance_type).fit(X)


def test_weights_may_sum_to_less_than_a_row() -> None:
    """Then there is not a row's worth of evidence for more than one cluster."""
    X, _ = clusters()
    model = DPGaussianMixture(random_state=0).fit(X, sample_weight=np.full(len(X), 1e-3))
    check(model, X)
    assert model.n_components_ == 1
