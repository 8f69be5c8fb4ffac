"""Ancestral samples of chains have the moments of the model."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from infimix.models import ChainModule

MakeChain = Callable[..., ChainModule]
D, N = 4, 20_000


@pytest.fixture(autouse=True)
def _values_only() -> Iterator[None]:
    with torch.no_grad():
        yield


def samples(module: ChainModule, component: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    x, c = module.sample(N, torch.Generator().manual_seed(4), component)
    assert x.shape == (N, D)
    assert c.shape == (N,)
    return x.numpy(), c.numpy()


def assert_moments(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> None:
    """Mean and covariance, each entry within 5 of its standard errors under normality."""
    var = np.diag(cov)
    assert (np.abs(x.mean(0) - mean) < 5 * np.sqrt(var / len(x))).all()
    error = np.sqrt((np.outer(var, var) + cov**2) / len(x))
    assert (np.abs(np.cov(x.T) - cov) < 5 * error).all()
    assert np.abs(cov - np.diag(var)).max() > 5 * error.max()  # a diagonal would not pass


def affine(network: Any) -> tuple[np.ndarray, np.ndarray]:
    return network.weight.numpy(), network.bias.numpy()


def noise_of(module: ChainModule) -> np.ndarray:
    return np.diag(module.likelihood.scale.numpy() ** 2)


def build(make_chain: MakeChain, name: str, **options: Any) -> ChainModule:
    module = make_chain(name, D, likelihood="normal", **options)
    module.likelihood.log_var_over_gain.copy_(torch.linspace(-0.1, 0.0, D))
    return module.eval()


@pytest.mark.parametrize("name", ["gaussian", "dlgmm"])
def test_two_linear_layers_are_one_normal(make_chain: MakeChain, name: str) -> None:
    """x = W z1 + b + noise, z1 = A z2 + a + S e, z2 ~ N(0, I)."""
    module = build(make_chain, name, n_latent=(3, 2))
    prior = module.layers[0].prior
    prior.log_var.weight.zero_()
    (W, b), (A, a) = affine(module.decoder.output), affine(prior.mean)
    scale = np.exp(prior.log_var.bias.numpy() / 2)
    cov = W @ (A @ A.T + np.diag(scale**2)) @ W.T + noise_of(module)
    assert_moments(samples(module)[0], W @ a + b, cov)


MEANS, SCALES = np.array([-1.5, 0.5, 2.0]), np.array([0.4, 1.0, 0.7])
PRIOR = {"prior_means": MEANS, "prior_scales": SCALES}


@pytest.mark.parametrize("component", [0, 1, 2])
def test_a_component_is_the_prior_component(make_chain: MakeChain, component: int) -> None:
    module = build(make_chain, "dlgmm", n_latent=2, **PRIOR)
    W, b = affine(module.decoder.output)
    x, c = samples(module, component)
    assert (c == component).all()
    cov = SCALES[component] ** 2 * W @ W.T + noise_of(module)
    assert_moments(x, W @ np.full(2, MEANS[component]) + b, cov)


def test_a_component_of_two_layers_is_that_of_the_top(make_chain: MakeChain) -> None:
    module = build(make_chain, "dlgmm", n_latent=(2, 2), **PRIOR)
    prior = module.layers[0].prior
    prior.log_var.weight.zero_()
    prior.log_var.bias.zero_()
    (W, b), (A, a) = affine(module.decoder.output), affine(prior.mean)
    x, c = samples(module, 2)
    assert (c == 2).all()
    cov = W @ (SCALES[2] ** 2 * A @ A.T + np.eye(2)) @ W.T + noise_of(module)
    assert_moments(x, W @ (A @ np.full(2, MEANS[2]) + a) + b, cov)


@pytest.mark.parametrize(
    ("name", "options", "pi"),
    [
        ("dlgmm", {"concentration": 0.3}, [1 / 3, 1 / 3, 1 / 3]),
        ("dldpmm", {"max_components": 3, "concentration": 2.0}, [1 / 3, 2 / 9, 4 / 9]),
    ],
)
def test_components_come_in_their_shares(
    make_chain: MakeChain, name: str, options: dict[str, Any], pi: list[float]
) -> None:
    module = build(make_chain, name, n_latent=2, **options, **PRIOR)
    x, c = samples(module)
    share = np.bincount(c, minlength=3) / N
    assert (np.abs(share - pi) < 5 * np.sqrt(np.array(pi) / N)).all()
    W, b = affine(module.decoder.output)
    for k in range(3):
        error = np.sqrt(np.diag(SCALES[k] ** 2 * W @ W.T + noise_of(module)) / (c == k).sum())
        assert (np.abs(x[c == k].mean(0) - W @ np.full(2, MEANS[k]) - b) < 5 * error).all()


def moments_of_weights(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of stick-breaking weights by a million draws of Beta sticks."""
    v = np.random.default_rng(0).beta(a, b, size=(10**5, len(a)))
    left = np.cumprod(np.hstack([np.ones((len(v), 1)), 1 - v]), axis=1)
    pi = left * np.hstack([v, np.ones((len(v), 1))])
    return pi.mean(0), np.cov(pi.T)


@pytest.mark.parametrize("n_latent", [4, (4, 3)])
def test_sticks(make_chain: MakeChain, n_latent: Any) -> None:
    """Also where both parameters of each stick come from above, here the same for all."""
    alpha = 2.0
    module = build(make_chain, "stick-breaking", n_latent=n_latent, concentration=alpha)
    W, b = affine(module.decoder.output)
    W *= 4  # the weights, not the noise, are looked at
    a0, b0 = np.ones(3), np.full(3, alpha)
    if n_latent == (4, 3):
        head = module.layers[0].prior.sticks
        head.weight.zero_()
        span = np.log(1000)
        a0, b0 = np.exp(span * np.tanh(head.bias.numpy() / span)).reshape(3, 2).T
    mean, cov = moments_of_weights(a0, b0)
    x, c = samples(module)
    assert not c.any()
    total = W @ cov @ W.T + noise_of(module)
    error = np.sqrt(np.diag(total) / N + np.diag(W @ cov @ W.T) / 10**5)
    assert (np.abs(x.mean(0) - W @ mean - b) < 5 * error).all()
    assert (np.abs(np.cov(x.T) - total) < 0.05 * np.diag(total).max()).all()
    assert_codes_are_weights(module)


def assert_codes_are_weights(module: ChainModule) -> None:
    codes, _ = module.layers[-1].sample_prior(None, 50, torch.Generator().manual_seed(0), None)
    torch.testing.assert_close(codes.sum(1), torch.ones(50).to(codes))
    assert (codes > 0).all()


def test_a_generator_decides_all(make_chain: MakeChain) -> None:
    module = make_chain("dlgmm", D, n_latent=(2, 2))
    draws = [module.sample(20, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert all(torch.equal(*pair) for pair in zip(draws[0], draws[1], strict=True))
    assert not torch.equal(draws[0][0], draws[2][0])


def test_decode_reads_any_leading_axes(
    make_chain: MakeChain, normal: Callable[..., Tensor]
) -> None:
    module = make_chain("dlgmm", D, n_latent=2)
    z = normal(3, 5, 2)
    px = module.decode(z)
    assert px.batch_shape == (3, 5)
    assert px.event_shape == (D,)
    W, b = affine(module.decoder.output)
    expected = 1 / (1 + np.exp(-(z.numpy() @ W.T + b)))
    np.testing.assert_allclose(px.mean, expected)
