"""Gradients of the chains of paper 1: they reach everything, and few draws have the right ones."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infimix.models import ChainModule

MakeChain = Callable[..., ChainModule]
Noise = Callable[..., Tensor]
D = 6

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("gaussian", {}),
    "dlgmm": ("dlgmm", {}),
    "components": ("dlgmm", {"entropy": "components"}),
    "printed": ("dlgmm", {"entropy": "printed", "kl_terms": 11}),
    "few draws": ("dlgmm", {"decoder_passes": 2}),
    "dldpmm": ("dldpmm", {"max_components": 4, "learned_prior": True}),
    "learned by name": ("dlgmm", {"learned_prior": True, "entropy": "components"}),
    "Kumaraswamy": ("stick-breaking", {"posterior": "kumaraswamy"}),
    "series": ("stick-breaking", {"kl_terms": 10}),
    "Beta": ("stick-breaking", {"posterior": "beta"}),
    "Gamma": ("stick-breaking", {"posterior": "gamma"}),
    "logit-normal": ("stick-breaking", {"posterior": "logit_normal"}),
}
BOUNDS: dict[str, dict[str, Any]] = {
    "elbo": {},
    "iwae": {"bound": "iwae", "n_importance_samples": 3},
    "renyi": {"bound": "renyi", "n_importance_samples": 3, "renyi_order": 0.5},
}
on_every_model = pytest.mark.parametrize("model", list(MODELS))
on_every_bound = pytest.mark.parametrize("bound", list(BOUNDS))
on_both_depths = pytest.mark.parametrize("n_latent", [3, (3, 2)], ids=["one layer", "two layers"])


def build(make_chain: MakeChain, model: str, bound: str, n_latent: Any) -> ChainModule:
    name, options = MODELS[model]
    return make_chain(name, D, hidden=(8,), n_latent=n_latent, stir=0.3, **options, **BOUNDS[bound])


def rows() -> Tensor:
    return torch.tensor(np.random.default_rng(0).integers(2, size=(20, D)), dtype=torch.float64)


def value(module: ChainModule) -> Tensor:
    return module.objective(rows(), torch.Generator().manual_seed(2)).total.mean()


@on_every_model
@on_every_bound
@on_both_depths
def test_every_parameter_gets_a_gradient(
    make_chain: MakeChain, model: str, bound: str, n_latent: Any
) -> None:
    module = build(make_chain, model, bound, n_latent)
    value(module).backward()
    gradients = {name: p.grad for name, p in module.named_parameters()}
    assert [name for name, grad in gradients.items() if grad is None or not grad.any()] == []
    assert [name for name, grad in gradients.items() if not grad.isfinite().all()] == []
    biases = [g for name, g in gradients.items() if name.endswith("bias") and "body" not in name]
    assert all((grad != 0).all() for grad in biases)  # no component, code or stick is left out


@pytest.mark.parametrize("model", [model for model in MODELS if model != "few draws"])
@on_every_bound
@on_both_depths
def test_gradient_is_that_of_finite_differences(
    make_chain: MakeChain, model: str, bound: str, n_latent: Any
) -> None:
    """Along one random direction of all parameters, with the noise held."""
    module = build(make_chain, model, bound, n_latent)
    parameters = list(module.parameters())
    generator = torch.Generator().manual_seed(1)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    gradients = torch.autograd.grad(value(module), parameters)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))

    @torch.no_grad()
    def moved(step: float) -> float:
        for p, d in zip(parameters, direction, strict=True):
            p += step * d
        found = float(value(module))
        for p, d in zip(parameters, direction, strict=True):
            p -= step * d
        return found

    step = 1e-6  # so short that no rectifier turns on the way
    assert slope == pytest.approx((moved(step) - moved(-step)) / (2 * step), rel=2e-5)


# Few draws from the mixture in place of one from each component.

X = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
SELECTED = ("encoder.mean", "encoder.log_var", "encoder.sticks", "decoder.output")
Gradients = dict[str, Tensor]


def selected(module: ChainModule, bound: Tensor) -> Gradients:
    """A number and its gradients in heads and decoder."""
    named = {n: p for n, p in module.named_parameters() if any(part in n for part in SELECTED)}
    assert len(named) >= 8
    grads = torch.autograd.grad(bound, list(named.values()))
    return {"value": bound.detach(), **dict(zip(named, grads, strict=True))}


def assert_mean(draw: Callable[[int], Gradients], expected: Gradients, n_blocks: int = 30) -> None:
    """Blocks of draws have the expected mean, within what their spread allows."""
    blocks = [draw(seed) for seed in range(n_blocks)]
    for name, exact in expected.items():
        found = torch.stack([block[name] for block in blocks])
        error = found.std(0) / math.sqrt(n_blocks)
        assert (error <= 0.1 * exact.abs().max() + 1e-9).all(), name
        assert ((found.mean(0) - exact).abs() < 4.5 * error + 1e-9).all(), name


def grid(n: int, n_axes: int) -> tuple[Tensor, Tensor]:
    """Nodes (n ** n_axes, n_axes) and weights of the standard normal."""
    x = np.linspace(-8, 8, n)
    w = np.exp(-0.5 * x**2)
    nodes = torch.tensor(list(itertools.product(x, repeat=n_axes)))
    weight = torch.tensor([math.prod(ws) for ws in itertools.product(w / w.sum(), repeat=n_axes)])
    return nodes, weight


FAR_APART: dict[str, tuple[str, dict[str, Any]]] = {
    "draws": ("dlgmm", {"likelihood": "normal", "stir": 1.0, **BOUNDS["iwae"]}),
    "components": ("dldpmm", {"max_components": 4, "stir": 1.5}),
    "few draws": ("dldpmm", {"max_components": 4, "decoder_passes": 1, "stir": 1.5}),
    "labels": ("gmvae", {"assignment": "exact", "stir": 2.0}),
    "soft labels": ("gmvae", {"assignment": "soft", "temperature": 0.1, "stir": 6.0}),
    "labels of contexts": ("gmvae", {"n_context": 2, "stir": 2.0}),
}


@pytest.mark.parametrize("case", list(FAR_APART))
def test_what_says_nothing_gets_no_denormal_gradient(make_chain: MakeChain, case: str) -> None:
    """Where draws, components or labels of a row are a hundred nats apart."""
    name, options = FAR_APART[case]
    module = make_chain(name, D, n_latent=3, dtype=torch.float32, **options)
    outputs: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.register_forward_hook(keep)
    module.objective(rows().float(), torch.Generator().manual_seed(2)).total.mean().backward()
    gradients = [output.grad for output in outputs if output.grad is not None]
    assert any((gradient == 0).any() for gradient in gradients)
    for gradient in gradients:
        assert not ((gradient != 0) & (gradient.abs() < torch.finfo(torch.float32).tiny)).any()


@pytest.mark.parametrize(
    ("n_draws", "entropy"),
    [
        (1, "mixture"),
        (2, "mixture"),
        (3, "mixture"),
        (1, "components"),
        (2, "components"),
        (3, "components"),
    ],
)
def test_few_draws_are_unbiased(
    make_chain: MakeChain, normal: Noise, n_draws: int, entropy: str
) -> None:
    """The ELBO is a sum over components, so one set of nodes serves all of them.

    There are two rows, for a single draw is compared with those of others.
    """
    K, L, options = 4, 2, {"prior_means": [-1, 0, 0.5, 1], "prior_scales": [1, 2, 1, 1]}
    options["entropy"], rows = entropy, torch.cat([X, 1 - X])
    few = make_chain("dlgmm", n_latent=L, n_components=K, decoder_passes=n_draws, **options)
    nodes, weight = grid(60, L)
    whole = make_chain("dlgmm", n_latent=L, n_components=K, **options)
    terms = whole.elbo(rows, nodes[:, None].repeat(1, 1, K))
    expected = selected(whole, (weight @ terms.total).mean())

    def draw(seed: int) -> Gradients:
        noise = normal(1000, 2, few.layers[0].n_noise, seed=seed)
        return selected(few, few.elbo(rows, noise).total.mean())

    assert_mean(draw, expected)


@pytest.mark.parametrize("entropy", ["mixture", "components"])
def test_few_draws_are_unbiased_in_two_layers(
    make_chain: MakeChain, normal: Noise, entropy: str
) -> None:
    K, options = 3, {"n_latent": (1, 1), "max_components": 3, "stir": 0.4, "entropy": entropy}
    few = make_chain("dldpmm", decoder_passes=2, **options)
    whole = make_chain("dldpmm", **options)
    with torch.no_grad():  # no scale that grows without end along a code
        for module in (few, whole):
            module.layers[1].encoder.log_var.weight.mul_(0.1)
    nodes, weight = grid(60, 2)
    noise = torch.cat([nodes[:, :1].expand(-1, K), nodes[:, 1:].expand(-1, K * K)], -1)
    expected = selected(whole, (weight @ whole.elbo(X, noise[:, None]).total).sum())
    n_noise = few.draw_noise(1, torch.Generator()).shape[1]

    def draw(seed: int) -> Gradients:
        return selected(few, few.elbo(X, normal(1000, 1, n_noise, seed=seed)).total.mean())

    assert_mean(draw, expected)


def test_draws_that_meet_in_one_bound_are_unbiased(make_chain: MakeChain, normal: Noise) -> None:
    """Two draws of one row, each from its half of the mass, by a sum over pairs of components."""
    M, K = 2, 3
    few = make_chain("dlgmm", n_latent=1, n_components=K, decoder_passes=M, stir=0.8)
    with torch.no_grad():
        few.layers[0].encoder.mean.bias.copy_(torch.tensor([-2.0, 0.0, 2.0]))
        few.decoder.output.weight.mul_(2)
    q = few.layers[0].posterior(X[:, None])
    pi, mean, scale = (v[0, 0] for v in (q.log_pi.exp(), q.mean, q.scale))
    nodes, weight = grid(601, 1)
    z = mean[:, 0] + scale[:, 0] * nodes  # (nodes, K)
    log_px = few.decode(z[..., None]).log_prob(X[0])
    each = torch.distributions.Normal(mean[:, 0], scale[:, 0]).log_prob(z[..., None])
    log_q = (pi.log() + each).logsumexp(-1)
    log_w = log_px + torch.distributions.Normal(0.0, 1.0).log_prob(z) - log_q
    edges = [sum(pi[:k], torch.zeros(())) for k in range(K + 1)]

    def chance(m: int, k: int) -> Tensor:
        """Of component k in the m-th part of the mass."""
        top = torch.minimum(edges[k + 1], torch.tensor((m + 1) / M))
        return M * (top - torch.maximum(edges[k], torch.tensor(m / M))).clamp(min=0)

    bound = torch.zeros(())
    for j, k in itertools.product(range(K), repeat=2):
        pair = torch.logaddexp(log_w[:, None, j], log_w[None, :, k]) - math.log(2)
        bound = bound + chance(0, j) * chance(1, k) * (weight @ pair @ weight)
    expected = selected(few, bound)

    def draw(seed: int) -> Gradients:
        noise = normal(2000, 1, few.layers[0].n_noise, seed=seed)
        return selected(few, few.log_weights(X, noise).mean())

    assert_mean(draw, expected)
