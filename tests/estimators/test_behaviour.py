"""What both estimators promise, whatever the model."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from infimix.estimators import DPGaussianMixture
from infimix.training.rows import HeldRows, StreamedRows

Make = Callable[..., Any]
LONGER = {"warm_up_epochs": 60, "max_epochs": 30, "n_init": 2}


def outputs(model: Any, X: Any) -> dict[str, np.ndarray]:
    """All that a fitted model says of rows."""
    sample, component = model.sample(5)
    return {
        "predict_proba": model.predict_proba(X),
        "transform": model.transform(X),
        "score_samples": model.score_samples(X),
        "sample": sample,
        "component": component,
        "weights": model.weights_,
        "labels": model.labels_,
    }


def assert_same(model: Any, other: Any, X: Any, **tolerance: float) -> None:
    ours, theirs = outputs(model, X), outputs(other, X)
    for name, value in ours.items():
        if tolerance:
            np.testing.assert_allclose(value, theirs[name], err_msg=name, **tolerance)
        else:
            np.testing.assert_array_equal(value, theirs[name], err_msg=name)


def test_labels_are_predictions(make: Make, blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, _ = blobs
    model = make().fit(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    np.testing.assert_array_equal(make().fit_predict(X), model.labels_)
    proba = model.predict_proba(X)
    assert proba.shape == (300, model.n_components_)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(proba.argmax(1), model.labels_)
    assert model.score(X) == pytest.approx(model.score_samples(X).mean())


@pytest.mark.parametrize(
    ("column", "what"),
    [
        (["x"] * 60, r"\((object|str)\)"),
        (pd.date_range("2020", periods=60), "datetime64"),
        (pd.to_timedelta(range(60), "s"), "timedelta64"),
        (pd.Categorical(["u", "v"] * 30), "category"),
    ],
)
def test_a_column_that_is_no_number_is_named(make: Make, column: Any, what: str) -> None:
    frame = pd.DataFrame({"a": np.arange(60.0), "b": column})
    with pytest.raises(ValueError, match=f"Column 'b' of X is not numeric .*{what}"):
        make().fit(frame)


def test_columns_of_any_number_are_taken(make: Make) -> None:
    bits = np.tile([True, False], 30)
    columns = [bits, pd.array(bits), pd.array(bits * 1, dtype="Int64"), bits.astype(object)]
    model = make().fit(pd.DataFrame(dict(zip("abcd", columns, strict=True))))
    assert set(model.predict(pd.DataFrame(dict.fromkeys("abcd", bits)))) <= {0, 1}


def test_weights_sum_to_one_and_fall(make: Make, blobs: tuple[np.ndarray, np.ndarray]) -> None:
    model = make().fit(blobs[0])
    assert model.weights_.shape == (model.n_components_,)
    assert model.weights_.sum() == pytest.approx(1)
    assert (np.diff(model.weights_) <= 0).all()


def test_one_seed_repeats_bit_for_bit_and_two_differ(
    make: Make, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    X = blobs[0][:, :3] + np.random.default_rng(0).normal(scale=3, size=(300, 3))  # no clear groups
    model = make().fit(X)
    assert_same(make().fit(X), model, X)
    generator = np.random.RandomState(3)
    first, second = make(random_state=generator).fit(X), make(random_state=generator).fit(X)
    for one, other in ((model, first), (first, second)):  # the generator moves on
        assert other.lower_bound_ != one.lower_bound_
        assert not np.array_equal(other.sample(5)[0], one.sample(5)[0])


def test_fit_leaves_the_global_generators_alone(
    make: Make, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make().fit(blobs[0]).sample(3)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_labels_given_change_nothing(make: Make, blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    told, untold = make().fit(X, y), make().fit(X)
    assert_same(told, untold, X)
    assert untold.score(X, y) == told.score(X)
    np.testing.assert_array_equal(make().fit_predict(X, y), untold.labels_)


def test_data_frames_keep_their_names(make: Make, blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X = blobs[0]
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = make().fit(frame)
    assert list(model.feature_names_in_) == list("abcdef")
    assert len(model.get_feature_names_out()) == model.transform(frame).shape[1]
    again = make().fit(X).predict_proba(X)  # a frame lies by columns, so sums round otherwise
    np.testing.assert_allclose(model.predict_proba(frame), again, atol=1e-9)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("bacdef")])
    frame.loc[7, "c"] = np.nan
    with pytest.raises(ValueError, match=r"(?s)row 7.*c"):
        make().fit(frame)


def test_memory_map_is_streamed_and_is_the_array(
    make: Make,
    blobs: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    X = blobs[0].astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    used: list[type] = []
    for kind in (HeldRows, StreamedRows):
        original = kind.__init__

        def spy(self: Any, *args: Any, original: Any = original) -> None:
            used.append(type(self))
            original(self, *args)

        monkeypatch.setattr(kind, "__init__", spy)
    model = make().fit(mapped)
    assert set(used) == {StreamedRows}
    assert model.predict_proba(mapped).dtype == np.float32
    assert_same(model, make().fit(X), mapped)
    assert HeldRows in used


def test_csr_counts_are_the_dense_counts(make: Make, counts: np.ndarray) -> None:
    parameters = (
        {} if isinstance(make(), DPGaussianMixture) else {"likelihood": "negative_binomial"}
    )
    model = make(**parameters).fit(sparse.csr_matrix(counts))
    dense = make(**parameters).fit(counts)
    assert model.n_components_ == dense.n_components_
    assert_same(model, dense, counts, rtol=1e-3, atol=1e-3)
    assert_same(model, model, sparse.coo_array(counts))
    np.testing.assert_array_equal(
        model.score_samples(sparse.csc_array(counts)), model.score_samples(counts)
    )


@pytest.mark.parametrize("wrong", [0.5, -1.0])
def test_sparse_rows_that_are_no_counts_are_refused(
    make: Make, counts: np.ndarray, wrong: float
) -> None:
    X = counts.astype(float)
    X[3, 4] = wrong
    with pytest.raises(ValueError, match=rf"must be counts.* holds {wrong:g}: pass X.toarray"):
        make().fit(sparse.csr_array(X))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32, np.float64])
def test_every_number_type(make: Make, counts: np.ndarray, dtype: type) -> None:
    model = make().fit(counts.astype(dtype))
    expected = np.float32 if dtype is np.float32 else np.float64
    for name in ("predict_proba", "transform", "score_samples"):
        found = getattr(model, name)(counts.astype(dtype))
        assert found.dtype == expected
        assert np.isfinite(found).all()


def hard_cases() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(40, 3))
    return {
        "one constant column": np.column_stack([normal, np.full(40, 7.1)]),
        "duplicated rows": np.repeat(normal[:4], 15, axis=0),
        "two rows": normal[:2],
        "more columns than rows": rng.normal(size=(8, 30)),
        "one column": normal[:, :1],
        "twice the same column": normal[:, [0, 0, 1]],
        "far from zero": 1e8 + normal,
        "tiny": 1e-12 * normal,
        "huge": 1e12 * normal,
        "one far row": np.vstack([normal, np.full((1, 3), 1e6)]),
    }


@pytest.mark.parametrize("case", list(hard_cases()))
def test_hard_data_give_finite_answers(make: Make, case: str) -> None:
    is_said = {"one far row": "Row 40 of X"}
    if isinstance(make(), DPGaussianMixture):
        is_said |= {
            "two rows": "2 rows for 3 columns",
            "more columns than rows": "8 rows for 30 columns",
        }
    warned = pytest.warns(UserWarning, match=is_said[case]) if case in is_said else nullcontext()
    with warned:
        model = make().fit(hard_cases()[case])
    check_answers(model, hard_cases()[case])


@pytest.mark.parametrize(
    "X", [np.full((30, 3), 0.3), np.zeros((20, 3)), np.ones((2, 5))], ids=["30", "0", "two rows"]
)
def test_equal_rows_are_one_cluster_and_a_warning(make: Make, X: np.ndarray) -> None:
    with pytest.warns(UserWarning, match=f"All {len(X)} rows of X are equal"):
        model = make().fit(X)
    check_answers(model, X)
    assert model.n_components_ == 1


def check_answers(model: Any, X: np.ndarray) -> None:
    assert 1 <= model.n_components_ <= len(X)
    for name, value in outputs(model, X).items():
        assert np.isfinite(value).all(), name
    assert np.isfinite(model.lower_bound_)
    assert np.isfinite(model.means_).all()
    assert np.isfinite(model.covariances_).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_components": 301}, r"max_components=301 .* n_samples=300"),
        ({"max_components": 0}, "'max_components' parameter"),
        ({"concentration": -1.0}, "'concentration' parameter"),
        ({"n_init": 0}, "'n_init' parameter"),
        ({"random_state": "x"}, "'random_state' parameter"),
    ],
)
def test_wrong_parameters_of_both(
    make: Make, blobs: tuple[np.ndarray, np.ndarray], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(**parameters).fit(blobs[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "n_samples"), ((3, 99), "component must lie in"), ((3, -1), "component must lie in")],
)
def test_what_cannot_be_sampled(
    make: Make, blobs: tuple[np.ndarray, np.ndarray], arguments: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make().fit(blobs[0]).sample(*arguments)


def test_samples_of_a_component_land_in_it(
    make: Make, blobs: tuple[np.ndarray, np.ndarray]
) -> None:
    more = {} if isinstance(make(), DPGaussianMixture) else LONGER
    model = make(**more).fit(blobs[0])
    assert model.n_components_ > 1
    for k in range(model.n_components_):
        X, component = model.sample(200, component=k)
        assert set(component) == {k}
        assert (model.predict(X) == k).mean() > 0.8


def test_separated_groups_are_found(make: Make, blobs: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = blobs
    more = {} if isinstance(make(), DPGaussianMixture) else LONGER
    model = make(**more).fit(X)
    assert model.n_components_ == 4
    assert adjusted_rand_score(y, model.labels_) == 1.0
    np.testing.assert_allclose(model.weights_, [0.3, 0.25, 0.25, 0.2], atol=0.03)


@pytest.mark.parametrize("call", ["predict", "transform", "score", "sample", "save"])
def test_nothing_works_before_fit(make: Make, call: str) -> None:
    arguments = {"sample": (1,), "save": ("folder",)}.get(call, (np.zeros((2, 2)),))
    with pytest.raises(NotFittedError):
        getattr(make(), call)(*arguments)
