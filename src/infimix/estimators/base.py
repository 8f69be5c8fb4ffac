"""What both estimators share of the scikit-learn protocol."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from infimix.data import ColumnSummary, check_finite, summarise_columns
from infimix.estimators.notebook import NotebookSummary
from infimix.estimators.persistence import load_config, load_history, load_weights, save_estimator
from infimix.estimators.plotting import Plots
from infimix.training import write_history

# Kept as they are, so that memory maps of bytes or counts are not copied whole.
DTYPES = [np.float64, np.float32, np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64]


class MixtureEstimator(
    NotebookSummary,
    Plots,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    DensityMixin,
    BaseEstimator,
    ABC,
):
    """Clusters, embedding, density and samples from one fitted mixture.

    Sparse rows are taken if they are counts. That is why scikit-learn's tag for sparse input, a
    promise for any sparse rows, stays False.
    """

    finds_clusters: ClassVar[bool] = True  # whether components are groups of rows

    @abstractmethod
    def predict_proba(self, X: Any) -> np.ndarray:
        """Responsibilities (N, K)."""

    @abstractmethod
    def score_samples(self, X: Any) -> np.ndarray:
        """Bound on the log-likelihood of each row, (N,) nats."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]:
        """What is saved as tensors."""

    @abstractmethod
    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        """Undo `_tensors` and `_fitted`."""

    def _saved_params(self) -> dict[str, Any]:
        """Parameters that are saved, as JSON holds them."""
        return self.get_params(deep=False)

    def _fitted(self) -> dict[str, Any]:
        """What is saved of the fit besides tensors, as JSON holds it."""
        names = getattr(self, "feature_names_in_", None)
        return {
            "n_features_in": self.n_features_in_,
            "feature_names_in": None if names is None else [str(name) for name in names],
            "n_iter": self.n_iter_,
            "lower_bound": self.lower_bound_,
            "kind_sentence": self.kind_sentence_,
        }

    def fit_predict(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit and return the component of each row, (N,)."""
        return self.fit(X).labels_

    def predict(self, X: Any) -> np.ndarray:
        """Most probable component of each row.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N,)
            int64 in 0..n_components_ - 1.
        """
        return self.predict_proba(X).argmax(axis=1)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`, in nats per row; larger is better. `y` is ignored."""
        return float(self.score_samples(X).mean())

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``config.json``, ``weights.safetensors`` and ``history.jsonl`` into a folder.

        Parameters
        ----------
        folder : path
            Made if there is none.

        Returns
        -------
        Path
            The folder.
        """
        check_is_fitted(self)
        folder = Path(folder)
        tensors = self._tensors() | {"labels": torch.from_numpy(self.labels_)}
        params = self._saved_params()
        save_estimator(folder, type(self).__name__, params, tensors, self._fitted())
        write_history(folder, self.history_)
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read an estimator that `save` has written.

        Parameters
        ----------
        folder : path

        Returns
        -------
        fitted estimator

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing, damaged, newer than this infimix, or of another estimator.
        """
        folder = Path(folder)
        config = load_config(folder)
        if config["estimator"] != cls.__name__:
            raise ValueError(
                f"'{folder}' holds a {config['estimator']}, not a {cls.__name__}; "
                f"load it with {config['estimator']}.load or infimix.load."
            )
        tensors, fitted = load_weights(folder), config["fitted"]
        params = {k: tuple(v) if isinstance(v, list) else v for k, v in config["params"].items()}
        try:
            estimator = cls(**params)
            estimator.n_features_in_ = fitted["n_features_in"]
            if fitted["feature_names_in"] is not None:
                estimator.feature_names_in_ = np.array(fitted["feature_names_in"], dtype=object)
            estimator.n_iter_ = fitted["n_iter"]
            estimator.lower_bound_ = fitted["lower_bound"]
            estimator.kind_sentence_ = fitted["kind_sentence"]
            estimator.labels_ = tensors.pop("labels").numpy()
            estimator.history_ = load_history(folder)
            estimator._restore(tensors, fitted)
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(
                f"'{folder / 'config.json'}' and weights.safetensors beside it are not of one "
                f"model ({error}): save the model again."
            ) from error
        return estimator

    def _check(self, X: Any, *, reset: bool) -> Any:
        """Rows as a finite matrix, dense or CSR counts; memory maps stay what they are."""
        _check_columns(X)
        X = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=DTYPES,
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
        )
        if sparse.issparse(X):
            X = sparse.csr_array(X)
        names = getattr(self, "feature_names_in_", None)
        check_finite(X, None if names is None else list(names))
        if sparse.issparse(X):
            _check_counts(X.data)
        return X

    def _summarise(self, X: Any, stacklevel: int = 3) -> ColumnSummary:
        """Summary of the columns; where the data say little they are fitted, with a warning."""
        summary = summarise_columns(X)
        if (summary.minimum == summary.maximum).all():
            warnings.warn(
                f"All {summary.n_rows} rows of X are equal, so there is one cluster and nothing to "
                "learn; look whether the right columns were read.",
                stacklevel=stacklevel,
            )
        far = _far_out(X, summary)
        if far is not None:
            row, column = far
            warnings.warn(
                f"Row {row} of X is so far out in column {column}, at {X[row, column]:g}, that all "
                "others are one point there and what parts them in this column is lost; remove the "
                "row or mend the value.",
                stacklevel=stacklevel,
            )
        return summary

    def _seed(self) -> int:
        """Draw the seed of everything random in this fit."""
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _n_start(self, n_rows: int) -> int:
        """Components that the fit begins with, checked against the number of rows."""
        if self.max_components == "auto":
            return min(AUTO_COMPONENTS, n_rows)
        if self.max_components > n_rows:
            raise ValueError(
                f"max_components={self.max_components} must be at most the number of rows, and X "
                f"has n_samples={n_rows}; lower it, or leave it at 'auto'."
            )
        return int(self.max_components)

    def _check_component(self, n_samples: int, component: int | None) -> None:
        """Refuse what cannot be sampled."""
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1; got {n_samples}.")
        if component is not None and not 0 <= component < self.n_components_:
            raise ValueError(
                f"component must lie in 0..{self.n_components_ - 1}, the components of this fit; "
                f"got {component}."
            )

    def __sklearn_is_fitted__(self) -> bool:
        """Whether a fit has come to its end."""
        return hasattr(self, "weights_")


AUTO_COMPONENTS = 30
FAR_OUT = 1e-4  # share of a column's variance that is left without the row


def _far_out(X: Any, summary: ColumnSummary) -> tuple[int, int] | None:
    """Row and column of a value beside which the rest of its column seems one point, if any.

    Variances of components are held up by a share of the column's own (`VARIANCE_FLOOR`), which
    such a value decides. Whole numbers are left out: counts may be rare, and are no less counts.
    """
    if summary.is_integer or summary.n_rows < 3:
        return None
    largest = np.maximum(summary.maximum - summary.mean, summary.mean - summary.minimum)
    with np.errstate(all="ignore"):
        left = 1 - largest**2 / ((summary.n_rows - 1) * summary.variance)
    for column in np.flatnonzero(left < FAR_OUT):
        values = np.asarray(X[:, column], dtype=np.float64)
        row = int(np.abs(values - summary.mean[column]).argmax())
        if np.ptp(np.delete(values, row)) > 0:
            return row, int(column)
    return None


def _check_columns(X: Any) -> None:
    """Refuse a data frame with a column of text, times or anything else that is no number."""
    if not hasattr(X, "iloc") or X.ndim != 2:
        return
    for i, (name, dtype) in enumerate(X.dtypes.items()):
        try:
            if dtype.kind in "mM":
                raise TypeError
            if dtype.kind not in "biufc":
                X.iloc[:, i].to_numpy().astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"Column {name!r} of X is not numeric ({dtype}): drop it, or encode it as numbers."
            ) from None


def _check_counts(values: np.ndarray) -> None:
    """Refuse sparse rows that standardising would fill up anyway."""
    is_wrong = (values < 0) | (values != np.floor(values))
    if is_wrong.any():
        raise ValueError(
            "X is sparse and sparse rows must be counts, whole numbers that are not negative; it "
            f"holds {values[is_wrong][0]:g}: pass X.toarray()."
        )


def like_input(values: Tensor, X: Any) -> np.ndarray:
    """Return NumPy values in float32 if the rows are float32, else in float64."""
    dtype = np.float32 if X.dtype == np.float32 else np.float64
    return values.detach().cpu().numpy().astype(dtype, copy=False)
