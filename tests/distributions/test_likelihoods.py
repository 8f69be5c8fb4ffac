"""Likelihoods against scipy, enumeration, quadrature and their own samples."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from torch import Tensor

from infimix.distributions.likelihoods import (
    LIKELIHOOD_OF_KIND,
    LIKELIHOODS,
    BernoulliLikelihood,
    BinomialLikelihood,
    ContinuousBernoulliLikelihood,
    Likelihood,
    NegativeBinomialLikelihood,
    NormalLikelihood,
    ScaledBinomial,
)

D = 4
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
ALL = pytest.mark.parametrize("name", LIKELIHOODS)
# The expected Bernoulli is the law of binarisations of a row, not of the row.
OF_ROWS = pytest.mark.parametrize("name", [k for k in LIKELIHOODS if k != "expected_bernoulli"])
LEVELS = 16


def build(name: str, dtype: torch.dtype = torch.float64) -> Likelihood:
    """One likelihood of four features whose learned scales differ."""
    likelihood = LIKELIHOODS[name](D).to(dtype)
    if isinstance(likelihood, BinomialLikelihood):
        likelihood.set_n_trials(LEVELS)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.copy_(torch.linspace(-0.2, 0.1, D))
    return likelihood


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def data(name: str, n: int = 6, dtype: torch.dtype = torch.float64) -> Tensor:
    """Rows of the likelihood's kind; those of counts have sums from 0 to about 1e5."""
    x = draw(n, D, dtype=dtype, seed=1)
    if name == "bernoulli":
        return (x > 0).to(dtype)
    if name in ("continuous_bernoulli", "expected_bernoulli"):
        return x.sigmoid()
    if name == "binomial":
        return (LEVELS * x.sigmoid()).round() / LEVELS
    if name == "negative_binomial":
        return (x.exp() * torch.logspace(-2, 4.5, n, dtype=dtype)[:, None]).floor()
    return x


def test_every_kind_of_data_has_its_likelihood() -> None:
    assert set(LIKELIHOOD_OF_KIND) == {"binary", "unit", "levels", "real", "counts"}
    assert set(LIKELIHOODS) - set(LIKELIHOOD_OF_KIND.values()) == {"continuous_bernoulli"}


def test_expected_bernoulli_is_the_mean_over_binarisations() -> None:
    likelihood, output = LIKELIHOODS["expected_bernoulli"](D), draw(D)
    x = data("expected_bernoulli")[0]
    every_row = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)), dtype=torch.float64)
    log_prob = BernoulliLikelihood(D).distribution(output).log_prob(every_row)
    share = torch.where(every_row == 1, x, 1 - x).prod(-1)
    expected = (share * log_prob).sum()
    torch.testing.assert_close(likelihood.distribution(output).log_prob(x), expected)
    drawn = likelihood.sample(output, None, torch.Generator())
    assert torch.equal(drawn, likelihood.mean(output))


def test_binomial_is_that_of_scipy() -> None:
    likelihood, x, output = build("binomial"), data("binomial"), draw(6, D)
    p = output.sigmoid().numpy()
    expected = stats.binom(LEVELS, p).logpmf((LEVELS * x).numpy().round()).sum(-1)
    np.testing.assert_allclose(likelihood.distribution(output).log_prob(x), expected, rtol=1e-10)
    every_level = torch.arange(LEVELS + 1, dtype=torch.float64)[:, None] / LEVELS
    one = BinomialLikelihood(1).double()
    one.set_n_trials(LEVELS)
    log_prob = one.distribution(torch.tensor([0.7], dtype=torch.float64)).log_prob(every_level)
    assert log_prob.exp().sum().item() == pytest.approx(1)


@ALL
def test_shapes_broadcast_over_samples(name: str) -> None:
    likelihood, x, output = build(name), data(name), draw(3, 6, D)
    size = likelihood.size(x)
    px = likelihood.distribution(output, size)
    assert (px.batch_shape, px.event_shape) == ((3, 6), (D,))
    log_prob = px.log_prob(x)
    one_row = likelihood.distribution(output[1, 2], None if size is None else size[2])
    torch.testing.assert_close(log_prob[1, 2], one_row.log_prob(x[2]))
    assert likelihood.mean(output, size).shape == output.shape
    assert likelihood.encoder_input(x).shape == x.shape


def test_bernoulli_is_that_of_scipy_and_sums_to_one() -> None:
    likelihood, output = BernoulliLikelihood(D), draw(D)
    every_row = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)), dtype=torch.float64)
    log_prob = likelihood.distribution(output).log_prob(every_row)
    expected = stats.bernoulli(1 / (1 + np.exp(-output.numpy()))).logpmf(every_row.numpy()).sum(-1)
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    assert log_prob.exp().sum().item() == pytest.approx(1)
    np.testing.assert_allclose(likelihood.mean(output), (log_prob.exp() @ every_row), rtol=1e-12)


def test_normal_is_that_of_scipy_with_the_learned_scale() -> None:
    likelihood, x, output = build("normal"), data("normal"), draw(6, D)
    scale = likelihood.scale.detach()
    expected = stats.norm(output.numpy(), scale.numpy()).logpdf(x.numpy()).sum(-1)
    log_prob = likelihood.distribution(output).log_prob(x).detach()
    np.testing.assert_allclose(log_prob, expected, rtol=1e-12)
    assert scale.unique().numel() == D
    assert torch.equal(likelihood.mean(output), output)


@pytest.mark.parametrize("output", [-400.0, -20.0, -0.3, 0.0, 2.0, 35.0])
def test_continuous_bernoulli_integrates_to_one_and_has_its_mean(output: float) -> None:
    likelihood = ContinuousBernoulliLikelihood(1)
    outputs = torch.tensor([output], dtype=torch.float64)
    px = likelihood.distribution(outputs)

    def density(x: float) -> float:
        return px.log_prob(torch.tensor([x], dtype=torch.float64)).exp().item()

    assert quad(density, 0, 1)[0] == pytest.approx(1, abs=1e-9)
    mean = quad(lambda x: x * density(x), 0, 1)[0]
    assert likelihood.mean(outputs).item() == pytest.approx(mean, abs=1e-9)
    bounded = 30 * math.tanh(output / 30)
    log_odds = math.log(density(0.75) / density(0.25))  # density is proportional to exp(logit x)
    assert log_odds == pytest.approx(bounded / 2, abs=1e-9)


def test_negative_binomial_is_that_of_scipy_up_to_large_counts() -> None:
    likelihood, x, output = build("negative_binomial"), data("negative_binomial"), draw(6, D)
    size = likelihood.size(x)
    r = likelihood.inverse_dispersion.detach().numpy()
    mean = np.maximum(x.numpy().sum(1, keepdims=True), 1) * output.softmax(-1).numpy()
    expected = stats.nbinom(r, r / (r + mean)).logpmf(x.numpy()).sum(-1)
    log_prob = likelihood.distribution(output, size).log_prob(x).detach()
    assert x.sum(1).max() > 5e4
    np.testing.assert_allclose(log_prob, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(likelihood.mean(output, size), mean, rtol=1e-12)


def test_a_row_of_zeros_is_cheap_and_finite() -> None:
    likelihood = build("negative_binomial", torch.float32)
    x = torch.zeros(1, D)
    output = torch.zeros(1, D, requires_grad=True)
    assert torch.equal(likelihood.encoder_input(x), x)
    log_prob = likelihood.distribution(output, likelihood.size(x)).log_prob(x)
    assert -1 <= log_prob.item() < 0
    log_prob.sum().backward()
    assert output.grad.isfinite().all()
    assert likelihood.log_r_over_gain.grad.isfinite().all()


def test_encoder_of_counts_does_not_see_the_size() -> None:
    likelihood = NegativeBinomialLikelihood(D)
    likelihood.set_typical_size(200.0)
    x = torch.tensor([[10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0]])
    expected = torch.tensor([20.0, 40.0, 60.0, 80.0]).log1p().expand(2, D)
    torch.testing.assert_close(likelihood.encoder_input(x), expected)
    assert likelihood.mean(torch.zeros(D)).tolist() == [50.0] * D  # no size: the typical one
    again = NegativeBinomialLikelihood(D)
    again.load_state_dict(likelihood.state_dict())
    assert again.typical_size == 200


@OF_ROWS
def test_samples_have_the_moments_of_the_density(name: str) -> None:
    likelihood, n = build(name), 40_000
    output = torch.tensor([-3.0, -0.2, 0.5, 2.0], dtype=torch.float64)
    size = torch.tensor([50.0], dtype=torch.float64) if name == "negative_binomial" else None
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        x = likelihood.sample(output.expand(n, D), size, generator)
        mean = likelihood.mean(output, size)
        variance = likelihood.distribution(output, size).variance
    assert x.dtype == torch.float64
    assert likelihood.distribution(output, size).support.check(x).all()
    squares = (x - mean).square()
    assert ((x.mean(0) - mean).abs() < 4 * (variance / n).sqrt()).all()
    assert ((squares.mean(0) - variance).abs() < 4 * squares.std(0) / math.sqrt(n)).all()


@OF_ROWS
@DTYPES
def test_samples_are_the_generators_alone(name: str, dtype: torch.dtype) -> None:
    likelihood, output = build(name, dtype), draw(5, D, dtype=dtype)
    state = torch.get_rng_state()
    draws = [
        likelihood.sample(output, None, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert draws[0].dtype == dtype
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@ALL
@DTYPES
@pytest.mark.parametrize("scale", [-50.0, 0.0, 50.0], ids=lambda scale: f"scale{scale:g}")
def test_gradients_are_finite_at_extremes(name: str, dtype: torch.dtype, scale: float) -> None:
    likelihood, x = build(name, dtype), data(name, dtype=dtype)
    if name == "continuous_bernoulli":
        x = x.round()  # zeros and ones, as in images
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter.fill_(scale if name == "negative_binomial" else min(scale, 5))
    for size in (0.0, 1.0, 30.0, 1000.0):
        output = (size * draw(6, D, dtype=dtype)).requires_grad_()
        log_prob = likelihood.distribution(output, likelihood.size(x)).log_prob(x)
        gradients = torch.autograd.grad(log_prob.sum(), [output, *likelihood.parameters()])
        assert log_prob.isfinite().all()
        assert all(gradient.isfinite().all() for gradient in gradients)


@ALL
def test_gradients_agree_with_differences_and_reach_every_parameter(name: str) -> None:
    likelihood, x = build(name), data(name, n=3)
    size = likelihood.size(x)
    parameters = tuple(likelihood.parameters())

    def log_prob(output: Tensor, *_: Tensor) -> Tensor:
        return likelihood.distribution(output, size).log_prob(x)

    output = draw(3, D).requires_grad_()
    assert torch.autograd.gradcheck(log_prob, (output, *parameters))
    gradients = torch.autograd.grad(log_prob(output).sum(), parameters) if parameters else ()
    assert all((gradient != 0).all() for gradient in gradients)


def test_a_constant_feature_has_a_bounded_density() -> None:
    zero = torch.zeros(1, D)
    normal, unit = NormalLikelihood(D), ContinuousBernoulliLikelihood(D)
    with torch.no_grad():
        normal.log_var_over_gain.fill_(-100.0)
    top = -0.5 * math.log(2 * math.pi * 0.001)
    assert normal.distribution(zero).log_prob(zero).item() == pytest.approx(D * top)
    assert top < 2.54
    for output in (-60.0, -1e4, -1e30):
        log_prob = unit.distribution(torch.full((1, D), output)).log_prob(zero).item()
        assert D * math.log(0.95 * 30) < log_prob <= D * math.log(30) + 1e-5


def test_a_learned_scale_arrives_within_hundreds_of_steps() -> None:
    likelihood = NormalLikelihood(D)
    adam = torch.optim.Adam(likelihood.parameters(), lr=1e-3)
    x = 0.1 * draw(200, D, dtype=torch.float32)
    for _ in range(800):
        adam.zero_grad()
        (-likelihood.distribution(torch.zeros_like(x)).log_prob(x).mean()).backward()
        adam.step()
    expected = x.square().mean(0).sqrt()  # the scale of largest likelihood
    torch.testing.assert_close(likelihood.scale.detach(), expected, rtol=0.02, atol=0)


def test_levels_between_the_levels_are_impossible() -> None:
    px = ScaledBinomial(torch.tensor(255.0), logits=torch.zeros(()), validate_args=False)
    levels = torch.arange(256.0) / 255
    assert px.support.check(levels).all()
    wrong = torch.cat([levels + 0.5 / 255, levels[:1] - 1 / 255, levels[-1:] + 1 / 255])
    assert not px.support.check(wrong).any()
