"""Densities of mixtures against torch and loops; the three entropies in their proven order."""

import math

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from infimix.distributions.normal_mixture import (
    component_entropy,
    component_log_prob,
    expected_log_prob,
    mixture_entropy,
    mixture_log_prob,
    normal_log_prob,
    printed_entropy,
)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def mixture(*batch: int, k: int = 3, n_latent: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    g = generator()
    log_pi = torch.randn(*batch, k, generator=g, dtype=torch.float64).log_softmax(-1)
    mean = 2 * torch.randn(*batch, k, n_latent, generator=g, dtype=torch.float64)
    scale = torch.rand(*batch, k, n_latent, generator=g, dtype=torch.float64) + 0.3
    return log_pi, mean, scale


def normals(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(), dtype=torch.float64)


def torch_mixture(log_pi: Tensor, mean: Tensor, scale: Tensor) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(logits=log_pi), Independent(Normal(mean, scale), 1))


def test_density_is_torch_s() -> None:
    log_pi, mean, scale = mixture(5)
    z = normals(7, 5, 2)
    expected = torch_mixture(log_pi, mean, scale).log_prob(z)
    for sample, row in zip(z, expected, strict=True):  # a code a row
        torch.testing.assert_close(mixture_log_prob(log_pi, sample, mean, scale), row)
    many = mixture_log_prob(log_pi, z.transpose(0, 1), mean, scale)  # seven codes a row
    torch.testing.assert_close(many, expected.T)


def test_each_code_meets_each_component() -> None:
    _, mean, scale = mixture(4)
    z = normals(4, 3, 2)
    log_prob = component_log_prob(z, mean, scale)
    assert log_prob.shape == (4, 3, 3)
    for n in range(4):
        for k in range(3):
            for j in range(3):
                expected = Normal(mean[n, j], scale[n, j]).log_prob(z[n, k]).sum()
                torch.testing.assert_close(log_prob[n, k, j], expected)
    own = normal_log_prob(z, mean, scale)
    torch.testing.assert_close(own, log_prob.diagonal(dim1=-2, dim2=-1))


def test_entropies_are_the_printed_sums() -> None:
    log_pi, mean, scale = mixture()
    z = mean + scale * normals(3, 2)
    pi = log_pi.exp().tolist()
    q = [[Normal(mean[j], scale[j]).log_prob(z[k]).sum().exp().item() for j in range(3)]
         for k in range(3)]  # fmt: skip
    printed = -math.log(sum(pi[k] * q[k][k] for k in range(3)))
    mixed = [math.log(sum(pi[j] * q[k][j] for j in range(3))) for k in range(3)]
    true = -sum(pi[k] * mixed[k] for k in range(3))
    components = sum(pi[k] * Normal(mean[k], scale[k]).entropy().sum().item() for k in range(3))
    assert printed_entropy(log_pi, z, mean, scale).item() == pytest.approx(printed)
    assert mixture_entropy(log_pi, z, mean, scale).item() == pytest.approx(true)
    assert component_entropy(log_pi, scale).item() == pytest.approx(components)


@pytest.mark.parametrize("apart", [0.0, 1.0, 20.0])
def test_entropies_are_in_the_proven_order(apart: float) -> None:
    log_pi, mean, scale = mixture()
    mean = apart * mean
    z = mean + scale * normals(20000, 3, 2)
    expand = [p.expand(20000, *p.shape) for p in (log_pi, mean, scale)]
    printed = printed_entropy(expand[0], z, *expand[1:])
    mixed = mixture_entropy(expand[0], z, *expand[1:])
    components = component_entropy(log_pi, scale)
    margin = 4 / 20000**0.5
    assert printed.mean() < components + margin * printed.std()
    assert components < mixed.mean() + margin * mixed.std()
    assert mixed.mean() < components + math.log(3) + margin * mixed.std()
    if apart == 20:  # then knowing the component is worth all of H[pi]
        label = -(log_pi.exp() * log_pi).sum()
        assert (mixed.mean() - components - label).abs() < 4 * margin * mixed.std() + 1e-3


def test_mixture_entropy_is_the_integral() -> None:
    log_pi, mean, scale = mixture(n_latent=1)
    z = torch.linspace(-25, 25, 20001, dtype=torch.float64)[:, None]
    log_prob = torch_mixture(log_pi, mean, scale).log_prob(z)
    exact = -torch.trapezoid(log_prob.exp() * log_prob, z[:, 0])
    draws = mean + scale * normals(40000, 3, 1)
    expand = [p.expand(40000, *p.shape) for p in (log_pi, mean, scale)]
    estimate = mixture_entropy(expand[0], draws, *expand[1:])
    assert (estimate.mean() - exact).abs() < 4.5 * estimate.std() / 200


def test_the_three_values_of_a_separated_mixture() -> None:
    """K = 3, L = 25, equal weights and scale 0.3, means 30 apart: 3.39, 5.37 and 6.47 nats."""
    n = 40000
    log_pi = torch.full((3,), 1 / 3, dtype=torch.float64).log().expand(n, 3)
    scale = torch.full((n, 3, 25), 0.3, dtype=torch.float64)
    mean = 30 * torch.arange(3.0).double()[:, None].expand(n, 3, 25)
    z = mean + scale * normals(n, 3, 25)
    assert component_entropy(log_pi, scale)[0].item() == pytest.approx(5.37, abs=0.005)
    assert mixture_entropy(log_pi, z, mean, scale).mean().item() == pytest.approx(6.47, abs=0.02)
    assert printed_entropy(log_pi, z, mean, scale).mean().item() == pytest.approx(3.39, abs=0.04)


def test_far_codes_have_finite_densities_and_gradients() -> None:
    log_pi, mean, scale = (p.float().requires_grad_() for p in mixture(10, n_latent=50))
    z = 300 * torch.ones(10, 3, 50)
    value = mixture_entropy(log_pi, z, mean, scale) + printed_entropy(log_pi, z, mean, scale)
    assert value.isfinite().all()
    for grad in torch.autograd.grad(value.sum(), (log_pi, mean, scale)):
        assert grad.isfinite().all()


def test_gradcheck() -> None:
    params = tuple(p.requires_grad_() for p in mixture(2))
    noise = normals(2, 3, 2)

    def all_three(log_pi: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        z = mean + scale * noise
        return (
            printed_entropy(log_pi, z, mean, scale),
            component_entropy(log_pi, scale),
            mixture_entropy(log_pi, z, mean, scale),
        )

    assert gradcheck(all_three, params)


def test_expected_log_density_is_that_of_quadrature() -> None:
    mean, scale = torch.tensor([[0.5], [-2.0]]), torch.tensor([[0.3], [1.7]])
    prior_mean, prior_scale = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [0.4]])
    found = expected_log_prob(mean, scale, prior_mean, prior_scale.log())
    for i in range(2):
        m, s, a, b = (float(v[i]) for v in (mean, scale, prior_mean, prior_scale))
        exact = stats.norm(m, s).expect(stats.norm(a, b).logpdf)
        assert float(found[i]) == pytest.approx(exact, rel=1e-5)
    both = expected_log_prob(mean.T, scale.T, prior_mean.T, prior_scale.log().T)
    assert float(both) == pytest.approx(float(found.sum()), rel=1e-6)
