"""DPGaussianMixture as a density in the units of the data."""

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from infimix import DPGaussianMixture

MEANS = np.array([[0.0, 0.0], [60.0, -5.0]])
COVARIANCES = np.array([[[4.0, 3.0], [3.0, 9.0]], [[25.0, 0.0], [0.0, 1.0]]])
SHARES = [0.7, 0.3]


def draw(n: int, seed: int = 0) -> np.ndarray:
    """Rows of two known normals, (n, 2)."""
    rng = np.random.default_rng(seed)
    first = int(SHARES[0] * n)
    parts = [
        rng.multivariate_normal(MEANS[k], COVARIANCES[k], size)
        for k, size in enumerate((first, n - first))
    ]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def model() -> DPGaussianMixture:
    return DPGaussianMixture(random_state=0).fit(draw(4000))


def test_means_and_covariances_in_units_of_the_data(model: DPGaussianMixture) -> None:
    assert model.n_components_ == 2
    np.testing.assert_allclose(model.weights_, SHARES, atol=0.01)
    np.testing.assert_allclose(model.means_, MEANS, atol=0.6)
    np.testing.assert_allclose(model.covariances_, COVARIANCES, rtol=0.15, atol=1.0)
    diagonal = DPGaussianMixture(covariance_type="diag", random_state=0).fit(draw(4000))
    k = int(np.argmin(np.abs(diagonal.means_ - MEANS[1]).sum(1)))
    np.testing.assert_allclose(diagonal.covariances_[k], [25, 1], rtol=0.15)


def test_score_is_a_density(model: DPGaussianMixture) -> None:
    """Its integral is at most 1, and with many rows nearly so; it is near the true density."""
    x, y = np.meshgrid(np.linspace(-45, 110, 700), np.linspace(-40, 40, 500), indexing="ij")
    cell = (x[1, 0] - x[0, 0]) * (y[0, 1] - y[0, 0])
    mass = np.exp(model.score_samples(np.column_stack([x.ravel(), y.ravel()]))).sum() * cell
    assert 0.985 < mass <= 1
    few = DPGaussianMixture(random_state=0).fit(draw(20))
    few_mass = np.exp(few.score_samples(np.column_stack([x.ravel(), y.ravel()]))).sum() * cell
    assert few_mass < mass
    new = draw(500, seed=1)
    truth = np.log(
        sum(
            SHARES[k] * stats.multivariate_normal(MEANS[k], COVARIANCES[k]).pdf(new)
            for k in range(2)
        )
    )
    assert model.score_samples(new).mean() == pytest.approx(truth.mean(), abs=0.05)


def test_units_shift_the_density_and_nothing_else(model: DPGaussianMixture) -> None:
    X, a, b = draw(4000), np.array([1e-3, 40.0]), np.array([5.0, -200.0])
    other = DPGaussianMixture(random_state=0).fit(a * X + b)
    shift = np.log(a).sum()
    np.testing.assert_allclose(
        other.score_samples(a * X + b), model.score_samples(X) - shift, rtol=0, atol=1e-4
    )
    assert other.lower_bound_ == pytest.approx(model.lower_bound_ - shift, abs=1e-5)
    np.testing.assert_array_equal(other.labels_, model.labels_)
    np.testing.assert_allclose(other.means_, a * model.means_ + b, rtol=1e-4, atol=1e-4)
    scale = a[:, None] * a
    np.testing.assert_allclose(other.covariances_, scale * model.covariances_, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(other.transform(a * X + b), model.transform(X), rtol=1e-3)
    assert other.history_[-1]["bound"] == pytest.approx(model.history_[-1]["bound"] - shift)


def test_bound_per_row_is_below_the_mean_score(model: DPGaussianMixture) -> None:
    """The bound pays for the parameters, the score does not."""
    assert model.lower_bound_ < model.score(draw(4000))
    assert model.history_[-1]["bound"] <= model.lower_bound_ + 1e-6
    bounds = [record["bound"] for record in model.history_]
    assert [record["epoch"] for record in model.history_] == list(range(len(bounds)))


def test_samples_have_the_moments_of_the_data(model: DPGaussianMixture) -> None:
    X, component = model.sample(20_000)
    np.testing.assert_allclose(X.mean(0), draw(4000).mean(0), atol=1.0)
    np.testing.assert_allclose(np.cov(X.T), np.cov(draw(4000).T), rtol=0.05, atol=2.0)
    np.testing.assert_allclose(np.bincount(component) / 20_000, model.weights_, atol=0.01)
    one, _ = model.sample(20_000, component=0)
    np.testing.assert_allclose(one.mean(0), model.means_[0], atol=0.1)
    np.testing.assert_allclose(np.cov(one.T), model.covariances_[0], rtol=0.05, atol=0.1)


def test_transform_is_the_mahalanobis_distance(model: DPGaussianMixture) -> None:
    X = draw(50, seed=2)
    for k in range(2):
        delta = X - model.means_[k]
        square = np.einsum("ni,ij,nj->n", delta, np.linalg.inv(model.covariances_[k]), delta)
        np.testing.assert_allclose(model.transform(X)[:, k], np.sqrt(square), rtol=1e-4)


def test_too_few_sweeps_are_said() -> None:
    with pytest.warns(ConvergenceWarning, match="max_iter=1"):
        model = DPGaussianMixture(max_iter=1, random_state=0).fit(draw(300))
    assert not model.converged_
