"""Methods that draw: on every estimator where they make sense, and what is then on the axes."""

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from sklearn import config_context
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs, make_moons

from infimix.estimators import (
    DLGMM,
    ESTIMATORS,
    GMVAE,
    DPGaussianMixture,
    GaussianVAE,
    InfiniteMixtureVAE,
    TwoStage,
    load,
)
from infimix.plots import sign_of


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture(scope="module")
def vae(blobs, make_quick):
    return make_quick().fit(blobs[0])


@pytest.fixture(scope="module")
def mixture(blobs):
    return DPGaussianMixture(random_state=0).fit(blobs[0])


@pytest.fixture(scope="module")
def moons():
    X, _ = make_moons(400, noise=0.06, random_state=0)
    return X, DPGaussianMixture(random_state=0).fit(X)


def clouds_of(ax):
    """Points of each name on a map."""
    return {cloud.get_label(): np.asarray(cloud.get_offsets()) for cloud in ax.collections}


METHODS = {
    "plot_latent": set(ESTIMATORS),
    "plot_history": set(ESTIMATORS),
    "plot_components": set(ESTIMATORS) - {"gaussian", "stick-breaking"},
    "plot_merge_path": {"dpgmm", "infinite"},
}


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_where_they_make_sense(method):
    assert {name for name, kind in ESTIMATORS.items() if hasattr(kind, method)} == METHODS[method]


def test_a_map_of_two_latent_dimensions_is_the_codes_themselves(ax, vae, blobs):
    assert vae.plot_latent(blobs[0], ax=ax) is ax
    z, labels = vae.transform(blobs[0]), vae.predict(blobs[0])
    drawn = clouds_of(ax)
    assert set(drawn) == {str(k) for k in np.unique(labels)}
    for k in np.unique(labels):
        np.testing.assert_allclose(drawn[str(k)], z[labels == k])
    assert ax.get_title() == "Direct view of 300 rows"


def test_a_map_of_more_dimensions_is_a_tsne_in_the_colours_of_the_components(ax, mixture, blobs):
    mixture.plot_latent(blobs[0], ax=ax)
    assert ax.get_title() == "t-SNE of 300 rows"
    sizes = np.bincount(mixture.labels_)
    assert {k: len(xy) for k, xy in clouds_of(ax).items()} == {
        str(k): size for k, size in enumerate(sizes)
    }
    assert [to_hex(c.get_facecolor()[0]).upper() for c in ax.collections] == [
        sign_of(k).colour for k in range(len(sizes))
    ]


def test_a_map_in_the_colours_of_labels_that_are_given(ax, mixture, blobs):
    names = np.array(["oak", "ash", "elm", "yew"])[blobs[1]]
    mixture.plot_latent(blobs[0], names, ax=ax)
    assert {name: len(xy) for name, xy in clouds_of(ax).items()} == {
        name: (names == name).sum() for name in ("ash", "elm", "oak", "yew")
    }


def test_a_mixture_in_the_plane_is_drawn_in_its_own_units(ax, moons):
    X, model = moons
    model.plot_latent(X, ax=ax)
    drawn = np.concatenate(list(clouds_of(ax).values()))
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(X, axis=0))


def test_of_many_rows_2000_are_drawn(ax):
    X, _ = make_blobs(5000, centers=2, random_state=0)
    model = DPGaussianMixture(max_components=2, n_init=1, random_state=0).fit(X)
    model.plot_latent(X, np.arange(5000) % 2, ax=ax)
    assert sum(map(len, clouds_of(ax).values())) == 2000
    assert ax.get_title() == "Direct view of 2,000 of 5,000 rows"


def test_a_model_without_clusters_has_one_colour_unless_labels_are_given(blobs):
    model = GaussianVAE(2, hidden=(4,), max_epochs=1, random_state=0).fit(blobs[0])
    plain, coloured = Figure().subplots(1, 2)
    model.plot_latent(blobs[0], ax=plain)
    model.plot_latent(blobs[0], blobs[1], ax=coloured)
    assert (len(plain.collections), len(coloured.collections)) == (1, 4)


def test_labels_that_do_not_fit_are_refused(ax, mixture, blobs):
    with pytest.raises(ValueError, match=r"at most 30 different labels.* has 300"):
        mixture.plot_latent(blobs[0], np.arange(300), ax=ax)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        mixture.plot_latent(blobs[0], [0, 1], ax=ax)


def test_the_history_has_training_and_validation_bounds_of_the_last_phase(ax, vae):
    vae.plot_history(ax=ax)
    last = [record for record in vae.history_ if record["phase"] == "fine-tuning"]
    assert len(last) == 2
    train, valid = ax.lines
    assert train.get_ydata().tolist() == [record["bound"] for record in last]
    assert valid.get_ydata().tolist() == [record["valid_bound"] for record in last]
    assert train.get_xdata().tolist() == [record["epoch"] + 1 for record in last]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "training rows", "validation rows",
    ]  # fmt: skip
    assert ax.get_ylabel() == "bound, nats per row"


@pytest.mark.parametrize("name", ["n_components", "reconstruction"])
def test_the_history_of_one_number(ax, vae, name):
    vae.plot_history(name, phase="joint", ax=ax)
    (line,) = ax.lines
    assert line.get_ydata().tolist() == [r[name] for r in vae.history_ if r["phase"] == "joint"]
    assert ax.get_legend() is None


def test_other_phases_are_drawn_and_what_is_not_there_is_refused(vae, mixture):
    first, second = Figure().subplots(1, 2)
    vae.plot_history(phase="warm-up", ax=first)
    assert first.lines[0].get_xdata().tolist() == [1, 2, 3]
    mixture.plot_history(ax=second)
    assert second.get_xlabel() == "sweep"
    with pytest.raises(
        ValueError, match="phase must be one of warm-up, joint, fine-tuning; got 'start'"
    ):
        vae.plot_history(phase="start", ax=first)
    with pytest.raises(ValueError, match=r"name must be one of bound, .*; got 'loss'"):
        vae.plot_history("loss", ax=first)


def test_components_of_images_are_their_mean_and_samples(ax, blobs):
    X = (blobs[0] > 0).astype(np.uint8)
    model = GMVAE(2, n_components=3, hidden=(4,), max_epochs=1, image_shape=(2, 3), random_state=0)
    model.fit(X).plot_components(4, ax=ax)
    canvas = ax.images[0].get_array()[..., 0]
    assert canvas.shape == (3 * 3 - 1, 5 * 4 - 1)
    rows = np.stack([model.sample(200, component=k)[0] for k in range(3)])
    shown = np.concatenate([rows.mean(1)[:, None], rows[:, :4]], 1)
    shown = (shown - shown.min()) / np.ptp(shown)
    np.testing.assert_allclose(canvas[3:5, 4:7], shown[1, 1].reshape(2, 3))
    np.testing.assert_allclose(canvas[:2, :3], shown[0, 0].reshape(2, 3))
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [f"{k} ({share:.1%})" for k, share in enumerate(model.weights_)]
    with pytest.raises(ValueError, match=r"image_shape=\(5, 5\) must hold the 6 features"):
        model.plot_components(image_shape=(5, 5), ax=ax)
    with pytest.raises(ValueError, match="n_samples must be at least 1; got 0"):
        model.plot_components(0, ax=ax)


def test_components_of_tables_are_the_features_that_mark_them(ax):
    """One column of 15 parts the groups; the others are noise and have no colour."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 15))
    X[:, 4] += np.repeat([-10, 10], 200)
    model = DPGaussianMixture(max_components=2, random_state=0).fit(X)
    model.plot_components(ax=ax)
    assert model.n_components_ == 2
    effect = ax.images[0].get_array()
    assert effect.shape == (2, 12)
    column = [label.get_text() for label in ax.get_xticklabels()].index("x4")
    np.testing.assert_allclose(np.abs(effect[:, column]), 1, atol=0.1)
    assert np.abs(np.delete(effect, column, axis=1)).max() < 0.3
    side = np.sign([X[model.labels_ == k, 4].mean() for k in (0, 1)])
    assert np.array_equal(np.sign(effect[:, column]), side)
    assert ax.get_title() == "Features that mark the components, 12 of 15"


def test_two_stages_know_the_images_of_their_autoencoder(ax, blobs):
    first = GaussianVAE(2, hidden=(4,), max_epochs=1, image_shape=(3, 2))
    model = TwoStage(first, KMeans(2, n_init=1), random_state=0).fit(blobs[0])
    model.plot_components(1, ax=ax)
    assert ax.images[0].get_array().shape[:2] == (2 * 4 - 1, 2 * 3 - 1)


def test_the_merge_path_is_drawn_and_cut(moons):
    model = moons[1]
    whole, cut = Figure().subplots(1, 2)
    model.plot_merge_path(ax=whole)
    n_parts = len(model.component_of_part_)
    depths = sorted(max(join.depth, 0.05) for join in model.merge_path_)
    brackets = [line for line in whole.lines if line.get_linestyle() == "-"]
    np.testing.assert_allclose(sorted(max(b.get_ydata()) for b in brackets), depths)
    assert whole.get_title() == f"{n_parts} parts, {model.n_components_} components"
    model.cut(n_parts).plot_merge_path(ax=cut)
    levels = [
        [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"]
        for ax in (whole, cut)
    ]
    assert levels[1][0] < levels[0][0], "more components, a lower cut"


def test_one_part_has_no_merge_path(ax):
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = DPGaussianMixture(max_components=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match="one part"):
        model.plot_merge_path(ax=ax)


def test_without_axes_a_figure_is_made(vae):
    pyplot.switch_backend("agg")
    ax = vae.plot_history()
    assert pyplot.gcf() is ax.figure
    pyplot.close(ax.figure)


def test_a_loaded_model_draws_the_same(vae, blobs, tmp_path):
    first, second = Figure().subplots(1, 2)
    vae.plot_latent(blobs[0], ax=first)
    load(vae.save(tmp_path)).plot_latent(blobs[0], ax=second)
    for name, points in clouds_of(first).items():
        np.testing.assert_allclose(clouds_of(second)[name], points, rtol=1e-5)


@pytest.mark.parametrize("method", ["plot_history", "plot_components"])
def test_what_is_not_fitted_is_not_drawn(method):
    with pytest.raises(ValueError, match="not fitted yet"):
        getattr(InfiniteMixtureVAE(), method)()


def test_a_notebook_shows_components_sizes_and_bound(mixture):
    shown = mixture._repr_mimebundle_()["text/html"]
    assert "4 components in" in mixture._repr_html_()
    sizes = np.bincount(mixture.labels_)
    assert f"{len(sizes)} components in 300 rows, bound" in shown
    for k, size in enumerate(sizes):
        assert f"<tr><td>{k}</td><td>{size}</td></tr>" in shown
    assert "sk-top-container" in shown, "scikit-learn's own part stays"
    with config_context(display="text"):
        assert "text/html" not in mixture._repr_mimebundle_()
        assert not hasattr(mixture, "_repr_html_")


def test_many_components_are_summed_up():
    X = np.repeat(np.arange(14.0), [30 - k for k in range(14)])[:, None] * 50
    X = X + np.random.default_rng(0).normal(size=X.shape)
    model = TwoStage(
        GaussianVAE(1, hidden=(4,), max_epochs=1), KMeans(14, n_init=1), random_state=0
    ).fit(X)
    shown = model._repr_html_()
    sizes = np.sort(np.bincount(model.labels_))
    assert f"<tr><td>4 more</td><td>{sizes[:4].sum()}</td></tr>" in shown


def test_a_model_without_clusters_shows_no_table(blobs):
    model = DLGMM(2, hidden=(4,), max_epochs=1, random_state=0)
    assert "Fitted to" not in model._repr_html_()
    shown = model.fit(blobs[0])._repr_html_()
    assert "Fitted to 300 rows: bound \N{MINUS SIGN}" in shown
    assert "<td>" not in shown.split("Fitted to")[1]
