"""Figures of the papers from finished runs: their panels, and the files they are written to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from infimix.plots import draw_images

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_POINTS = 2000  # test rows on a map
WIDTH = 10.0  # inches
DPI = 150  # of what is no line
# Without the time, so that the same runs make the same files.
METADATA: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}}


def panels(titles: Sequence[str], n_columns: int, panel_height: float) -> tuple[Figure, list[Axes]]:
    """Figure with a panel for each title, row by row; heights in inches."""
    from matplotlib.figure import Figure  # not of pyplot, which would keep it

    n_rows = -(-len(titles) // n_columns)
    figure = Figure(figsize=(WIDTH, n_rows * panel_height), layout="constrained")
    places = range(1, len(titles) + 1)
    axes = [figure.add_subplot(n_rows, n_columns, place) for place in places]
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    return figure, axes


def draw_rows(ax: Axes, rows: np.ndarray) -> None:
    """Grey square images (R, C, D) with values in [0, 1]."""
    side = round(np.sqrt(rows.shape[2]))
    draw_images(ax, rows, (side, side))


def written(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Files NAME.png and NAME.pdf of a figure."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{kind}" for kind in METADATA]
    for path, metadata in zip(paths, METADATA.values(), strict=True):
        figure.savefig(path, dpi=DPI, metadata=metadata)
    return paths
