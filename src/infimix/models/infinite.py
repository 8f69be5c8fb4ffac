r"""The unified model: a variational autoencoder whose prior is a Dirichlet-process mixture.

.. math:: v_k \sim \mathrm{Beta}(1, \alpha), \; \pi = \mathrm{stick}(v), \;
          (\mu_k, \Lambda_k) \sim \text{Normal-Wishart}, \; c_n \sim \pi, \;
          z_n \sim N(\mu_{c_n}, (u_n \Lambda_{c_n})^{-1}), \; x_n \sim p_\theta(x \mid z_n)

with :math:`u_n \sim \mathrm{Gamma}(\omega/2, \omega/2)` for heavy tails and 1 without,
:math:`q(z_n) = N(m_\phi(x_n), \mathrm{diag}\,s_\phi^2(x_n))` and q(c, u), q(v), q(mu, Lambda) in
closed form. At the best q(c) the bound of all rows is

.. math:: \sum_n \{ E_q\log p_\theta(x_n \mid z_n) + H[q(z_n)] + \log\sum_k e^{\rho_{nk}} \}
          - KL(q(v)\|p) - \sum_k KL(q(\mu_k, \Lambda_k)\|p),

with :math:`\rho` as in `infimix.mixture.dp`, exact in (m, s^2): the networks climb its first sum by
gradients, the mixture all of it by its statistics.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from infimix.distributions.likelihoods import Likelihood
from infimix.errors import DivergedError
from infimix.mixture import (
    Block,
    DPMixture,
    FullCovariance,
    MixtureFit,
    MixtureState,
    Parting,
    StickBreaking,
    WeightLaw,
    coarsen,
    features_of,
    fit_mixture,
    improve,
    join_parts,
    parted,
    sample_rows,
    settle,
    without_background,
)
from infimix.models.base import ElboTerms, LatentMixtureModule, Pass
from infimix.models.closeness import Balance, closeness
from infimix.models.mixture_layer import scale_of


@final
class InfiniteMixtureModule(LatentMixtureModule):
    """Networks, likelihood and mixture of the unified model.

    Parameters
    ----------
    encoder : Module
        Maps rows (N, D) to (mean, log_var), each (N, L).
    decoder : Module
        Maps codes (..., L) to one number per feature, (..., D).
    likelihood : Likelihood
        p(x | z) for the decoder's numbers.
    n_latent : int
        L.
    law : WeightLaw
        Prior of the weights.
    n_start : int
        Components that the mixture's starts begin with.
    max_components : int or None
        Most that there may be, if there is a limit.
    n_fixed : int or None
        Components to begin with, none of which are merged, if they are not to be found.
    by_valleys : bool
        Whether components are what valleys of the density part; codes that no warm-up has drawn
        together have none, and components are merged by their evidence alone.
    heavy_tails : bool
        Whether components are Student's t, their degrees of freedom learned.
    n_restarts : int
        Starts of the mixture; the best bound goes on.
    seed : int
        Seed of these starts.
    """

    CAUTION = 2.5  # merges wait, since they cannot be undone, while the networks still move
    SWEEPS = 100  # at most, after a start or a merge
    TOLERANCE = 1e-4  # nats a row

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        *,
        n_latent: int,
        law: WeightLaw,
        n_start: int,
        max_components: int | None,
        n_fixed: int | None,
        by_valleys: bool,
        heavy_tails: bool,
        n_restarts: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.n_latent, self.n_start = n_latent, n_start
        self.max_components, self.n_fixed, self.by_valleys = max_components, n_fixed, by_valleys
        self.heavy_tails, self.n_restarts, self.seed = heavy_tails, n_restarts, seed
        self.state = MixtureState(FullCovariance(n_latent), law)

    @property
    def n_components(self) -> int:
        """Components in use; 0 until the warm-up has ended."""
        return len(self.state.sums)

    @property
    def mixture(self) -> DPMixture:
        """q(v) and q(mu, Lambda)."""
        return self.state.load()

    def draw_noise(self, n: int, generator: Generator) -> Tensor:
        """Standard normal (n, L)."""
        return torch.randn(n, self.n_latent, generator=generator, device=generator.device)

    def encode(self, x: Tensor) -> Distribution:
        """q(z | x), diagonal normal of batch shape (N,) and event shape (L,)."""
        mean, log_var = self.encoder(self.likelihood.encoder_input(x))
        return Independent(Normal(mean, scale_of(log_var), validate_args=False), 1)

    def embed(self, x: Tensor) -> Tensor:
        """Means m(x) of the codes, (N, L)."""
        return self.encode(x).mean

    def draw_code(self, x: Tensor, noise: Tensor) -> Tensor:
        """Codes z ~ q(z | x), (N, L), for noise (N, L) or (1, L)."""
        qz = self.encode(x)
        return qz.mean + qz.stddev * noise

    def decode(self, z: Tensor, x: Tensor | None = None) -> Distribution:
        """p(x | z) of batch shape (..., N) and event shape (D,)."""
        size = None if x is None else self.likelihood.size(x)
        return self.likelihood.distribution(self.decoder(z), size)

    def objective(
        self,
        x: Tensor,
        generator: Generator,
        view: Tensor | None = None,
        *,
        from_view: bool = False,
    ) -> ElboTerms:
        """Terms for rows x (N, D), decoded from codes of their views or from their own.

        Any q(z | view) gives a lower bound of log p(x). Where x is decoded from its own code, the
        term `closeness` draws that of its view near: to the code of x while there is no mixture,
        and then to the components of x.
        """
        noise = self.draw_noise(len(x), generator)
        if view is None:
            return self.elbo(x, noise)
        if from_view:
            return self._terms(x, self.encode(view), noise)
        both = self.encode(torch.cat([x, view]))
        if self.n_components > 0:
            return self._fine_tuning(x, both, noise)
        mean, near = Balance.apply(both.mean)  # type: ignore[no-untyped-call]
        qz = Independent(Normal(mean[: len(x)], both.stddev[: len(x)], validate_args=False), 1)
        return replace(self._terms(x, qz, noise), closeness=closeness(*near.tensor_split(2)))

    def _fine_tuning(self, x: Tensor, both: Distribution, noise: Tensor) -> ElboTerms:
        """Terms for rows x (N, D), and E[log p(z, c) - log q(z)], c of the rows, z of their views.

        Codes of rows and views are `both`, (2 N, L). The gradient of the last term moves z only.
        """
        mixture = self.mixture
        rho = mixture.log_joint(self._features(mixture, both))  # (2 N, K)
        of_row, of_view = rho.tensor_split(2)
        entropy, entropy_of_view = both.entropy().tensor_split(2)  # (N,) each
        together = (of_row.detach().softmax(1) * of_view).sum(1) + entropy_of_view
        z = both.mean[: len(x)] + both.stddev[: len(x)] * noise
        reconstruction = self.decode(z, x).log_prob(x)  # (N,)
        kl = self._share_of_kl(mixture, entropy)
        return ElboTerms(reconstruction, entropy, of_row.logsumexp(1), kl, closeness=together)

    def elbo(self, x: Tensor, noise: Tensor) -> ElboTerms:
        """Named terms for rows x (N, D) and noise (..., N, L) or (1, L)."""
        return self._terms(x, self.encode(x), noise)

    def _terms(self, x: Tensor, qz: Distribution, noise: Tensor) -> ElboTerms:
        """Named terms for rows x (N, D), whose codes are from q(z)."""
        z = qz.mean + qz.stddev * noise  # (N, L)
        reconstruction = self.decode(z, x).log_prob(x)  # (N,)
        entropy = qz.entropy()  # (N,)
        if self.n_components == 0:  # warm-up: there is no prior yet
            none = torch.zeros_like(entropy)
            return ElboTerms(reconstruction, entropy, none, none)
        mixture = self.mixture
        features = self._features(mixture, qz)  # (N, P)
        explained = mixture.explain(features)
        with torch.no_grad():
            statistics = mixture.gather(features, explained)
        kl = self._share_of_kl(mixture, entropy)
        return ElboTerms(reconstruction, entropy, explained.log_norm, kl, None, statistics)

    @staticmethod
    def _features(mixture: DPMixture, qz: Distribution) -> Tensor:
        """E[t(z)] under q(z), (N, P), exact enough for components far from 0 for their width."""
        return features_of(mixture, Block(qz.mean, qz.variance))

    @staticmethod
    def _share_of_kl(mixture: DPMixture, like: Tensor) -> Tensor:
        """What each row pays of the KL of v, mu and Lambda, (N,)."""
        with torch.no_grad():
            return (mixture.kl / mixture.counts.sum()).to(like).expand_as(like)

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        """Log p(x, z) - log q(z | x), (S, N) for noise (S, N, L)."""
        qz, mixture = self.encode(x), self.mixture
        z = qz.mean + qz.stddev * noise  # (S, N, L)
        features = mixture.family.features(z.flatten(0, 1))  # (S N, P)
        log_pz = mixture.log_joint(features).logsumexp(1).reshape(z.shape[:2])
        log_pz = log_pz - (mixture.kl / mixture.counts.sum()).to(z)
        return self.decode(z, x).log_prob(x) + log_pz - qz.log_prob(z)

    def responsibilities(self, x: Tensor) -> Tensor:
        """q(c | x), (N, K): exact for the normal q(z | x), no sample is drawn."""
        qz = self.encode(x)
        features = self.state.family.features(qz.mean.double(), qz.variance.double())
        return self.mixture.log_joint(features).softmax(1)

    def sample(
        self, n: int, generator: Generator, component: int | Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rows (n, D) and components (n,): c from the weights, z from its component, then x.

        A component is given for all rows, or for each: (n,).
        """
        mixture = self.mixture
        if component is None:
            c = torch.multinomial(mixture.weights(), n, replacement=True, generator=generator)
        else:
            c = torch.as_tensor(component, device=mixture.sums.device).expand(n)
        z = mixture.sample(c, generator).float()
        return self.likelihood.sample(self.decoder(z), None, generator), c

    def after_step(self, terms: ElboTerms) -> None:
        """Move the statistics: a batch of B rows replaces the share B / N of them."""
        if terms.statistics is None:
            return
        mixture = self.mixture
        n_rows = mixture.counts.sum()
        kept = (1 - terms.statistics.sums[:, 0].sum() / n_rows).clamp_min(0)  # not -1e-7
        self.state.store(mixture.with_statistics(kept * mixture.sums + terms.statistics.sums))

    @torch.no_grad()
    def start_epoch(self, rows: Pass) -> None:
        """Start the mixture, or let it settle and merge, on fresh encodings of all rows."""
        codes = rows.map(self._moments)  # (N, 2, L)
        if not bool(torch.isfinite(codes).all()):
            raise DivergedError(
                "The codes q(z | x) stopped being finite, so no mixture can be fitted to them: "
                "lower learning_rate, or look for extreme values in X."
            )
        blocks = [Block(part[:, 0], part[:, 1]) for part in torch.split(codes, 4096)]
        caution = self.CAUTION if self.training else 1.0
        if self.n_components == 0:
            fit = self._start(blocks, rows.n_rows)
        else:
            fit = MixtureFit(self.mixture, self.state.reference, -torch.inf)
        plan: dict[str, Any] = {"max_sweeps": self.SWEEPS, "tol": self.TOLERANCE}
        if self.n_fixed is None:
            settle(fit, blocks, caution=caution, parting=self._parting(blocks, rows.n_rows), **plan)
        else:
            fit.mixture = coarsen(fit.mixture, caution)
            improve(fit, blocks, **plan)
        if self.by_valleys and self.n_fixed is None:
            clusters = without_background(fit.mixture)
            if clusters.n_components < fit.mixture.n_components:
                fit.mixture = clusters
                improve(fit, blocks, **plan)
        fit.mixture = fit.mixture.sort()
        # What is trained no more answers to all rows; what moves on does so at what they are worth.
        zeta = fit.mixture.zeta if self.training else 1.0
        self.state.store(replace(fit.mixture, zeta=zeta), fit.reference)

    def _parting(self, blocks: list[Block], n_rows: int) -> Parting | None:
        """What keeps components apart between which the codes thin out."""
        if not self.by_valleys:
            return None
        return lambda mixture: parted(mixture, sample_rows(blocks, n_rows, self.seed))

    def _start(self, blocks: list[Block], n_rows: int) -> MixtureFit:
        """Find clusters among codes, and make each one component."""
        # Where no valleys join them again, splits would leave splinters.
        most = (self.max_components or n_rows) if self.by_valleys else None
        fit = fit_mixture(
            self.state.family,
            blocks,
            n_rows,
            n_components=self.n_start,
            max_components=most,
            law=StickBreaking(float(self.state.alpha)),  # of parts there may be any number
            n_restarts=self.n_restarts,
            max_sweeps=self.SWEEPS,
            tol=self.TOLERANCE,
            seed=self.seed,
            heavy_tails=self.heavy_tails,
            caution=1.0 if self.by_valleys else self.CAUTION,
        )
        if self.by_valleys or self.n_fixed is not None:
            join_parts(fit, sample_rows(blocks, n_rows, self.seed), self.n_fixed, self.seed)
        fit.mixture = replace(fit.mixture, law=self.state.law)
        return fit

    def _moments(self, x: Tensor) -> Tensor:
        """Mean and variance of q(z | x), (N, 2, L)."""
        qz = self.encode(x)
        return torch.stack([qz.mean, qz.variance], 1)
