"""What a published experiment is here: its data, its estimators, and the numbers in the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from infimix.data import load
from infimix.estimators import Follow

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Reported(NamedTuple):
    """A published number and where it stands."""

    value: float
    source: str


class Split(NamedTuple):
    """Rows that train, that say when to stop, and that are scored once; labels if there are any."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    y_train: np.ndarray | None = None
    y_valid: np.ndarray | None = None
    y_test: np.ndarray | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table: a model on data, with what was reported of it.

    Attributes
    ----------
    name : str
        As the table prints it.
    data : callable
        Reads the `Split`.
    make : callable
        Builds the estimator; everything but seed, run directory and device. With `stage_one` it
        builds the clusterer of its codes.
    reported : mapping of str to Reported
        By the name of a measure.
    stage_one : Row, optional
        Row whose fit of the same seed is the autoencoder of a `TwoStage`.
    """

    name: str
    data: Callable[[], Split]
    make: Callable[[], Any]
    reported: Mapping[str, Reported] = field(default_factory=dict)
    stage_one: Row | None = None


@dataclass(frozen=True)
class Experiment:
    """A table or figure of a paper.

    Attributes
    ----------
    name : str
        "P1/figure3b" and the like.
    title : str
    rows : tuple of Row
    measure : callable
        Takes a fitted estimator, its `Split` and a seed; gives numbers by name.
    draw : callable, optional
        Takes the fitted estimators of one or more of the rows, in their order, and their `Split`;
        gives a matplotlib figure.
    follow : callable, optional
        Takes a `Split`; gives what deep estimators are followed with during the fit.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    measure: Callable[[Any, Split, int], dict[str, Any]]
    draw: Callable[[list[Any], Split], Figure] | None = None
    follow: Callable[[Split], Follow] | None = None


def binarized_mnist() -> Split:
    """Static binarisation of MNIST with its published parts: 50000, 10000 and 10000 rows."""
    return Split(*(load("binarized-mnist", split=part).X for part in ("train", "valid", "test")))


def binarized_omniglot() -> Split:
    """Omniglot binarised by one draw of its grey levels; 1345 rows of train, drawn, validate."""
    rng = np.random.default_rng(0)
    train, test = (load("omniglot-rebuilt", split=part).X / 255 for part in ("train", "test"))
    train, test = ((rng.uniform(size=X.shape) < X).astype(np.uint8) for X in (train, test))
    order = rng.permutation(len(train))
    return Split(train[order[1345:]], train[order[:1345]], test)


def grey_mnist() -> Split:
    """MNIST in [0, 1] with labels: 50000 of the training rows train, drawn, 10000 validate."""
    train, test = load("mnist"), load("mnist", split="test")
    order = np.random.default_rng(0).permutation(len(train.X))
    part, valid = np.sort(order[10_000:]), np.sort(order[:10_000])
    X = train.X.astype(np.float32) / 255
    assert train.y is not None
    labels = (train.y[part], train.y[valid], test.y)
    return Split(X[part], X[valid], test.X.astype(np.float32) / 255, *labels)
