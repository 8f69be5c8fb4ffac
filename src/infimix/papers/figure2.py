"""Figure 2 of paper 1: samples of the outermost components, and t-SNE maps of the codes."""

from __future__ import annotations

from pathlib import Path

from infimix.estimators import DeepEstimator
from infimix.papers.experiments import Split
from infimix.papers.pictures import add_grid, add_map, panels
from infimix.report.projection import project

GRID = 8  # images a side
N_POINTS = 2000


def draw(estimators: list[DeepEstimator], split: Split, folder: Path) -> Path:
    """Write ``figure2.html``: (a), (b) samples, (c), (d) maps.

    Parameters
    ----------
    estimators : list of two
        The Gaussian autoencoder and the DLGMM.
    split : Split
        Test rows with labels are mapped.
    folder : Path

    Returns
    -------
    Path
        One page that needs no network.
    """
    gauss, mixture = estimators
    last = mixture.n_components_ - 1
    titles = (
        "(a) samples of the first component",
        f"(b) samples of component {last + 1}, the last",
        "(c) codes of the Gauss-VAE, t-SNE",
        "(d) codes of the DLGMM, t-SNE",
    )
    figure = panels(titles, 2, 500)
    for column, component in ((1, 0), (2, last)):
        rows, _ = mixture.sample(GRID * GRID, component=component)
        add_grid(figure, rows.reshape(GRID, GRID, -1), (1, column))
    assert split.y_test is not None
    for column, estimator in ((1, gauss), (2, mixture)):
        xy = project(estimator.transform(split.test[:N_POINTS])).xy
        legend = "digit" if column == 1 else ""
        add_map(figure, xy, split.y_test[:N_POINTS], (2, column), legend)
    figure.update_layout(legend_title="digit")
    path = folder / "figure2.html"
    figure.write_html(path)
    return path
