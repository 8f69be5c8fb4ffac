"""What a trained module answers: numpy in, numpy out."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from infimix.data import Kind
from infimix.estimators.base import MixtureEstimator, like_input
from infimix.estimators.build import check_alike, device_for
from infimix.models import LatentMixtureModule, Pass
from infimix.training import CODE_ROWS, Rows, rows_on

SCORE_DRAWS = 8  # of the noise, for each row


class ModuleAnswers(MixtureEstimator):
    """Clusters, codes, bounds and samples from `module_`, for rows in the units of the data."""

    n_latent: Any
    device: str
    random_state: Any
    kind_: str
    likelihood_: str
    module_: LatentMixtureModule
    _offset: Any
    _scale: Any

    @torch.no_grad()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Responsibilities q(c | x).

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N, K)
            Rows sum to 1; no noise is involved.
        """
        return self._map(X, self._responsibilities)

    @torch.no_grad()
    def transform(self, X: Any) -> np.ndarray:
        """Latent means, the embedding.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N, L)
        """
        return self._map(X, lambda module, x: module.embed(x))

    @torch.no_grad()
    def sample_latent(self, X: Any, random_state: Any = None) -> np.ndarray:
        """Draw one latent code for each row, z ~ q(z | x); `transform` is its mean.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)
        random_state : int, RandomState or None, default=None
            The same integer gives the same codes; None takes that of the estimator.

        Returns
        -------
        ndarray of shape (N, L)
            Where q(z | x) is a mixture, draws from its component of the largest weight; where there
            are several stochastic layers, codes of the first.
        """
        generator = self._generator(self.random_state if random_state is None else random_state)

        def draw(module: Any, x: Tensor) -> Tensor:
            parts = [
                module.draw_code(part, module.draw_noise(len(part), generator).to(part))
                for part in x.split(CODE_ROWS)
            ]
            return torch.cat(parts)

        return self._map(X, draw)

    @torch.no_grad()
    def inverse_transform(self, Z: Any) -> np.ndarray:
        """Mean of p(x | z), in the units of the data.

        Parameters
        ----------
        Z : array-like of shape (N, L)
            Latent codes, as `transform` gives them.

        Returns
        -------
        ndarray of shape (N, D)
            Counts are those of a row of typical size.
        """
        module = self._module()
        Z = np.asarray(Z)
        n_latent = self._n_features_out
        if Z.ndim != 2 or Z.shape[1] != n_latent:
            raise ValueError(
                f"Z must have shape (n_rows, {n_latent}), one latent code a row as transform "
                f"gives them; got shape {Z.shape}."
            )
        z = torch.tensor(Z, dtype=torch.float32, device=device_for(self.device))
        mean = torch.cat([module.likelihood.mean(module.decoder(part)) for part in z.split(4096)])
        X = mean.double().cpu().numpy() * self._scale + self._offset
        return like_input(torch.from_numpy(X), Z)

    @torch.no_grad()
    def score_samples(self, X: Any) -> np.ndarray:
        """Evidence lower bound of each row.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (N, D)

        Returns
        -------
        ndarray of shape (N,)
            Nats, for the data as they came; larger is better. The mean over eight draws of the
            latent noise, which follow from the values of the row: the same row has the same score
            in any company, and errors of different rows cancel in a mean.
        """

        def bound(module: Any, x: Tensor) -> Tensor:
            parts = [
                module.elbo(part, own_noise(module, part)).total  # (S, b)
                for part in x.split(CODE_ROWS)
            ]
            return torch.cat(parts, 1).mean(0)

        return self._map(X, bound) - self.log_jacobian_

    @torch.no_grad()
    def sample(
        self, n_samples: int = 1, component: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw new rows: a component, a code of it, a row for the code.

        Parameters
        ----------
        n_samples : int, default=1
        component : int, optional
            Draw from this component only.

        Returns
        -------
        X : ndarray of shape (n_samples, D)
            In the units of the data.
        component : ndarray of shape (n_samples,)
        """
        module = self._module()
        self._check_component(n_samples, component)
        x, c = self._draw(module, n_samples, self._generator(self.random_state), component)
        return x.double().cpu().numpy() * self._scale + self._offset, c.cpu().numpy()

    def _responsibilities(self, module: Any, x: Tensor) -> Tensor:
        """q(c | x) of the estimator's components, (B, K)."""
        return module.responsibilities(x)

    def _draw(
        self, module: Any, n_samples: int, generator: torch.Generator, component: int | None
    ) -> tuple[Tensor, Tensor]:
        """New rows as the module gives them, and their components."""
        return module.sample(n_samples, generator, component)

    @property
    def _n_features_out(self) -> int:
        return int(self.n_latent)

    def model_rows(self, X: Any) -> Rows:
        """Rows of X (N, D), checked, as `module_` takes them: scaled, float32, on its device."""
        check_is_fitted(self)
        return self._rows(self._check_alike(X))

    @property
    def log_jacobian_(self) -> float:
        """Log of the volume of a unit of scaled data in nats; only densities have one.

        What `module_` says of `model_rows` is higher by this than what holds for X.
        """
        is_density = self.likelihood_ in ("normal", "continuous_bernoulli")
        return float(np.log(self._scale).sum()) if is_density else 0.0

    def _module(self) -> Any:
        check_is_fitted(self)
        return self.module_

    def _generator(self, random_state: Any) -> torch.Generator:
        """Generator on the device of the module."""
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        return torch.Generator(device_for(self.device)).manual_seed(seed)

    def _rows(self, X: Any) -> Rows:
        return rows_on(X, self._offset, self._scale, device_for(self.device))

    def _check_alike(self, X: Any) -> Any:
        """Rows as `_check` gives them, of the kind and on the scale of those of the fit."""
        X = self._check(X, reset=False)
        check_alike(X, Kind(self.kind_, self._offset, self._scale, self.kind_sentence_))
        return X

    def _map(self, X: Any, function: Any) -> np.ndarray:
        """Apply a function of the module and blocks (B, D) to all rows, in the precision of X."""
        module = self._module()
        X = self._check_alike(X)
        dtype = torch.float64 if X.dtype == np.float64 else torch.float32
        module = module if dtype == torch.float32 else copy.deepcopy(module).double()
        rows = Pass(X.shape[0], self._rows(X).blocks)
        return like_input(rows.map(lambda x: function(module, x.to(dtype))).cpu(), X)


def own_noise(module: LatentMixtureModule, x: Tensor) -> Tensor:
    """Noise (S, B, F) for rows x (B, D), drawn from a seed that is a hash of the row's bits.

    The hash is sum_d a_d b_d of the words b and random odd a, its upper half: multiply-shift.
    """
    # Adding zero makes one of the two zeros.
    words = (x.float() + 0.0).view(torch.int32).long().cpu()  # (B, D)
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (x.shape[1],), generator=generator) * 2 + 1
    noise = []
    for seed in ((words * factors).sum(1) >> 32).tolist():
        noise.append(module.draw_noise(SCORE_DRAWS, generator.manual_seed(seed)))
    return torch.stack(noise, 1).to(x)
