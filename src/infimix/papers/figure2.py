"""Figure 2 of paper 1: samples of the outermost components, and t-SNE maps of the codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infimix.papers.experiments import Split
from infimix.papers.pictures import N_POINTS, draw_rows, panels
from infimix.plots import draw_map, hide_axes, project

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID = 8  # images a side


def draw(estimators: list[Any], split: Split) -> Figure:
    """Samples of first and last component of those that have several; maps of all.

    Parameters
    ----------
    estimators : list of fitted estimators
        The Gaussian autoencoder and the DLGMM in the paper.
    split : Split
        Test rows with labels are mapped.
    """
    sampled = [(each, k) for each in estimators for k in _outermost(each.n_components_)]
    titles = [f"samples of component {k + 1} of {each.n_components_}" for each, k in sampled]
    titles += [f"codes of the {type(each).__name__}, t-SNE, by digit" for each in estimators]
    lettered = [f"({letter}) {title}" for letter, title in zip("abcdef", titles, strict=False)]
    figure, axes = panels(lettered, 2, 5.2)
    for ax, (estimator, component) in zip(axes, sampled, strict=False):
        rows, _ = estimator.sample(GRID * GRID, component=component)
        draw_rows(ax, rows.reshape(GRID, GRID, -1))
    assert split.y_test is not None
    for ax, estimator in zip(axes[len(sampled) :], estimators, strict=True):
        xy = project(estimator.transform(split.test[:N_POINTS])).xy
        hide_axes(draw_map(ax, xy, split.y_test[:N_POINTS]))
    return figure


def _outermost(n_components: int) -> tuple[int, ...]:
    """First and last component, none where there is one."""
    return (0, n_components - 1) if n_components > 1 else ()
