"""Draws from a mixture, and their gradients: against the transform and against exact ones."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.special import ndtr

from infimix.distributions.mixture_draws import rsample_mixture, strata


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(13)


def mixture(k: int, n_latent: int) -> tuple[Tensor, Tensor, Tensor]:
    g = generator()
    log_pi = torch.randn(k, generator=g, dtype=torch.float64)
    mean = 1.2 * torch.randn(k, n_latent, generator=g, dtype=torch.float64)
    return log_pi, mean, torch.rand(k, n_latent, generator=g, dtype=torch.float64) + 0.4


def noise(*shape: int, n_latent: int, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    g = generator()
    uniform = torch.rand(*shape, generator=g, dtype=dtype)
    return uniform, torch.randn(*shape, n_latent, generator=g, dtype=dtype)


def transform(z: Tensor, log_pi: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """F_d(z_d | z_<d) of one z (L,), coordinate by coordinate."""
    log_joint, out = log_pi, []
    for d in range(z.shape[0]):
        u = (z[d] - mean[:, d]) / scale[:, d]
        out.append((log_joint.softmax(0) * ndtr(u)).sum())
        log_joint = log_joint - 0.5 * u**2 - scale[:, d].log()
    return torch.stack(out)


@pytest.mark.parametrize(("k", "n_latent"), [(1, 3), (2, 1), (4, 5), (9, 3)])
def test_gradient_keeps_the_transform_constant(k: int, n_latent: int) -> None:
    params = mixture(k, n_latent)
    for uniform, normal in zip(*noise(5, n_latent=n_latent), strict=True):
        z = rsample_mixture(*params, uniform, normal)
        of_z, *of_params = torch.autograd.functional.jacobian(transform, (z, *params))
        for index, slope in enumerate(of_params):
            expected = -torch.linalg.solve(of_z, slope.reshape(n_latent, -1)).reshape(slope.shape)

            def draw(p: Tensor, index: int = index) -> Tensor:
                replaced = [*params[:index], p, *params[index + 1 :]]
                return rsample_mixture(*replaced, uniform, normal)  # noqa: B023

            got = torch.autograd.functional.jacobian(draw, params[index])
            torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def objective(z: Tensor) -> Tensor:
    """A function that is not linear and that mixes the coordinates, (...)."""
    return torch.sin(z[..., 0]) * z[..., 1] ** 2 + torch.tanh(z[..., 0] - 2 * z[..., 1])


def exact_gradients(params: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of E[objective], a sum over components of Gauss-Hermite quadratures in two dimensions."""
    x, w = np.polynomial.hermite_e.hermegauss(60)
    e = torch.tensor(np.stack(np.meshgrid(x, x), -1).reshape(-1, 2))
    weight = torch.tensor(np.outer(w, w).ravel() / (2 * math.pi))
    log_pi, mean, scale = (p.clone().requires_grad_() for p in params)
    of_each = (weight * objective(mean[:, None] + scale[:, None] * e)).sum(-1)
    total = (log_pi.softmax(0) * of_each).sum()
    return torch.autograd.grad(total, (log_pi, mean, scale))


def test_gradients_are_right_on_average() -> None:
    params, n_blocks, n = mixture(3, 2), 40, 2500
    leaves = [p.expand(n_blocks, *p.shape).clone().requires_grad_() for p in params]
    z = rsample_mixture(*leaves, *noise(n, n_blocks, n_latent=2))
    blocks = torch.autograd.grad(objective(z).mean(0).sum(), leaves)
    for got, expected in zip(blocks, exact_gradients(params), strict=True):
        error = got.std(0) / n_blocks**0.5
        assert ((got.mean(0) - expected).abs() < 4.5 * error).all()
        assert (error < 0.1 * expected.abs().max()).all()  # else the line above says nothing


def test_draws_are_of_the_mixture() -> None:
    log_pi, mean, scale = mixture(3, 2)
    z = rsample_mixture(log_pi, mean, scale, *noise(5000, n_latent=2)).numpy()
    pi = log_pi.softmax(0).numpy()
    for d in range(2):
        u = (z[:, d, None] - mean[:, d].numpy()) / scale[:, d].numpy()
        assert stats.kstest((pi * stats.norm.cdf(u)).sum(-1), "uniform").pvalue > 1e-3


def test_one_component_is_the_usual_reparameterisation() -> None:
    _, mean, scale = (p.requires_grad_() for p in mixture(1, 4))
    uniform, normal = noise(6, n_latent=4)
    z = rsample_mixture(torch.zeros(1, dtype=torch.float64), mean, scale, uniform, normal)
    torch.testing.assert_close(z, mean + scale * normal)
    got = torch.autograd.grad(z.square().sum(), (mean, scale), retain_graph=True)
    expected = torch.autograd.grad((mean + scale * normal).square().sum(), (mean, scale))
    torch.testing.assert_close(got, expected)


def test_a_constant_on_the_weights_changes_nothing() -> None:
    log_pi, mean, scale = mixture(4, 3)
    uniform, normal = noise(50, n_latent=3)
    log_pi.requires_grad_()
    z = rsample_mixture(log_pi, mean, scale, uniform, normal)
    torch.testing.assert_close(rsample_mixture(log_pi + 3, mean, scale, uniform, normal), z)
    (grad,) = torch.autograd.grad(z.sum(), log_pi)
    assert grad.sum().item() == pytest.approx(0, abs=1e-9 * grad.abs().sum().item())


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_single_precision_is_finite_and_near_double(spread: float) -> None:
    shape, k, n_latent = (500,), 12, 20
    g = generator()
    log_pi = torch.randn(*shape, k, generator=g)
    mean = spread * torch.randn(*shape, k, n_latent, generator=g)
    scale = torch.rand(*shape, k, n_latent, generator=g) * 2 + 0.01
    uniform, normal = noise(*shape, n_latent=n_latent, dtype=torch.float32)
    grads = []
    for dtype in (torch.float32, torch.float64):
        leaves = [p.to(dtype).requires_grad_() for p in (log_pi, mean, scale)]
        z = rsample_mixture(*leaves, uniform.to(dtype), normal.to(dtype))
        grads.append(torch.autograd.grad(torch.tanh(z).sum(), leaves))
    for single, double in zip(*grads, strict=True):
        assert single.isfinite().all()
        dims = tuple(range(1, single.dim()))
        off = (single - double).abs().amax(dims) / (1 + double.abs().amax(dims))
        assert off.median() < 1e-4
        assert off.quantile(0.98) < 1e-2


def test_far_tails_are_finite() -> None:
    params = [p.float().requires_grad_() for p in mixture(3, 2)]
    normal = torch.tensor([[40.0, -40.0], [12.0, 0.0], [0.0, -9.0], [1e4, 1e4]])
    z = rsample_mixture(*params, torch.tensor([0.0, 1.0, 0.5, 0.2]), normal)
    for grad in torch.autograd.grad(z.sum(), params):
        assert grad.isfinite().all()


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_strata_by_cutting_up_the_mass(n: int) -> None:
    """Each n-th of [0, 1] beside the stretches of the components, one pair after the other."""
    log_pi = mixture(5, 2)[0].log_softmax(0)
    edges = np.concatenate([[0.0], np.cumsum(log_pi.exp().numpy())])
    expected = np.zeros((n, 5))
    for m in range(n):
        for k in range(5):
            low, high = max(m / n, edges[k]), min((m + 1) / n, edges[k + 1])
            expected[m, k] = n * max(0.0, high - low)
    found = strata(log_pi.expand(2, 3, 5), n)
    assert found.shape == (2, 3, n, 5)
    np.testing.assert_allclose(found[1, 2].exp(), expected, atol=1e-12)
    torch.testing.assert_close(found.logsumexp(-1), torch.zeros(2, 3, n, dtype=torch.float64))
    torch.testing.assert_close(found.exp().mean(-2), log_pi.exp().expand(2, 3, 5))


def test_strata_of_vanishing_weights_have_finite_gradients() -> None:
    log_pi = torch.tensor([0.0, -200.0, -1000.0]).log_softmax(0).requires_grad_()
    (grad,) = torch.autograd.grad(strata(log_pi, 3).sum(), log_pi)
    assert grad.isfinite().all()
