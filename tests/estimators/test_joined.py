"""InfiniteMixtureVAE along its tree: `merge_path_` and `cut`; DPGaussianMixture has its own."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from sklearn.metrics import adjusted_rand_score

from infimix import InfiniteMixtureVAE
from infimix.mixture.valleys import FAR

Y = np.repeat(np.arange(6), 100)
X = 8 * np.eye(6)[Y] + np.random.default_rng(0).normal(size=(600, 6))


@pytest.fixture(scope="module")
def six(make_quick: Callable[..., InfiniteMixtureVAE]) -> InfiniteMixtureVAE:
    model = make_quick(n_latent=3, warm_up_epochs=40, max_epochs=10).fit(X)
    assert adjusted_rand_score(Y, model.labels_) > 0.98
    return model


def test_the_tree_is_single_linkage_of_distances_between_codes(six: InfiniteMixtureVAE) -> None:
    """Six standard deviations apart, the depth between normals that is not looked for but known."""
    codes = [six.sample_latent(X[six.labels_ == k]) for k in range(6)]
    depths = []
    for j, k in itertools.combinations(range(6), 2):
        delta = codes[j].mean(0) - codes[k].mean(0)
        far = 2 * delta @ np.linalg.solve(np.cov(codes[j].T) + np.cov(codes[k].T), delta)
        depths.append(far / 8)
    assert min(depths) > FAR**2 / 8
    found = np.array([join.depth for join in six.merge_path_])
    np.testing.assert_allclose(found, linkage(depths, "single")[:, 2], rtol=0.3)
    assert [join.n_components for join in six.merge_path_] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("n", range(1, 7))
def test_a_cut_is_the_same_model_with_its_components_joined(
    six: InfiniteMixtureVAE, n: int
) -> None:
    cut = six.cut(n)
    group = cut.component_of_part_
    member = np.eye(n)[group]  # (6, n)
    assert cut.n_components_ == len(cut.weights_) == len(np.unique(cut.labels_)) == n
    np.testing.assert_array_equal(cut.score_samples(X), six.score_samples(X))
    np.testing.assert_allclose(cut.predict_proba(X), six.predict_proba(X) @ member, atol=1e-6)
    np.testing.assert_allclose(cut.weights_, six.weights_ @ member, rtol=1e-6)
    assert (np.diff(cut.weights_) <= 0).all()
    means = (member * six.weights_[:, None]).T @ six.means_ / cut.weights_[:, None]
    np.testing.assert_allclose(cut.means_, means, rtol=1e-5, atol=1e-6)
    assert (cut.predict(X) == cut.labels_).mean() > 0.99
    assert six.n_components_ == 6, "a cut is a copy"


def test_a_joined_component_is_drawn_from_whole(six: InfiniteMixtureVAE) -> None:
    cut = six.cut(3)
    for k in range(3):
        new, component = cut.sample(400, component=k)
        assert set(component) == {k}
        assert (cut.predict(new) == k).mean() > 0.95
        is_mine = cut.component_of_part_ == k
        share = np.bincount(six.predict(new), minlength=6)[is_mine] / 400
        np.testing.assert_allclose(share, (six.weights_ / cut.weights_[k])[is_mine], atol=0.15)
    _, component = cut.sample(900)
    np.testing.assert_allclose(np.bincount(component) / 900, cut.weights_, atol=0.1)


def test_a_saved_cut_stays_one_and_can_be_undone(six: InfiniteMixtureVAE, tmp_path: Path) -> None:
    cut = six.cut(3)
    loaded = InfiniteMixtureVAE.load(cut.save(tmp_path))
    assert loaded.merge_path_ == six.merge_path_
    np.testing.assert_array_equal(loaded.predict(X), cut.predict(X))
    np.testing.assert_allclose(loaded.covariances_, cut.covariances_)
    whole = loaded.cut(6)
    assert adjusted_rand_score(whole.predict(X), six.predict(X)) == 1.0
    assert adjusted_rand_score(whole.labels_, six.labels_) == 1.0


@pytest.mark.parametrize("n", [0, 7, "2", 1.5])
def test_no_more_components_than_were_found(six: InfiniteMixtureVAE, n: Any) -> None:
    with pytest.raises(ValueError, match=rf"whole number in 1..6, .* got {n!r}"):
        six.cut(n)


def test_a_cut_model_goes_on_from_all_its_parts(six: InfiniteMixtureVAE) -> None:
    cut = six.cut(2)
    before = six.predict(X)
    grown = cut.partial_fit(X[:60])
    assert len(grown.component_of_part_) == grown.n_components_ >= 6
    assert (grown.predict(X) == before).mean() > 0.95, "components keep their numbers"
