"""First an embedding, then clusters in it: the two-stage models of paper 2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from infimix.estimators.base import MixtureEstimator
from infimix.estimators.deep import DeepEstimator
from infimix.estimators.dp_mixture import DPGaussianMixture
from infimix.estimators.gaussian import GaussianVAE
from infimix.estimators.plotting import ComponentPlots
from infimix.training import write_atomically

ARRAYS = ("means", "covariances", "weights")


@final
class TwoStage(ComponentPlots, MixtureEstimator):
    """Autoencoder, then a clusterer of its codes.

    What a pipeline of the two does not do: rows are sampled through the decoder from each cluster,
    and all is saved without pickle. The autoencoder does not know of the clusters; for one model of
    both take `InfiniteMixtureVAE`.

    Parameters
    ----------
    autoencoder : estimator of infimix, or a FrozenEstimator of one, optional
        Anything with `transform` and `inverse_transform`; a `GaussianVAE` with ten latent
        dimensions without. Frozen it is used as it is, so that several clusterers can share it.
    clusterer : estimator, optional
        Anything of scikit-learn or infimix that has `fit` and `predict`; `DPGaussianMixture`
        without.
    random_state : int, RandomState or None, default=None
        Given, it is that of both stages.
    verbose : int, default=0
        Of the autoencoder.

    Attributes
    ----------
    autoencoder_, clusterer_ : fitted estimators
    n_components_ : int
        Clusters that the clusterer can name; some may hold no row.
    weights_ : ndarray of shape (K,)
        Shares of the rows.
    labels_ : ndarray of shape (N,)
    means_, covariances_ : ndarrays of shape (K, L), (K, L, L)
        Of the codes of each cluster's rows; `sample` draws from these normals.
    lower_bound_ : float
        Of the autoencoder, in nats per row.
    history_, n_iter_, kind_sentence_
        Of the autoencoder.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> model = TwoStage(GaussianVAE(2, max_epochs=2), KMeans(3), random_state=0)
    >>> model.fit_predict(load_iris().data).shape
    (150,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "autoencoder": [HasMethods(["fit", "transform", "inverse_transform"]), None],
        "clusterer": [HasMethods(["fit", "predict"]), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        autoencoder: Any = None,
        clusterer: Any = None,
        *,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.autoencoder = autoencoder
        self.clusterer = clusterer
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any = None,
        X_valid: Any = None,
        tensorboard_dir: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Learn the embedding, then the clusters.

        Parameters
        ----------
        X : array-like, memory map or CSR matrix of shape (N, D)
        y : ignored
        X_valid : like X, optional
            Says when the autoencoder stops.
        tensorboard_dir : path, optional
            Of the autoencoder; see `InfiniteMixtureVAE.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X or a parameter breaks a rule of a stage; the message names it.
        """
        self._validate_params()
        self._check(X, reset=True)
        first = GaussianVAE(10) if self.autoencoder is None else self.autoencoder
        second = DPGaussianMixture() if self.clusterer is None else self.clusterer
        self.autoencoder_, self.clusterer_ = self._own(first), self._own(second)
        options = {"X_valid": X_valid, "tensorboard_dir": tensorboard_dir}
        self.autoencoder_.fit(X, y, **{k: v for k, v in options.items() if v is not None})
        z = np.asarray(self.autoencoder_.transform(X))
        self.clusterer_.fit(z)
        self.labels_ = np.asarray(self.clusterer_.predict(z)).astype(np.int64)
        self.n_components_ = self._n_names(z[:1])
        counts = np.bincount(self.labels_, minlength=self.n_components_)
        self.weights_ = counts / counts.sum()
        self.means_, self.covariances_ = _moments(z, self.labels_, self.n_components_)
        vae = self._vae
        self.history_, self.n_iter_ = vae.history_, vae.n_iter_
        self.kind_sentence_ = vae.kind_sentence_
        self.lower_bound_ = self.score(X)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Cluster of each row of X (N, D): (N,) int64."""
        z = self.transform(X)
        return np.asarray(self.clusterer_.predict(z)).astype(np.int64)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the clusterer for rows X (N, D): (N, K); 0 and 1 if it gives none."""
        z = self.transform(X)
        if hasattr(self.clusterer_, "predict_proba"):
            return np.asarray(self.clusterer_.predict_proba(z)).astype(z.dtype)
        label = np.asarray(self.clusterer_.predict(z))
        return (label[:, None] == np.arange(self.n_components_)).astype(z.dtype)

    def transform(self, X: Any) -> np.ndarray:
        """Embedding of rows X (N, D): (N, L)."""
        check_is_fitted(self)
        self._check(X, reset=False)
        return np.asarray(self.autoencoder_.transform(X))

    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Rows for codes Z (N, L): (N, D), in the units of the data."""
        check_is_fitted(self)
        return np.asarray(self.autoencoder_.inverse_transform(Z))

    def score_samples(self, X: Any) -> np.ndarray:
        """Bound of the autoencoder on the log-likelihood of each row, (N,) nats."""
        check_is_fitted(self)
        self._check(X, reset=False)
        return self._vae.score_samples(X)

    def sample(
        self, n_samples: int = 1, component: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw codes from the normals of the clusters, and decode them.

        Parameters
        ----------
        n_samples : int, default=1
        component : int, optional
            Draw from this cluster only.

        Returns
        -------
        X : ndarray of shape (n_samples, D)
            Means of p(x | z), in the units of the data.
        component : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        self._check_component(n_samples, component)
        rng = check_random_state(self.random_state)
        c = np.full(n_samples, component or 0)
        if component is None:
            c = rng.choice(self.n_components_, n_samples, p=self.weights_)
        root = np.linalg.cholesky(self.covariances_)
        noise = rng.standard_normal((n_samples, self.means_.shape[1], 1))
        return self.inverse_transform(self.means_[c] + (root[c] @ noise)[..., 0]), c

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write both stages into a folder; see `GaussianVAE.save`.

        A clusterer of scikit-learn goes into ``clusterer.skops``, which runs no code when loaded.
        """
        check_is_fitted(self)
        folder = Path(folder)
        self._vae.save(folder / "autoencoder")
        if isinstance(self.clusterer_, MixtureEstimator):
            self.clusterer_.save(folder / "clusterer")
        else:
            import skops.io  # type: ignore[import-untyped]  # a second, and few need it

            write_atomically(folder / "clusterer.skops", skops.io.dumps(self.clusterer_))
        return super().save(folder)  # last: a folder with its config.json is whole

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` has written; see `GaussianVAE.load`."""
        from infimix.estimators import load  # which knows this class too

        model, folder = super().load(folder), Path(folder)
        model.autoencoder_ = load(folder / "autoencoder")
        if (folder / "clusterer").is_dir():
            model.clusterer_ = load(folder / "clusterer")
        else:
            import skops.io

            model.clusterer_ = skops.io.load(folder / "clusterer.skops")
        model.autoencoder, model.clusterer = clone(model.autoencoder_), clone(model.clusterer_)
        return model

    def _own(self, estimator: Any) -> Any:
        """Unfitted copy with the seed of both stages, or the frozen one itself."""
        copy = clone(estimator)
        given = {"random_state": self.random_state, "verbose": self.verbose or None}
        for name, value in given.items():
            if value is not None and name in copy.get_params():
                copy.set_params(**{name: value})
        return copy

    def _n_names(self, z: np.ndarray) -> int:
        """How many clusters the clusterer can name."""
        if hasattr(self.clusterer_, "predict_proba"):
            return int(self.clusterer_.predict_proba(z).shape[1])
        return int(self.labels_.max()) + 1

    @property
    def _vae(self) -> DeepEstimator:
        """Fitted autoencoder, thawed."""
        vae: DeepEstimator = getattr(self.autoencoder_, "estimator", self.autoencoder_)
        return vae

    @property
    def _image_shape(self) -> tuple[int, ...] | None:
        return getattr(self._vae, "image_shape", None)

    @property
    def _n_features_out(self) -> int:
        return int(self.means_.shape[1])

    def _saved_params(self) -> dict[str, Any]:
        return {"random_state": self.random_state, "verbose": self.verbose}

    def _tensors(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(getattr(self, f"{name}_")) for name in ARRAYS}

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        for name in ARRAYS:
            setattr(self, f"{name}_", tensors[name].numpy())
        self.n_components_ = len(self.weights_)


def _moments(z: np.ndarray, label: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the codes (N, L) of each cluster; of all where it has no rows."""
    groups = [z[label == k] if (label == k).any() else z for k in range(n)]
    ridge = 1e-6 * z.var(0).mean() * np.eye(z.shape[1])
    means = np.stack([group.mean(0) for group in groups])
    covariances = [np.cov(g.T, ddof=0).reshape(ridge.shape) + ridge for g in groups]
    return means, np.stack(covariances)
