r"""Likelihoods :math:`p(x \mid z)`: what the decoder's numbers mean for one kind of data.

Every likelihood reads one unbounded number per feature from the decoder; scales belong to the
features and are learned. Features are independent given z.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Binomial, Distribution, Independent, Normal, constraints

from infimix.distributions.continuous_bernoulli import StableContinuousBernoulli
from infimix.distributions.negative_binomial import FeatureNegativeBinomial

# Adam moves a parameter by about its learning rate a step, whatever its gradient. Logarithms of
# scales are stored divided by this, so that they arrive within hundreds of steps, not thousands.
LOG_SCALE_GAIN = 10.0


class Likelihood(nn.Module, ABC):
    """Conditional density of a row given the decoder's output.

    Parameters
    ----------
    n_features : int
        D, length of a row.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features

    @abstractmethod
    def distribution(self, output: Tensor, size: Tensor | None = None) -> Distribution:
        """Density p(x | z) of batch shape (...) and event shape (D,), in nats.

        Parameters
        ----------
        output : Tensor of shape (..., D)
            Output of the decoder.
        size : Tensor of shape (..., 1) or None
            Size factor of each row, see `size`. Ignored where the likelihood has none.

        Returns
        -------
        Distribution
            Its arguments are not validated, so that training pays no check: the kind of data is
            checked once, before.
        """

    @abstractmethod
    def mean(self, output: Tensor, size: Tensor | None = None) -> Tensor:
        """Mean E[x | z] of shape (..., D), arguments as in `distribution`."""

    @abstractmethod
    def sample(self, output: Tensor, size: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw one x of shape (..., D) from p(x | z); all randomness is the generator's."""

    def encoder_input(self, x: Tensor) -> Tensor:
        """Rows (N, D) in the form that is good for an encoder, (N, D)."""
        return x

    def size(self, x: Tensor) -> Tensor | None:
        """Size factor of each row, (N, 1), or None where the likelihood has none."""
        return None


@final
class BernoulliLikelihood(Likelihood):
    """Binary features; the output is the log-odds of a one."""

    def distribution(self, output: Tensor, size: Tensor | None = None) -> Distribution:
        """Return the Bernoulli of each feature."""
        return _independent(Bernoulli(logits=output, validate_args=False))

    def mean(self, output: Tensor, size: Tensor | None = None) -> Tensor:
        """Probability of a one, (..., D)."""
        return output.sigmoid()

    def sample(self, output: Tensor, size: Tensor | None, generator: torch.Generator) -> Tensor:
        """Zeros and ones, (..., D)."""
        return torch.bernoulli(output.sigmoid(), generator=generator)


@final
class ExpectedBernoulliLikelihood(Likelihood):
    r"""Features in [0, 1] read as probabilities of binary ones; the output is the log-odds.

    :math:`E_{b \sim \mathrm{Bernoulli}(x)}[\log p(b \mid z)]`, the cross-entropy of x and the mean.

    Notes
    -----
    This is the log-likelihood of random binarisations b of x, averaged over them, and not a
    density of x: compare it with that of binary data only. `ContinuousBernoulliLikelihood` is the
    density.
    """

    def distribution(self, output: Tensor, size: Tensor | None = None) -> Distribution:
        """Return the Bernoulli of each feature's binarisation."""
        return _independent(Bernoulli(logits=output, validate_args=False))

    def mean(self, output: Tensor, size: Tensor | None = None) -> Tensor:
        """Probability of a one, (..., D)."""
        return output.sigmoid()

    def sample(self, output: Tensor, size: Tensor | None, generator: torch.Generator) -> Tensor:
        """Probabilities in [0, 1], as the data are, (..., D); nothing random is left in them."""
        return output.sigmoid()


@final
class BinomialLikelihood(Likelihood):
    r"""Levels 0..m of a bounded scale, given as x = level / m; the output is the log-odds.

    A level is the number of successes in m trials, as a grey level of a coarse image is the number
    of dark points in its square.
    """

    n_trials: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self.register_buffer("n_trials", torch.tensor(1.0))

    def set_n_trials(self, n_trials: float) -> None:
        """Set m, the highest level."""
        self.n_trials.fill_(n_trials)

    def distribution(self, output: Tensor, size: Tensor | None = None) -> Distribution:
        """Return the distribution of x = level / m of each feature."""
        return _independent(ScaledBinomial(self.n_trials, logits=output, validate_args=False))

    def mean(self, output: Tensor, size: Tensor | None = None) -> Tensor:
        """Probability of a success, (..., D)."""
        return output.sigmoid()

    def sample(self, output: Tensor, size: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draw levels, divided by m, (..., D)."""
        n_trials = self.n_trials.expand_as(output).contiguous()
        return torch.binomial(n_trials, output.sigmoid(), generator=generator) / self.n_trials


@final
class Shares(constraints.Constraint):
    """Shares of n successes: 0, 1 / n, ..., 1, as far as float32 tells them."""

    is_discrete = True

    def __init__(self, n_trials: Tensor) -> None:
        self.n_trials = n_trials
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Whether each value (...) is one."""
        number = value * self.n_trials
        is_whole = (number - number.round()).abs() < 1e-3
        return is_whole & (number >= 0) & (number <= self.n_trials)


@final
class ScaledBinomial(Binomial):
    """Binomial law of the share of successes in place of their number."""

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Shares:
        """Shares of the number of trials."""
        return Shares(self.total_count)

    @property
    def mean(self) -> Tensor:
        """Expected share, (...)."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """Variance of the share, (...)."""
        return self.probs * (1 - self.probs) / self.total_count

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of the share `value` (...), in nats."""
        log_prob: Tensor = super().log_prob(value * self.total_count)  # type: ignore[no-untyped-call]
        return log_prob


@final
class ContinuousBernoulliLikelihood(Likelihood):
    r"""Features in [0, 1]; the logit is :math:`B \tanh(\text{output} / B)` with B = 30.

    Notes
    -----
    A feature that is always 0 has the density :math:`|\ell|` there and would drive its logit to
    minus infinity. The bound ends that at log 30 = 3.4 nats a feature and a mean of 1/30, and one
    wrong feature of a new row costs at most 30 nats. Larger bounds raise the density only by
    reading ever more into exact zeros, which recorded data have by rounding: on 8000 MNIST rows
    30 gave the best reconstructions of new rows out of 8, 16, 30, 100 and 300. The bound is soft so
    that a feature beyond it keeps a gradient.
    """

    LOGIT_BOUND = 30.0

    def distribution(self, output: Tensor, size: Tensor | None = None) -> Distribution:
        """Return the continuous Bernoulli of each feature."""
        return _independent(self._base(output))

    def mean(self, output: Tensor, size: Tensor | None = None) -> Tensor:
        """Mean of the density, not the sigmoid of the logit; (..., D)."""
        return self._base(output).mean

    def sample(self, output: Tensor, size: Tensor | None, generator: torch.Generator) -> Tensor:
        """Draws by the inverse distribution function of a uniform, (..., D)."""
        uniform = torch.rand(
            output.shape, generator=generator, dtype=output.dtype, device=output.device
        )
        return self._base(output).icdf(uniform)

    def _base(self, output: Tensor) -> StableContinuousBernoulli:
        """Density of each feature; the hyperbolic tangent by the cheaper logistic function."""
        bound = self.LOGIT_BOUND
        logits = 2 * bound * torch.sigmoid(output * (2 / bound)) - bound
        return StableContinuousBernoulli(logits=logits, validate_args=False)


@final
class NormalLikelihood(Likelihood):
    """Real features, standardised; the output is the mean, the scale is learned per feature.

    Notes
    -----
    Of a feature with variance one at least 0.001 counts as noise (scale 0.032). Without that floor
    a constant or perfectly reconstructed column has an unbounded density; with it such a column
    is worth at most 2.5 nats, and 99.9 % explained is as good as explained.
    """

    VAR_FLOOR = 1e-3

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self.log_var_over_gain = nn.Parameter(torch.zeros(n_features))

    @property
    def scale(self) -> Tensor:
        """Standard deviation of the noise of each feature, (D,)."""
        return (self.VAR_FLOOR + (LOG_SCALE_GAIN * self.log_var_over_gain).exp()).sqrt()

    def distribution(self, output: Tensor, size: Tensor | None = None) -> Distribution:
        """Return the normal of each feature."""
        return _independent(Normal(output, self.scale, validate_args=False))

    def mean(self, output: Tensor, size: Tensor | None = None) -> Tensor:
        """Return the output itself, (..., D)."""
        return output

    def sample(self, output: Tensor, size: Tensor | None, generator: torch.Generator) -> Tensor:
        """Mean plus noise, (..., D)."""
        return torch.normal(output, self.scale.expand_as(output), generator=generator)


@final
class NegativeBinomialLikelihood(Likelihood):
    r"""Counts with mean :math:`\mu = \text{size} \cdot \mathrm{softmax}(\text{output})`.

    The variance is :math:`\mu + \mu^2 / r`, the inverse dispersion r of each feature is learned
    within [0.001, 1000]. The size of a row is its sum. A row of zeros counts as having size 1, so
    that it is finite, costs at most one nat, and weighs next to nothing.

    Notes
    -----
    Worst error of the log-probability in float32, from log-gamma functions of large numbers: 0.001
    nats a feature for counts up to 1000, 0.15 for a count of 1e5.
    """

    LOG_DISPERSION_BOUND = math.log(1e3)

    typical_size: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self.log_r_over_gain = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("typical_size", torch.tensor(1e4))

    def set_typical_size(self, typical_size: float) -> None:
        """Set the size that encoder inputs are scaled to and samples without a size are given."""
        self.typical_size.fill_(typical_size)

    @property
    def inverse_dispersion(self) -> Tensor:
        """Inverse dispersion r of each feature, (D,)."""
        bound = self.LOG_DISPERSION_BOUND
        scaled = LOG_SCALE_GAIN * self.log_r_over_gain
        return (bound * torch.tanh(scaled / bound)).exp()

    def encoder_input(self, x: Tensor) -> Tensor:
        """Return log(1 + x scaled to the typical size), (N, D)."""
        return torch.log1p(x * (self.typical_size / self.size(x)))

    def size(self, x: Tensor) -> Tensor:
        """Sum of each row, at least 1; (N, 1)."""
        return x.sum(-1, keepdim=True).clamp(min=1)

    def distribution(self, output: Tensor, size: Tensor | None = None) -> Distribution:
        """Negative binomial of each feature; without a size, of a row of the typical size."""
        r = self.inverse_dispersion
        logits = output.log_softmax(-1) + self._or_typical(size).log() - r.log()
        return _independent(FeatureNegativeBinomial(r, logits=logits, validate_args=False))

    def mean(self, output: Tensor, size: Tensor | None = None) -> Tensor:
        """Size times share, (..., D)."""
        return self._or_typical(size) * output.softmax(-1)

    def sample(self, output: Tensor, size: Tensor | None, generator: torch.Generator) -> Tensor:
        """Poisson counts of gamma rates, (..., D)."""
        mean = self.mean(output, size)
        r = self.inverse_dispersion.expand_as(mean)
        return torch.poisson(
            torch._standard_gamma(r, generator=generator) * mean / r, generator=generator
        )

    def _or_typical(self, size: Tensor | None) -> Tensor:
        return self.typical_size if size is None else size


LIKELIHOODS: Mapping[str, type[Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "expected_bernoulli": ExpectedBernoulliLikelihood,
    "binomial": BinomialLikelihood,
    "continuous_bernoulli": ContinuousBernoulliLikelihood,
    "normal": NormalLikelihood,
    "negative_binomial": NegativeBinomialLikelihood,
}

LIKELIHOOD_OF_KIND: Mapping[str, str] = {
    "binary": "bernoulli",
    "unit": "expected_bernoulli",
    "levels": "binomial",
    "real": "normal",
    "counts": "negative_binomial",
}


def _independent(base: Distribution) -> Distribution:
    """Make the features the event: batch (..., D) becomes batch (...), event (D,)."""
    return Independent(base, 1, validate_args=False)
