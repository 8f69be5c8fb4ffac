r"""Stochastic layers: what a chain of latent variables is made of.

A layer holds one factor :math:`q(h \mid \text{below})` of the posterior and one factor
:math:`p(h \mid \text{above})` of the prior. It answers a code with several draws that count
differently, one for each component, say; chains follow all of them. So codes come as
(..., P, n_below), P paths so far, and leave as (..., P, M, n_latent).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Generator, Tensor, nn
from torch.nn.functional import hardshrink

NEGLIGIBLE = 1e-18  # with a square, in the optimiser, that is no denormal number


class Draw(NamedTuple):
    """M draws of a layer's variable h for each of P paths."""

    code: Tensor  # (..., P, M, L), what the layers above and the decoder read
    point: Tensor  # (..., P, M, n), what densities are taken at
    log_share: Tensor  # (..., P, M), how much each counts; sums to 1 over M
    log_pi: Tensor | None = None  # (..., P, K), weights that were drawn, where a term needs them
    normals: Any = None  # parameters of what each was drawn from, where a term needs them


class StochasticLayer(nn.Module, ABC):
    """q(h | below) and p(h | above). Every subclass is final."""

    n_latent: int  # L, length of a code
    n_components: int  # K

    @property
    @abstractmethod
    def n_draws(self) -> int:
        """M, draws for each path; fewer in training if the layer was told so."""

    @property
    @abstractmethod
    def n_noise(self) -> int:
        """Standard normal numbers that the draws of one path take."""

    @abstractmethod
    def posterior(self, below: Tensor) -> Any:
        """Parameters of q(h | below) for codes or rows (..., P, n_below)."""

    @abstractmethod
    def draw(self, q: Any, noise: Tensor) -> Draw:
        """Reparameterised draws from standard normal noise (S, ..., P, n_noise)."""

    @abstractmethod
    def entropy(self, q: Any, draw: Draw) -> Tensor:
        """H[q(h | below)] or a lower bound of it, (..., P) nats."""

    @abstractmethod
    def kl_weights(self, q: Any) -> Tensor:
        """KL of the weights of components, (..., P) nats; 0 where there are none."""

    @abstractmethod
    def log_q(self, q: Any, draw: Draw) -> Tensor:
        """Log-density of each draw under q(h | below), (..., P, M) nats, weights summed out."""

    @abstractmethod
    def log_prior(self, point: Tensor, above: Tensor | None) -> Tensor:
        """Log p(h | above) for points (..., P, n) and codes above (..., P, n_above), (..., P)."""

    @abstractmethod
    def elbo_log_prior(self, q: Any, draw: Draw) -> Tensor:
        """Prior's term of the ELBO beside `entropy` where nothing is above, (..., P, M) nats.

        An expectation under the factor that a draw came from, wherever that is known; else the
        density at the draw.
        """

    @abstractmethod
    def mean(self, q: Any) -> Tensor:
        """Mean of the code under q, (..., P, L)."""

    @abstractmethod
    def weights(self, q: Any) -> Tensor:
        """Expected weights of the components under q, (..., P, K)."""

    @abstractmethod
    def sample_prior(
        self, above: Tensor | None, n: int, generator: Generator, component: int | None
    ) -> tuple[Tensor, Tensor]:
        """Codes (n, L) from p(h | above) and their components (n,)."""

    def start_epoch(self, codes: Callable[[], Tensor], labels: Callable[[], Tensor]) -> None:
        """Precede an epoch, and follow the last. Nothing by default.

        Called, the two give the mean codes (N, L) and the weights of components (N, K) of all rows.
        """


def mean_of_draws(log_share: Tensor, values: Tensor) -> Tensor:
    """Sum over draws of share times value, (..., N, P, M) -> (..., N, P), N rows.

    Shares sum to 1, or have expectation 1 where components were drawn. So their gradient may be
    taken of differences from the mean: where all components count that changes nothing, where they
    were drawn it takes most of its variance away. A single draw has the mean of the other rows.
    """
    share = log_share.exp()
    mean = (share * values).sum(-1)
    others = mean
    if log_share.shape[-1] == 1:
        if not log_share.requires_grad:
            return mean
        others = (mean.sum(-2, keepdim=True) - mean) / max(1, mean.shape[-2] - 1)
    others = others.detach()
    return (share * (values - others[..., None])).sum(-1) + others


def drop_negligible_gradient(output: Tensor) -> Tensor:
    """Output of a network, such that what is below 1e-18 of its gradient is 0.

    Draws and components that say next to nothing would send denormal numbers through the network,
    and products with these take a processor many times longer.
    """
    if output.requires_grad:
        output.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: hardshrink(gradient, NEGLIGIBLE)
        )
    return output
