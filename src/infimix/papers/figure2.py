"""Figure 2 of paper 1: samples of the outermost components, and t-SNE maps of the codes."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from infimix.estimators import DeepEstimator
from infimix.papers.experiments import Split
from infimix.report.figures import component_style, project

SIDE, GRID = 28, 8  # pixels of an image, images of a grid
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
    figure = make_subplots(
        2,
        2,
        subplot_titles=(
            "(a) samples of the first component",
            f"(b) samples of component {last + 1}, the last",
            "(c) codes of the Gauss-VAE, t-SNE",
            "(d) codes of the DLGMM, t-SNE",
        ),
        vertical_spacing=0.06,
    )
    for column, component in ((1, 0), (2, last)):
        figure.add_trace(_grid(mixture, component), 1, column)
        figure.update_xaxes(visible=False, row=1, col=column)
        figure.update_yaxes(visible=False, autorange="reversed", row=1, col=column)
    assert split.y_test is not None
    for column, estimator in ((1, gauss), (2, mixture)):
        xy = project(estimator.transform(split.test[:N_POINTS])).xy
        for digit in range(10):
            at = xy[split.y_test[:N_POINTS] == digit]
            marker = {"size": 4, "color": component_style(digit)[0]}
            figure.add_trace(
                go.Scattergl(
                    x=at[:, 0],
                    y=at[:, 1],
                    mode="markers",
                    marker=marker,
                    name=str(digit),
                    legendgroup=str(digit),
                    showlegend=column == 1,
                ),
                2,
                column,
            )
        figure.update_xaxes(visible=False, row=2, col=column)
        figure.update_yaxes(visible=False, row=2, col=column)
    figure.update_layout(width=1000, height=1040, plot_bgcolor="white", legend_title="digit")
    path = folder / "figure2.html"
    figure.write_html(path)
    return path


def _grid(estimator: DeepEstimator, component: int) -> go.Heatmap:
    """Means of GRID x GRID samples of a component as one picture."""
    rows, _ = estimator.sample(GRID * GRID, component=component)
    images = rows.reshape(GRID, GRID, SIDE, SIDE)
    picture = images.transpose(0, 2, 1, 3).reshape(GRID * SIDE, GRID * SIDE)
    return go.Heatmap(z=picture, colorscale="gray", showscale=False, zmin=0, zmax=1)
