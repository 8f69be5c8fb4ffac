r"""Kumaraswamy sticks, :math:`q(v) = a b v^{a-1} (1 - v^a)^{b-1}` (Nalisnick and Smyth 2017).

All follows from :math:`t = 1 - v^a \sim \mathrm{Beta}(b, 1)`, that is
:math:`\tau = -\log t \sim \mathrm{Exponential}(b)`.
"""

from functools import cache
from typing import Any, ClassVar, final

import numpy as np
import torch
from scipy.ndimage import spline_filter  # type: ignore[import-untyped]
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributions import Beta, Kumaraswamy, register_kl

from infimix.distributions.beta import BetaSticks
from infimix.distributions.quadrature import legendre
from infimix.distributions.stick_posterior import StickPosterior, Sticks, inside_unit, log1mexp

FAR = 60.0  # from this tau on, 1 - v = t / a to within e^-60
N_NEAR, N_TAIL = 32, 16  # nodes of the two parts of E[log(1 - v)]
STEP, REACH = 1 / 16, 8.0  # of the spline: knots of log a and log b from -REACH to REACH
N_KNOTS = int(2 * REACH / STEP) + 1


@final
class KumaraswamySticks(StickPosterior):
    r"""Kumaraswamy(a, b) sticks.

    Parameters
    ----------
    concentration1, concentration0 : Tensor of shape (...)
        a and b, both in [1e-3, 1e3] for the accuracies that are stated.

    References
    ----------
    .. [1] Nalisnick and Smyth, "Stick-Breaking Variational Autoencoders", ICLR 2017,
       arXiv:1605.06197.

    Examples
    --------
    >>> q = KumaraswamySticks(torch.tensor([0.5, 1.0]), torch.tensor([0.5, 0.1]))
    >>> q.kl(BetaSticks(torch.tensor(1.0), torch.tensor([4.0, 9.0])))
    tensor([ 3.3624, 84.5002])
    """

    n_noise: ClassVar[int] = 1

    def __init__(self, concentration1: Tensor, concentration0: Tensor) -> None:
        self.concentration1, self.concentration0 = concentration1, concentration0

    def draw(self, noise: Tensor) -> Sticks:
        r"""Sticks :math:`v = (1 - u^{1/b})^{1/a}` for uniforms u (S, ..., 1), in both logs."""
        a, b = self.concentration1, self.concentration0
        tau = -inside_unit(noise).squeeze(-1).log() / b
        log_v = log1mexp(tau) / a
        near = log1mexp((-log_v).clamp(min=torch.finfo(log_v.dtype).tiny))
        return Sticks(log_v, torch.where(tau < FAR, near, -tau - a.log()))

    def log_prob(self, sticks: Sticks) -> Tensor:
        r"""Log-density :math:`\log ab + (a-1)\log v + (b-1)\log(1 - v^a)`, (...), in nats."""
        a, b = self.concentration1, self.concentration0
        log_v, log1m_v = sticks
        from_rest = log1mexp((-log1m_v).clamp(min=torch.finfo(log_v.dtype).tiny))
        exact_log_v = torch.where(log_v > -0.5, from_rest, log_v)
        near = log1mexp((-a * exact_log_v).clamp(min=torch.finfo(log_v.dtype).tiny))
        log_t = torch.where(log1m_v > -FAR, near, a.log() + log1m_v)
        return a.log() + b.log() + (a - 1) * log_v + (b - 1) * log_t

    def _entropy(self, expected: Sticks) -> Tensor:
        r"""Entropy :math:`(1 - 1/b) + (1 - 1/a)(\gamma + \psi(b + 1)) - \log ab`, in nats."""
        a, b = self.concentration1, self.concentration0
        return (1 - 1 / b) + (1 - 1 / a) * _harmonic(b) - a.log() - b.log()

    def expected_log(self) -> Sticks:
        r"""Expected logs, each (...), in nats; the first is exact.

        .. math:: E[\log v] = -\frac{\gamma + \psi(b + 1)}a, \qquad
                  E[\log(1 - v)] = -\frac1b + E_\tau\Big[
                  \log\frac{1 - (1 - e^{-\tau})^{1/a}}{e^{-\tau}}\Big].

        Notes
        -----
        The function under :math:`E_\tau` lies between 0 and :math:`-\log a`, where it ends up from
        :math:`\tau_1 = \max(-\log a, 0) + 2` on but for what falls as :math:`e^{-\tau}`. Up to
        :math:`\tau_1` it is integrated over 32 Gauss-Legendre nodes in :math:`\tau^{1/3}`, which
        takes the kink at 0 away, and the rest over 16. Of that a cubic spline in log a and log b is
        made at the first call (a second), which is what is read. Worst absolute error for a, b in
        [1e-3, 1e3], in shares of max(1, the size of the value): 1.2e-7 (float32: 8e-7).
        """
        a, b = self.concentration1, self.concentration0
        wide = torch.broadcast_tensors(a, b)  # type: ignore[no-untyped-call]
        bounded: Tensor = _BoundedPart.apply(*wide)  # type: ignore[no-untyped-call]
        return Sticks(-_harmonic(b) / a, -1 / b + bounded)

    def log_mean(self) -> Sticks:
        r"""Logs of :math:`E[v] = b B(1 + 1/a, b)` and of the rest, in double precision inside."""
        a, b = self.concentration1.double(), self.concentration0.double()
        log_mean = torch.lgamma(1 + 1 / a) + torch.lgamma(1 + b) - torch.lgamma(1 + 1 / a + b)
        dtype = self.concentration1.dtype
        return Sticks(log_mean.to(dtype), log1mexp(-log_mean).to(dtype))

    def kl_series(self, prior: BetaSticks, n_terms: int = 11) -> Tensor:
        r"""KL divergence by the cut Taylor series of the papers. Only to reproduce them.

        .. math:: E[\log(1 - v)] \approx -b \sum_{m=1}^{M} \frac{B(m/a, b)}{m + ab}

        Parameters
        ----------
        prior : BetaSticks
            Its second parameter is beta.
        n_terms : int, default=11
            M. The code of the first paper has 11 terms, that of Nalisnick and Smyth (2017) 10.

        Returns
        -------
        Tensor of shape (...)
            In nats. Too small for beta > 1, without bound as b falls: a bound made of it is none.
            KL(K(.5, .5) || Beta(1, 4)) = 3.3624 comes out as 2.2599. Exact for beta = 1.

        Notes
        -----
        Nalisnick and Smyth's code also replaces the digamma function by
        :math:`\log b - 1/2b - 1/12b^2`; here it is exact, as in the first paper's.
        """
        a, b = self.concentration1[..., None], self.concentration0[..., None]
        m = torch.arange(1, n_terms + 1, dtype=a.dtype, device=a.device)
        log_beta = torch.lgamma(m / a) + torch.lgamma(b) - torch.lgamma(m / a + b)  # (..., M)
        log1m_v = -(b * log_beta.exp() / (m + a * b)).sum(-1)
        expected = Sticks(-_harmonic(self.concentration0) / self.concentration1, log1m_v)
        return -self._entropy(expected) - prior.log_prob(expected)


@register_kl(Kumaraswamy, Beta)  # type: ignore[no-untyped-call, untyped-decorator]
def kl_kumaraswamy_beta(q: Kumaraswamy, p: Beta) -> Tensor:
    """KL divergence of torch's own classes, (...), in nats, as `kl_divergence` finds it.

    Examples
    --------
    >>> from torch.distributions import kl_divergence
    >>> kl_divergence(Kumaraswamy(0.5, 0.5), Beta(1.0, 4.0))
    tensor(3.3624)
    """
    sticks = KumaraswamySticks(q.concentration1, q.concentration0)
    return sticks.kl(BetaSticks(p.concentration1, p.concentration0))


def _harmonic(b: Tensor) -> Tensor:
    """Harmonic number gamma + psi(b + 1), (...), which is not lost near b = 0."""
    return (np.euler_gamma + torch.digamma(b.double() + 1)).to(b.dtype)


class _BoundedPart(torch.autograd.Function):
    """E[log((1 - v) / t)] over tau ~ Exponential(b), (...); see `KumaraswamySticks.expected_log`.

    A cubic spline of what `_integral` gives, in log a and log b: a tenth of its time.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        table = _spline(a.dtype, a.device)
        i, at_a, slope_a = _basis(a)
        j, at_b, slope_b = _basis(b)
        steps = torch.arange(4, device=a.device)
        knots = (steps[:, None] * len(table) + steps).reshape(4, 4, *[1] * a.dim())
        near = table.flatten()[i * len(table) + j + knots]  # (4, 4, ...)
        rows = (near * at_b).sum(1)
        by_a = (rows * slope_a).sum(0)
        by_b = ((near * slope_b).sum(1) * at_a).sum(0)
        ctx.save_for_backward(by_a / a, by_b / b)
        return (rows * at_a).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        by_a, by_b = ctx.saved_tensors
        return grad * by_a, grad * by_b


def _basis(value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First of four knots near log value (...), their cubic B-splines and slopes (4, ...)."""
    place = ((value.log() + REACH) / STEP).clamp(1, N_KNOTS - 3)
    first = place.floor().clamp(max=N_KNOTS - 4)
    t = place - first
    s, first = 1 - t, first.long() - 1
    tt, ss = t * t, s * s
    at = torch.stack([ss * s, (3 * t - 6) * tt + 4, (3 * s - 6) * ss + 4, tt * t]) / 6
    slope = torch.stack([-ss, (3 * t - 4) * t, (4 - 3 * s) * s, tt]) / (2 * STEP)
    return first, at, slope


@cache
def _spline(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Coefficients (N_KNOTS, N_KNOTS) of the spline in log a and log b, made once and kept."""
    knots = np.exp(STEP * np.arange(N_KNOTS) - REACH)
    with torch.inference_mode(False), torch.no_grad():
        a, b = (torch.from_numpy(v) for v in np.meshgrid(knots, knots, indexing="ij"))
        values = _integral(a, b).numpy()
        return torch.from_numpy(spline_filter(values, mode="mirror")).to(device, dtype)


def _integral(a: Tensor, b: Tensor) -> Tensor:
    """What `_BoundedPart` gives, by quadrature, float64."""
    log_a, a, b = a.log()[..., None], a[..., None], b[..., None]  # (..., 1)

    def bounded(tau: Tensor) -> Tensor:
        return log1mexp(-log1mexp(tau) / a) + tau

    top = torch.minimum((-log_a).clamp(min=0) + 2, 40 / b)  # beyond 40 / b is no mass
    x, w = legendre(N_NEAR, a)
    tau = top * x**3  # (..., n_nodes)
    near = (3 * x**2 * w * top * b * torch.exp(-b * tau) * bounded(tau)).sum(-1)
    x, w = legendre(N_TAIL, a)
    width = 40 / (1 + b)
    tau = top + width * x
    tail = (w * width * b * torch.exp(-b * tau) * (bounded(tau) + log_a)).sum(-1)
    return near + tail - (log_a * torch.exp(-b * top)).squeeze(-1)
