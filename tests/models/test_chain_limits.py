"""What the chains of paper 1 become when components, draws or order of the bound are special."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import digamma, polygamma
from torch import Tensor
from torch.distributions import Bernoulli, Beta, Kumaraswamy, Normal, kl_divergence

from infimix.models import ChainModule, ElboTerms

MakeChain = Callable[..., ChainModule]
Noise = Callable[..., Tensor]


def objective(module: ChainModule, x: Tensor, seed: int = 5) -> ElboTerms:
    return module.objective(x, torch.Generator().manual_seed(seed))


def assert_same(ours: ElboTerms, theirs: ElboTerms, **tolerance: float) -> None:
    assert list(ours.named()) == list(theirs.named())
    for name, term in ours.named().items():
        torch.testing.assert_close(term, theirs.named()[name], **tolerance)


BOUNDS: list[dict[str, Any]] = [
    {},
    {"bound": "iwae", "n_importance_samples": 3},
    {"bound": "renyi", "n_importance_samples": 3, "renyi_order": 0.4},
]


@pytest.mark.parametrize("bound", BOUNDS, ids=["elbo", "iwae", "renyi"])
@pytest.mark.parametrize("n_latent", [2, (3, 2)])
@pytest.mark.parametrize(
    "options",
    [{"entropy": "printed"}, {"entropy": "components"}, {"decoder_passes": 2}],
    ids=lambda o: str(*o.values()),
)
def test_one_component_is_the_gaussian_vae(
    make_chain: MakeChain, all_bits: Tensor, n_latent: Any, bound: Any, options: Any
) -> None:
    gaussian = make_chain("gaussian", n_latent=n_latent, **bound)
    one = make_chain("dlgmm", n_latent=n_latent, n_components=1, seed=9, **options, **bound)
    one.load_state_dict(gaussian.state_dict())
    assert_same(objective(one, all_bits), objective(gaussian, all_bits), rtol=0, atol=0)
    torch.testing.assert_close(one.embed(all_bits), gaussian.embed(all_bits))


@pytest.mark.parametrize("name", ["dlgmm", "dldpmm"])
def test_equal_components_are_the_gaussian_vae(
    make_chain: MakeChain, all_bits: Tensor, name: str
) -> None:
    """Expectations over the draw by Gauss-Hermite quadrature: the entropy is a square in it."""
    K = {"dlgmm": "n_components", "dldpmm": "max_components"}[name]
    gaussian = make_chain("gaussian", n_latent=1)
    equal = make_chain(name, n_latent=1, **{K: 3})
    ours, theirs = equal.layers[0].encoder, gaussian.layers[0].encoder
    with torch.no_grad():
        for head in ("mean", "log_var"):
            getattr(ours, head).weight.copy_(getattr(theirs, head).weight.expand(3, -1))
            getattr(ours, head).bias.copy_(getattr(theirs, head).bias.expand(3))
    equal.decoder.load_state_dict(gaussian.decoder.state_dict())
    x, w = np.polynomial.hermite_e.hermegauss(40)
    nodes, weight = torch.tensor(x)[:, None, None], torch.tensor(w / w.sum())[:, None]
    terms, expected = equal.elbo(all_bits, nodes.expand(-1, 8, 3)), gaussian.elbo(all_bits, nodes)
    for term in ("reconstruction", "entropy", "log_prior"):
        found = (weight * getattr(terms, term)).sum(0)
        torch.testing.assert_close(found, (weight * getattr(expected, term)).sum(0))
    assert not expected.kl_mixture.any()
    assert not terms.kl_mixture.any()
    layer = equal.layers[0]
    q, prior = layer.posterior(all_bits), layer.stick_prior.double()
    kl = kl_divergence(
        Kumaraswamy(q.sticks.concentration1, q.sticks.concentration0), Beta(*prior.T)
    ).sum(-1)
    assert kl.min() > 1e-3
    layer.entropy_kind = "components"  # where it is paid
    torch.testing.assert_close(layer.kl_weights(q), kl)
    # Weights of the same draws are the same, whatever the shares of the components.
    log_w = equal.log_weights(all_bits, nodes.expand(-1, 8, 3))
    torch.testing.assert_close(log_w, gaussian.log_weights(all_bits, nodes.expand(-1, 8, 1)))


def test_gaussian_vae_by_torchs_distributions(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise
) -> None:
    module = make_chain("gaussian", n_latent=2, hidden=(5,))
    noise = normal(8, 2)
    mean, log_var = (v.squeeze(-2) for v in module.layers[0].encoder(all_bits)[0])
    q = Normal(mean, (log_var / 2).exp())
    px = Bernoulli(logits=module.decoder(q.mean + q.stddev * noise))
    expected = px.log_prob(all_bits).sum(-1) - kl_divergence(q, Normal(0.0, 1.0)).sum(-1)
    terms = module.elbo(all_bits, noise)
    torch.testing.assert_close(terms.total, expected)
    torch.testing.assert_close(terms.reconstruction, px.log_prob(all_bits).sum(-1))
    torch.testing.assert_close(terms.entropy, q.entropy().sum(-1))


CASES: dict[str, dict[str, Any]] = {
    "gaussian": {"n_latent": 2},
    "dlgmm": {"n_latent": (2, 1), "n_components": 2, "prior_means": [-1, 1]},
    "dldpmm": {"n_latent": 2, "max_components": 4, "decoder_passes": 2},
    "stick-breaking": {"n_latent": (4, 3)},
}
S = 4


@pytest.mark.parametrize("name", CASES)
def test_special_orders_and_one_draw(make_chain: MakeChain, all_bits: Tensor, name: str) -> None:
    def of(**bound: Any) -> ChainModule:
        return make_chain(name, **CASES[name], **bound)

    elbo, single = of(), {"n_importance_samples": 1}
    for one in (
        of(bound="iwae", **single),
        of(bound="renyi", **single),
        of(n_importance_samples=S),
    ):
        assert_same(objective(one, all_bits), objective(elbo, all_bits), rtol=0, atol=0)

    noise = elbo.draw_noise(S * 8, torch.Generator().manual_seed(5)).reshape(S, 8, -1)
    log_w = elbo.log_weights(all_bits, noise)
    iwae = objective(of(bound="iwae", n_importance_samples=S), all_bits)
    torch.testing.assert_close(iwae.total, log_w.logsumexp(0) - math.log(S))
    several = {"bound": "renyi", "n_importance_samples": S}
    zero = objective(of(renyi_order=0, **several), all_bits)
    assert_same(zero, iwae, rtol=0, atol=0)
    one = objective(of(renyi_order=1, **several), all_bits)
    assert_same(one, elbo.elbo(all_bits, noise).mean(0), rtol=0, atol=0)
    half = objective(of(renyi_order=0.5, **several), all_bits).total
    assert (half < zero.total).all()


def test_order_near_one_is_the_mean_log_weight(make_chain: MakeChain, all_bits: Tensor) -> None:
    several = {"bound": "renyi", "n_importance_samples": S, "renyi_order": 1 - 1e-7}
    module = make_chain("gaussian", n_latent=2, **several)
    noise = module.draw_noise(S * 8, torch.Generator().manual_seed(5)).reshape(S, 8, -1)
    expected = module.log_weights(all_bits, noise).mean(0)
    torch.testing.assert_close(objective(module, all_bits).total, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n_latent", [2, (2, 2)])
@pytest.mark.parametrize("bound", BOUNDS, ids=["elbo", "iwae", "renyi"])
def test_decoder_passes_are_for_training(
    make_chain: MakeChain, all_bits: Tensor, n_latent: Any, bound: Any
) -> None:
    whole = make_chain("dlgmm", n_latent=n_latent, n_components=4, **bound)
    few = make_chain("dlgmm", n_latent=n_latent, n_components=4, decoder_passes=2, **bound)
    assert not torch.equal(objective(few, all_bits).total, objective(whole, all_bits).total)
    whole.eval()
    few.eval()
    assert_same(objective(few, all_bits), objective(whole, all_bits), rtol=0, atol=0)
    noise = whole.draw_noise(8, torch.Generator().manual_seed(1))
    torch.testing.assert_close(few.log_weights(all_bits, noise), whole.log_weights(all_bits, noise))
    torch.testing.assert_close(few.draw_code(all_bits, noise), whole.draw_code(all_bits, noise))


def test_the_code_is_drawn_from_the_likeliest_component(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise
) -> None:
    module = make_chain("dlgmm", n_latent=2, n_components=3, stir=1.0).eval()
    resp = module.responsibilities(all_bits)
    assert len(set(resp.argmax(1).tolist())) > 1
    q = module.layers[0].posterior(all_bits)
    noise = normal(8, 6)
    code = module.draw_code(all_bits, noise)
    mean = torch.zeros(8, 2, dtype=torch.float64)
    for i in range(8):
        c = int(resp[i].argmax())
        expected = q.mean[i, c] + q.scale[i, c] * noise[i].reshape(3, 2)[c]
        torch.testing.assert_close(code[i], expected)
        mean[i] = sum(resp[i, k] * q.mean[i, k] for k in range(3))
    torch.testing.assert_close(module.embed(all_bits), mean)
    torch.testing.assert_close(resp.sum(1), torch.ones(8, dtype=torch.float64))


# At the start weights have the law of the prior, whatever K and the concentration.


@pytest.mark.parametrize("concentration", [0.05, 1.0, 100.0])
@pytest.mark.parametrize("K", [2, 50])
def test_dldpmm_starts_at_the_prior(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise, K: int, concentration: float
) -> None:
    module = make_chain(
        "dldpmm", stir=0.0, n_latent=2, max_components=K, concentration=concentration
    )
    terms = module.elbo(all_bits, normal(8, 2 * K))
    assert terms.kl_mixture.abs().max() < 1e-5 * K
    left = np.append(np.ones(K - 1) / (1 + concentration), 1.0)
    pi = left * (concentration / (1 + concentration)) ** np.arange(K)
    found = module.responsibilities(all_bits).detach().numpy()
    np.testing.assert_allclose(found, np.tile(pi, (8, 1)), rtol=1e-4)


def test_dlgmm_starts_with_equal_weights(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise
) -> None:
    module = make_chain("dlgmm", stir=0.0, n_latent=2, n_components=50)
    found = module.responsibilities(all_bits)
    torch.testing.assert_close(found, torch.full_like(found, 1 / 50), rtol=1e-4, atol=0)
    assert module.elbo(all_bits, normal(8, 100)).kl_mixture.abs().max() < 1e-4


@pytest.mark.parametrize("concentration", [0.05, 5.0, 100.0])
@pytest.mark.parametrize("law", ["kumaraswamy", "beta", "gamma", "logit_normal"])
def test_sticks_start_at_the_prior(
    make_chain: MakeChain, all_bits: Tensor, normal: Noise, law: str, concentration: float
) -> None:
    module = make_chain(
        "stick-breaking", stir=0.0, n_latent=5, posterior=law, concentration=concentration
    )
    layer = module.layers[0]
    q = layer.posterior(all_bits)
    if law == "logit_normal":
        moments = digamma(1) - digamma(concentration), polygamma(1, [1, concentration]).sum()
        np.testing.assert_allclose(q.loc.detach(), moments[0], rtol=1e-5)
        np.testing.assert_allclose(q.scale.detach() ** 2, moments[1], rtol=1e-5)
        return
    np.testing.assert_allclose(q.concentration1.detach(), 1)
    np.testing.assert_allclose(q.concentration0.detach(), concentration, rtol=1e-5)
    terms = module.elbo(all_bits, normal(8, layer.n_noise))
    if law != "gamma":  # which is Beta only for small parameters
        assert (terms.entropy + terms.log_prior).abs().max() < 1e-4
