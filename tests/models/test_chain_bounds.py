"""ELBO <= Renyi <= IWAE_k <= IWAE_2k <= log p(x), the last by quadrature, for chains of layers."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import betaln, logsumexp
from torch import Tensor, nn

from infimix.models import ChainModule, ContextLayer, LabelLayer, MixtureLayer, StickLayer

MakeChain = Callable[..., ChainModule]
N_DRAWS = 1000

OWN = {"n_components": 3, "prior_means": [-1.5, 0, 1], "prior_scales": [0.5, 1, 1.4]}
INFINITE = {"max_components": 3, "concentration": 1.7}
TWO = {"n_latent": (1, 1), "n_components": 2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian": ("gaussian", {}),
    "one prior": ("dlgmm", {"concentration": 1.7}),
    "own priors": ("dlgmm", OWN),
    "own priors, components": ("dlgmm", {**OWN, "entropy": "components"}),
    "own priors, printed": ("dlgmm", {**OWN, "entropy": "printed"}),
    "own priors, one draw": ("dlgmm", {**OWN, "decoder_passes": 1}),
    "own priors, two draws": ("dlgmm", {**OWN, "decoder_passes": 2}),
    "infinite": ("dldpmm", {**INFINITE, "prior_means": [-2, 0, 1]}),
    "infinite, learned": ("dldpmm", {**INFINITE, "learned_prior": True, "prior_means": [0, 0, 0]}),
    "two layers": ("gaussian", {"n_latent": (1, 1)}),
    "two layers of two": ("dlgmm", {**TWO, "prior_means": [-1, 1]}),
    "two layers, components": ("dlgmm", {**TWO, "entropy": "components", "prior_scales": [0.5, 1]}),
    "two layers, printed": ("dlgmm", {**TWO, "entropy": "printed"}),
    "two layers, two draws": ("dldpmm", {**INFINITE, "n_latent": (1, 1), "decoder_passes": 2}),
    "sticks, Kumaraswamy": ("stick-breaking", {"posterior": "kumaraswamy"}),
    "sticks, Beta": ("stick-breaking", {"posterior": "beta"}),
    "sticks, Gamma": ("stick-breaking", {"posterior": "gamma"}),
    "sticks, logit-normal": ("stick-breaking", {"posterior": "logit_normal"}),
    "labels": ("gmvae", {"n_components": 3, "assignment": "exact"}),
    "labels and context": ("gmvae", {"n_components": 3, "n_context": 1}),
    "two layers of sticks": ("stick-breaking", {"n_latent": (2, 2)}),
}


@pytest.fixture(autouse=True)
def _values_only() -> Iterator[None]:
    with torch.no_grad():
        yield


def build(make_chain: MakeChain, case: str) -> ChainModule:
    """Codes of one number, z or a stick; posteriors so wide that weights have a variance."""
    name, options = CASES[case]
    one = {"n_latent": 2 if name == "stick-breaking" else 1}
    module = make_chain(name, stir=0.3, **{**one, **options})
    module.decoder.output.weight.mul_(4)
    for name, parameter in module.named_parameters():
        if name.endswith("log_var.weight"):  # codes are unbounded, their scales need not be
            parameter.mul_(0.3)
        elif name.endswith(("encoder.log_var.bias", "codes.log_var.bias")):
            parameter.add_(0.8)
        elif name.endswith("encoder.sticks.bias") and name.startswith("layers.0."):
            law = options.get("posterior")
            parameter.view(-1, 2).add_(
                torch.tensor([0, 1.5] if law == "logit_normal" else [-0.5, -0.5])
            )
    return module


def positive(output: np.ndarray) -> np.ndarray:
    span = np.log(1000)
    return np.exp(span * np.tanh(output / span))


class Line:
    """Codes of one layer on a line: z itself, or the logit of a stick v and the code (v, 1 - v)."""

    def __init__(self, layer: nn.Module, width: float, n: int) -> None:
        self.layer = layer
        self.at = np.linspace(-width, width, n)
        self.step = self.at[1] - self.at[0]
        if isinstance(layer, StickLayer):
            v = 1 / (1 + np.exp(-self.at))
            self.codes = torch.tensor(np.stack([v, 1 - v], -1))
        else:
            self.codes = torch.tensor(self.at)[:, None]

    def log_prior(self) -> np.ndarray:
        """Log-mass of each point without a layer above, (n,)."""
        if isinstance(self.layer, StickLayer):
            return self._log_beta(1.0, float(self.layer.concentration)) + math.log(self.step)
        if isinstance(self.layer, ContextLayer):
            return self._log_prior_in_context()
        mean, log_scale = self.layer.prior_mean[:, 0], self.layer.prior_log_scale[:, 0]
        log_each = stats.norm.logpdf(self.at[:, None], mean.numpy(), np.exp(log_scale.numpy()))
        return logsumexp(log_each, axis=1, b=prior_weights(self.layer)) + math.log(self.step)

    def _log_prior_in_context(self) -> np.ndarray:
        """The same with a second code w and K equal components summed out, (n,)."""
        w, components = np.linspace(-8, 8, 801), self.layer.components
        mean, log_var = components.normals(components.body(torch.tensor(w)[:, None]))
        mean, scale = mean[..., 0].numpy(), np.exp(log_var[..., 0].numpy() / 2)  # (801, K)
        log_w = stats.norm.logpdf(w) + math.log(w[1] - w[0]) - math.log(mean.shape[1])
        log_each = stats.norm.logpdf(self.at[:, None, None], mean, scale) + log_w[:, None]
        return logsumexp(log_each, axis=(1, 2)) + math.log(self.step)

    def log_prior_under(self, above: "Line", log_mass: np.ndarray) -> np.ndarray:
        """The same with the line above and its log-masses."""
        if isinstance(self.layer, StickLayer):
            a, b = positive(self.layer.prior(above.codes).numpy())[:, 0].T
            log_each = self._log_beta(a[:, None], b[:, None])
        else:
            mean, log_var = (head.numpy() for head in self.layer.prior(above.codes))
            log_each = stats.norm.logpdf(self.at, mean, np.exp(log_var / 2))
        return logsumexp(log_each + log_mass[:, None], axis=0) + math.log(self.step)

    def _log_beta(self, a: Any, b: Any) -> np.ndarray:
        """Log-density of the logit of v ~ Beta(a, b)."""
        w = self.at
        return -a * np.logaddexp(0, -w) - b * np.logaddexp(0, w) - betaln(a, b)


def prior_weights(layer: MixtureLayer | LabelLayer) -> np.ndarray:
    """E[pi] of independent Beta sticks, one after the other, or of equal labels."""
    if isinstance(layer, LabelLayer):
        return np.full(layer.n_components, 1 / layer.n_components)
    left, pi = 1.0, []
    for a, b in layer.stick_prior.tolist():
        pi.append(left * a / (a + b))
        left *= b / (a + b)
    return np.array([*pi, left])


def log_evidence(module: ChainModule, x: np.ndarray) -> np.ndarray:
    """Log p(x) of rows (N, D), a sum over the codes of all layers."""
    n, width = (4001, 60) if isinstance(module.layers[0], StickLayer) else (2001, 14)
    lines = [Line(layer, width, n if len(module.layers) == 1 else 1201) for layer in module.layers]
    log_mass = lines[-1].log_prior()
    for line, above in zip(lines[-2::-1], lines[:0:-1], strict=True):
        log_mass = line.log_prior_under(above, log_mass)
    share = 1 / (1 + np.exp(-module.decoder(lines[0].codes).numpy()))
    log_px = stats.bernoulli.logpmf(x[:, None], share).sum(-1)  # (N, n)
    return logsumexp(log_px + log_mass, axis=1)


@pytest.mark.parametrize("case", list(CASES))
def test_bounds_tighten_and_never_pass_the_evidence(
    make_chain: MakeChain, all_bits: Tensor, case: str
) -> None:
    module = build(make_chain, case)
    exact = log_evidence(module, all_bits.numpy())
    assert np.exp(exact).sum() == pytest.approx(1, abs=1e-5)  # over every row there is
    n_rows = len(all_bits)

    def bound(n_draws: int, order: float = 0.0) -> tuple[float, float]:
        """Mean over all rows of what training climbs, and its standard error."""
        module.n_importance_samples, module.alpha = n_draws, order
        x = all_bits.repeat(N_DRAWS // n_draws, 1)
        total = module.objective(x, torch.Generator().manual_seed(n_draws)).total
        each = total.reshape(-1, n_rows).mean(1)
        return float(each.mean()), float(each.std()) / math.sqrt(len(each))

    bounds = [bound(1), bound(4, 0.5), bound(4), bound(8), bound(40)]
    mean, error = np.array(bounds).T
    assert error.max() < 0.13
    assert (np.diff(mean) > -4 * np.hypot(error[1:], error[:-1])).all()
    assert (mean < exact.mean() + 4 * error).all()
    assert mean[0] < exact.mean() - 0.02  # the posterior is crude: the first gap is a real one
    assert mean[3] > mean[0] + 4 * error[0]


@pytest.mark.parametrize("case", list(CASES))
def test_importance_weights_have_the_evidence_for_mean(
    make_chain: MakeChain, all_bits: Tensor, normal: Callable[..., Tensor], case: str
) -> None:
    """Row by row: a weight follows one path through all layers."""
    module = build(make_chain, case)
    exact = log_evidence(module, all_bits.numpy())
    n_noise = module.draw_noise(1, torch.Generator()).shape[1]
    noise = normal(5 * N_DRAWS, len(all_bits), n_noise)
    weights = (module.log_weights(all_bits, noise) - torch.tensor(exact)).exp().numpy()
    error = weights.std(0) / math.sqrt(len(weights))
    assert (np.abs(weights.mean(0) - 1) < 4 * error).all()
    assert error.max() < 0.07
    assert weights.std(0).max() > 0.1  # they are no constants


@pytest.mark.parametrize("n_latent", [2, (2, 2)])
def test_order_of_the_entropies(
    make_chain: MakeChain, all_bits: Tensor, normal: Callable[..., Tensor], n_latent: Any
) -> None:
    """Where all prior components are one, the bounds differ by H: printed, components, mixture.

    And by the KL of the sticks, which the last does not have.
    """
    entropy, error, rest = [], [], []
    for kind in ("printed", "components", "mixture"):
        module = make_chain("dlgmm", n_latent=n_latent, entropy=kind)
        n_noise = module.draw_noise(1, torch.Generator()).shape[1]
        terms = module.elbo(all_bits, normal(N_DRAWS, len(all_bits), n_noise))
        entropy.append(terms.entropy.mean(0).numpy())
        error.append(terms.entropy.std(0).numpy() / math.sqrt(N_DRAWS))
        rest.append(terms.total - terms.entropy + terms.kl_mixture)
        assert bool((terms.kl_mixture > 0).all()) == (kind != "mixture")
    torch.testing.assert_close(rest[1], rest[2])
    assert np.max(error) < 0.1
    slack = 4 * np.hypot(error[1:], error[:-1])
    steps = np.diff(entropy, axis=0)  # (2, N)
    assert (steps > -slack).all()
    assert (steps.mean(1) > slack.max()).all()
