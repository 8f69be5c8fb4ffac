"""Beta sticks against scipy and torch."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Beta, kl_divergence

from infimix.distributions.beta import BetaSticks
from infimix.distributions.stick_posterior import Sticks

PAIRS = [(0.05, 0.05), (0.5, 2.0), (1.0, 9.0), (40.0, 3.0), (1000.0, 1000.0)]


def of(a: float, b: float) -> BetaSticks:
    return BetaSticks(*torch.tensor([a, b], dtype=torch.float64))


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_density_entropy_and_mean_are_scipy_s(a: float, b: float) -> None:
    v = torch.linspace(0.01, 0.99, 30, dtype=torch.float64)
    log_prob = of(a, b).log_prob(Sticks(v.log(), torch.log1p(-v)))
    np.testing.assert_allclose(log_prob, stats.beta.logpdf(v, a, b), rtol=1e-9, atol=1e-9)
    assert of(a, b).entropy().item() == pytest.approx(stats.beta.entropy(a, b), abs=1e-8)
    assert of(a, b).mean.item() == pytest.approx(stats.beta.mean(a, b), rel=1e-12)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_draws_are_beta(a: float, b: float) -> None:
    drawn = of(a, b).draw(uniform(5000, 4))
    v, rest = drawn.log_v.exp(), drawn.log1m_v.exp()
    rank = np.where(v < 0.5, stats.beta.cdf(v, a, b), stats.beta.sf(rest, b, a))
    assert stats.kstest(rank, "uniform").pvalue > 1e-3


def test_kl_is_torch_s() -> None:
    q, p = torch.tensor(PAIRS, dtype=torch.float64).T, torch.tensor([2.0, 0.7]).double()
    torch.testing.assert_close(BetaSticks(*q).kl(BetaSticks(*p)), kl_divergence(Beta(*q), Beta(*p)))


def test_draws_near_0_and_1_keep_their_digits() -> None:
    drawn = of(1e-3, 1e-3).draw(uniform(1000, 4))
    least = torch.minimum(drawn.log_v, drawn.log1m_v)
    assert least.isfinite().all()
    assert least.mean().item() < -400  # v itself underflows at -745 and is 0 in half of all draws
