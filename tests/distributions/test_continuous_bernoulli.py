"""Continuous Bernoulli against quadrature, in both precisions and over all sizes of the logit."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor

from infimix.distributions.continuous_bernoulli import StableContinuousBernoulli

# Both sides of where the series takes over (0.5), zero, very near zero, and far out.
SIZES = [0.0, 1e-12, 1e-6, 1e-3, 0.1, 0.4999, 0.5, 0.5001, 1.0, 3.0, 10.0, 16.0, 20.0, 30.0]
LOGITS = sorted({sign * size for size in SIZES for sign in (-1.0, 1.0)})


def of(logit: float) -> StableContinuousBernoulli:
    return StableContinuousBernoulli(logits=number(logit))


def number(x: float | list[float]) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def expectation(logit: float, of_x=lambda x: 1.0) -> float:
    """E[f(x)] by quadrature from the definition, density proportional to exp(logit x)."""
    top = max(logit, 0.0)
    ends = {"epsabs": 1e-14, "epsrel": 1e-13, "limit": 200}
    norm = quad(lambda x: np.exp(logit * x - top), 0, 1, **ends)[0]
    return quad(lambda x: of_x(x) * np.exp(logit * x - top), 0, 1, **ends)[0] / norm


@pytest.mark.parametrize("logit", LOGITS)
def test_density_integrates_to_one(logit: float) -> None:
    px = of(logit)
    total, _ = quad(lambda x: px.log_prob(number(x)).exp().item(), 0, 1)
    assert total == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("logit", LOGITS)
def test_moments_and_entropy_are_those_of_quadrature(logit: float) -> None:
    px = of(logit)
    mean = expectation(logit, lambda x: x)
    variance = expectation(logit, lambda x: (x - mean) ** 2)
    entropy = -expectation(logit, lambda x: px.log_prob(number(x)).item())
    assert px.mean.item() == pytest.approx(mean, rel=1e-11)
    assert px.variance.item() == pytest.approx(variance, rel=1e-10)
    assert px.entropy().item() == pytest.approx(entropy, abs=1e-10)


@pytest.mark.parametrize("logit", LOGITS)
def test_inverse_of_the_distribution_function(logit: float) -> None:
    px = of(logit)
    p = torch.linspace(0, 1, 101, dtype=torch.float64)
    x = px.icdf(p)
    torch.testing.assert_close(x[[0, -1]], number([0.0, 1.0]), rtol=0, atol=1e-5)
    assert ((x >= 0) & (x <= 1)).all()
    torch.testing.assert_close(px.cdf(x), p, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("logit", LOGITS)
def test_distribution_function_is_the_integral_of_the_density(logit: float) -> None:
    px = of(logit)
    for end in (0.05, 0.5, 0.97):
        area, _ = quad(lambda x: px.log_prob(number(x)).exp().item(), 0, end)
        assert px.cdf(number(end)).item() == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_log_prob_and_gradient_have_the_stated_error(dtype: torch.dtype) -> None:
    logits = torch.tensor([*LOGITS, -200.0, -100.0, 100.0, 200.0], dtype=dtype, requires_grad=True)
    x = torch.tensor(0.3, dtype=dtype)
    log_prob = StableContinuousBernoulli(logits=logits).log_prob(x)
    (grad,) = torch.autograd.grad(log_prob.sum(), logits)
    # The exact values in extended precision, by the series of (e^l - 1) / l where that cancels.
    exact = logits.detach().numpy().astype(np.longdouble)
    small = np.abs(exact) < 1e-2
    safe = np.where(small, 1, exact)
    series = exact / 2 + exact**2 / 24 - exact**4 / 2880
    log_norm = np.where(small, series, np.log(np.expm1(safe) / safe))
    slope = 0.5 + exact / 12 - exact**3 / 720 + exact**5 / 30240
    mean = np.where(small, slope, -1 / np.expm1(-safe) - 1 / safe)
    x64 = np.longdouble(x.item())
    per_size, in_gradient = (1e-7, 1e-6) if dtype == torch.float32 else (3e-16, 5e-15)
    error = np.abs(log_prob.detach().numpy() - (exact * x64 - log_norm)) / (1 + np.abs(exact))
    assert error.max() < per_size
    assert np.abs(grad.numpy() - (x64 - mean)).max() < in_gradient


def test_gradients_agree_with_differences() -> None:
    logits = torch.tensor([-40.0, -3.0, -0.4, 0.2, 0.7, 12.0], dtype=torch.float64)
    x = torch.tensor([[0.0], [0.3], [1.0]], dtype=torch.float64)

    def log_prob(x: Tensor, logits: Tensor) -> Tensor:
        return StableContinuousBernoulli(logits=logits, validate_args=False).log_prob(x)

    inputs = (x.requires_grad_(), logits.requires_grad_())
    assert torch.autograd.gradcheck(log_prob, inputs)
    assert torch.autograd.gradgradcheck(log_prob, inputs)


def test_second_derivative_is_minus_the_variance() -> None:
    logits = torch.tensor([0.0, -0.3, 0.3, 5.0], dtype=torch.float64, requires_grad=True)
    px = StableContinuousBernoulli(logits=logits)
    log_prob = px.log_prob(torch.full_like(logits, 0.6))
    (first,) = torch.autograd.grad(log_prob.sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), logits)
    torch.testing.assert_close(second, -px.variance.detach())


def test_equal_to_torchs_where_that_is_right() -> None:
    logits = torch.linspace(-8, 8, 101, dtype=torch.float64)
    x = torch.linspace(0, 1, 7, dtype=torch.float64)[:, None]
    theirs = torch.distributions.ContinuousBernoulli(logits=logits)
    ours = StableContinuousBernoulli(probs=theirs.probs)
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=0, atol=1e-9)


def test_values_outside_the_interval_are_refused_if_asked() -> None:
    with pytest.raises(ValueError, match="support"):
        StableContinuousBernoulli(logits=torch.zeros(2), validate_args=True).log_prob(
            torch.tensor([0.5, 1.5])
        )
