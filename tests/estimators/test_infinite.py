"""InfiniteMixtureVAE: likelihoods, networks, devices and runs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from infimix import InfiniteMixtureVAE
from infimix.errors import DivergedError
from infimix.estimators import build
from infimix.mixture import FiniteDirichlet
from infimix.training import TrainConfig
from infimix.training.state import TrainState

MakeQuick = Callable[..., InfiniteMixtureVAE]


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Bright upper or left halves, (90, 36) in [0, 1]."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 0.1, size=(90, 6, 6))
    image[::2, :3] += 0.9
    image[1::2, :, :3] += 0.9
    return image.reshape(90, 36)


@pytest.mark.parametrize(
    ("likelihood", "found", "low", "high"),
    [
        ("auto", "expected_bernoulli", 0, 1),
        ("continuous_bernoulli", "continuous_bernoulli", 0, 1),
        ("normal", "normal", -np.inf, np.inf),
    ],
)
def test_likelihoods_of_fractions(
    make_quick: MakeQuick, images: np.ndarray, likelihood: str, found: str, low: float, high: float
) -> None:
    model = make_quick(likelihood=likelihood).fit(images)
    assert model.likelihood_ == found
    assert found.replace("_", " ") in model.kind_sentence_
    for X in (model.sample(50)[0], model.inverse_transform(model.transform(images))):
        assert X.shape[1] == 36
        assert low <= X.min() <= X.max() <= high


@pytest.mark.parametrize(
    ("likelihood", "message"),
    [("bernoulli", "cannot be binary"), ("negative_binomial", "cannot be counts")],
)
def test_likelihood_that_the_data_cannot_have(
    make_quick: MakeQuick, images: np.ndarray, likelihood: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_quick(likelihood=likelihood).fit(images)


def test_binary_and_count_samples_are_of_their_kind(
    make_quick: MakeQuick, counts: np.ndarray
) -> None:
    binary = make_quick().fit(counts > 0.5)
    assert binary.likelihood_ == "bernoulli"
    assert set(np.unique(binary.sample(40)[0])) == {0, 1}
    model = make_quick(likelihood="negative_binomial").fit(counts)
    X = model.sample(400)[0]
    np.testing.assert_array_equal(X, np.round(X))
    assert X.sum(1).mean() == pytest.approx(counts.sum(1).mean(), rel=0.2)
    mean = model.inverse_transform(model.transform(counts))
    np.testing.assert_allclose(mean.sum(1), counts.sum(1).mean(), rtol=1e-5)


def test_scores_of_densities_are_in_units_of_the_data(
    make_quick: MakeQuick, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    X = blobs[0]
    model, wide = make_quick().fit(X), make_quick().fit(1000 * X + 5)
    assert wide.score(1000 * X + 5) == pytest.approx(model.score(X) - 6 * np.log(1000), abs=0.1)
    np.testing.assert_allclose(
        wide.inverse_transform(wide.transform(1000 * X + 5)),
        1000 * model.inverse_transform(model.transform(X)) + 5,
        rtol=1e-2,
        atol=10,
    )


def test_history_is_in_units_of_the_data(
    make_quick: MakeQuick, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    small, large = (make_quick().fit(scale * blobs[0]).history_ for scale in (1, 1000))
    for name in ("bound", "reconstruction", "valid_bound"):
        lower = [record[name] - 6 * np.log(1000) for record in small]
        np.testing.assert_allclose([record[name] for record in large], lower, atol=0.1)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("bits", "is not of the kind of the rows of the fit: .* cannot be binary"),
        ("whole", "cannot be levels"),
        ("more", r"X holds values in \[1, 9\], .* levels in \[0, 8\]"),
        ("bytes", r"X holds values in .* unit in \[0, 1\]: bring them to the same scale"),
    ],
)
def test_rows_of_another_kind_or_scale_are_refused(
    make_quick: MakeQuick, images: np.ndarray, case: str, message: str
) -> None:
    levels = np.round(8 * images)
    fitted, given = {
        "bits": (images > 0.5, images),
        "whole": (levels, images),
        "more": (levels, levels + 1),
        "bytes": (images, 255 * images),
    }[case]
    model = make_quick(warm_up_epochs=1, max_epochs=1).fit(fitted)
    for answer in (model.predict, model.transform, model.score_samples):
        assert len(answer(fitted[:5])) == 5
        with pytest.raises(ValueError, match=message):
            answer(given)


def test_ctrl_c_is_said(
    make_quick: MakeQuick, images: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def press(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainState, "save", press)
    with pytest.warns(UserWarning, match=r"Interrupted after 1 epochs: .* resume=True continues"):
        model = make_quick(run_dir=tmp_path).fit(images)
    assert model.interrupted_
    assert len(model.predict(images)) == 90


def test_a_row_has_one_score_in_any_company(
    make_quick: MakeQuick, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    X = blobs[0]
    model = make_quick().fit(X)
    for name in ("score_samples", "transform", "predict_proba"):
        whole = getattr(model, name)(X)
        np.testing.assert_allclose(getattr(model, name)(X[10:11])[0], whole[10], rtol=1e-10)


@pytest.mark.parametrize("image_shape", [(6, 6), (3, 4, 3), [9, 4]])
def test_convolutions(make_quick: MakeQuick, images: np.ndarray, image_shape: Any) -> None:
    model = make_quick(network="conv", image_shape=image_shape).fit(images)
    assert np.isfinite(model.score_samples(images)).all()
    assert model.history_[-1]["bound"] > model.history_[3]["bound"]


@pytest.mark.parametrize(
    "views",
    [
        {"n_neighbors": 0},
        {"n_neighbors": 500},
        {"n_neighbors": 0, "augmentation": "affine"},
        {"augmentation": "affine"},
    ],
    ids=["none", "all others", "moved", "moved neighbours"],
)
def test_views(make_quick: MakeQuick, images: np.ndarray, views: dict[str, Any]) -> None:
    model = make_quick(image_shape=(6, 6), **views).fit(images)
    has_views = views != {"n_neighbors": 0}
    with_closeness = {r["phase"] for r in model.history_ if "closeness" in r}
    assert with_closeness == ({"warm-up", "fine-tuning"} if has_views else set())
    again = make_quick(image_shape=(6, 6), **views).fit(images)
    np.testing.assert_array_equal(again.transform(images), model.transform(images))


def test_a_number_of_components_that_is_given(make_quick: MakeQuick, images: np.ndarray) -> None:
    assert make_quick().fit(images).n_components_ == 2
    model = make_quick(n_components=1).fit(images)
    assert model.n_components_ == len(model.weights_) == 1
    assert {record["n_components"] for record in model.history_} == {None, 1}
    assert isinstance(model.module_.mixture.law, FiniteDirichlet)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"network": "conv"}, "needs image_shape"),
        ({"network": "conv", "image_shape": (6, 7)}, r"number of columns, 36; got \(6, 7\)"),
        ({"network": "conv", "image_shape": (36,)}, "needs image_shape"),
        ({"network": "conv", "image_shape": (1, 36)}, "at least 2 pixels"),
        ({"network": "rnn"}, "'network' parameter"),
        ({"likelihood": "poisson"}, "'likelihood' parameter"),
        ({"device": "gpu"}, "device must be 'auto'"),
        ({"device": "cuda:77"}, "device='cuda:77' is not among"),
        ({"device": "meta"}, "device='meta' is not among"),
        ({"resume": True}, "resume=True needs run_dir"),
        ({"resume": True, "run_dir": "a", "random_state": None}, "an integer random_state"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"warm_up_epochs": 0}, "'warm_up_epochs' parameter"),
        ({"augmentation": "affine"}, "augmentation='affine' needs image_shape"),
        ({"augmentation": "flip"}, "'augmentation' parameter"),
        ({"n_neighbors": -1}, "'n_neighbors' parameter"),
        ({"n_components": 0}, "'n_components' parameter"),
    ],
)
def test_wrong_parameters(
    make_quick: MakeQuick, images: np.ndarray, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_quick(**parameters).fit(images)


def test_more_components_than_rows(make_quick: MakeQuick, images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="n_components=91 must be at most the number of rows"):
        make_quick(n_components=91).fit(images)


def test_a_code_of_the_wrong_length(make_quick: MakeQuick, images: np.ndarray) -> None:
    model = make_quick().fit(images)
    with pytest.raises(ValueError, match=r"shape \(n_rows, 2\).* got shape \(3, 5\)"):
        model.inverse_transform(np.zeros((3, 5)))


def test_only_training_rows_train(make_quick: MakeQuick, images: np.ndarray) -> None:
    """The statistics of the mixture hold the rows that are not kept for validation."""
    model = make_quick(validation_fraction=0.3).fit(images)
    assert float(model.module_.mixture.counts.sum()) == pytest.approx(63, rel=1e-5)
    assert model.history_[0]["valid_bound"] is not None
    assert make_quick(validation_fraction=0.0).fit(images).history_[0]["valid_bound"] is None


@pytest.fixture
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every epoch."""
    monkeypatch.setattr(build, "TrainConfig", partial(TrainConfig, checkpoint_seconds=0.0))


@pytest.mark.usefixtures("frequent")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_latent": 3}, "n_latent=2 and this fit has n_latent=3"),
        ({"random_state": 1}, "random_state=0 and this fit has random_state=1"),
        ({"max_epochs": 9}, "max_epochs=3 and this fit has max_epochs=9"),
        ({"likelihood": "normal"}, "likelihood='auto' and this fit has likelihood='normal'"),
    ],
)
def test_a_run_of_other_parameters_is_not_resumed(
    make_quick: MakeQuick, images: np.ndarray, tmp_path: Path, change: Any, message: str
) -> None:
    make_quick(run_dir=tmp_path).fit(images)
    with pytest.raises(ValueError, match=message) as caught:
        make_quick(run_dir=tmp_path, resume=True, **change).fit(images)
    assert "resume with the same data and parameters" in str(caught.value)


@pytest.mark.usefixtures("frequent")
def test_a_run_of_other_data_is_not_resumed(
    make_quick: MakeQuick, images: np.ndarray, tmp_path: Path
) -> None:
    whole = make_quick(run_dir=tmp_path, learning_rate=np.float32(1e-3)).fit(images)
    again = make_quick(
        run_dir=str(tmp_path), learning_rate=np.float32(1e-3), resume=True, verbose=0
    )
    np.testing.assert_array_equal(again.fit(images).transform(images), whole.transform(images))
    other = images.copy()
    other[4, 4] += 1e-6
    for X, name in ((images[1:], "n_rows"), (images[:, 1:], "n_features"), (other, "checksum")):
        with pytest.raises(ValueError, match=rf"was written with {name}"):
            again.fit(X)


@pytest.mark.usefixtures("frequent")
def test_divergence_leaves_the_last_good_checkpoint(
    make_quick: MakeQuick, images: np.ndarray, tmp_path: Path
) -> None:
    model = make_quick(learning_rate=1e30, run_dir=tmp_path)
    with pytest.raises(DivergedError, match=r"(?s)InfiniteMixtureModule .* Lower learning_rate"):
        model.fit(images)
    with pytest.raises(ValueError, match="not fitted"):
        model.predict(images)


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_gradients_that_are_switched_off_do_not_matter(
    make_quick: MakeQuick, blobs: tuple[np.ndarray, np.ndarray], switch: Callable[[], Any]
) -> None:
    X = blobs[0][::4]
    with switch():
        model = make_quick().fit(X[:50]).partial_fit(X[50:])
        assert not torch.is_grad_enabled()
    other = make_quick().fit(X[:50]).partial_fit(X[50:])
    np.testing.assert_array_equal(model.transform(X), other.transform(X))
