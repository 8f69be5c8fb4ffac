"""Figures 3 to 8 of paper 2: curves, reconstructions, maps of the codes, samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from infimix.papers.experiments import Split
from infimix.papers.pictures import N_POINTS, draw_rows, panels
from infimix.plots import draw_curve, draw_map, hide_axes, project

if TYPE_CHECKING:
    from matplotlib.figure import Figure

N_IMAGES = 10  # in a row of a grid


def curves(estimators: list[Any], split: Split) -> Figure:
    """Loss, accuracy and NMI of the validation rows by epoch; runs of Algorithm 1, and ours.

    The legend says how much NMI moves: its mean absolute change from one epoch to the next.
    """
    figure, axes = panels(("− bound, nats a row", "accuracy", "NMI"), 1, 3.0)
    for i, estimator in enumerate(estimators):
        records = [record for record in estimator.history_ if "NMI" in record]
        name = _name(estimator)
        if len(records) > 1:
            change = np.abs(np.diff([record["NMI"] for record in records])).mean()
            name += f": NMI moves {change:.3f}"
        epochs = np.arange(1, len(records) + 1)
        loss = [-record["valid_bound"] for record in records]
        draw_curve(axes[0], epochs, loss, name, i)
        for ax, measure in zip(axes[1:], ("ACC", "NMI"), strict=True):
            draw_curve(ax, epochs, [record[measure] for record in records], name, i)
    axes[-1].set_xlabel("epoch")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


def reconstructions(estimators: list[Any], split: Split) -> Figure:
    """Test images, each with its reconstruction below it."""
    figure, axes = panels([_name(estimator) for estimator in estimators], 1, 4.2)
    x = split.test[: 2 * N_IMAGES]
    for ax, estimator in zip(axes, estimators, strict=True):
        again = estimator.inverse_transform(estimator.transform(x))
        pairs = np.stack([x, again]).reshape(2, 2, N_IMAGES, -1).swapaxes(0, 1)
        draw_rows(ax, pairs.reshape(4, N_IMAGES, -1))
    return figure


def maps(estimators: list[Any], split: Split) -> Figure:
    """Codes of test rows by t-SNE, by digit in the first panel and by component in the others.

    All share one autoencoder. A component bears the digit that it is paired with, one to one.
    """
    clusterers = [estimator for estimator in estimators if estimator.finds_clusters]
    titles = [f"{_clusterer(estimator)}, by component" for estimator in clusterers]
    figure, axes = panels([f"{_autoencoder(estimators[0])}, by digit", *titles], 2, 5.0)
    assert split.y_test is not None
    x, y = split.test[:N_POINTS], split.y_test[:N_POINTS]
    xy = project(estimators[0].transform(x)).xy
    names = [y, *(_as_digits(estimator.predict(x), y) for estimator in clusterers)]
    for ax, name in zip(axes, names, strict=True):
        hide_axes(draw_map(ax, xy, name))
    return figure


def components(estimators: list[Any], split: Split) -> Figure:
    """Ten samples from each component, a row each."""
    figure, axes = panels([_name(estimator) for estimator in estimators], 1, 9.0)
    for ax, estimator in zip(axes, estimators, strict=True):
        rows = [estimator.sample(N_IMAGES, component=k)[0] for k in range(estimator.n_components_)]
        draw_rows(ax, np.stack(rows))
    return figure


def _as_digits(component: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Components (N,) named by the digits (N,) that they share most rows with, one to one."""
    n = int(max(component.max(), y.max())) + 1
    shared = np.zeros((n, n), dtype=np.int64)
    np.add.at(shared, (component, y), 1)
    name = linear_sum_assignment(shared, maximize=True)[1]
    return np.asarray(name[component])


def _autoencoder(estimator: Any) -> str:
    """Name of what gives the codes."""
    return _name(getattr(estimator, "autoencoder_", estimator))


def _clusterer(estimator: Any) -> str:
    """Name of what gives the clusters."""
    second = getattr(estimator, "clusterer_", None)
    return _name(estimator) if second is None else type(second).__name__


def _name(estimator: Any) -> str:
    """What a legend calls an estimator."""
    name = f"{type(estimator).__name__}, L = {estimator.n_latent}"
    if getattr(estimator, "pretrain_epochs", 0):
        return f"{name}, pretrained"
    assignment = getattr(estimator, "assignment", "")
    return f"{name}, {assignment}" if assignment else name
