import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from infimix import DPGaussianMixture
from infimix.data import Dataset
from infimix.evaluation import score_clustering, summarise
from infimix.evaluation.tree import nodes_of

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

    def score_samples(self, X):
        return -((self._look(X)[:, None, :] - CENTRES) ** 2).sum(axis=-1).min(axis=1)

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
    assert len(metrics.pop("checksum")) == 8
    versions = metrics.pop("versions")
    assert versions["numpy"] == np.__version__
    assert set(versions) == {"Python", "torch", "numpy", "scipy", "scikit-learn"}
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
    np.testing.assert_allclose(
        summary["log_likelihood"], estimator.score_samples(dataset.X), rtol=1e-5
    )
    assert summary["leaf_size"].tolist() == np.bincount(estimator.labels_).tolist()
    counted = [
        [np.sum((dataset.y == c) & (estimator.labels_ == k)) for k in range(K)] for c in range(K)
    ]
    assert summary["confusion"].tolist() == counted
    for k in range(K):
        mine = dataset.X[estimator.labels_ == k]
        np.testing.assert_allclose(summary["leaf_mean"][k], mine.mean(axis=0), rtol=1e-4)
        np.testing.assert_allclose(summary["leaf_scale"][k], mine.std(axis=0), rtol=1e-3)


def test_the_nearest_leaves_come_with_their_responsibilities(tmp_path, dataset):
    estimator = Autoencoder(dataset.X)
    summarise(estimator, dataset, tmp_path)
    summary = stored(tmp_path)
    resp = estimator.predict_proba(dataset.X)
    np.testing.assert_allclose(
        np.take_along_axis(resp, summary["near"], axis=1), summary["near_resp"], atol=1e-7
    )
    assert (np.diff(summary["near_resp"], axis=1) <= 0).all()


def test_examples_are_typical_borderline_and_odd(tmp_path, dataset):
    X = np.array(dataset.X)
    X[17] = CENTRES[1] * 0.5 + CENTRES[2] * 0.5 - 0.01  # between two
    X[23] = CENTRES[0] + [40, -40, 40, -40]  # far from all
    estimator = Autoencoder(X)
    summarise(estimator, replace(dataset, X=X), tmp_path)
    summary = stored(tmp_path)
    assert summary["odd"][0] == 23
    between = int(estimator.labels_[17])
    assert summary["borderline"][between].tolist() == [17, -1, -1, -1, -1, -1]
    assert 17 not in summary["typical"]
    for k in range(K):
        typical = summary["typical"][k]
        assert (estimator.labels_[typical] == k).all()
        z = X[estimator.labels_ == k] @ LOADINGS
        distance = (((X[typical] @ LOADINGS - z.mean(axis=0)) / z.std(axis=0)) ** 2).sum(axis=1)
        rank = (((z - z.mean(axis=0)) / z.std(axis=0)) ** 2).sum(axis=1)
        assert distance.max() <= np.quantile(rank, 0.2)
    values = dict(zip(summary["shown"].tolist(), summary["shown_x"], strict=True))
    for place in (17, 23, *summary["typical"].ravel()):
        np.testing.assert_allclose(values[place], X[place], rtol=1e-5)


def test_features_of_a_row_are_those_that_differ_most(tmp_path, dataset):
    summarise(Autoencoder(dataset.X), dataset, tmp_path)
    summary = stored(tmp_path)
    effect = (dataset.X - dataset.X.mean(axis=0)) / dataset.X.std(axis=0)
    order = np.argsort(-np.abs(effect), axis=1)[:, :5]
    assert np.array_equal(summary["top_feature"][:, 0], order[:, 0])
    np.testing.assert_allclose(
        summary["top_effect"], np.take_along_axis(effect, summary["top_feature"], axis=1), rtol=1e-3
    )
    np.testing.assert_allclose(
        summary["top_value"], np.take_along_axis(dataset.X, summary["top_feature"], axis=1)
    )


def test_a_gene_that_was_seen_once_is_no_feature_of_its_cell(tmp_path, dataset):
    generator = np.random.default_rng(0)
    X = generator.poisson([50.0, 50.0, 0.004, 2.0], size=(1000, D)).astype(np.float32)
    X[0] = [100, 50, 1, 2]
    data = replace(dataset, X=X, y=None, label_names=None)
    summarise(Autoencoder(X), data, tmp_path)
    assert stored(tmp_path)["top_feature"][0, 0] == 0


def test_agreement_is_the_share_of_neighbours_in_the_component(tmp_path, dataset):
    X = np.repeat(CENTRES[:2], [100, 5], axis=0)
    X = (X + np.random.default_rng(0).normal(0, 0.01, X.shape)).astype(np.float32)
    data = replace(dataset, X=X, y=None, label_names=None)
    summarise(Autoencoder(X), data, tmp_path)
    # Of the ten nearest rows of the five, four are their own.
    assert stored(tmp_path)["agreement"].tolist() == [1.0] * 100 + [np.float32(0.4)] * 5


def test_components_join_by_the_valleys_between_them(tmp_path, dataset):
    centres = np.array([[0, 0], [1.5, 0], [30, 0]])

    class Line(Autoencoder):
        def predict_proba(self, X):
            distance = ((self.transform(X)[:, None] - centres) ** 2).sum(axis=-1)
            return np.exp(-distance) / np.exp(-distance).sum(axis=1, keepdims=True)

        def transform(self, X):
            return np.asarray(X)[:, :2]

        def inverse_transform(self, Z):
            return np.hstack([Z, Z])

    z = np.repeat(centres, 100, axis=0) + np.random.default_rng(0).normal(0, 0.5, (300, 2))
    data = replace(dataset, X=np.hstack([z, z]), y=None, label_names=None)
    summarise(Line(data.X), data, tmp_path)
    assert not stored(tmp_path)["can_be_cut"]
    first, last = stored(tmp_path)["merge_path"]
    assert (first[0], {*first[1:3]}) == (2, {0, 1})
    assert first[3] < 1 < 10 < last[3]


def test_a_mixture_that_can_be_cut_is_kept_with_its_parts(tmp_path):
    X, _ = make_blobs(300, centers=[[0, 0], [4, 0], [0, 40]], random_state=0)
    mixture = DPGaussianMixture(3, random_state=0).fit(X)
    coarse = mixture.cut(2)
    summarise(coarse, Dataset(X, name="blobs"), tmp_path)
    summary = stored(tmp_path)
    assert sorted(summary["leaf_component"].tolist()) == [0, 0, 1]
    by_leaf = np.bincount(summary["leaf_component"], summary["leaf_size"])
    assert by_leaf.tolist() == np.bincount(coarse.labels_).tolist()
    assert np.array_equal(summary["leaf_component"][summary["leaf"]], summary["component"])
    assert np.array_equal(summary["component"], coarse.labels_)
    assert not summary["is_latent"]
    assert summary["can_be_cut"]
    for n in (1, 2, 3):  # the groups of the tree are those that the mixture itself cuts
        group = np.zeros(3, dtype=int)
        for g, node in enumerate(nodes_of(summary["merge_path"], 3)):
            if node.fewest <= n <= node.most:
                group[list(node.leaves)] = g
        assert adjusted_rand_score(group[summary["leaf"]], mixture.cut(n).labels_) == 1.0


def test_means_of_images_are_decoded(tmp_path, dataset):
    estimator = Autoencoder(dataset.X)
    summarise(estimator, replace(dataset, image_shape=(2, 2)), tmp_path)
    for k in range(K):
        code = (dataset.X[estimator.labels_ == k] @ LOADINGS).mean(axis=0)
        expected = code @ LOADINGS.T + 100
        np.testing.assert_allclose(stored(tmp_path)["leaf_mean"][k], expected, rtol=1e-5)


def test_a_component_without_rows_gets_the_mean_of_its_samples(tmp_path, dataset):
    few = replace(dataset, X=dataset.X[dataset.y != 1], y=dataset.y[dataset.y != 1])
    estimator = Autoencoder(few.X)
    assert summarise(estimator, few, tmp_path)["sizes"][1] == 0
    expected = estimator.sample(S, component=1)[0].mean(axis=0)
    np.testing.assert_allclose(stored(tmp_path)["leaf_mean"][1], expected, rtol=1e-5)


def test_reconstructions_are_spread_over_components(tmp_path, dataset):
    y = np.repeat([0, 1, 2], [196, 1, 3])
    X = CENTRES[y].astype(np.float32)
    summarise(Autoencoder(X), replace(dataset, X=X, y=y, image_shape=(2, 2)), tmp_path)
    summary = stored(tmp_path)
    assert Autoencoder(summary["x"]).labels_.tolist() == [0] * 12 + [1] + [2] * 3
    expected = summary["x"] @ LOADINGS @ LOADINGS.T + 100
    np.testing.assert_allclose(summary["reconstruction"], expected, rtol=1e-5)


def test_a_memory_map_is_read_only_where_it_is_looked_at(tmp_path, dataset):
    X, y = rows(9000)
    np.save(tmp_path / "X.npy", X)
    estimator = Autoencoder(X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    summarise(estimator, replace(dataset, X=mapped, y=y, image_shape=(2, 2)), tmp_path)
    summary = stored(tmp_path)
    assert estimator.n_seen == len(np.unique(summary["row"])) == 2000
    assert estimator.largest_block <= 1024
    np.testing.assert_allclose(summary["embedding"], X[summary["row"]] @ LOADINGS, rtol=1e-4)
    assert abs(summary["row"].mean() - 4500) < 150  # drawn from everywhere
    row_of = {X[row].tobytes(): row for row in summary["row"]}
    shown = [row_of[x.tobytes()] for x in summary["x"]]  # KeyError for a row that is not kept
    assert np.bincount(estimator.labels_[shown]).tolist() == [6, 5, 5]


def test_reconstructions_are_drawn_from_all_rows_of_a_component(tmp_path, dataset):
    """The first rows of a file that is sorted by class show one class only."""
    y = np.repeat([0, 1, 2], 400)
    X = (CENTRES[y] + np.tile(np.linspace(0, 1, 400), 3)[:, None]).astype(np.float32)
    summarise(Autoencoder(X), replace(dataset, X=X, y=y, image_shape=(2, 2)), tmp_path)
    x = stored(tmp_path)["x"].astype(np.float64)
    place = (x - CENTRES[Autoencoder(x).labels_]).mean(axis=1)  # of the row in its class: 0..1
    for k, n in enumerate((6, 5, 5)):
        own = place[Autoencoder(x).labels_ == k]
        assert len(set(own.round(4))) == n
        assert own.max() - own.min() > 0.4


def test_sparse_rows_stay_sparse(tmp_path, dataset, monkeypatch):
    X, y = rows(3000)
    sparse, whole = csr_array(X), csr_array.toarray
    estimator = Autoencoder(X)

    def toarray(self, *args, **kwargs):
        assert self.shape[0] <= 1024, "the whole matrix was made dense"
        return whole(self, *args, **kwargs)

    monkeypatch.setattr(csr_array, "toarray", toarray)
    monkeypatch.setattr("infimix.data.columns._BLOCK_VALUES", 1024 * X.shape[1])
    summarise(estimator, replace(dataset, X=sparse, y=y), tmp_path)
    monkeypatch.undo()
    summary = stored(tmp_path)
    np.testing.assert_allclose(summary["embedding"], X[summary["row"]] @ LOADINGS, rtol=1e-4)
    np.testing.assert_allclose(summary["feature_scale"], X[summary["row"]].std(axis=0), rtol=1e-3)
    place = summary["shown"]
    np.testing.assert_allclose(summary["shown_x"], X[summary["row"][place]], rtol=1e-6)


def test_a_rare_component_keeps_a_dozen_of_its_rows(tmp_path, dataset):
    y = np.zeros(20_000, dtype=int)
    y[7::1000] = 1  # twenty rows, of which two are drawn on average
    y[3] = 2
    X = (CENTRES[y] + np.random.default_rng(0).normal(size=(len(y), D))).astype(np.float32)
    summarise(Autoencoder(X), replace(dataset, X=X, y=y), tmp_path)
    kept = np.bincount(stored(tmp_path)["component"])
    assert kept[1] == 12
    assert kept[2] == 1
    assert 1980 <= kept[0] <= 2000


def test_the_same_fit_gives_the_same_files(tmp_path, dataset):
    for name in ("a", "b"):
        summarise(Autoencoder(dataset.X), dataset, tmp_path / name)
    first, second = stored(tmp_path / "a"), stored(tmp_path / "b")
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_images_are_kept_as_pictures(tmp_path, dataset):
    summarise(Autoencoder(dataset.X), replace(dataset, image_shape=(2, 2)), tmp_path)
    summary = stored(tmp_path)
    assert summary["image_shape"].tolist() == [2, 2]
    low, high = summary["range"]
    assert (low, high) == (dataset.X.min(), dataset.X.max())
    expected = np.round((dataset.X - low) / (high - low) * 255).reshape(-1, 2, 2)
    assert np.abs(summary["picture"].astype(int) - expected).max() <= 1


def test_large_images_are_kept_small(tmp_path):
    X = np.repeat(rows(500)[0], 64 * 64 * 3 // D, axis=1)

    class Wide(Mixture):
        def _look(self, X):
            return np.asarray(X)[:, :: 64 * 64 * 3 // D]

        def sample(self, n, component=None):
            return np.ones((n, X.shape[1])), np.full(n, component)

    summarise(Wide(X), Dataset(X, image_shape=(64, 64, 3), name="large"), tmp_path)
    picture = stored(tmp_path)["picture"]
    assert picture.nbytes <= 3_000_000
    assert picture.shape[0] == 500
    assert picture.shape[1] == picture.shape[2] > 40


def test_rows_the_estimator_was_not_fitted_on_are_refused(tmp_path, dataset):
    with pytest.raises(ValueError, match="fitted on 50 rows but 'small' has 200"):
        summarise(Mixture(dataset.X[:50]), dataset, tmp_path)


def test_a_bound_that_is_not_finite_is_an_error(tmp_path, dataset):
    estimator = Mixture(dataset.X)
    estimator.lower_bound_ = float("nan")
    with pytest.raises(ValueError, match="must be finite but is nan"):
        summarise(estimator, dataset, tmp_path)
    assert not (tmp_path / "metrics.json").exists()
