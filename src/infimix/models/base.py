"""What every model offers to training and evaluation, and the named terms of its bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution

from infimix.mixture import Statistics


@dataclass(frozen=True)
class Pass:
    """Rows to go over block by block, as often as needed."""

    n_rows: int
    blocks: Callable[[], Iterator[Tensor]]  # each call begins again, x (B, D)

    def map(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Results (B, ...) of a function of each block, in one tensor (N, ...) on their device.

        Each is written to its place at once: small results kept between large activations would
        pin the heap, and memory would grow with the rows.
        """
        whole = torch.empty(0)
        first = 0
        for x in self.blocks():
            part = function(x)
            if first == 0:
                whole = part.new_empty((self.n_rows, *part.shape[1:]))
            whole[first : first + len(part)] = part
            first += len(part)
        return whole


@dataclass(frozen=True)
class ElboTerms:
    """Evidence lower bound of each row by its parts: each (N,) in nats, nothing dropped.

    ``total = reconstruction + entropy + log_prior - kl_mixture + tightening``.
    """

    reconstruction: Tensor  # E_q[log p(x | z)]
    entropy: Tensor  # H[q(z | x)]
    log_prior: Tensor  # E_q[log p(z)], components summed out
    kl_mixture: Tensor  # KL of weights, and the row's share of the KL of what all rows share
    tightening: Tensor | None = None  # what several draws together are better than one by one
    statistics: Statistics | None = None  # of these rows, for the model's `after_step`
    closeness: Tensor | None = None  # of a row and its view, climbed with the bound; no part of it

    @property
    def total(self) -> Tensor:
        """Bound of each row, (N,) nats; larger is better."""
        return self.weighted(1.0)

    def weighted(self, kl_weight: float) -> Tensor:
        """Bound with all but the reconstruction multiplied by a weight, (N,)."""
        rest = self.entropy + self.log_prior - self.kl_mixture
        rest = rest if self.tightening is None else rest + self.tightening
        return self.reconstruction + kl_weight * rest

    def mean(self, axis: int) -> ElboTerms:
        """Terms averaged over an axis of draws."""
        return ElboTerms(
            self.reconstruction.mean(axis),
            self.entropy.mean(axis),
            self.log_prior.mean(axis),
            self.kl_mixture.mean(axis),
        )

    def named(self) -> dict[str, Tensor]:
        """Parts by name, each (N,)."""
        return {name: term for name, term in vars(self).items() if isinstance(term, Tensor)}


class LatentMixtureModule(nn.Module, ABC):
    """x <- z <- c <- pi. Every subclass is final."""

    @property
    @abstractmethod
    def n_components(self) -> int:
        """Components in use; 0 before there are any."""

    @abstractmethod
    def draw_noise(self, n: int, generator: Generator) -> Tensor:
        """All that is random in `elbo` for n rows, first axis n."""

    @abstractmethod
    def embed(self, x: Tensor) -> Tensor:
        """Mean of q(z | x), (N, L), for rows x (N, D); no noise is drawn."""

    @abstractmethod
    def draw_code(self, x: Tensor, noise: Tensor) -> Tensor:
        """Draw from q(z | x), (N, L), for noise as `elbo` has it."""

    @abstractmethod
    def decode(self, z: Tensor, x: Tensor | None = None) -> Distribution:
        """p(x | z) of batch shape (..., N), event (D,) for codes z (..., N, L).

        Counts are conditioned on the size of the row `x` (N, D) where it is given.
        """

    @abstractmethod
    def elbo(self, x: Tensor, noise: Tensor) -> ElboTerms:
        """Named terms of the bound for rows x (N, D), for noise (N, F) or draws of it (S, N, F)."""

    def objective(
        self,
        x: Tensor,
        generator: Generator,
        view: Tensor | None = None,
        *,
        from_view: bool = False,
    ) -> ElboTerms:
        """Terms of what training climbs for rows x (N, D): the ELBO, or a tighter bound.

        Where rows have views (N, D), x is decoded from the code of its view, or else its own code
        is drawn close to that of the view.
        """
        assert view is None, f"{type(self).__name__} knows no views"
        return self.elbo(x, self.draw_noise(len(x), generator))

    @abstractmethod
    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """Log p(x, z) - log q(z | x), (S, N) in nats, for noise (S, N, ...).

        The log-mean-exp over S is a bound on log p(x) that tightens with S.
        """

    @abstractmethod
    def responsibilities(self, x: Tensor) -> Tensor:
        """q(c | x), (N, K), without noise; rows sum to 1."""

    @abstractmethod
    def sample(
        self, n: int, generator: Generator, component: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """New rows (n, D) and the component that each came from, (n,)."""

    def after_step(self, terms: ElboTerms) -> None:
        """Follow a gradient step; `terms` are those of its batch. Nothing by default."""

    def start_epoch(self, rows: Pass) -> None:
        """Precede an epoch that weighs the prior, and follow the last. Nothing by default."""
