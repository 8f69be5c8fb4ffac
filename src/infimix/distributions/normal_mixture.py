r"""Mixtures of diagonal normals: densities, and the three entropies of a mixture.

.. math:: q(z) = \sum_k \pi_k q_k(z), \qquad q_k(z) = \prod_l N(z_l \mid m_{kl}, s_{kl}^2)

Parameters everywhere: ``log_pi`` (..., K), ``mean`` and ``scale`` (..., K, L). Densities never
leave log space. The *printed* entropy is Eq. (1) of Nalisnick, Hertel and Smyth (2016). With one
draw :math:`z_k \sim q_k` a component, and in expectation over them,

.. math:: E\Big[-\log\sum_k \pi_k q_k(z_k)\Big] \le \sum_k \pi_k H[q_k]
          \le H[q] = E\Big[-\sum_k \pi_k \log\sum_j \pi_j q_j(z_k)\Big]

by Jensen and because knowing k lowers the entropy. All three make valid bounds; the gap between
the last two is at most log K, and the first never rewards components for standing apart.
"""

import math

from torch import Tensor


def normal_log_prob(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    r"""Log-density of diagonal normals, :math:`\sum_l \log N(z_l \mid m_l, s_l^2)`, in nats.

    Parameters
    ----------
    z, mean, scale : Tensor of shape (..., L), broadcast
        One z for each normal. For one z under K components see `component_log_prob`.

    Returns
    -------
    Tensor of shape (...)
    """
    log_scale = scale.log().expand(mean.shape).sum(-1)
    squares = ((z - mean) / scale).square().sum(-1)
    return -0.5 * squares - log_scale - 0.5 * mean.shape[-1] * math.log(2 * math.pi)


def component_log_prob(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    r"""Log-density of each z under each of K components, :math:`\log q_k(z)`, in nats.

    Parameters
    ----------
    z : Tensor of shape (..., L), or (..., J, L) with one axis more than the batch of `mean`
        Codes; with J of them for a row, such as one for each component, each meets each component.
    mean, scale : Tensor of shape (..., K, L)
        Means and standard deviations.

    Returns
    -------
    Tensor of shape (..., K), or (..., J, K)

    Notes
    -----
    J codes a row hold (..., J, K, L) numbers for a while, and gradients keep two copies of them.
    The square is not multiplied out into products of matrices: float32 would lose it where scales
    are small.

    Examples
    --------
    >>> import torch
    >>> z = torch.tensor([[0.0], [3.0]])                            # (K, L), a code a component
    >>> component_log_prob(z, mean=z, scale=torch.ones(2, 1))       # (K codes, K components)
    tensor([[-0.9189, -5.4189],
            [-5.4189, -0.9189]])
    """
    if z.dim() == mean.dim():
        mean, scale = mean.unsqueeze(-3), scale.unsqueeze(-3)
    return normal_log_prob(z.unsqueeze(-2), mean, scale)


def mixture_log_prob(log_pi: Tensor, z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    r"""Log-density of the mixture, :math:`\log \sum_k \pi_k q_k(z)`, in nats.

    Parameters
    ----------
    log_pi : Tensor of shape (..., K)
        Log weights, normalised.
    z, mean, scale : Tensor
        As in `component_log_prob`.

    Returns
    -------
    Tensor of shape (...), or (..., J)
    """
    if z.dim() == mean.dim():
        log_pi = log_pi.unsqueeze(-2)
    return (log_pi + component_log_prob(z, mean, scale)).logsumexp(-1)


def expected_log_prob(
    mean: Tensor, scale: Tensor, prior_mean: Tensor, prior_log_scale: Tensor
) -> Tensor:
    r"""Mean log-density of one diagonal normal under another, exact, in nats.

    Parameters
    ----------
    mean, scale : Tensor of shape (..., L)
        Of the normal that z is drawn from.
    prior_mean, prior_log_scale : Tensor of shape (..., L)
        Of the normal whose density is taken.

    Returns
    -------
    Tensor of shape (...)
    """
    squares = (mean - prior_mean).square() + scale.square()
    each = -0.5 * squares * (-2 * prior_log_scale).exp() - prior_log_scale
    return (each - 0.5 * math.log(2 * math.pi)).sum(-1)


def printed_entropy(log_pi: Tensor, z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    r"""Entropy as printed, :math:`-\log \sum_k \hat\pi_k q_k(z_k)`, one draw of it in nats.

    Parameters
    ----------
    log_pi : Tensor of shape (..., K)
        Log weights :math:`\log \hat\pi`. Eq. (1) has **drawn** weights here, and mean weights in
        its other terms.
    z : Tensor of shape (..., K, L)
        One draw from each component.
    mean, scale : Tensor of shape (..., K, L)
        Means and standard deviations of the components.

    Returns
    -------
    Tensor of shape (...)
        Never above the other two in expectation: 3.39 nats where these are 5.37 and 6.47 (K = 3
        of equal weight, far apart, L = 25, scale 0.3).

    Notes
    -----
    Not the entropy of anything: each density is taken at another point. Use it to reproduce.
    """
    return -(log_pi + normal_log_prob(z, mean, scale)).logsumexp(-1)


def component_entropy(log_pi: Tensor, scale: Tensor) -> Tensor:
    r"""Mean entropy of the components, :math:`\sum_k \pi_k H[q_k]`, exact, in nats.

    Parameters
    ----------
    log_pi : Tensor of shape (..., K)
        Log weights.
    scale : Tensor of shape (..., K, L)
        Standard deviations.

    Returns
    -------
    Tensor of shape (...)
        The entropy of (k, z) but for that of k.

    Examples
    --------
    >>> import torch
    >>> component_entropy(torch.full((3,), 1 / 3).log(), torch.full((3, 25), 0.3))
    tensor(5.3741)
    """
    of_each = scale.log().sum(-1) + 0.5 * scale.shape[-1] * math.log(2 * math.pi * math.e)
    return (log_pi.exp() * of_each).sum(-1)


def mixture_entropy(log_pi: Tensor, z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    r"""Entropy of the mixture, :math:`-\sum_k \pi_k \log \sum_j \pi_j q_j(z_k)`, in nats.

    Parameters
    ----------
    log_pi : Tensor of shape (..., K)
        Log weights.
    z : Tensor of shape (..., K, L)
        One reparameterised draw from each component, so that the estimate is stratified.
    mean, scale : Tensor of shape (..., K, L)
        Means and standard deviations of the components.

    Returns
    -------
    Tensor of shape (...)
        Without bias, and its gradients too. At most log K above `component_entropy`.

    Notes
    -----
    With priors that differ between components, the prior term beside it has to be that of the
    marginal prior, :math:`\log \sum_j \pi_j N(z; m_j, s_j^2)`: the components have no names here.
    """
    return -(log_pi.exp() * mixture_log_prob(log_pi, z, mean, scale)).sum(-1)
