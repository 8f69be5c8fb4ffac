"""What the figures of the papers are made of: grids of images, maps of codes, curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from infimix.report.signs import sign_of

WIDTH = 1000  # pixels


def grid(images: np.ndarray) -> go.Heatmap:
    """Square images (R, C, D) in R rows of C, values in [0, 1], as one picture."""
    n_rows, n_columns, n_pixels = images.shape
    side = round(np.sqrt(n_pixels))
    image = images.reshape(n_rows, n_columns, side, side).transpose(0, 2, 1, 3)
    picture = image.reshape(n_rows * side, n_columns * side)
    return go.Heatmap(z=picture, colorscale="gray", showscale=False, zmin=0, zmax=1)


def panels(titles: Sequence[str], n_columns: int, panel_height: int) -> go.Figure:
    """Empty panels, row by row."""
    n_rows = -(-len(titles) // n_columns)
    figure = make_subplots(n_rows, n_columns, subplot_titles=titles, vertical_spacing=0.08 / n_rows)
    height = n_rows * panel_height + 40
    return figure.update_layout(width=WIDTH, height=height, plot_bgcolor="white")


def place(i: int, n_columns: int) -> tuple[int, int]:
    """Row and column of panel i, from 1 on."""
    return i // n_columns + 1, i % n_columns + 1


def add_grid(figure: go.Figure, images: np.ndarray, at: tuple[int, int]) -> None:
    """Put a grid of images (R, C, D) into a panel."""
    figure.add_trace(grid(images), *at)
    figure.update_xaxes(visible=False, row=at[0], col=at[1])
    figure.update_yaxes(visible=False, autorange="reversed", row=at[0], col=at[1])


def add_map(
    figure: go.Figure, xy: np.ndarray, label: np.ndarray, at: tuple[int, int], legend: str = ""
) -> None:
    """Put points (N, 2), coloured by label (N,), into a panel; `legend` names the labels' law."""
    for k in np.unique(label):
        points = xy[label == k]
        figure.add_trace(
            go.Scattergl(
                x=points[:, 0],
                y=points[:, 1],
                mode="markers",
                marker={"size": 4, "color": sign_of(int(k)).colour},
                name=str(k),
                legendgroup=f"{legend}{k}",
                showlegend=bool(legend),
            ),
            *at,
        )
    figure.update_xaxes(visible=False, row=at[0], col=at[1])
    figure.update_yaxes(visible=False, row=at[0], col=at[1])


def add_curve(
    figure: go.Figure, values: Sequence[float | None], name: str, i: int, at: tuple[int, int]
) -> None:
    """Put a curve over epochs into a panel, the i-th colour; its name stands in the first."""
    figure.add_trace(
        go.Scatter(
            y=list(values),
            x=np.arange(1, len(values) + 1),
            mode="lines",
            line={"color": sign_of(i).colour},
            name=name,
            legendgroup=name,
            showlegend=at == (1, 1),
        ),
        *at,
    )
