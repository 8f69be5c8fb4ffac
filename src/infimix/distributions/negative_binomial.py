r"""Negative binomial of many rows whose inverse dispersion belongs to the features.

With r the inverse dispersion (torch's ``total_count``) and logits :math:`\log(\mu / r)`,

.. math:: \log p(x) = \log\Gamma(x + r) - \log\Gamma(r) - \log\Gamma(x + 1)
                      + x \log\frac{\mu}{\mu + r} + r \log\frac{r}{\mu + r}.
"""

from typing import final

import torch
from torch import Tensor
from torch.distributions import Distribution, NegativeBinomial
from torch.nn.functional import logsigmoid


@final
class FeatureNegativeBinomial(NegativeBinomial):
    """Negative binomial that takes the log-gamma function of r once a feature, not once a number.

    The density is torch's, in two thirds of the time for r of shape (D,), logits of shape (N, D).

    Parameters
    ----------
    total_count : Tensor broadcastable to (...)
        Inverse dispersion r, positive: the variance is mean + mean ** 2 / r.
    logits : Tensor of shape (...)
        Log of mean / r.

    Examples
    --------
    >>> px = FeatureNegativeBinomial(torch.tensor([1.0]), torch.zeros(2, 1))
    >>> px.log_prob(torch.tensor([[0.0], [3.0]])).exp()      # r = 1 is geometric: 2 ** -(x + 1)
    tensor([[0.5000],
            [0.0625]])
    """

    def __init__(
        self, total_count: Tensor, logits: Tensor, validate_args: bool | None = None
    ) -> None:
        self._r = total_count
        super().__init__(total_count, logits=logits, validate_args=validate_args)

    def expand(
        self,
        batch_shape: torch.Size | list[int] | tuple[int, ...],
        _instance: Distribution | None = None,
    ) -> Distribution:
        """Return the same distribution with a larger batch shape."""
        return FeatureNegativeBinomial(
            self._r, self.logits.expand(batch_shape), validate_args=self._validate_args
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability in nats, (...)."""
        if self._validate_args:
            self._validate_sample(value)
        r = self._r
        ways = torch.lgamma(value + r) - torch.lgamma(r) - torch.lgamma(value + 1)
        return ways + value * logsigmoid(self.logits) + r * logsigmoid(-self.logits)
