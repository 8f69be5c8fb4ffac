"""What pictures are made of: maps, grids of images, curves, a tree, features of components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from infimix.plots.projection import tree_of
from infimix.plots.signs import sign_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#8A8A8A"  # seen on light and on dark paper
FULL_SCALE = 2.0  # standard deviations that have the deepest colour


def new_axes(ax: Axes | None, width: float = 6.4, height: float = 4.8) -> Axes:
    """The axes that were given, or those of a new figure of so many inches."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def hide_axes(ax: Axes) -> None:
    """Leave the frame, take away ticks that would say nothing."""
    ax.set(xticks=[], yticks=[])


def draw_map(ax: Axes, xy: NDArray, group: NDArray, names: Sequence[object] | None = None) -> Axes:
    """Points in the colours and shapes of their groups, each group's name in its middle.

    Parameters
    ----------
    ax : Axes
    xy : ndarray of shape (M, 2)
    group : ndarray of shape (M,)
        Numbers that decide colour and shape; a single group has no name.
    names : sequence, optional
        Name of each number; the number itself without.
    """
    from matplotlib.patheffects import withStroke

    groups = np.unique(group)
    for k in groups:
        points = xy[group == k]
        sign = sign_of(int(k))
        label = str(k if names is None else names[k])
        style = {"s": 12, "c": sign.colour, "marker": sign.marker, "linewidths": 0, "alpha": 0.85}
        ax.scatter(points[:, 0], points[:, 1], label=label, rasterized=len(xy) > 500, **style)
        if len(groups) > 1:
            x, y = points[np.linalg.norm(points - np.median(points, axis=0), axis=1).argmin()]
            halo = withStroke(linewidth=3, foreground="white")
            place = {"ha": "center", "va": "center", "weight": "bold", "color": "black"}
            ax.text(x, y, label, path_effects=[halo], clip_on=True, **place)
    return ax


def draw_images(
    ax: Axes, images: NDArray, shape: Sequence[int], low: float = 0.0, high: float = 1.0
) -> Axes:
    """Images in rows and columns as one picture, a gap of a pixel or more between them.

    Parameters
    ----------
    ax : Axes
    images : ndarray of shape (R, C, D)
        R rows of C images.
    shape : (H, W) or (H, W, channels)
        Of an image; one channel is grey, of four the first three are colours.
    low, high : float
        Values drawn black and white; what lies outside is clipped.
    """
    n_rows, n_columns = images.shape[:2]
    height, width = shape[:2]
    pixels = images.reshape(n_rows, n_columns, height, width, -1)
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., [0, 0, 0]]
    pixels = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
    gap = max(1, height // 14)
    across, down = width + gap, height + gap
    canvas = np.zeros((n_rows, n_columns, down, across, 4))  # transparent
    canvas[:, :, :height, :width] = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1)
    canvas = canvas.swapaxes(1, 2).reshape(n_rows * down, n_columns * across, 4)
    ax.imshow(canvas[:-gap, :-gap], interpolation="nearest")
    hide_axes(ax)
    ax.set_yticks(down * np.arange(n_rows) + (height - 1) / 2, labels=[""] * n_rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def draw_curve(
    ax: Axes, x: ArrayLike, values: ArrayLike, name: str, i: int, *, is_dashed: bool = False
) -> Axes:
    """A curve in the i-th colour; a single value is a point."""
    line = {"color": sign_of(i).colour, "linestyle": "--" if is_dashed else "-"}
    ax.plot(x, values, label=name, marker="o" if np.size(x) == 1 else "", **line)
    return ax


def draw_tree(
    ax: Axes, merge_path: Sequence[Sequence[float]], component_of_part: Sequence[int]
) -> Axes:
    """Tree of a merge path; a dashed line cuts it into the components.

    Parameters
    ----------
    ax : Axes
    merge_path : sequence of (n_components, parent, child, depth)
        All joins from the parts to one component, at least one; depths in nats.
    component_of_part : sequence of int
        Of each part.
    """
    n_parts = len(component_of_part)
    tree = tree_of(merge_path, n_parts)
    for x, y in zip(tree.x, tree.y, strict=True):
        ax.plot(x, y, color=INK, zorder=1)
    places = 5 + 10 * np.arange(n_parts)
    leaves = [component_of_part[part] for part in tree.leaves]
    for place, k in zip(places, leaves, strict=True):
        sign = sign_of(k)
        ax.scatter(place, tree.y.min(), s=50, c=sign.colour, marker=sign.marker, zorder=2)
    ax.set_yscale("log")
    ax.set_xticks(places, labels=[str(k) for k in leaves])
    ax.set(xlabel="component of each part", ylabel="depth of the valley in nats")
    n_components = 1 + max(component_of_part)
    if n_components > 1:
        tops = np.sort(tree.y.max(axis=1))
        made, waiting = tops[: n_parts - n_components], tops[n_parts - n_components :]
        below = made[-1] if made.size else waiting[0] / 4
        ax.axhline(np.sqrt(below * waiting[0]), color=INK, linestyle="--")
    return ax


def draw_profiles(ax: Axes, effect: NDArray, names: Sequence[str]) -> Axes:
    """Features of components as colours, with a scale: blue below the mean of all, red above.

    Parameters
    ----------
    ax : Axes
    effect : ndarray of shape (K, F)
        Mean of a component less that of all, in standard deviations.
    names : sequence of F str
    """
    limits = {"vmin": -FULL_SCALE, "vmax": FULL_SCALE}
    image = ax.imshow(effect, cmap="RdBu_r", aspect="auto", **limits)
    ax.set_xticks(range(len(names)), labels=names, rotation=45, ha="right", rotation_mode="anchor")
    label = "above or below the mean, s.d."
    ax.figure.colorbar(image, ax=ax, label=label, extend="both")
    return ax
