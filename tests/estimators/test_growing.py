"""InfiniteMixtureVAE.partial_fit: new clusters come up, old ones are not forgotten."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from infimix import InfiniteMixtureVAE
from infimix.errors import DivergedError
from infimix.mixture import stream
from infimix.training import loop

MakeQuick = Callable[..., InfiniteMixtureVAE]
EPOCHS = {"warm_up_epochs": 40, "max_epochs": 10}
CENTRES = 8 * np.eye(6)


def rows(which: list[int], n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.repeat(which, n)
    return CENTRES[y] + rng.normal(size=(len(y), 6)), y


def test_new_clusters_come_last_and_old_ones_keep_their_numbers(make_quick: MakeQuick) -> None:
    old, y_old = rows([0, 1, 2])
    new, y_new = rows([3, 4], seed=1)
    model = make_quick(**EPOCHS).partial_fit(old)
    before = model.labels_
    assert model.n_components_ == 3
    assert adjusted_rand_score(y_old, before) > 0.98
    model.partial_fit(new)
    assert model.n_components_ == 5
    assert np.mean(model.predict(old) == before) > 0.98
    assert set(np.bincount(model.labels_).nonzero()[0]) == {3, 4}
    assert adjusted_rand_score(y_new, model.labels_) > 0.98
    np.testing.assert_allclose(model.weights_, 0.2, atol=0.02)
    epochs = [record["epoch"] for record in model.history_]
    assert epochs == list(range(110))
    assert model.n_iter_ == 110


def test_rows_of_known_clusters_change_no_number(make_quick: MakeQuick) -> None:
    model = make_quick(**EPOCHS).partial_fit(rows([0, 1, 2])[0])
    before = model.predict(CENTRES[:3])
    model.partial_fit(rows([0, 1, 2], n=10, seed=1)[0])
    np.testing.assert_array_equal(model.predict(CENTRES[:3]), before)
    assert model.n_components_ == 3


def test_rows_are_kept_evenly_and_no_more_than_fit(
    make_quick: MakeQuick, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "KEPT_VALUES", 6 * 200)
    model = make_quick().partial_fit(rows([0], n=300)[0]).partial_fit(rows([1], n=300)[0])
    kept = model._kept.z.numpy() * model._scale + model._offset
    assert kept.shape == (200, 6)
    assert 60 < (kept[:, 1] > 4).sum() < 140  # six standard deviations
    X = np.concatenate([rows([0], n=300)[0], rows([1], n=300)[0]])
    assert np.isclose(kept[:, None], X, atol=1e-4).all(2).any(1).all()
    assert model.lower_bound_ == pytest.approx(model.score(kept))


def test_an_interrupted_batch_is_left_out(
    make_quick: MakeQuick, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = rows([0, 1])[0], rows([2], seed=1)[0]
    model, other = (make_quick(**EPOCHS).partial_fit(old) for _ in range(2))
    history, epoch, n_epochs = model.history_, loop._epoch, []

    def interrupted(*args: Any) -> Any:
        n_epochs.append(1)
        if len(n_epochs) == 3:
            raise KeyboardInterrupt
        return epoch(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.partial_fit(new)
    assert model.history_ == history
    assert model.n_iter_ == len(history)
    np.testing.assert_array_equal(model.means_, other.means_)
    np.testing.assert_array_equal(model.predict(new), other.predict(new))
    np.testing.assert_array_equal(model.partial_fit(new).labels_, other.partial_fit(new).labels_)


def test_a_model_that_was_loaded_is_told_its_past(make_quick: MakeQuick, tmp_path: Path) -> None:
    old, new = rows([0, 1])[0], rows([2], seed=1)[0]
    fitted = make_quick(**EPOCHS).fit(old)
    loaded = InfiniteMixtureVAE.load(fitted.save(tmp_path))
    with pytest.raises(ValueError, match="X_past"):
        loaded.partial_fit(new)
    loaded.partial_fit(new, X_past=old)
    np.testing.assert_array_equal(loaded.labels_, fitted.partial_fit(new).labels_)
    assert loaded.n_components_ == 3
    loaded.partial_fit(new)  # has a past by now
    assert len(loaded._kept.z) == 2 * len(new) + len(old)
    assert len(loaded.fit(old)._kept.z) == len(old)  # a fit begins anew


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.full((5, 12), 0.5), "cannot be counts"),
        (np.full((5, 12), np.nan), "NaN"),
        (np.zeros((5, 3)), "3 features"),
    ],
)
def test_a_bad_batch_is_left_out(
    make_quick: MakeQuick, counts: np.ndarray, bad: np.ndarray, message: str
) -> None:
    model, other = (make_quick().partial_fit(counts[:40]) for _ in range(2))
    with pytest.raises(ValueError, match=message):
        model.partial_fit(bad)
    after, expected = (m.partial_fit(counts[40:]).transform(counts) for m in (model, other))
    np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("error", [DivergedError, KeyboardInterrupt, MemoryError])
def test_a_batch_that_ends_badly_is_left_out(
    make_quick: MakeQuick, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    old, new = rows([0, 1])[0], rows([2])[0]
    model = make_quick().partial_fit(old)
    codes, n_kept = model.transform(old), len(model._kept.z)

    def fail(*args: object) -> None:
        raise error("on purpose")

    monkeypatch.setattr(InfiniteMixtureVAE, "_views", fail)
    with pytest.raises(error, match="on purpose"):
        model.partial_fit(new)
    np.testing.assert_array_equal(model.transform(old), codes)
    assert len(model._kept.z) == n_kept
    assert len(model.history_) == 8
