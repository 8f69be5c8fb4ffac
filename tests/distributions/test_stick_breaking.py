"""Weights of broken sticks: round trips, and the laws that the priors stand for."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from infimix.distributions.kumaraswamy import KumaraswamySticks
from infimix.distributions.stick_breaking import (
    dirichlet_sticks,
    gem_sticks,
    sticks_from_weights,
    weights_from_sticks,
)


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def float64(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


@pytest.mark.parametrize("k", [2, 3, 50])
def test_weights_sum_to_one_and_lead_back(k: int) -> None:
    a, b = uniform(2, k - 1) * 3 + 0.05
    sticks = KumaraswamySticks(a, b).draw(uniform(200, k - 1, 1))
    log_pi = weights_from_sticks(sticks)
    assert log_pi.shape == (200, k)
    torch.testing.assert_close(log_pi.logsumexp(-1), torch.zeros(200, dtype=log_pi.dtype))
    again = sticks_from_weights(log_pi + 1.5)  # need not be normalised
    torch.testing.assert_close(again.log_v, sticks.log_v, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(again.log1m_v, sticks.log1m_v, rtol=1e-9, atol=1e-9)


def test_weights_are_the_printed_product() -> None:
    v = uniform(4, 3)
    sticks = sticks_from_weights(torch.stack([v, 1 - v], -1).log())  # of two weights: v itself
    pi = weights_from_sticks(type(sticks)(*(log.squeeze(-1) for log in sticks))).exp()
    for row, stick in zip(pi, v, strict=True):
        left = 1.0
        for k in range(3):
            assert row[k].item() == pytest.approx(left * stick[k].item())
            left *= 1 - stick[k].item()
        assert row[3].item() == pytest.approx(left)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_dirichlet_sticks_make_a_dirichlet(alpha: float) -> None:
    k, n = 4, 40000
    prior = dirichlet_sticks(float64(alpha), k)
    log_pi = weights_from_sticks(prior.draw(uniform(n, k - 1, 4)))
    exact = stats.dirichlet([alpha] * k)
    spread = 4.5 / n**0.5
    pi = log_pi.exp()
    assert (pi.mean(0) - 1 / k).abs().max() < spread * pi.std()
    assert (pi.var(0) / float64(exact.var()) - 1).abs().max() < 0.06
    covariance = torch.cov(pi.T)
    assert (covariance / torch.tensor(exact.cov()) - 1).abs().max() < 0.1
    expected = torch.digamma(float64(alpha)) - torch.digamma(float64(k * alpha))
    means = weights_from_sticks(prior.expected_log())
    torch.testing.assert_close(means, expected.expand(k))
    assert ((log_pi.mean(0) - means).abs() < spread * log_pi.std(0)).all()
    # Every order of the weights is as likely: the third moment that tells cycles from swaps.
    ordered = [(pi[:, i] > pi[:, j]).double().mean() for i in range(k) for j in range(i)]
    assert (torch.stack(ordered) - 0.5).abs().max() < 0.5 * spread
    largest = torch.bincount(pi.argmax(-1), minlength=k) / n
    assert (largest - 1 / k).abs().max() < spread * (1 / k) ** 0.5


def test_density_of_weights_is_that_of_sticks_over_the_jacobian() -> None:
    prior = dirichlet_sticks(float64(0.7), 4)
    sticks = prior.draw(uniform(20, 3, 4))
    log_pi = weights_from_sticks(sticks)
    log_jacobian = sticks.log1m_v.cumsum(-1)[..., :-1].sum(-1)
    log_prob = prior.log_prob(sticks).sum(-1) - log_jacobian
    pi = log_pi.exp()
    pi = pi / pi.sum(-1, keepdim=True)
    exact = [stats.dirichlet.logpdf(row.numpy(), [0.7] * 4) for row in pi]
    torch.testing.assert_close(log_prob, torch.tensor(exact), rtol=1e-8, atol=1e-8)


def test_expected_weights_are_the_mean_of_draws() -> None:
    q = KumaraswamySticks(float64(0.8).expand(4), torch.arange(1.0, 5.0).double())
    expected = weights_from_sticks(q.log_mean()).exp()
    pi = weights_from_sticks(q.draw(uniform(40000, 4, 1))).exp()
    assert expected.sum().item() == pytest.approx(1)
    assert ((pi.mean(0) - expected).abs() < 4.5 * pi.std(0) / 200).all()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 6.0])
def test_gem_sticks_halve_what_is_left_by_their_concentration(alpha: float) -> None:
    prior = gem_sticks(float64(alpha), 12)
    k = torch.arange(11, dtype=torch.float64)
    expected = (alpha / (1 + alpha)) ** k / (1 + alpha)
    torch.testing.assert_close(weights_from_sticks(prior.log_mean()).exp()[:-1], expected)
    # E[log pi_k] = psi(1) - psi(1 + alpha) + k E[log(1 - v)], and E[log(1 - v)] = -1 / alpha.
    log_pi = weights_from_sticks(prior.expected_log())
    first = torch.digamma(float64(1)) - torch.digamma(float64(1 + alpha))
    torch.testing.assert_close(log_pi[:-1], first - k / alpha)


def test_weights_stay_finite_where_sticks_are_extreme() -> None:
    q = KumaraswamySticks(torch.tensor([1e-3, 1e3] * 10), torch.tensor([1e3, 1e-3] * 10))
    a = q.concentration1.requires_grad_()
    log_pi = weights_from_sticks(q.draw(uniform(50, 20, 1).float()))
    (grad,) = torch.autograd.grad(log_pi.sum(), a)
    assert log_pi.isfinite().all()
    assert grad.isfinite().all()


def test_concentrations_may_be_integers() -> None:
    for one, other in ((dirichlet_sticks(2, 3), dirichlet_sticks(2.0, 3)),
                       (gem_sticks(2, 3), gem_sticks(2.0, 3))):  # fmt: skip
        torch.testing.assert_close(one.kl(other), torch.zeros(2), atol=1e-6, rtol=0)
