import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from infimix.data import Dataset
from infimix.evaluation import score_clustering, summarise

K, D, L, S = 3, 4, 2, 10
CENTRES = np.arange(K * D, dtype=np.float64).reshape(K, D) * 5
LOADINGS = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [-1.0, 2.0]])


class Mixture:
    """Nearest centre as a fitted estimator; remembers the largest block of rows it was given."""

    finds_clusters = True
    n_components_ = K
    weights_ = np.array([0.5, 0.3, 0.2])
    lower_bound_ = -1.25
    kind_sentence_ = "treating 4 columns as real"

    def __init__(self, X):
        self.largest_block = 0
        self.n_seen = 0
        self.labels_ = self.predict(X)
        self.largest_block = self.n_seen = 0

    def _look(self, X):
        self.largest_block = max(self.largest_block, X.shape[0])
        return X.toarray() if isinstance(X, csr_array) else np.asarray(X)

    def predict_proba(self, X):
        distance = ((self._look(X)[:, None, :] - CENTRES) ** 2).sum(axis=-1)
        return np.exp(-distance / 50) / np.exp(-distance / 50).sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)

    def transform(self, X):
        self.n_seen += X.shape[0]
        return self._look(X) @ LOADINGS

    def sample(self, n, component=None):
        generator = np.random.default_rng(component)
        return CENTRES[component] + generator.normal(size=(n, D)), np.full(n, component)


class Autoencoder(Mixture):
    def inverse_transform(self, Z):
        return Z @ LOADINGS.T + 100


def rows(n, seed=0):
    generator = np.random.default_rng(seed)
    y = generator.integers(K, size=n)
    return (CENTRES[y] + generator.normal(size=(n, D))).astype(np.float32), y


@pytest.fixture
def dataset():
    X, y = rows(200)
    return Dataset(
        X, y, label_names=("a", "b", "<c>"), feature_names=("p", "q", "r", "s"), name="small"
    )


def stored(run_dir):
    with np.load(run_dir / "summary.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_metrics_say_what_the_estimator_says(tmp_path, dataset):
    estimator = Autoencoder(dataset.X)
    metrics = summarise(estimator, dataset, tmp_path / "new", seconds=2)
    assert metrics == json.loads((tmp_path / "new" / "metrics.json").read_text())
    assert metrics == {
        "data": "small",
        "estimator": "Autoencoder",
        "n_rows": 200,
        "n_features": D,
        "n_components": K,
        "finds_clusters": True,
        "weights": [0.5, 0.3, 0.2],
        "sizes": [int((estimator.labels_ == k).sum()) for k in range(K)],
        "lower_bound": -1.25,
        "seconds": 2.0,
        "kind_sentence": "treating 4 columns as real",
        "scores": {"train": score_clustering(dataset.y, estimator.labels_).as_dict()},
    }


def test_the_name_of_the_labels_is_kept(tmp_path, dataset):
    told = replace(dataset, label="species")
    assert summarise(Mixture(dataset.X), told, tmp_path)["label"] == "species"


def test_without_labels_there_are_no_scores(tmp_path, dataset):
    bare = replace(dataset, y=None, label_names=None)
    metrics = summarise(Mixture(dataset.X), bare, tmp_path, test=bare)
    assert "scores" not in metrics
    assert metrics["seconds"] is None
    assert not {"label", "label_names"} & set(stored(tmp_path))


def test_test_rows_are_scored_in_blocks(tmp_path, dataset):
    X, y = rows(3000, seed=1)
    y[:1500] = 0  # half of the labels are wrong
    estimator = Mixture(dataset.X)
    metrics = summarise(estimator, dataset, tmp_path, test=replace(dataset, X=X, y=y))
    assert estimator.largest_block < 3000
    assert metrics["scores"]["test"] == score_clustering(y, Mixture(X).labels_).as_dict()


def test_summary_describes_the_rows_it_names(tmp_path, dataset):
    estimator = Autoencoder(dataset.X)
    summarise(estimator, dataset, tmp_path)
    summary = stored(tmp_path)
    row = summary["row"]
    assert np.array_equal(row, np.arange(200))  # few rows: all of them
    np.testing.assert_allclose(summary["embedding"], dataset.X[row] @ LOADINGS, rtol=1e-5)
    assert np.array_equal(summary["component"], estimator.labels_[row])
    own = estimator.predict_proba(dataset.X)[row, summary["component"]]
    np.testing.assert_allclose(summary["confidence"], own, rtol=1e-5)
    assert np.array_equal(summary["label"], dataset.y)
    assert summary["label_names"].tolist() == ["a", "b", "<c>"]
    assert summary["feature_names"].tolist() == ["p", "q", "r", "s"]
    np.testing.assert_allclose(summary["feature_scale"], dataset.X.std(axis=0), rtol=1e-4)
    assert summary["samples"].shape == (K, S, D)
    np.testing.assert_allclose(summary["samples"][2], estimator.sample(S, 2)[0], rtol=1e-5)
    float_arrays = ("embedding", "confidence", "samples", "component_mean", "x", "reconstruction")
    assert {summary[name].dtype for name in float_arrays} == {np.dtype(np.float32)}
    assert {summary[name].dtype for name in ("row", "component", "label")} == {np.dtype(np.int64)}


def test_component_means_are_decoded_where_that_is_possible(tmp_path, dataset):
    estimator = Autoencoder(dataset.X)
    summarise(estimator, dataset, tmp_path)
    for k in range(K):
        code = np.mean([x @ LOADINGS for x in dataset.X[estimator.labels_ == k]], axis=0)
        expected = code @ LOADINGS.T + 100
        np.testing.assert_allclose(stored(tmp_path)["component_mean"][k], expected, rtol=1e-5)


@pytest.mark.parametrize("as_rows", [np.asarray, csr_array], ids=["dense", "sparse"])
def test_component_means_are_means_of_rows_otherwise(tmp_path, dataset, as_rows):
    estimator = Mixture(dataset.X)
    summarise(estimator, replace(dataset, X=as_rows(dataset.X)), tmp_path)
    summary = stored(tmp_path)
    for k in range(K):
        expected = dataset.X[estimator.labels_ == k].mean(axis=0)
        np.testing.assert_allclose(summary["component_mean"][k], expected, rtol=1e-4)
    assert "reconstruction" not in summary


def test_a_component_without_rows_gets_the_mean_of_its_samples(tmp_path, dataset):
    few = replace(dataset, X=dataset.X[dataset.y != 1], y=dataset.y[dataset.y != 1])
    estimator = Autoencoder(few.X)
    assert summarise(estimator, few, tmp_path)["sizes"][1] == 0
    expected = estimator.sample(S, component=1)[0].mean(axis=0)
    np.testing.assert_allclose(stored(tmp_path)["component_mean"][1], expected, rtol=1e-5)


def test_reconstructions_are_spread_over_components(tmp_path, dataset):
    y = np.repeat([0, 1, 2], [196, 1, 3])
    X = CENTRES[y].astype(np.float32)
    summarise(Autoencoder(X), replace(dataset, X=X, y=y), tmp_path)
    summary = stored(tmp_path)
    assert Autoencoder(summary["x"]).labels_.tolist() == [0] * 12 + [1] + [2] * 3
    expected = summary["x"] @ LOADINGS @ LOADINGS.T + 100
    np.testing.assert_allclose(summary["reconstruction"], expected, rtol=1e-5)


def test_a_memory_map_is_read_only_where_it_is_looked_at(tmp_path, dataset):
    X, y = rows(9000)
    np.save(tmp_path / "X.npy", X)
    estimator = Autoencoder(X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    summarise(estimator, replace(dataset, X=mapped, y=y), tmp_path)
    summary = stored(tmp_path)
    assert estimator.n_seen == len(np.unique(summary["row"])) == 5000
    assert estimator.largest_block <= 1024
    np.testing.assert_allclose(summary["embedding"], X[summary["row"]] @ LOADINGS, rtol=1e-4)
    assert abs(summary["row"].mean() - 4500) < 100  # drawn from everywhere
    row_of = {X[row].tobytes(): row for row in summary["row"]}
    shown = [row_of[x.tobytes()] for x in summary["x"]]  # KeyError for a row that is not kept
    assert np.bincount(estimator.labels_[shown]).tolist() == [6, 5, 5]


def test_reconstructions_are_drawn_from_all_rows_of_a_component(tmp_path, dataset):
    """The first rows of a file that is sorted by class show one class only."""
    y = np.repeat([0, 1, 2], 400)
    X = (CENTRES[y] + np.tile(np.linspace(0, 1, 400), 3)[:, None]).astype(np.float32)
    summarise(Autoencoder(X), replace(dataset, X=X, y=y), tmp_path)
    x = stored(tmp_path)["x"].astype(np.float64)
    place = (x - CENTRES[Autoencoder(x).labels_]).mean(axis=1)  # of the row in its class: 0..1
    for k, n in enumerate((6, 5, 5)):
        own = place[Autoencoder(x).labels_ == k]
        assert len(set(own.round(4))) == n
        assert own.max() - own.min() > 0.4


def test_sparse_rows_stay_sparse(tmp_path, dataset, monkeypatch):
    X, y = rows(3000)
    sparse = csr_array(X)
    estimator = Autoencoder(X)
    whole = csr_array.toarray

    def toarray(self, *args, **kwargs):
        assert self.shape[0] <= 1024, "the whole matrix was made dense"
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(csr_array, "toarray", toarray)
    summarise(estimator, replace(dataset, X=sparse, y=y), tmp_path)
    monkeypatch.undo()
    summary = stored(tmp_path)
    np.testing.assert_allclose(summary["embedding"], X @ LOADINGS, rtol=1e-4)
    np.testing.assert_allclose(summary["feature_scale"], X.std(axis=0), rtol=1e-3)
    assert summary["x"].shape == (16, D)


def test_the_same_fit_gives_the_same_files(tmp_path, dataset):
    for name in ("a", "b"):
        summarise(Autoencoder(dataset.X), dataset, tmp_path / name)
    first, second = stored(tmp_path / "a"), stored(tmp_path / "b")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_image_shape_is_kept(tmp_path, dataset):
    summarise(Autoencoder(dataset.X), replace(dataset, image_shape=(2, 2)), tmp_path)
    assert stored(tmp_path)["image_shape"].tolist() == [2, 2]


def test_rows_the_estimator_was_not_fitted_on_are_refused(tmp_path, dataset):
    with pytest.raises(ValueError, match="fitted on 50 rows but 'small' has 200"):
        summarise(Mixture(dataset.X[:50]), dataset, tmp_path)


def test_a_bound_that_is_not_finite_is_an_error(tmp_path, dataset):
    estimator = Mixture(dataset.X)
    estimator.lower_bound_ = float("nan")
    with pytest.raises(ValueError, match="must be finite but is nan"):
        summarise(estimator, dataset, tmp_path)
    assert not (tmp_path / "metrics.json").exists()
