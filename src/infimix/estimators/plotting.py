"""Methods of estimators that draw: thin covers of `infimix.plots`, as scikit-learn's displays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import _safe_indexing, column_or_1d
from sklearn.utils.validation import _num_samples, check_consistent_length, check_is_fitted

from infimix.plots import (
    draw_curve,
    draw_images,
    draw_map,
    draw_profiles,
    draw_tree,
    drawn_rows,
    hide_axes,
    new_axes,
    project,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABELS = 30
MAX_COLUMNS = 12  # features of a component that are drawn
N_DRAWS = 200  # rows of a component whose mean and spread are taken


class Plots:
    """Pictures that every fitted estimator has."""

    finds_clusters: bool
    history_: list[dict[str, Any]]

    def plot_latent(self, X: Any, y: Any = None, *, ax: Axes | None = None) -> Axes:
        """Map of rows by their latent codes, in the colours of their components.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)
            Of more than 2000 rows as many are drawn at random, by a fixed seed.
        y : array-like of shape (N,), optional
            At most 30 different labels that decide the colours in place of the components. Models
            that find no clusters have one colour without.
        ax : matplotlib Axes, optional
            Drawn on; a new figure without.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ValueError
            If y has another length than X, or too many labels.

        Notes
        -----
        One and two latent dimensions are shown as they are, more by t-SNE: neighbours are faithful
        then, distances between far groups are not.
        """
        check_is_fitted(self)
        n_rows = _num_samples(X)
        shown = drawn_rows(n_rows)
        rows = _safe_indexing(X, shown)
        group, names = np.zeros(len(shown), dtype=int), None
        if y is not None:
            check_consistent_length(X, y)
            names, group = np.unique(column_or_1d(y), return_inverse=True)
            if len(names) > MAX_LABELS:
                raise ValueError(
                    f"y must have at most {MAX_LABELS} different labels, whose colours can be told "
                    f"apart, and has {len(names)}: bin it, or leave it out."
                )
            group = group[shown]
        elif self.finds_clusters:
            group = self.predict(rows)
        projection = project(self._points(rows))
        ax = draw_map(new_axes(ax), projection.xy, group, names)
        if projection.method != "Direct view":
            hide_axes(ax)
        of = f"{len(shown):,} of {n_rows:,} rows" if len(shown) < n_rows else f"{n_rows:,} rows"
        ax.set_title(f"{projection.method} of {of}")
        return ax

    def plot_history(
        self, name: str = "bound", *, phase: str | None = None, ax: Axes | None = None
    ) -> Axes:
        """Curve of what `history_` says of every epoch.

        Parameters
        ----------
        name : str, default="bound"
            A number of the records: "bound" (with that of the validation rows beside it), one of
            the bound's terms, "n_components", or what `follow` has measured.
        phase : {"warm-up", "joint", "fine-tuning", "mixture"}, optional
            Phase of the training, the last one without: the bounds of two phases are of another
            kind and scale.
        ax : matplotlib Axes, optional
            Drawn on; a new figure without.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ValueError
            If the fit had no such phase or number.
        """
        check_is_fitted(self)
        phases = list(dict.fromkeys(record["phase"] for record in self.history_))
        phase = phases[-1] if phase is None else phase
        records = [record for record in self.history_ if record["phase"] == phase]
        if not records:
            raise ValueError(f"phase must be one of {', '.join(phases)}; got {phase!r}.")
        curves = {name: name}
        if name == "bound":
            curves = {"bound": "training rows", "valid_bound": "validation rows"}
        ax, drawn = new_axes(ax), 0
        for i, (key, label) in enumerate(curves.items()):
            points = [(r["epoch"] + 1, r[key]) for r in records if _is_number(r.get(key))]
            if points:
                draw_curve(ax, *np.transpose(points), label, 5 * i, is_dashed=i > 0)
                drawn += 1
        if not drawn:
            known = [key for key, value in records[-1].items() if _is_number(value)]
            raise ValueError(f"name must be one of {', '.join(known[1:])}; got {name!r}.")
        ax.set_xlabel("sweep" if phase == "mixture" else "epoch")
        ax.set_ylabel("bound, nats per row" if name == "bound" else name)
        if name == "n_components":
            ax.set_ylabel("components")
            ax.yaxis.get_major_locator().set_params(integer=True)
        ax.set_title(f"{type(self).__name__}, {phase} phase")
        if drawn > 1:
            ax.legend()
        return ax

    def _points(self, X: Any) -> np.ndarray:
        """What the map is a map of, (N, L)."""
        return self.transform(X)


class ComponentPlots:
    """Picture of estimators that have rows of each component to show."""

    n_components_: int
    weights_: np.ndarray

    def plot_components(
        self,
        n_samples: int = 10,
        *,
        image_shape: tuple[int, ...] | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """What each component is: its mean and samples as images, or the features that mark it.

        Parameters
        ----------
        n_samples : int, default=10
            Images of each component, beside their mean.
        image_shape : tuple (H, W) or (H, W, C), optional
            Shape of the image that a row is; that of the estimator without. Rows that are no images
            are shown by the features, 12 at most, in which components differ most.
        ax : matplotlib Axes, optional
            Drawn on; a new figure without.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        ValueError
            If rows are no images of that shape, or n_samples is not positive.

        Notes
        -----
        All is drawn from rows that `sample` gives, 200 of each component or `n_samples` if that is
        more.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1; got {n_samples}.")
        K, n_draws = self.n_components_, max(n_samples, N_DRAWS)
        rows = np.stack([self.sample(n_draws, component=k)[0] for k in range(K)])  # (K, S, D)
        mean = rows.mean(1)
        shape = self._image_shape if image_shape is None else image_shape
        if shape is None:
            ax = new_axes(ax, height=max(4.0, 2.2 + 0.35 * K))
            self._draw_features(ax, rows, mean)
        else:
            if np.prod(shape) != rows.shape[2]:
                raise ValueError(
                    f"image_shape={tuple(shape)} must hold the {rows.shape[2]} features of a row."
                )
            ax = new_axes(ax, 1 + 0.55 * (n_samples + 1), 1 + 0.55 * K)
            images = np.concatenate([mean[:, None], rows[:, :n_samples]], 1)
            draw_images(ax, images, shape, images.min(), images.max())
            ax.set_title("Mean (left) and samples of each component")
        names = [f"{k} ({share:.1%})" for k, share in enumerate(self.weights_)]
        ax.set_yticks(ax.get_yticks() if shape else range(K), labels=names)
        ax.set_ylabel("component (weight)")
        return ax

    def _draw_features(self, ax: Axes, rows: np.ndarray, mean: np.ndarray) -> None:
        """Effects of the features in which the components' rows (K, S, D) differ most."""
        overall = self.weights_ @ mean  # (D,)
        variance = self.weights_ @ ((rows - overall) ** 2).mean(1)
        scale = np.sqrt(np.where(variance > 0, variance, 1.0))
        effect = (mean - overall) / scale  # (K, D)
        spread = self.weights_ @ effect**2
        kept = np.sort(np.argsort(-spread, kind="stable")[:MAX_COLUMNS])
        names = getattr(self, "feature_names_in_", [f"x{d}" for d in range(rows.shape[2])])
        draw_profiles(ax, effect[:, kept], [str(names[d]) for d in kept])
        of = "" if len(kept) == rows.shape[2] else f", {len(kept)} of {rows.shape[2]}"
        ax.set_title(f"Features that mark the components{of}")

    @property
    def _image_shape(self) -> tuple[int, ...] | None:
        """Shape of the images that rows are, as far as the estimator was told."""
        return getattr(self, "image_shape", None)


class MergePathPlots:
    """Picture of estimators that join parts to components."""

    merge_path_: list[Any]
    component_of_part_: np.ndarray

    def plot_merge_path(self, *, ax: Axes | None = None) -> Axes:
        """Tree of `merge_path_`: how parts join to components, and components to one.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Drawn on; a new figure without.

        Returns
        -------
        matplotlib Axes
            Joins are as high as the valley between them is deep, on a scale of logarithms. The
            dashed line cuts the tree into the components; `cut` moves it.

        Raises
        ------
        ValueError
            If the fit has one part.
        """
        check_is_fitted(self)
        if not self.merge_path_:
            raise ValueError("The mixture has one part, so there is no join to draw.")
        ax = draw_tree(new_axes(ax), self.merge_path_, self.component_of_part_.tolist())
        n_parts, K = len(self.component_of_part_), self.n_components_
        found = f"{K} component{'s' * (K > 1)}"
        ax.set_title(found if n_parts == K else f"{n_parts} parts, {found}")
        return ax


def _is_number(value: Any) -> bool:
    """Whether a record's value can be drawn."""
    return isinstance(value, int | float)
