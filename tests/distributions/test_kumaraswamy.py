"""Kumaraswamy sticks over the whole range of parameters, and what the papers' series gives."""

import numpy as np
import pytest
import torch
from scipy.special import digamma
from torch import Tensor
from torch.distributions import Beta, Kumaraswamy, kl_divergence

from infimix.distributions.beta import BetaSticks
from infimix.distributions.kumaraswamy import KumaraswamySticks
from infimix.distributions.stick_posterior import Sticks

RANGE = [1e-3, 3e-3, 0.01, 0.05, 0.2, 0.5, 1.0, 3.0, 10.0, 50.0, 200.0, 1000.0]


def number(x: float, dtype=torch.float64) -> Tensor:
    return torch.tensor(x, dtype=dtype)


def kumaraswamy(a: float, b: float) -> KumaraswamySticks:
    return KumaraswamySticks(number(a), number(b))


def beta(a: float, b: float) -> BetaSticks:
    return BetaSticks(number(a), number(b))


def expected_log1m(a: float, b: float) -> float:
    """Minus the integral over s of P(-log(1 - v) > s) = (1 - (1 - e^-s)^a)^b, in log s."""
    edges = np.arange(-45, np.log(60 / b + 20) + 0.2, 0.2)
    x, w = np.polynomial.legendre.leggauss(24)
    s = np.exp(edges[:-1, None] + 0.1 * (x + 1))
    with np.errstate(divide="ignore"):
        log_v = np.where(s < 1, np.log(-np.expm1(-s)), np.log1p(-np.exp(-s)))
    far = s > 40  # there 1 - v^a = a (1 - v)
    log_t = np.where(far, np.log(a) - s, np.log(-np.expm1(a * np.where(far, -1, log_v))))
    return -float((0.1 * w * s * np.exp(b * log_t)).sum())


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1.2e-7), (torch.float32, 8e-7)])
def test_expected_log_of_the_rest_has_the_stated_error(dtype: torch.dtype, error: float) -> None:
    exact = np.array([[expected_log1m(a, b) for b in RANGE] for a in RANGE])
    a, b = torch.meshgrid(*[torch.tensor(RANGE, dtype=dtype)] * 2, indexing="ij")
    value = KumaraswamySticks(a, b).expected_log().log1m_v.double().numpy()
    assert (np.abs(value - exact) < error * np.maximum(1, np.abs(exact))).all()


@pytest.mark.parametrize("b", RANGE)
def test_expected_log_of_the_rest_is_exact_at_a_of_1(b: float) -> None:
    assert kumaraswamy(1, b).expected_log().log1m_v.item() == pytest.approx(-1 / b, abs=1e-9)


@pytest.mark.parametrize(
    ("a", "b", "beta_2", "kl"), [(0.5, 0.5, 4, 3.3624), (1, 0.1, 9, 84.50), (5, 0.3, 4, 15.44)]
)
def test_known_divergences(a: float, b: float, beta_2: float, kl: float) -> None:
    places = 4 if kl < 10 else 2
    assert round(kumaraswamy(a, b).kl(beta(1, beta_2)).item(), places) == kl


def test_the_series_of_the_papers_falls_short() -> None:
    assert round(kumaraswamy(0.5, 0.5).kl_series(beta(1, 4)).item(), 4) == 2.2599
    assert round(kumaraswamy(0.5, 0.5).kl_series(beta(1, 4), n_terms=10).item(), 4) == 2.2092
    assert round(kumaraswamy(1, 0.1).kl_series(beta(1, 9), n_terms=10).item(), 2) == 24.37
    assert round(kumaraswamy(5, 0.3).kl_series(beta(1, 4), n_terms=10).item(), 2) == 8.40


def test_the_whole_series_is_the_divergence() -> None:
    q, p = KumaraswamySticks(number([1.5, 4.0]), number([3.0, 5.0])), beta(2, 5)
    torch.testing.assert_close(q.kl_series(p, 20000), q.kl(p), rtol=1e-6, atol=1e-6)
    p = beta(2, 1)  # the series has no weight there
    torch.testing.assert_close(q.kl_series(p, 1), q.kl(p))


@pytest.mark.parametrize("c", [1e-3, 0.2, 1.0, 7.0, 1e3])
def test_beta_and_kumaraswamy_meet_where_one_parameter_is_1(c: float) -> None:
    for a, b in ((c, 1), (1, c)):
        assert kumaraswamy(a, b).kl(beta(a, b)).item() == pytest.approx(0, abs=3e-8 / min(c, 1))
        assert kumaraswamy(a, b).entropy().item() == pytest.approx(
            beta(a, b).entropy().item(), 1e-9
        )
        for mine, other in zip(kumaraswamy(a, b).log_mean(), beta(a, b).log_mean(), strict=True):
            assert mine.item() == pytest.approx(other.item(), rel=1e-9)


def test_torch_knows_the_divergence() -> None:
    kl = kl_divergence(Kumaraswamy(number(0.3), number(2.0)), Beta(number(1.0), number(6.0)))
    torch.testing.assert_close(kl, kumaraswamy(0.3, 2).kl(beta(1, 6)))


def test_density_and_mean_are_torch_s() -> None:
    v = torch.linspace(0.1, 0.99, 50, dtype=torch.float64)  # torch's is infinite below
    for a, b in ((0.5, 0.5), (2.0, 5.0), (4.0, 0.2)):
        theirs = Kumaraswamy(number(a), number(b))
        mine = kumaraswamy(a, b)
        log_prob = mine.log_prob(Sticks(v.log(), (1 - v).log()))
        torch.testing.assert_close(log_prob, theirs.log_prob(v), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(mine.mean, theirs.mean)
        torch.testing.assert_close(mine.entropy(), theirs.entropy())


def test_draws_are_the_printed_formula() -> None:
    u = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    drawn = kumaraswamy(1.7, 0.6).draw(u[:, None])
    v = (1 - u ** (1 / 0.6)) ** (1 / 1.7)
    torch.testing.assert_close(drawn.log_v.exp(), v)
    torch.testing.assert_close(drawn.log1m_v.exp(), 1 - v)


def test_draws_near_1_keep_their_digits() -> None:
    u = number([1e-3, 0.5, 0.9])[:, None]
    drawn = kumaraswamy(3, 1e-3).draw(u)  # 1 - v = u^1000 / 3, far below the smallest number
    torch.testing.assert_close(drawn.log1m_v, 1000 * u[:, 0].log() - np.log(3), rtol=1e-12, atol=0)


@pytest.mark.parametrize("b", [1e-3, 0.5, 30.0, 1e3])
def test_expected_log(b: float) -> None:
    exact = -(np.euler_gamma + digamma(b) + 1 / b) / 0.7
    assert kumaraswamy(0.7, b).expected_log().log_v.item() == pytest.approx(exact, rel=1e-9)
