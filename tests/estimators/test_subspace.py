"""Columns that say nothing new change nothing, and are there again in what the mixture answers."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

from infimix import DPGaussianMixture

X = load_iris().data
CONSTANT = np.full((len(X), 3), 7.5)
LOADINGS = np.random.default_rng(0).normal(size=(4, 3))
SUMS = X @ LOADINGS + 2


def fitted(X: np.ndarray, **params: object) -> DPGaussianMixture:
    return DPGaussianMixture(random_state=0, **params).fit(X)


@pytest.mark.parametrize("shape", ["full", "diag", "spherical"])
def test_constant_columns_change_nothing(shape: str) -> None:
    alone = fitted(X, covariance_type=shape)
    model = fitted(np.hstack([CONSTANT[:, :1], X, CONSTANT]), covariance_type=shape)
    np.testing.assert_array_equal(model.labels_, alone.labels_)
    assert model.lower_bound_ == pytest.approx(alone.lower_bound_)
    np.testing.assert_allclose(model.means_[:, 1:5], alone.means_)
    np.testing.assert_array_equal(model.means_[:, [0, 5, 6, 7]], 7.5)
    np.testing.assert_array_equal(model.sample(20)[0][:, [0, 5, 6, 7]], 7.5)


def test_columns_that_follow_from_others_change_nothing(tmp_path: Path) -> None:
    alone, model = fitted(X), fitted(np.hstack([X, X[:, :2], SUMS]))
    np.testing.assert_array_equal(model.labels_, alone.labels_)
    loaded = DPGaussianMixture.load(model.save(tmp_path / "model"))
    for each in (model, loaded):
        np.testing.assert_allclose(each.means_[:, :4], alone.means_, rtol=1e-3)
        for rows in (each.sample(50)[0], each.means_):
            np.testing.assert_allclose(rows[:, 4:6], rows[:, :2])
            np.testing.assert_allclose(rows[:, 6:], rows[:, :4] @ LOADINGS + 2)
        np.testing.assert_allclose(each.covariances_[:, 4:6, 4:6], each.covariances_[:, :2, :2])


def test_rows_of_no_weight_make_no_column_vary() -> None:
    rows = np.vstack([np.hstack([X, CONSTANT]), np.r_[X[0], 1.0, 2.0, 3.0]])
    weight = np.r_[np.ones(len(X)), 0.0]
    model = DPGaussianMixture(random_state=0).fit(rows, sample_weight=weight)
    np.testing.assert_array_equal(model.labels_[:-1], fitted(X).labels_)


def test_a_column_that_begins_to_vary_is_told_of() -> None:
    model = DPGaussianMixture(random_state=0).partial_fit(np.hstack([X, CONSTANT]))
    model.partial_fit(np.hstack([X, CONSTANT]))
    later = np.hstack([X, CONSTANT])
    later[3, 5] = 8
    with pytest.warns(UserWarning, match=r"Columns \[5\] of X were left out"):
        model.partial_fit(later)


def test_more_columns_than_memory_holds_are_refused() -> None:
    wide = np.random.default_rng(0).normal(size=(200, 5000))
    with (
        pytest.warns(UserWarning, match="200 rows for 5000 columns"),
        pytest.raises(ValueError, match=r"5000 columns need 19 GiB .* covariance_type='diag'"),
    ):
        fitted(wide)
