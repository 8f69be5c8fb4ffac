"""Error of nearest neighbours on the latent space: how far codes of one class lie together.

Neighbours are searched among the latent codes of rows that were trained on, for codes of rows that
were not. The classifier is scikit-learn's; labels are read here and nowhere in the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.neighbors import KNeighborsClassifier

N_NEIGHBORS = (3, 5, 10)


@dataclass(frozen=True)
class NeighbourErrors:
    """Test rows whose class their neighbours vote against, in percent; smaller is better.

    Attributes
    ----------
    means : dict of int to float
        Error for each number of neighbours k, on what ``transform`` gives: means of q(z | x).
    samples : dict of int to float, or None
        The same on one draw from q(z | x) for each train and test row. Latent dimensions that the
        model does not use are noise there. None for an estimator that has no latent codes.
    n_train, n_test : int
        Rows on either side.
    """

    means: dict[int, float]
    samples: dict[int, float] | None
    n_train: int
    n_test: int

    def as_dict(self) -> dict[str, Any]:
        """Return the errors by name, ready for JSON."""
        values = asdict(self)
        for name in ("means", "samples"):
            if values[name] is not None:
                values[name] = {str(k): error for k, error in values[name].items()}
        return values


def neighbour_errors(
    estimator: Any,
    X_train: Any,
    y_train: ArrayLike,
    X_test: Any,
    y_test: ArrayLike,
    *,
    n_neighbors: Sequence[int] = N_NEIGHBORS,
    random_state: int = 0,
) -> NeighbourErrors:
    """Classify test rows by their nearest train rows in the latent space.

    Parameters
    ----------
    estimator : fitted estimator
    X_train : array-like or CSR matrix of shape (N, D)
        Rows of the fit.
    y_train : array-like of shape (N,)
        Their classes.
    X_test : array-like or CSR matrix of shape (M, D)
        Rows that the fit has not seen.
    y_test : array-like of shape (M,)
        Their classes, by the same names.
    n_neighbors : sequence of int, default=(3, 5, 10)
        k, at most N.
    random_state : int, default=0
        Of the draws from q(z | x).

    Returns
    -------
    NeighbourErrors

    Raises
    ------
    ValueError
        If rows and classes differ in number, or there are fewer train rows than neighbours.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from infimix.estimators import DPGaussianMixture
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DPGaussianMixture(random_state=0).fit(X[::2])
    >>> errors = neighbour_errors(model, X[::2], y[::2], X[1::2], y[1::2])
    >>> errors.means[5] < 10
    True
    """
    y_train, y_test = _checked("train", X_train, y_train), _checked("test", X_test, y_test)
    if max(n_neighbors) > len(y_train):
        raise ValueError(
            f"{max(n_neighbors)} neighbours need as many train rows and there are {len(y_train)}; "
            "pass more rows or lower n_neighbors."
        )

    def errors(z_train: NDArray, z_test: NDArray) -> dict[int, float]:
        classifier = KNeighborsClassifier().fit(z_train, y_train)
        return {
            k: 100 * (1 - float(classifier.set_params(n_neighbors=k).score(z_test, y_test)))
            for k in n_neighbors
        }

    samples = None
    if hasattr(estimator, "sample_latent"):
        draws = np.random.RandomState(random_state)  # train and test rows have noise of their own
        samples = errors(*(estimator.sample_latent(X, draws) for X in (X_train, X_test)))
    return NeighbourErrors(
        means=errors(estimator.transform(X_train), estimator.transform(X_test)),
        samples=samples,
        n_train=len(y_train),
        n_test=len(y_test),
    )


def _checked(which: str, X: Any, y: ArrayLike) -> NDArray:
    """Classes as an array (N,), one for each row of X."""
    y = np.asarray(y)
    if y.shape != (X.shape[0],) or y.size == 0:
        raise ValueError(
            f"There must be one class for each {which} row, but X_{which} has {X.shape[0]} rows "
            f"and y_{which} the shape {y.shape}; pass rows and classes that belong together."
        )
    return y
