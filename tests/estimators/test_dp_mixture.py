"""DPGaussianMixture as a density in the units of the data."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import make_blobs, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

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


def arcs(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two interlocked half circles, which no two Gaussians follow."""
    X, y = make_moons(n, noise=0.06, random_state=seed)
    return X, y


@pytest.fixture(scope="module")
def moons() -> DPGaussianMixture:
    return DPGaussianMixture(random_state=0).fit(arcs()[0])


def test_a_bent_cluster_is_one_component_of_several_parts(moons: DPGaussianMixture) -> None:
    X, y = arcs()
    n_parts = len(moons.component_of_part_)
    assert n_parts > moons.n_components_ == 2
    assert adjusted_rand_score(y, moons.labels_) > 0.99
    np.testing.assert_array_equal(moons.predict(X), moons.labels_)
    np.testing.assert_allclose(moons.weights_, [0.5, 0.5], atol=0.01)
    for k in range(2):
        rows = X[moons.labels_ == k]
        np.testing.assert_allclose(moons.means_[k], rows.mean(0), atol=0.02)
        np.testing.assert_allclose(moons.covariances_[k], np.cov(rows.T), atol=0.02)
        new, component = moons.sample(2000, component=k)
        assert set(component) == {k}
        assert (moons.predict(new) == k).mean() > 0.98


def test_cut_gives_every_granularity(moons: DPGaussianMixture) -> None:
    X, _ = arcs()
    n_parts = len(moons.component_of_part_)
    assert [join.n_components for join in moons.merge_path_] == list(range(n_parts - 1, 0, -1))
    labels = []
    for n in range(1, n_parts + 1):
        cut = moons.cut(n)
        assert cut.n_components_ == len(cut.weights_) == len(np.unique(cut.labels_)) == n
        assert cut.score(X) == moons.score(X)
        assert (cut.predict(X) == cut.labels_).mean() > 0.95
        labels.append(cut.labels_)
    for finer, coarser in zip(labels[1:], labels, strict=False):  # each is a refinement
        pairs = np.unique(np.column_stack([finer, coarser]), axis=0)
        assert len(pairs) == len(np.unique(finer))
    np.testing.assert_array_equal(moons.cut(2).labels_, moons.labels_)
    assert moons.n_components_ == 2  # a cut is a copy
    for n in (0, n_parts + 1):
        with pytest.raises(ValueError, match=rf"whole number in 1..{n_parts}, .* got {n}"):
            moons.cut(n)


def test_a_saved_mixture_can_be_cut(moons: DPGaussianMixture, tmp_path: Path) -> None:
    loaded = DPGaussianMixture.load(moons.save(tmp_path))
    assert loaded.merge_path_ == moons.merge_path_
    np.testing.assert_array_equal(loaded.cut(4).labels_, moons.cut(4).labels_)
    assert loaded.degrees_of_freedom_ == pytest.approx(moons.degrees_of_freedom_)


def test_heavy_tails_are_no_clusters() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=3000)
    scale = np.sqrt(rng.chisquare(3, size=(3000, 1)) / 3)
    X = rng.normal(size=(3000, 4)) / scale + 15 * np.eye(4)[y]
    model = DPGaussianMixture(random_state=0).fit(X)
    assert model.n_components_ == 3
    assert adjusted_rand_score(y, model.labels_) > 0.97
    assert model.degrees_of_freedom_ == pytest.approx(3, rel=0.15)
    plain = DPGaussianMixture(heavy_tails=False, random_state=0).fit(X)
    assert plain.degrees_of_freedom_ == np.inf
    assert model.score(X) > plain.score(X)


def test_order_origin_and_scale_of_the_columns_do_not_matter(moons: DPGaussianMixture) -> None:
    X, _ = arcs()
    other = DPGaussianMixture(random_state=0).fit(X[:, ::-1] * [1e-3, 50] + [1e4, -7])
    assert adjusted_rand_score(moons.labels_, other.labels_) > 0.999
    assert other.lower_bound_ + np.log(50e-3) == pytest.approx(moons.lower_bound_, abs=0.01)


def test_more_clusters_than_the_fit_begins_with() -> None:
    X, y = make_blobs(6000, n_features=6, centers=60, cluster_std=0.3, random_state=3)
    model = DPGaussianMixture(random_state=0).fit(X)
    assert model.n_components_ == 60
    assert adjusted_rand_score(y, model.labels_) > 0.999
    assert DPGaussianMixture(20, random_state=0).fit(X).n_components_ <= 20


def test_small_clusters_among_large_ones() -> None:
    """Fifty rows of 7000 are worth five, too few to be told apart by these."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(23, 10))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    centres *= np.where(np.arange(23) < 3, 100, 9)[:, None]
    centres[3:] += centres[np.arange(20) % 3]
    y = np.repeat(np.arange(23), [2000] * 3 + [50] * 20)
    X = centres[y] + rng.normal(size=(len(y), 10)) * np.where(y < 3, 1.0, 0.5)[:, None]
    found = DPGaussianMixture(random_state=0).fit(X)
    assert found.n_components_ == 23
    assert adjusted_rand_score(y, found.labels_) > 0.999
    assert found.converged_


def test_a_weight_is_as_good_as_repeats() -> None:
    rng = np.random.default_rng(0)
    X, _ = make_blobs(400, n_features=3, centers=4, cluster_std=0.6, random_state=1)
    weight = rng.integers(0, 4, 400)
    weighted = DPGaussianMixture(random_state=0).fit(X, sample_weight=weight)
    repeated = DPGaussianMixture(random_state=0).fit(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-6)
    np.testing.assert_allclose(weighted.covariances_, repeated.covariances_, rtol=1e-6)
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_)
    np.testing.assert_allclose(weighted.score_samples(X), repeated.score_samples(X))
    with pytest.raises(ValueError, match="sample_weight"):
        DPGaussianMixture().fit(X, sample_weight=weight[:5])
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        DPGaussianMixture().fit(X, sample_weight=weight - 1.0)


def test_cluster_spread_weighs_where_rows_are_few() -> None:
    """Four clusters of different shape: few rows are taken apart if they are told to be."""
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(4), 300)
    shape = rng.uniform(0.5, 2, size=(4, 5))
    X = rng.normal(size=(1200, 5)) * shape[y] + 4 * rng.normal(size=(4, 5))[y]
    few, many = (
        [
            DPGaussianMixture(cluster_spread=spread, random_state=0).fit(X[:n]).n_components_
            for spread in (0.01, 0.3, 1.0)
        ]
        for n in (36, 1200)
    )
    assert few[0] > few[1]
    assert few[1:] == [4, 4]
    assert many == [4, 4, 4]
