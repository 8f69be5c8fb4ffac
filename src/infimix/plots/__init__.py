"""Drawing for every layer above: arrays and matplotlib axes in, the same axes out.

Nothing here knows of estimators or run directories. matplotlib is imported when something is
drawn, so that a fit does not wait for it.
"""

from infimix.plots.draw import (
    draw_curve,
    draw_images,
    draw_map,
    draw_profiles,
    draw_tree,
    hide_axes,
    new_axes,
)
from infimix.plots.projection import SHALLOWEST, Projection, drawn_rows, project, tree_of
from infimix.plots.signs import COLOURS, MARKERS, SYMBOLS, Sign, sign_of

__all__ = [
    "COLOURS",
    "MARKERS",
    "SHALLOWEST",
    "SYMBOLS",
    "Projection",
    "Sign",
    "draw_curve",
    "draw_images",
    "draw_map",
    "draw_profiles",
    "draw_tree",
    "drawn_rows",
    "hide_axes",
    "new_axes",
    "project",
    "sign_of",
    "tree_of",
]
