r"""Weights from sticks and back, :math:`\pi_k = v_k \prod_{j<k} (1 - v_j)`, and priors of sticks.

The log-density of weights that comes with a law of sticks is that of the sticks. It differs from
the density of :math:`\pi` on the simplex by the Jacobian :math:`\prod_k \prod_{j<k} (1 - v_j)`,
which is the same for posterior and prior and so cancels wherever the two are compared.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from infimix.distributions.beta import BetaSticks
from infimix.distributions.stick_posterior import Sticks


def weights_from_sticks(sticks: Sticks) -> Tensor:
    r"""Log weights :math:`\log \pi_k = \log v_k + \sum_{j<k} \log(1 - v_j)`, with :math:`v_K = 1`.

    Parameters
    ----------
    sticks : Sticks of shape (..., K - 1)
        Draws give draws. Since sticks are independent and the formula is linear in their logs,
        `StickPosterior.log_mean` gives :math:`\log E[\pi]` and `expected_log` gives
        :math:`E[\log \pi]`, both exactly.

    Returns
    -------
    Tensor of shape (..., K)
        Nats; their exponentials sum to 1 for draws and for means.

    Examples
    --------
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> weights_from_sticks(Sticks(half, half)).exp()
    tensor([0.5000, 0.2500, 0.2500])
    """
    left = pad(sticks.log1m_v.cumsum(-1), (1, 0))  # (..., K), log of what is left before stick k
    return left + pad(sticks.log_v, (0, 1))


def sticks_from_weights(log_pi: Tensor) -> Sticks:
    r"""Sticks (..., K - 1) of log weights (..., K), the inverse of `weights_from_sticks`.

    .. math:: \log\frac{v_k}{1 - v_k} = \log \pi_k - \log \sum_{j>k} \pi_j

    Weights need not be normalised.

    Examples
    --------
    >>> sticks_from_weights(torch.tensor([0.5, 0.25, 0.25]).log()).log_v.exp()
    tensor([0.5000, 0.5000])
    """
    after = torch.logcumsumexp(log_pi.flip(-1), -1).flip(-1)[..., 1:]  # (..., K - 1)
    logit = log_pi[..., :-1] - after
    return Sticks(logsigmoid(logit), logsigmoid(-logit))


def dirichlet_sticks(alpha: float | Tensor, n_components: int) -> BetaSticks:
    r"""Sticks of a symmetric Dirichlet, :math:`v_k \sim \mathrm{Beta}(\alpha, (K - k) \alpha)`.

    Parameters
    ----------
    alpha : float or Tensor of shape ()
        Concentration of :math:`\pi \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha)`.
    n_components : int
        K, at least 2.

    Returns
    -------
    BetaSticks of shape (K - 1,)
        For k = 1, ..., K - 1.

    Examples
    --------
    >>> weights_from_sticks(dirichlet_sticks(1.0, 4).log_mean()).exp()
    tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    alpha = _number(alpha)
    after = torch.arange(n_components - 1, 0, -1, dtype=alpha.dtype, device=alpha.device)
    return BetaSticks(alpha.expand(n_components - 1), after * alpha)


def gem_sticks(alpha: float | Tensor, n_components: int) -> BetaSticks:
    r"""Sticks of a Dirichlet process, :math:`v_k \sim \mathrm{Beta}(1, \alpha)`, cut at K weights.

    Parameters
    ----------
    alpha : float or Tensor of shape ()
        Concentration :math:`\alpha_0` of :math:`\mathrm{GEM}(\alpha_0)`.
    n_components : int
        Truncation K, at least 2; the last weight is all that is left.

    Returns
    -------
    BetaSticks of shape (K - 1,)

    Examples
    --------
    >>> weights_from_sticks(gem_sticks(1.0, 4).log_mean()).exp()
    tensor([0.5000, 0.2500, 0.1250, 0.1250])
    """
    alpha = _number(alpha).expand(n_components - 1)
    return BetaSticks(torch.ones_like(alpha), alpha)


def _number(alpha: float | Tensor) -> Tensor:
    """Concentration as a real tensor (); an integer counts as a float."""
    return alpha if isinstance(alpha, Tensor) else torch.tensor(float(alpha))
