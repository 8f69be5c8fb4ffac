"""GMVAE, Algorithm 1 and two stages by their estimators."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import randint
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import normalized_mutual_info_score as nmi
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

import infimix
from infimix import GMVAE, AlternatingDPVAE, DPGaussianMixture, GaussianVAE, TwoStage
from infimix.errors import DivergedError

QUICK: dict[str, Any] = {"n_latent": 2, "hidden": (16,), "max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    return load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def vae(blobs: tuple[np.ndarray, np.ndarray]) -> GaussianVAE:
    """Autoencoder of blobs, trained so far that their groups are apart."""
    return GaussianVAE(**QUICK | {"max_epochs": 40}, learning_rate=1e-2).fit(blobs[0])


def test_context_clusters_digits(digits: tuple[np.ndarray, np.ndarray]) -> None:
    """At .77 after a hundred epochs."""
    X, y = digits
    model = GMVAE(n_context=5, hidden=(256, 256), max_epochs=40, random_state=0).fit(X)
    assert nmi(y, model.labels_) > 0.5
    assert nmi(np.random.default_rng(0).permutation(y), model.labels_) < 0.05
    assert model.n_components_ == 10
    first = model.history_[0]["valid_bound"]
    assert model.history_[-1]["valid_bound"] > first + 20


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (GMVAE(bound="renyi"), "Relaxed labels have no density.*'soft'.*take assignment='exact'"),
        (GMVAE(assignment="hard", bound="iwae"), "Relaxed labels have no density.*'hard'"),
        (GMVAE(n_components=0), "'n_components' parameter of GMVAE"),
        (GMVAE(temperature=0), "'temperature' parameter of GMVAE"),
        (GMVAE(n_latent=(2, 2)), "'n_latent' parameter of GMVAE"),
        (AlternatingDPVAE(max_components=400), "max_components=400 must be at most the number"),
        (TwoStage(clusterer="kmeans"), "'clusterer' parameter of TwoStage"),
        (TwoStage(GaussianVAE(0)), "'n_latent' parameter of GaussianVAE"),
    ],
)
def test_wrong_parameters(blobs: tuple[np.ndarray, np.ndarray], model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        model.fit(blobs[0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("assignment", ["exact", "soft", "hard"])
@pytest.mark.parametrize("kind", [GMVAE, AlternatingDPVAE])
def test_answers_have_no_noise(
    blobs: tuple[np.ndarray, np.ndarray], kind: Any, assignment: str
) -> None:
    model = kind(**QUICK, assignment=assignment).fit(blobs[0])
    for method in ("predict_proba", "transform", "score_samples"):
        once, again = (getattr(model, method)(blobs[0]) for _ in range(2))
        np.testing.assert_array_equal(once, again)
    np.testing.assert_allclose(model.weights_, model.predict_proba(blobs[0]).mean(0))
    X, c = model.sample(9, component=1)
    assert X.shape == (9, 6)
    assert (c == 1).all()


def test_warm_up_of_the_kl_comes_before_candidates(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    options = QUICK | {"max_epochs": 8}
    plain, ramped = (GMVAE(**options, kl_warm_up=share).fit(blobs[0]) for share in (0, 0.5))
    assert plain.history_[0]["bound"] != ramped.history_[0]["bound"]
    kl = [sum(r["kl_mixture"] for r in model.history_[:3]) for model in (plain, ramped)]
    assert kl[1] > kl[0]


def test_what_follows_is_kept_and_changes_nothing(
    blobs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    X, y = blobs

    def follow(predict: Any) -> dict[str, float]:
        return {"NMI": nmi(y, predict(X))}

    model = AlternatingDPVAE(**QUICK).fit(X, follow=follow)
    found = [record["NMI"] for record in model.history_]
    assert len(found) == 3
    best = int(np.argmax([record["valid_bound"] for record in model.history_]))
    assert found[best] == nmi(y, model.predict(X))
    assert AlternatingDPVAE(**QUICK).fit(X).lower_bound_ == model.lower_bound_
    assert infimix.load(model.save(tmp_path)).history_ == model.history_


def test_diverging_is_said(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(DivergedError, match="Lower learning_rate"):
        GMVAE(**QUICK | {"max_epochs": 30}, learning_rate=1e30).fit(blobs[0])


CLUSTERERS = {
    "k-means": (KMeans(4), 4),
    "mixture": (GaussianMixture(4), 4),
    "infinite mixture": (BayesianGaussianMixture(n_components=6), 6),
    "ours": (DPGaussianMixture(), None),
}


@pytest.mark.parametrize("case", list(CLUSTERERS))
def test_two_stages(
    blobs: tuple[np.ndarray, np.ndarray], vae: GaussianVAE, tmp_path: Path, case: str
) -> None:
    X, y = blobs
    clusterer, K = CLUSTERERS[case]
    model = TwoStage(FrozenEstimator(vae), clusterer, random_state=0).fit(X)
    assert model.autoencoder_.estimator is vae
    assert model.n_components_ == (K or 4)
    assert nmi(y, model.labels_) > 0.9
    np.testing.assert_array_equal(model.transform(X), vae.transform(X))
    np.testing.assert_array_equal(model.score_samples(X), vae.score_samples(X))
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)
    np.testing.assert_array_equal(model.predict_proba(X).argmax(1), model.labels_)
    # Samples of a cluster are rows of it, and their codes have its moments.
    k = int(model.labels_[0])
    rows, c = model.sample(400, component=k)
    assert (c == k).all()
    np.testing.assert_allclose(rows.mean(0), X[model.labels_ == k].mean(0), atol=0.6)
    share = np.bincount(model.sample(4000)[1], minlength=model.n_components_) / 4000
    np.testing.assert_allclose(share, model.weights_, atol=0.04)
    loaded = infimix.load(model.save(tmp_path / "run"))
    assert isinstance(loaded, TwoStage)
    for method in ("predict", "predict_proba", "transform", "score_samples"):
        np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(model, method)(X))
    np.testing.assert_array_equal(loaded.sample(5)[0], model.sample(5)[0])
    assert loaded.lower_bound_ == model.lower_bound_ == loaded.score(X)
    assert loaded.history_ == model.history_


def test_seed_of_two_stages_is_that_of_both(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    model = TwoStage(GaussianVAE(**QUICK | {"random_state": None}), KMeans(3), random_state=5)
    model.fit(blobs[0])
    assert model.autoencoder_.random_state == model.clusterer_.random_state == 5
    assert model.autoencoder.random_state is None
    again = TwoStage(GaussianVAE(**QUICK | {"random_state": 5}), KMeans(3, random_state=5))
    np.testing.assert_array_equal(again.fit(blobs[0]).labels_, model.labels_)


def test_random_search_with_two_workers(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    """The score is the bound of rows left out: no labels."""
    space = {"n_latent": randint(1, 4), "n_components": [3, 4], "free_bits": [0.0, 0.5]}
    search = RandomizedSearchCV(
        GMVAE(**QUICK), space, n_iter=4, cv=2, n_jobs=2, random_state=0, error_score="raise"
    ).fit(blobs[0])
    best = search.best_estimator_
    assert best.score(blobs[0]) == pytest.approx(best.lower_bound_)
    assert best.get_params()["n_components"] == search.best_params_["n_components"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


def test_grid_search_over_a_stage(blobs: tuple[np.ndarray, np.ndarray]) -> None:
    model = TwoStage(GaussianVAE(**QUICK), GaussianMixture(2))
    search = GridSearchCV(model, {"autoencoder__n_latent": [1, 2]}, cv=2, error_score="raise")
    assert search.fit(blobs[0]).best_estimator_.autoencoder_.n_latent in (1, 2)
