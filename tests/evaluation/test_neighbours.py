import json
from typing import Any

import numpy as np
import pytest

from infimix.estimators import DPGaussianMixture
from infimix.evaluation import neighbour_errors

N, M, L, C = 600, 400, 3, 10


class Identity:
    """Rows are their codes; samples have noise of a given width around them."""

    def __init__(self, noise: float = 0.0) -> None:
        self.noise = noise

    def transform(self, X: np.ndarray) -> np.ndarray:
        return X

    def sample_latent(self, X: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        return X + self.noise * random_state.normal(size=X.shape)


def rows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes far apart, (n, L) and (n,)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(C, size=n)
    return y[:, None] * 10 + rng.normal(size=(n, L)), y


def test_separate_classes_have_no_error_and_noise_has_one() -> None:
    (X, y), (X_test, y_test) = rows(N, 0), rows(M, 1)
    errors = neighbour_errors(Identity(), X, y, X_test, y_test)
    assert errors.means == errors.samples == {3: 0.0, 5: 0.0, 10: 0.0}
    assert (errors.n_train, errors.n_test) == (N, M)
    noisy = neighbour_errors(Identity(noise=30.0), X, y, X_test, y_test)
    assert noisy.means == errors.means
    assert min(noisy.samples.values()) > 30


def test_random_labels_give_the_error_of_guessing() -> None:
    rng = np.random.default_rng(0)
    X, X_test = rng.normal(size=(N, L)), rng.normal(size=(M, L))
    errors = neighbour_errors(
        Identity(), X, rng.integers(C, size=N), X_test, rng.integers(C, size=M)
    )
    guessing = 100 * (1 - 1 / C)
    error = 100 * np.sqrt(0.9 * 0.1 / M)
    assert all(abs(each - guessing) < 3 * error for each in errors.means.values())


def test_errors_are_percent_of_test_rows_by_train_rows() -> None:
    X = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]])
    y = np.array(["a", "a", "b", "b", "b"])
    X_test = np.array([[0.4], [2.1], [10.4], [0.6]])
    errors = neighbour_errors(
        Identity(), X, y, X_test, np.array(["a", "b", "a", "b"]), n_neighbors=(1, 3, 5)
    )
    # One neighbour: a b b a. Three: a a b a. Five, all rows: b b b b.
    assert errors.means == {1: 50.0, 3: 75.0, 5: 50.0}


def test_train_and_test_samples_have_noise_of_their_own() -> None:
    seen: list[np.ndarray] = []

    class Noise(Identity):
        def sample_latent(self, X: np.ndarray, random_state: Any) -> np.ndarray:
            seen.append(random_state.normal(size=X.shape))
            return seen[-1]

    X, y = rows(20, 0)
    first = neighbour_errors(Noise(), X, y, X, y)
    again = neighbour_errors(Noise(), X, y, X, y)
    assert not np.isin(seen[0], seen[1]).any()
    np.testing.assert_array_equal(seen[0], seen[2])
    assert first == again


def test_an_estimator_without_codes_has_no_samples() -> None:
    X, y = rows(200, 0)
    errors = neighbour_errors(DPGaussianMixture(random_state=0).fit(X), X[::2], y[::2], X, y)
    assert errors.samples is None
    assert json.loads(json.dumps(errors.as_dict()))["means"].keys() == {"3", "5", "10"}


def test_rows_and_classes_that_do_not_belong_together() -> None:
    X, y = rows(20, 0)
    with pytest.raises(ValueError, match=r"one class for each train row, .* 20 rows .* \(19,\)"):
        neighbour_errors(Identity(), X, y[1:], X, y)
    with pytest.raises(ValueError, match="one class for each test row"):
        neighbour_errors(Identity(), X, y, X, y[1:])
    with pytest.raises(ValueError, match="10 neighbours need as many train rows and there are 8"):
        neighbour_errors(Identity(), X[:8], y[:8], X, y)
