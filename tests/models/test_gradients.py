"""Every parameter of networks and likelihoods is reached by a gradient, and by the right one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from infimix.distributions.likelihoods import LIKELIHOODS
from infimix.models import InfiniteMixtureModule, Pass

MakeModule = Callable[..., InfiniteMixtureModule]
MakeRows = Callable[[str, int, int], Tensor]
N, D = 32, 16


def prepare(
    make_module: MakeModule,
    make_rows: MakeRows,
    likelihood: str,
    network: str,
    **options: bool,
) -> tuple[InfiniteMixtureModule, Tensor, Tensor]:
    """Module with a mixture, rows, noise."""
    module = make_module(likelihood, D, 2, network=network, hidden=(8, 8), **options)
    x = make_rows(likelihood, N, D)
    module.start_epoch(Pass(len(x), lambda: iter([x])))
    return module, x, module.draw_noise(N, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kl_weight", [0.0, 1.0])
@pytest.mark.parametrize("network", ["mlp", "conv"])
@pytest.mark.parametrize("likelihood", list(LIKELIHOODS))
def test_every_parameter_gets_a_gradient(
    make_module: MakeModule, make_rows: MakeRows, likelihood: str, network: str, kl_weight: float
) -> None:
    module, x, noise = prepare(make_module, make_rows, likelihood, network)
    module.elbo(x, noise).weighted(kl_weight).mean().backward()
    gradients = {name: p.grad for name, p in module.named_parameters()}
    assert gradients
    missing = [name for name, grad in gradients.items() if grad is None or not grad.any()]
    assert missing == []
    assert [name for name, grad in gradients.items() if not torch.isfinite(grad).all()] == []


@pytest.mark.parametrize("heavy_tails", [False, True])
@pytest.mark.parametrize("likelihood", list(LIKELIHOODS))
def test_gradient_is_that_of_finite_differences(
    make_module: MakeModule, make_rows: MakeRows, likelihood: str, heavy_tails: bool
) -> None:
    """Along one random direction of all parameters, in double precision."""
    module, x, noise = prepare(make_module, make_rows, likelihood, "mlp", heavy_tails=heavy_tails)
    module, x, noise = module.double(), x.double(), noise.double()
    parameters = list(module.parameters())
    generator = torch.Generator().manual_seed(1)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    gradients = torch.autograd.grad(module.elbo(x, noise).total.mean(), parameters)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))

    def moved(step: float) -> float:
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p += step * d
            value = float(module.elbo(x, noise).total.mean())
            for p, d in zip(parameters, direction, strict=True):
                p -= step * d
        return value

    step = 1e-7  # so short that no rectifier turns on the way
    assert slope == pytest.approx((moved(step) - moved(-step)) / (2 * step), rel=1e-5)


def test_the_mixture_gets_no_gradient(make_module: MakeModule, make_rows: MakeRows) -> None:
    """It moves by its statistics alone, so nothing of it may reach the optimiser."""
    module, x, noise = prepare(make_module, make_rows, "normal", "mlp")
    terms = module.elbo(x, noise)
    module.after_step(terms)
    assert not any(name.startswith("state.") for name, _ in module.named_parameters())
    assert not any(value.requires_grad for value in module.state.state_dict().values())
