"""Batch after batch, and weights of a finite Dirichlet, through the estimator."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from infimix import DPGaussianMixture
from infimix.mixture import FiniteDirichlet
from infimix.mixture.blocks import SAMPLE_ROWS

CENTRES = 10 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])


def rows(n: int, n_clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(n_clusters, size=n)
    return CENTRES[y] + rng.normal(size=(n, 3)), y


def test_batches_lead_where_the_fit_leads(tmp_path: Path) -> None:
    """From a memory map of more rows than are kept."""
    X, y = rows(50_000, 5, seed=0)
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    model = DPGaussianMixture(random_state=0)
    for first in range(0, len(X), 5000):
        model.partial_fit(mapped[first : first + 5000])
    assert len(model._stream.reservoir.sample().z) == SAMPLE_ROWS
    assert model.n_components_ == 5
    assert adjusted_rand_score(y, model.predict(X)) > 0.999
    at_once = DPGaussianMixture(random_state=0).fit(X)
    assert model.score(X) == pytest.approx(at_once.score(X), abs=0.01)
    assert model.lower_bound_ == pytest.approx(at_once.lower_bound_, abs=0.05)
    assert model.n_iter_ == len(model.history_) == 10
    assert model.labels_.shape == (5000,)


def test_components_keep_their_numbers_and_new_ones_come_last() -> None:
    model, probe = DPGaussianMixture(random_state=0), CENTRES[:3]
    model.partial_fit(rows(1000, 3, seed=0)[0])
    before = model.predict(probe)
    assert sorted(before) == [0, 1, 2]
    for seed in range(1, 12):
        model.partial_fit(rows(1000, 4, seed)[0])
        np.testing.assert_array_equal(model.predict(probe), before)
    assert model.n_components_ == 4
    assert model.predict(CENTRES[3:4]) == [3]


def test_numbers_are_saved(tmp_path: Path) -> None:
    model = DPGaussianMixture(random_state=0)
    for seed in range(3):
        X = rows(800, 3 + seed, seed)[0]
        model.partial_fit(X)
    loaded = DPGaussianMixture.load(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    np.testing.assert_array_equal(loaded.weights_, model.weights_)


def test_fit_forgets_the_stream() -> None:
    X, _ = rows(600, 3, seed=0)
    model = DPGaussianMixture(random_state=0).partial_fit(X + 1000).fit(X)
    np.testing.assert_array_equal(model.means_, DPGaussianMixture(random_state=0).fit(X).means_)


def test_a_stream_goes_on_from_a_fit() -> None:
    model, probe = DPGaussianMixture(random_state=0), CENTRES[:4]
    X, _ = rows(1000, 4, seed=0)
    model.fit(X)
    before, means, n_sweeps = model.predict(probe), model.means_, model.n_iter_
    model.partial_fit(rows(100, 4, seed=1)[0])
    assert np.abs(model.means_ - means).max() < 0.1  # of 1100 rows, not of 100
    for seed in range(2, 12):
        model.partial_fit(rows(1000, 5, seed)[0])
        np.testing.assert_array_equal(model.predict(probe), before)
    assert model.n_components_ == 5
    assert model.n_iter_ == n_sweeps + 11


def test_a_model_that_was_loaded_has_no_rows_to_go_on_from(tmp_path: Path) -> None:
    X, _ = rows(600, 3, seed=0)
    model = DPGaussianMixture(random_state=0).fit(X)
    loaded = DPGaussianMixture.load(model.save(tmp_path / "model"))
    with pytest.raises(ValueError, match="loaded holds none: begin with a new estimator"):
        loaded.partial_fit(X[:20])
    np.testing.assert_array_equal(loaded.means_, model.means_)


def test_later_batches_may_be_one_row() -> None:
    X, _ = rows(300, 3, seed=0)
    model = DPGaussianMixture(random_state=0).partial_fit(X[:200])
    for row in X[200:205]:
        model.partial_fit(row[None])
    assert model.n_components_ == 3
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        DPGaussianMixture().partial_fit(X[:1])


def test_weights_count_in_a_stream() -> None:
    X, y = rows(2000, 2, seed=0)
    model = DPGaussianMixture(random_state=0)
    for part in np.split(np.arange(2000), 4):
        model.partial_fit(X[part], sample_weight=np.where(y[part] == 0, 3.0, 1.0))
    share = model.weights_[model.predict(CENTRES[:1])[0]]
    assert share == pytest.approx(0.75, abs=0.03)


def test_finite_weights(tmp_path: Path) -> None:
    X, y = rows(900, 5, seed=0)
    model = DPGaussianMixture(max_components=8, weight_prior="dirichlet", random_state=0).fit(X)
    assert model.n_components_ == 5
    assert adjusted_rand_score(y, model.labels_) > 0.99
    loaded = DPGaussianMixture.load(model.save(tmp_path / "model"))
    assert loaded._mixture.law == FiniteDirichlet(1.0, 8)
    np.testing.assert_array_equal(loaded.score_samples(X), model.score_samples(X))


def test_finite_weights_split_no_further_than_they_go() -> None:
    X, _ = rows(900, 5, seed=0)
    model = DPGaussianMixture(max_components=3, weight_prior="dirichlet", random_state=0).fit(X)
    assert len(model.component_of_part_) == 3


def test_a_bad_batch_is_left_out() -> None:
    X, _ = rows(600, 3, seed=0)
    model, other = (DPGaussianMixture(random_state=0).partial_fit(X[:300]) for _ in range(2))
    for bad, message in ((X[:5] * np.nan, "NaN"), (X[:5, :2], "2 features")):
        with pytest.raises(ValueError, match=message):
            model.partial_fit(bad)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X[:5] * np.nan)
    with pytest.raises(ValueError, match="at least one non-zero number"):
        model.partial_fit(X[:5], sample_weight=np.zeros(5))
    np.testing.assert_array_equal(
        model.partial_fit(X[300:]).means_, other.partial_fit(X[300:]).means_
    )
