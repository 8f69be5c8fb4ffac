"""Save and load: the same answers afterwards, and damage said in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone

import infimix
from infimix.estimators import DPGaussianMixture, InfiniteMixtureVAE

Make = Callable[..., Any]


def assert_same_answers(loaded: Any, model: Any, X: Any) -> None:
    """Bit for bit, all that can be asked."""
    for name in ("predict_proba", "transform", "score_samples"):
        np.testing.assert_array_equal(getattr(loaded, name)(X), getattr(model, name)(X))
    for component in (None, 0):
        for ours, theirs in zip(
            loaded.sample(6, component), model.sample(6, component), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    skipped = {"module_", "feature_names_in_"}
    fitted = [name for name in vars(model) if name.endswith("_") and name not in skipped]
    assert {"labels_", "weights_", "means_", "covariances_", "history_", "n_iter_"} < set(fitted)
    for name in fitted:
        ours, theirs = getattr(loaded, name), getattr(model, name)
        if isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours == theirs, name


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "conv": {"network": "conv", "image_shape": (3, 4)},
    "NumPy numbers": {"max_components": np.int64(5), "concentration": np.float32(2.0)},
    "generator": {"random_state": np.random.RandomState(3)},
}


@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("as_csr", [False, True])
def test_loaded_answers_are_the_same(
    make: Make, counts: np.ndarray, tmp_path: Path, case: str, as_csr: bool
) -> None:
    is_plain = isinstance(make(), DPGaussianMixture)
    if case == "conv" and is_plain:
        pytest.skip("no network")
    X = sparse.csr_array(counts) if as_csr else counts
    model = make(**CASES[case]).fit(X)
    assert model.save(tmp_path / "run") == tmp_path / "run"
    model.random_state = 0  # a generator in mid-stream is not saved
    loaded = infimix.load(tmp_path / "run").set_params(random_state=0)
    assert type(loaded) is type(model)
    assert_same_answers(loaded, model, X)
    again = type(model).load(str(tmp_path / "run"))
    np.testing.assert_array_equal(again.predict(X), model.labels_)
    if case != "generator":
        assert again.get_params() == model.get_params()
        assert clone(again).fit(X).lower_bound_ == model.lower_bound_
    lines = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == model.history_


def test_saved_twice_is_saved_anew(make: Make, counts: np.ndarray, tmp_path: Path) -> None:
    make().fit(counts).save(tmp_path)
    model = make(random_state=1).fit(counts[:, :7])
    model.save(tmp_path)
    loaded = infimix.load(tmp_path)
    assert_same_answers(loaded, model, counts[:, :7])
    infimix.load(tmp_path).save(tmp_path / "copy")
    for name in ("config.json", "history.jsonl"):
        assert (tmp_path / "copy" / name).read_text() == (tmp_path / name).read_text()


def test_feature_names_are_saved(make: Make, counts: np.ndarray, tmp_path: Path) -> None:
    frame = pd.DataFrame(counts, columns=[f"gene {i}" for i in range(12)])
    make().fit(frame).save(tmp_path)
    loaded = infimix.load(tmp_path)
    assert list(loaded.feature_names_in_) == list(frame.columns)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame.rename(columns={"gene 3": "x"}))


def test_nothing_is_pickled(make: Make, counts: np.ndarray, tmp_path: Path) -> None:
    make().fit(counts).save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "weights.safetensors", "history.jsonl"}
    header = (tmp_path / "weights.safetensors").read_bytes()
    assert b"pickle" not in header
    size = int.from_bytes(header[:8], "little")
    assert "labels" in json.loads(header[8 : 8 + size])


def change(path: Path, **values: Any) -> None:
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | values))


def drop(path: Path, name: str) -> None:
    config = json.loads(path.read_text())
    del config[name]
    path.write_text(json.dumps(config))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-30] ^= 4
    path.write_bytes(content)


CONFIG, WEIGHTS = "config.json", "weights.safetensors"
DAMAGES: dict[str, tuple[str, Callable[[Path], Any], type[Exception], str]] = {
    "no config": (CONFIG, Path.unlink, FileNotFoundError, r"holds no config\.json"),
    "no weights": (WEIGHTS, Path.unlink, FileNotFoundError, "is missing"),
    "half a config": (
        CONFIG,
        lambda path: path.write_text(path.read_text()[:99]),
        ValueError,
        "is damaged",
    ),
    "config of bytes": (
        CONFIG,
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        ValueError,
        "damaged",
    ),
    "config is a list": (CONFIG, lambda path: path.write_text("[]"), ValueError, "is damaged"),
    "no parameters": (CONFIG, lambda path: drop(path, "params"), ValueError, "params missing"),
    "strange parameter": (
        CONFIG,
        lambda path: change(path, params={"colour": 1}),
        ValueError,
        "are not of one model .*colour",
    ),
    "nothing fitted": (
        CONFIG,
        lambda path: change(path, fitted={}),
        ValueError,
        "not of one model",
    ),
    "newer format": (
        CONFIG,
        lambda path: change(path, format_version=2),
        ValueError,
        "format version 2 .* newer infimix; upgrade",
    ),
    "unknown estimator": (
        CONFIG,
        lambda path: change(path, estimator="Oracle"),
        ValueError,
        "holds a 'Oracle'",
    ),
    "cut off weights": (
        WEIGHTS,
        lambda path: path.write_bytes(path.read_bytes()[:-8]),
        ValueError,
        "is damaged",
    ),
    "a bit of the weights": (WEIGHTS, flip_a_bit, ValueError, "checksum"),
    "empty weights": (WEIGHTS, lambda path: path.write_bytes(b""), ValueError, "is damaged"),
}


@pytest.fixture(scope="module")
def saved(
    counts: np.ndarray, make_quick: Make, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, bytes]]:
    """Files of a saved model of each class."""
    files = {}
    for model in (make_quick(), DPGaussianMixture(random_state=0)):
        folder = model.fit(counts).save(tmp_path_factory.mktemp("saved"))
        files[type(model).__name__] = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files


def unpack(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("model", ["InfiniteMixtureVAE", "DPGaussianMixture"])
@pytest.mark.parametrize("damage", list(DAMAGES))
def test_damage_is_named(
    saved: dict[str, dict[str, bytes]], tmp_path: Path, model: str, damage: str
) -> None:
    folder = unpack(saved[model], tmp_path / "run")
    name, do, error, message = DAMAGES[damage]
    do(folder / name)
    with pytest.raises(error, match=message) as caught:
        infimix.load(folder)
    assert "run" in str(caught.value)  # where it lies
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_refused(
    saved: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    mixed = dict(saved["InfiniteMixtureVAE"])
    mixed[WEIGHTS] = saved["DPGaussianMixture"][WEIGHTS]
    with pytest.raises(ValueError, match="not of one model"):
        infimix.load(unpack(mixed, tmp_path / "a"))
    mixed = dict(saved["DPGaussianMixture"])
    mixed[WEIGHTS] = saved["InfiniteMixtureVAE"][WEIGHTS]
    with pytest.raises(ValueError, match="not of one model"):
        infimix.load(unpack(mixed, tmp_path / "b"))


def test_the_wrong_class_is_told_the_right_one(
    saved: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    folder = unpack(saved["DPGaussianMixture"], tmp_path / "run")
    with pytest.raises(ValueError, match=r"holds a DPGaussianMixture.*DPGaussianMixture\.load"):
        InfiniteMixtureVAE.load(folder)


def test_a_model_of_another_device_loads_here(
    saved: dict[str, dict[str, bytes]], tmp_path: Path, counts: np.ndarray
) -> None:
    folder = unpack(saved["InfiniteMixtureVAE"], tmp_path / "run")
    before = infimix.load(folder).predict_proba(counts)
    config = json.loads((folder / CONFIG).read_text())
    change(folder / CONFIG, params=config["params"] | {"device": "cuda:77"})
    np.testing.assert_array_equal(infimix.load(folder).predict_proba(counts), before)
