"""No NaN: short runs at every learning rate, and heads that are pushed as far as they go."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infimix.models import ChainModule

MakeChain = Callable[..., ChainModule]
D = 20
FAR = 1e4

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("gaussian", {}),
    "dlgmm": ("dlgmm", {"n_components": 3}),
    "components": ("dlgmm", {"entropy": "components"}),
    "printed": ("dlgmm", {"entropy": "printed", "kl_terms": 11}),
    "few draws": ("dlgmm", {"n_components": 4, "decoder_passes": 2}),
    "dldpmm": ("dldpmm", {"max_components": 4, "learned_prior": True}),
    "Kumaraswamy": ("stick-breaking", {"posterior": "kumaraswamy"}),
    "Beta": ("stick-breaking", {"posterior": "beta"}),
    "Gamma": ("stick-breaking", {"posterior": "gamma"}),
    "logit-normal": ("stick-breaking", {"posterior": "logit_normal"}),
    "labels": ("gmvae", {"n_components": 3, "assignment": "exact", "free_bits": 0.1}),
    "soft labels": ("gmvae", {"n_components": 3, "assignment": "soft"}),
    "hard labels": ("gmvae", {"n_components": 3, "assignment": "hard"}),
    "context": ("gmvae", {"n_components": 3, "n_context": 2}),
}
BOUNDS: dict[str, dict[str, Any]] = {
    "elbo": {},
    "iwae": {"bound": "iwae", "n_importance_samples": 3},
    "renyi": {"bound": "renyi", "n_importance_samples": 3},
}
on_every_model = pytest.mark.parametrize("model", list(MODELS))


def build(make_chain: MakeChain, model: str, bound: str, **options: Any) -> ChainModule:
    name, own = MODELS[model]
    if name == "gmvae":  # of one layer, and of one bound where labels are relaxed
        options["n_latent"] = np.ravel(options["n_latent"])[0]
        bound = "elbo" if own.get("assignment") in ("soft", "hard") else bound
    options = {"hidden": (8,), "dtype": torch.float32, **own, **BOUNDS[bound], **options}
    return make_chain(name, D, **options)


def rows(seed: int) -> Tensor:
    bits = np.random.default_rng(seed).integers(2, size=(12, D))
    return torch.tensor(bits, dtype=torch.float32)


def assert_finite_step(module: ChainModule, x: Tensor, generator: torch.Generator) -> None:
    """Terms and gradients of one step; the gradients stay with the parameters."""
    terms = module.objective(x, generator)
    assert [name for name, term in terms.named().items() if not term.isfinite().all()] == []
    module.zero_grad()
    (-terms.total.mean()).backward()
    gradients = {name: p.grad for name, p in module.named_parameters()}
    if not sum(g.abs().sum() for g in gradients.values() if g is not None).isfinite():
        assert [name for name, g in gradients.items() if not g.isfinite().all()] == []


def run(module: ChainModule, learning_rate: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)
    for _ in range(30):
        assert_finite_step(module, rows(seed), generator)
        optimizer.step()


QUICK = [(1e-2, 0), (1e-2, 1)]
RUNS = [
    pair if pair in QUICK else pytest.param(*pair, marks=pytest.mark.slow)
    for pair in itertools.product([1e-4, 1e-3, 1e-2], range(20))
]


@on_every_model
@pytest.mark.parametrize(("learning_rate", "seed"), RUNS)
def test_short_runs(make_chain: MakeChain, model: str, learning_rate: float, seed: int) -> None:
    """Bounds and depths take turns."""
    bound = list(BOUNDS)[seed % 3]
    n_latent = (5, 3) if seed % 2 else 5
    run(
        build(make_chain, model, bound, stir=0.0, seed=seed, n_latent=n_latent), learning_rate, seed
    )


@pytest.mark.parametrize("model", ["few draws", "printed", "Kumaraswamy", "Gamma"])
def test_hasty_runs(make_chain: MakeChain, model: str) -> None:
    run(build(make_chain, model, "iwae", stir=0.0, n_latent=(5, 3)), 1.0, seed=0)


def in_turn(n: int) -> Tensor:
    return 1 - 2.0 * (torch.arange(n) % 2)


SIGNS: list[Callable[[int], Tensor]] = [torch.ones, lambda n: -torch.ones(n), in_turn]


@on_every_model
@pytest.mark.parametrize("n_latent", [4, (4, 3)], ids=["one layer", "two layers"])
@pytest.mark.parametrize("bound", ["elbo", "renyi"])
def test_heads_may_say_anything(
    make_chain: MakeChain, model: str, n_latent: Any, bound: str
) -> None:
    """Each head in turn, at 1e4 either way."""
    module = build(make_chain, model, bound, stir=0.1, n_latent=n_latent)
    heads = [
        layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) and layer.bias is not None and "body" not in name
    ]
    assert len(heads) >= 2
    x = rows(0)
    for head, sign in itertools.product(heads, SIGNS if bound == "elbo" else [in_turn]):
        before = head.bias.detach().clone()
        with torch.no_grad():
            head.bias.copy_(FAR * sign(len(before)))
        assert_finite_step(module, x, torch.Generator().manual_seed(1))
        with torch.no_grad():
            head.bias.copy_(before)
