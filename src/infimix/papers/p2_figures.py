"""Figures 3 to 8 of paper 2: curves, reconstructions, maps of the codes, samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from infimix.papers.experiments import Split
from infimix.papers.pictures import add_curve, add_grid, add_map, panels, place
from infimix.report.projection import project

N_POINTS = 2000
N_IMAGES = 10  # in a row of a grid


def curves(estimators: list[Any], split: Split, folder: Path) -> Path:
    """Loss, accuracy and NMI of the validation rows by epoch; three runs of Algorithm 1, and ours.

    The legend says how much NMI moves: its mean absolute change from one epoch to the next.
    """
    figure = panels(("- bound, nats a row", "accuracy", "NMI"), 1, 300)
    for i, estimator in enumerate(estimators):
        records = [record for record in estimator.history_ if "NMI" in record]
        change = np.abs(np.diff([record["NMI"] for record in records])).mean()
        name = f"{_name(estimator)}: NMI moves {change:.3f}"
        loss = [-record["valid_bound"] for record in records]
        add_curve(figure, loss, name, i, (1, 1))
        for row, measure in ((2, "ACC"), (3, "NMI")):
            add_curve(figure, [record[measure] for record in records], name, i, (row, 1))
    figure.update_xaxes(title="epoch", row=3, col=1)
    figure.update_layout(legend={"orientation": "h", "y": 1.06, "yanchor": "bottom"})
    return _written(figure, folder)


def reconstructions(estimators: list[Any], split: Split, folder: Path) -> Path:
    """Test images, each with its reconstruction below it."""
    figure = panels([_name(estimator) for estimator in estimators], 1, 420)
    x = split.test[: 2 * N_IMAGES]
    for i, estimator in enumerate(estimators):
        again = estimator.inverse_transform(estimator.transform(x))
        pairs = np.stack([x, again]).reshape(2, 2, N_IMAGES, -1).swapaxes(0, 1)
        add_grid(figure, pairs.reshape(4, N_IMAGES, -1), place(i, 1))
    return _written(figure, folder)


def maps(estimators: list[Any], split: Split, folder: Path) -> Path:
    """Codes of test rows by t-SNE, by digit in the first panel and by component in the others.

    A component has the colour of the digit that it is paired with, one to one.
    """
    titles = [f"{_name(estimator)}, by component" for estimator in estimators]
    figure = panels([f"{_name(estimators[0])}, by digit", *titles[1:]], 2, 500)
    x, y = split.test[:N_POINTS], split.y_test
    assert y is not None
    xy = project(estimators[0].transform(x)).xy  # the others cluster the same codes
    add_map(figure, xy, y[:N_POINTS], (1, 1), "digit")
    for i, estimator in enumerate(estimators[1:], start=1):
        add_map(figure, xy, _as_digits(estimator.predict(x), y[:N_POINTS]), place(i, 2))
    figure.update_layout(legend_title="digit")
    return _written(figure, folder)


def components(estimators: list[Any], split: Split, folder: Path) -> Path:
    """Ten samples from each component, a row each."""
    figure = panels([_name(estimator) for estimator in estimators], 1, 900)
    for i, estimator in enumerate(estimators):
        rows = [estimator.sample(N_IMAGES, component=k)[0] for k in range(estimator.n_components_)]
        add_grid(figure, np.clip(np.stack(rows), 0, 1), place(i, 1))
    return _written(figure, folder)


def _as_digits(component: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Components (N,) named by the digits (N,) that they share most rows with, one to one."""
    n = int(max(component.max(), y.max())) + 1
    shared = np.zeros((n, n), dtype=np.int64)
    np.add.at(shared, (component, y), 1)
    name = linear_sum_assignment(shared, maximize=True)[1]
    return np.asarray(name[component])


def _name(estimator: Any) -> str:
    """What a legend calls an estimator."""
    if hasattr(estimator, "clusterer_"):
        stages = (_name(estimator.autoencoder_), type(estimator.clusterer_).__name__)
        return " + ".join(stages)
    name = f"{type(estimator).__name__}, L = {estimator.n_latent}"
    if getattr(estimator, "pretrain_epochs", 0):
        return f"{name}, pretrained"
    assignment = getattr(estimator, "assignment", "")
    return f"{name}, {assignment}" if assignment else name


def _written(figure: Any, folder: Path) -> Path:
    """Page in a folder that bears the name of the figure."""
    path = folder / f"{folder.name}.html"
    figure.write_html(path)
    return path
