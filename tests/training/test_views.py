"""Neighbours against a search by hand; images that are moved; what is drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from infimix.models import ElboTerms, InfiniteMixtureModule, Pass
from infimix.training import Affine, TrainConfig, Views, fit, nearest, rows_on
from infimix.training.rows import HeldRows
from infimix.training.views import Neighbours


def found(x: np.ndarray, train: Tensor, k: int, seed: int = 0) -> Neighbours:
    near = nearest(HeldRows(torch.from_numpy(x)), train, lambda block: block, k, seed)
    assert near is not None
    return near


def by_hand(x: np.ndarray, k: int) -> list[list[int]]:
    """Mutual neighbours of each row, and its five nearest in any case, by distance."""
    distance = np.linalg.norm(x[:, None] - x, axis=2)
    np.fill_diagonal(distance, np.inf)
    order = np.argsort(distance, axis=1)[:, :k].tolist()
    return [[j for j in order[i] if j in order[i][:5] or i in order[j]] for i in range(len(x))]


@pytest.mark.parametrize("n_features", [3, 80], ids=["as they are", "by components"])
def test_neighbours_by_hand(n_features: int) -> None:
    rng = np.random.default_rng(0)
    low = rng.normal(size=(130, 3))
    x = (low @ rng.normal(size=(3, n_features))).astype(np.float32)  # 80 columns, 3 dimensions
    train = torch.arange(0, 130, 2)
    near = found(x, train, 12)
    expected = by_hand(x[train.numpy()].astype(float), 12)
    assert 5 == min(map(len, expected)) < max(map(len, expected)) == 12
    for i, mine in enumerate(expected):
        assert near.position[i, : near.degree[i]].tolist() == mine


def test_rows_that_are_the_same_are_neighbours_but_not_of_themselves() -> None:
    x = np.zeros((9, 4), np.float32)
    near = found(x, torch.arange(9), 3)
    assert (near.position != torch.arange(9)[:, None]).all()
    assert (near.degree == 3).all()


def test_fewer_rows_than_neighbours() -> None:
    x = np.arange(4, dtype=np.float32)[:, None]
    near = found(x, torch.arange(4), 15)
    assert near.position.shape == (4, 3)
    assert near.degree.tolist() == [3, 3, 3, 3]
    one = nearest(HeldRows(torch.from_numpy(x)), torch.tensor([2]), lambda block: block, 15, 0)
    assert one is None


def test_where_pairs_are_too_many_some_rows_are_neighbours_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infimix.training.views.DISTANCES", 0)
    monkeypatch.setattr("infimix.training.views.LEAST_REFERENCES", 40)
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    near = found(x, torch.arange(200), 5)
    assert len(np.unique(near.position)) == 40
    assert (near.position != torch.arange(200)[:, None]).all()


def test_draws_are_of_the_neighbours_all_alike() -> None:
    x = np.arange(50, dtype=np.float32)[:, None]
    rows = rows_on(x, np.zeros(1), np.ones(1), torch.device("cpu"))
    train = torch.arange(10, 50)
    near = Neighbours(torch.tensor([[1, 2, 3]]).expand(40, 3), torch.full((40,), 2))
    views = Views(rows, train, near, None)
    drawn = views.draw(
        torch.zeros(4000, dtype=torch.long), torch.Generator().manual_seed(0), is_warm_up=True
    )
    values, counts = drawn.unique(return_counts=True)
    assert values.tolist() == [11, 12]
    assert abs(int(counts[0]) - 2000) < 150


@pytest.mark.parametrize("has_near", [False, True])
def test_images_with_neighbours_are_moved_in_the_joint_phase_only(has_near: bool) -> None:
    images = np.random.default_rng(0).random((30, 64)).astype(np.float32)
    rows, train = HeldRows(torch.from_numpy(images)), torch.arange(30)
    near = Neighbours(torch.arange(30)[:, None].flip(0), torch.ones(30, dtype=torch.long))
    views = Views(rows, train, near if has_near else None, Affine((8, 8)))
    seen = images[::-1] if has_near else images

    def is_moved(*, is_warm_up: bool) -> bool:
        drawn = views.draw(train, torch.Generator().manual_seed(0), is_warm_up=is_warm_up)
        return not np.allclose(drawn, seen)

    assert is_moved(is_warm_up=False)
    assert is_moved(is_warm_up=True) is not has_near


def test_the_loop_asks_for_views_of_the_rows_of_the_batch(
    make_module: Callable[[], InfiniteMixtureModule], X: np.ndarray
) -> None:
    """With each row its only neighbour the view is the row, wherever the row stands in the data.

    Moves are asked for once there are components.
    """
    rows = rows_on(X, np.zeros(X.shape[1]), np.ones(X.shape[1]), torch.device("cpu"))
    train = torch.arange(len(X) - 1, 9, -1)  # places in `train` are not places in the rows
    own = torch.arange(len(train))[:, None]
    module, seen, moved = make_module(), [], []

    class Still:
        def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
            moved.append((len(x), module.n_components > 0))
            return x

    near = Neighbours(own, torch.ones(len(train), dtype=torch.long))
    views = Views(rows, train, near, Still())
    objective = module.objective

    def watched(
        x: Tensor, noise: torch.Generator, view: Tensor | None = None, *, from_view: bool = False
    ) -> ElboTerms:
        if module.training:
            assert view is not None
            assert torch.equal(x, view)
            seen.append((len(x), from_view))
        return objective(x, noise, view, from_view=from_view)

    module.objective = watched
    config = TrainConfig(1, 1, 16, 1e-3, patience=5, seed=0, fine_tune_epochs=1)
    fit(module, rows, train, Pass(0, lambda: iter([])), config, views=views)
    assert sum(n for n, _ in seen) == 3 * len(train)
    assert sum(n for n, from_view in seen if from_view) == len(train)  # in the joint phase
    assert sum(n for n, _ in moved) == 2 * len(train)
    assert all(has_components for _, has_components in moved)


def test_a_resumed_run_draws_the_same_views(
    train: Callable[..., Any], config: TrainConfig, X: np.ndarray, tmp_path: Path
) -> None:
    def views() -> Views:
        rows = rows_on(X, np.zeros(X.shape[1]), np.ones(X.shape[1]), torch.device("cpu"))
        index = torch.arange(len(X) - 10)
        return Views(rows, index, nearest(rows, index, lambda block: block, 5, 0), None)

    class KilledError(Exception):
        pass

    def kill(record: dict[str, Any]) -> None:
        if record["epoch"] == 2:
            raise KilledError

    whole = train(config, views=views())
    with pytest.raises(KilledError):
        train(config, tmp_path, views=views(), watch=kill)
    resumed = train(config, tmp_path, views=views(), resume=True)
    ours, theirs = resumed.module.state_dict(), whole.module.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert whole.state.history[0]["closeness"] < 0
