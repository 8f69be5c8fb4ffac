"""One suite for every law of sticks: its own density is what all else is compared with."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import gammaln
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import logsigmoid

from infimix.distributions.beta import BetaSticks
from infimix.distributions.gamma_sticks import GammaSticks
from infimix.distributions.kumaraswamy import KumaraswamySticks
from infimix.distributions.logit_normal import LogitNormalSticks
from infimix.distributions.stick_posterior import StickPosterior, Sticks, log1mexp

PAIRS = [(0.05, 0.05), (0.5, 0.5), (1, 0.1), (0.3, 4), (5, 0.3), (1, 1), (2, 7), (30, 50)]
WIDE = [(a, b) for a in (1e-3, 0.03, 1, 40, 1e3) for b in (1e-3, 0.03, 1, 40, 1e3)]
PRIORS = [(1, 1), (1, 5), (2, 0.5)]


@dataclass(frozen=True)
class Law:
    make: Callable[[Tensor, Tensor], StickPosterior]
    moderate: list[tuple[float, float]]
    wide: list[tuple[float, float]]

    def of(self, pairs: list[tuple[float, float]], dtype=torch.float64) -> StickPosterior:
        return self.make(*torch.tensor(pairs, dtype=dtype).T)


LAWS = {
    "Kumaraswamy": Law(KumaraswamySticks, PAIRS, WIDE),
    "Beta": Law(BetaSticks, PAIRS, WIDE),
    "Gamma": Law(GammaSticks, PAIRS, WIDE),
    "LogitNormal": Law(
        LogitNormalSticks,
        [(0, 1), (-2, 0.3), (1, 3), (-9, 2), (6, 0.1), (0.5, 20)],
        [(m, s) for m in (-30, -1, 0, 4) for s in (1e-3, 0.1, 1, 40, 1e3)],
    ),
}
law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def logit_grid() -> tuple[Tensor, Tensor]:
    """Composite Gauss-Legendre nodes and weights for the logit: fine within 25, then geometric."""
    outer = np.geomspace(25, 3e4, 120)
    cusps = [gammaln(a + 1) / a - gammaln(b + 1) / b for a, b in PAIRS]  # of GammaSticks
    edges = np.unique(np.concatenate([-outer, np.linspace(-25, 25, 401), outer, cusps]))
    x, w = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges)[:, None] / 2
    nodes = (edges[:-1, None] + edges[1:, None]) / 2 + half * x
    return torch.tensor(nodes.ravel())[:, None], torch.tensor((half * w).ravel())[:, None]


GRID, WEIGHT = logit_grid()  # (nodes, 1)
AT = Sticks(logsigmoid(GRID), logsigmoid(-GRID))


def masses(q: StickPosterior) -> Tensor:
    """Probability at each node of the grid, (nodes, n): density of v times dv/dlogit."""
    return WEIGHT * torch.exp(q.log_prob(AT) + AT.log_v + AT.log1m_v)


def close(actual: Tensor, expected: Tensor, tol: float = 1e-7) -> None:
    torch.testing.assert_close(actual, expected, rtol=tol, atol=tol)


def uniform(*shape: int, dtype=torch.float64, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@law
def test_density_integrates_to_one(law: Law) -> None:
    total = masses(law.of(law.moderate)).sum(0)
    close(total, torch.ones_like(total))


@law
def test_expectations_are_those_under_the_density(law: Law) -> None:
    q = law.of(law.moderate)
    mass = masses(q)
    close(q.expected_log().log_v, (mass * AT.log_v).sum(0))
    close(q.expected_log().log1m_v, (mass * AT.log1m_v).sum(0))
    close(q.log_mean().log_v, (mass * AT.log_v.exp()).sum(0).log())
    close(q.log_mean().log1m_v, (mass * AT.log1m_v.exp()).sum(0).log())
    close(q.mean, (mass * torch.sigmoid(GRID)).sum(0))
    close(q.entropy(), -(mass * q.log_prob(AT)).sum(0))


@law
@pytest.mark.parametrize("prior", PRIORS)
def test_kl_is_that_of_the_densities(law: Law, prior: tuple[float, float]) -> None:
    q, p = law.of(law.moderate), BetaSticks(*torch.tensor(prior, dtype=torch.float64))
    close(q.kl(p), (masses(q) * (q.log_prob(AT) - p.log_prob(AT))).sum(0))
    assert (q.kl(p) > -1e-9).all()


@law
def test_draws_follow_the_density(law: Law) -> None:
    q, n = law.of(law.moderate), 40000
    drawn = q.draw(uniform(n, len(law.moderate), q.n_noise))
    logit = drawn.log_v - drawn.log1m_v
    cumulative = masses(q).cumsum(0)
    ends = (GRID + torch.roll(GRID, -1)) / 2  # the sum up to a node is the integral up to there
    for share in (0.02, 0.2, 0.5, 0.8, 0.98):
        node = (cumulative > share).to(torch.int8).argmax(0)
        within = (logit <= ends[node, 0]).double().mean(0)
        expected = cumulative.gather(0, node[None])[0]
        slack = masses(q).gather(0, node[None])[0]
        assert ((within - expected).abs() < 4.5 * (share * (1 - share) / n) ** 0.5 + slack).all()


@law
def test_both_logs_of_a_draw_are_of_one_stick(law: Law) -> None:
    drawn = law.of(law.moderate).draw(uniform(500, len(law.moderate), law.of([(1, 1)]).n_noise))
    close(drawn.log_v.exp() + drawn.log1m_v.exp(), torch.ones_like(drawn.log_v), 1e-12)
    small = drawn.log1m_v < -1  # there v is near 1 and log v is found from what is left
    close(drawn.log_v[small], log1mexp(-drawn.log1m_v[small]), 1e-10)


@law
def test_draws_carry_the_gradient_of_expectations(law: Law) -> None:
    pairs = [pair for pair in law.moderate if abs(pair[0]) < 8]
    params = torch.tensor(pairs, dtype=torch.float64).T.clone().requires_grad_()
    n_blocks, n = 30, 700
    blocks = params.detach().expand(n_blocks, *params.shape).clone().requires_grad_()
    q, drawing = law.make(*params), law.make(*blocks.unbind(1))
    drawn = drawing.draw(uniform(n, n_blocks, len(pairs), q.n_noise))
    for exact, draws in zip(q.expected_log(), drawn, strict=True):
        (expected,) = torch.autograd.grad(exact.sum(), params, retain_graph=True)
        (got,) = torch.autograd.grad(draws.mean(0).sum(), blocks, retain_graph=True)
        error = got.std(0) / n_blocks**0.5
        assert ((got.mean(0) - expected).abs() < 4.5 * error + 1e-9).all()


@law
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_is_finite_over_the_whole_range(law: Law, dtype: torch.dtype) -> None:
    params = torch.tensor(law.wide, dtype=dtype).T.clone().requires_grad_()
    q = law.make(*params)
    p = BetaSticks(torch.tensor(2.0, dtype=dtype), torch.tensor(5.0, dtype=dtype))
    ends = [0.0, 1e-30, 1e-7, 0.01, 0.5, 0.99, 1 - 1e-7, 1.0]
    noise = torch.tensor(ends, dtype=dtype)[:, None, None].expand(-1, len(law.wide), q.n_noise)
    noise = torch.cat([noise, uniform(50, *noise.shape[1:], dtype=dtype)])
    drawn = q.draw(noise)
    values = {
        "log_v": drawn.log_v,
        "log1m_v": drawn.log1m_v,
        "log q": q.log_prob(drawn),
        "log p": p.log_prob(drawn),
        "kl": q.kl(p),
        "entropy": q.entropy(),
        "log mean": q.log_mean().log_v,
        "log rest": q.log_mean().log1m_v,
    }
    for name, value in values.items():
        assert value.dtype == dtype, name
        assert value.isfinite().all(), name
        (grad,) = torch.autograd.grad(value.sum(), params, retain_graph=True)
        assert grad.isfinite().all(), name
    assert (drawn.log_v <= 0).all()
    assert (drawn.log1m_v <= 0).all()


@law
def test_single_precision_agrees_with_double(law: Law) -> None:
    prior = (torch.tensor(2.0), torch.tensor(5.0))
    single, double = law.of(law.wide, torch.float32), law.of(law.wide)
    p = BetaSticks(prior[0].double(), prior[1].double())
    kl, exact = single.kl(BetaSticks(*prior)).double(), double.kl(p)
    terms = exact.abs() + double.entropy().abs() + p.log_prob(double.expected_log()).abs()
    assert ((kl - exact).abs() < 2e-6 * terms + 1e-4).all()


@law
def test_gradcheck(law: Law) -> None:
    p = BetaSticks(*torch.tensor([1.5, 4.0], dtype=torch.float64))
    x, y = torch.tensor(law.moderate, dtype=torch.float64).T.clone()
    inputs = (x.requires_grad_(), y.requires_grad_())
    noise = uniform(2, len(law.moderate), law.of([(1, 1)]).n_noise)

    def at_draw(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        q = law.make(x, y)
        drawn = q.draw(noise)
        return *drawn, q.log_prob(drawn), *q.log_mean(), q.kl(p)

    assert gradcheck(at_draw, inputs, eps=1e-6, atol=1e-5, rtol=1e-4)


@law
def test_parameters_broadcast(law: Law) -> None:
    one, many = torch.tensor(1.0), torch.tensor([[0.5, 1.0, 2.0]] * 4)
    q = law.make(one, many)
    p = BetaSticks(torch.ones(3), torch.ones(3))
    drawn = q.draw(uniform(2, 4, 3, q.n_noise, dtype=torch.float32))
    assert drawn.log_v.shape == q.log_prob(drawn).shape == (2, 4, 3)
    assert q.mean.shape == q.kl(p).shape == q.entropy().shape == (4, 3)


def test_log1mexp() -> None:
    x = torch.tensor([1e-300, 1e-10, 0.5, 0.6931, 0.6932, 2, 40, 700], dtype=torch.float64)
    expected = [np.log(-np.expm1(-t)) if t < 0.1 else np.log1p(-np.exp(-t)) for t in x.numpy()]
    close(log1mexp(x), torch.tensor(expected), 1e-14)
