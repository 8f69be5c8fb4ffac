"""The mixture's E-step, bound and KL against loops, draws and all partitions of six points."""

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import digamma, logsumexp
from torch import Tensor
from torch.distributions import Beta, kl_divergence

from infimix.mixture import (
    Block,
    DiagonalCovariance,
    DPMixture,
    Family,
    FullCovariance,
    NormalWishart,
    StickBreaking,
    e_step,
    responsibilities,
)

MakePrior = Callable[..., NormalWishart]
ALPHA = 1.3


def build(
    family: Family,
    prior: NormalWishart,
    rows: Tensor,
    *,
    n_components: int = 3,
    alpha: float = ALPHA,
    zeta: float = 1.0,
    seed: int = 0,
) -> DPMixture:
    """Mixture that answers to random soft assignments of the rows."""
    resp = np.random.default_rng(seed).dirichlet(np.ones(n_components), len(rows))
    sums = torch.from_numpy(resp).mT @ family.features(rows)
    return DPMixture(family, prior, StickBreaking(alpha), sums, zeta)


def bound(mixture: DPMixture, rows: Tensor) -> float:
    return float(e_step(mixture, [Block(rows)]).log_norm - mixture.kl)


def ascend(mixture: DPMixture, rows: Tensor, n_sweeps: int) -> DPMixture:
    for _ in range(n_sweeps):
        mixture = mixture.with_statistics(e_step(mixture, [Block(rows)]).sums)
    return mixture


def log_joint_by_loops(mixture: DPMixture, z: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Bishop (2006), eq. 10.46 and 10.64 to 10.66, with the sticks of Blei and Jordan (2006)."""
    prior, n = mixture.prior, mixture.counts.numpy() * mixture.zeta
    q = mixture.components
    L = z.shape[1]
    rho = np.zeros((len(z), len(n)))
    for k in range(len(n)):
        m, kappa, nu, Psi = (value[k].numpy() for value in q)
        if Psi.ndim == 1:
            precision = np.diag(nu / Psi)
            log_det = (digamma(nu / 2) + math.log(2) - np.log(Psi)).sum()
        else:
            precision = nu * np.linalg.inv(Psi)
            log_det = digamma((nu - np.arange(L)) / 2).sum() + L * math.log(2)
            log_det -= np.linalg.slogdet(Psi)[1]
        before = [j for j in range(len(n)) if n[j] > n[k]]  # no two counts are equal
        log_pi = digamma(1 + n[k]) - digamma(1 + ALPHA + n[n <= n[k]].sum())
        for j in before:
            later = ALPHA + n[n < n[j]].sum()
            log_pi += digamma(later) - digamma(1 + n[j] + later)
        for i in range(len(z)):
            square = L / kappa + (z[i] - m) @ precision @ (z[i] - m) + var[i] @ precision.diagonal()
            rho[i, k] = log_pi + 0.5 * (log_det - L * math.log(2 * math.pi) - square)
    assert float(q.kappa[0]) == pytest.approx(float(prior.kappa) + n[0])
    return rho


@pytest.mark.parametrize("zeta", [1.0, 0.3])
def test_e_step_is_that_of_the_textbook(
    family: Family, prior: NormalWishart, rows: Tensor, zeta: float
) -> None:
    mixture = build(family, prior, rows, zeta=zeta)
    var = rows.square() * 0.1
    rho = log_joint_by_loops(mixture, rows.numpy(), var.numpy())
    resp = np.exp(rho - logsumexp(rho, axis=1, keepdims=True))
    found = e_step(mixture, [Block(rows, var)])
    assert float(found.log_norm) == pytest.approx(logsumexp(rho, axis=1).sum(), rel=1e-12)
    second = np.einsum("nk,ni,nj->kij", resp, rows, rows) + np.einsum(
        "nk,ni,ij->kij", resp, var, np.eye(3)
    )
    pairs = np.tril_indices(3) if family.name == "full" else np.diag_indices(3)
    n = resp.sum(0)[:, None]
    expected = np.concatenate([n, resp.T @ rows.numpy(), second[:, *pairs], n], 1)
    np.testing.assert_allclose(found.sums, expected, rtol=1e-10)
    np.testing.assert_allclose(responsibilities(mixture, [Block(rows, var)]), resp, rtol=1e-9)


def test_statistics_add_up_over_blocks(family: Family, prior: NormalWishart, rows: Tensor) -> None:
    mixture, var = build(family, prior, rows), rows.square()
    whole = e_step(mixture, [Block(rows, var)])
    blocks = [Block(rows[part], var[part]) for part in (slice(2), slice(2, 7), slice(7, None))]
    apart = [e_step(mixture, [block]) for block in blocks]
    for parts in (e_step(mixture, blocks), apart[0] + apart[1] + apart[2]):
        torch.testing.assert_close(parts.sums, whole.sums)
        torch.testing.assert_close(parts.log_norm, whole.log_norm)


def test_rows_of_single_precision_are_summed_in_double(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    mixture = build(family, prior, rows)
    single, double = (e_step(mixture, [Block(z)]) for z in (rows.float(), rows))
    assert single.sums.dtype == single.log_norm.dtype == torch.float64
    torch.testing.assert_close(single.sums, double.sums, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(single.log_norm, double.log_norm, rtol=1e-5, atol=0)


@pytest.mark.parametrize("zeta", [1.0, 0.3])
def test_kl_is_that_of_scipys_densities(
    family: Family, prior: NormalWishart, rows: Tensor, textbook, zeta: float
) -> None:
    """Beta sticks in closed form, Normal-Wisharts by draws of log q - log p."""
    mixture = build(family, prior, rows, zeta=zeta)
    n = (zeta * mixture.counts).sort(descending=True).values
    alpha = torch.tensor(mixture.law.alpha)
    q_sticks = Beta(1 + n, alpha + n.flip(0).cumsum(0).flip(0) - n)
    sticks = kl_divergence(q_sticks, Beta(torch.ones_like(n), alpha.expand_as(n))).sum()
    q, n_draws, expected, variance = mixture.components, 4000, float(sticks), 0.0
    for k in range(mixture.n_components):
        component = NormalWishart(*(value[k] for value in q))
        mean, precision = textbook.draw(component, n_draws, seed=k)
        ratio = log_density(component, mean, precision) - log_density(prior, mean, precision)
        expected += ratio.mean()
        variance += ratio.var() / n_draws
    assert math.sqrt(variance) < 0.02 * expected
    assert abs(float(mixture.kl) - expected) < 4 * math.sqrt(variance)


def log_density(law: NormalWishart, mean: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Log density of means (S, L) and precisions (S, L, L), by SciPy; (S,)."""
    m, kappa, nu, Psi = (value.numpy() for value in law)
    delta = np.einsum("sij,sj->si", np.linalg.cholesky(precision).transpose(0, 2, 1), mean - m)
    log_det = np.linalg.slogdet(precision)[1]
    normal = stats.norm(0, 1 / math.sqrt(kappa)).logpdf(delta).sum(1) + 0.5 * log_det
    if Psi.ndim == 1:
        diagonal = np.diagonal(precision, axis1=1, axis2=2)
        return normal + stats.gamma(nu / 2, scale=2 / Psi).logpdf(diagonal).sum(1)
    return normal + stats.wishart(float(nu), np.linalg.inv(Psi)).logpdf(
        precision.transpose(1, 2, 0)
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(2, 30),
    n_features=st.integers(1, 4),
    n_components=st.integers(1, 6),
    alpha=st.floats(0.01, 20),
    zeta=st.sampled_from([1.0, 0.5, 0.05]),
    family_class=st.sampled_from([FullCovariance, DiagonalCovariance]),
)
def test_bound_rises_with_every_sweep(
    make_prior: MakePrior,
    seed: int,
    n_rows: int,
    n_features: int,
    n_components: int,
    alpha: float,
    zeta: float,
    family_class: type[Family],
) -> None:
    """At a fixed prior, the coarsened bound zeta sum_n log sum_k exp(rho_nk) - KL."""
    family, rng = family_class(n_features), np.random.default_rng(seed)
    rows = torch.from_numpy(rng.standard_t(3, size=(n_rows, n_features)) * 10 ** rng.uniform(-1, 1))
    mixture = build(
        family,
        make_prior(family, seed, nu=n_features + rng.exponential(3)),
        rows,
        n_components=n_components,
        alpha=alpha,
        zeta=zeta,
        seed=seed,
    )
    previous = -math.inf
    for _ in range(8):
        statistics = e_step(mixture, [Block(rows)])
        coarsened = float(zeta * statistics.log_norm - mixture.kl)
        assert coarsened >= previous - 1e-8 * max(1.0, abs(previous))
        previous = coarsened
        mixture = mixture.with_statistics(statistics.sums)


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every way to divide the items into groups."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for i, group in enumerate(rest):
            yield [*rest[:i], [items[0], *group], *rest[i + 1 :]]


def exact_log_evidence(textbook, prior: NormalWishart, rows: Tensor, alpha: float) -> float:
    every = list(partitions(list(range(len(rows)))))
    assert len(every) == 203  # the Bell number of six
    return float(logsumexp([textbook.log_partition(prior, rows.numpy(), p, alpha) for p in every]))


@pytest.fixture
def six(rows: Tensor) -> Tensor:
    """Six points, three of them apart from the others."""
    return rows[:6] + torch.tensor([0, 0, 0, 9, 9, 9], dtype=torch.float64)[:, None]


def test_bound_is_below_the_exact_evidence(
    family: Family, prior: NormalWishart, six: Tensor, textbook
) -> None:
    exact = exact_log_evidence(textbook, prior, six, ALPHA)
    best = -math.inf
    for zeta, n_components, seed in itertools.product((1.0, 0.3), (1, 2, 3, 5), range(4)):
        mixture = build(family, prior, six, n_components=n_components, zeta=zeta, seed=seed)
        for n_sweeps in (0, 30):
            found = bound(ascend(mixture, six, n_sweeps), six)
            assert found < exact
            best = max(best, found)
    assert best > exact - 2  # it is a bound, and no idle one


def test_bound_is_the_exact_evidence_where_there_is_one_component(
    family: Family, prior: NormalWishart, six: Tensor, textbook
) -> None:
    """With alpha near 0 all rows share one component, and q has the form of the posterior."""
    alpha = 1e-12
    exact = exact_log_evidence(textbook, prior, six, alpha)
    mixture = ascend(build(family, prior, six, n_components=1, alpha=alpha), six, 1)
    assert bound(mixture, six) == pytest.approx(exact, abs=1e-7)


def test_bound_does_not_know_the_names_of_components(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    mixture, order = build(family, prior, rows, n_components=4), [2, 0, 3, 1]
    renamed = mixture.with_statistics(mixture.sums[order])
    before, after = (e_step(m, [Block(rows)]) for m in (mixture, renamed))
    torch.testing.assert_close(after.sums, before.sums[order])
    torch.testing.assert_close(after.log_norm, before.log_norm)
    torch.testing.assert_close(renamed.kl, mixture.kl)
    torch.testing.assert_close(renamed.weights(), mixture.weights()[order])


def test_bound_does_not_know_the_origin(family: Family, prior: NormalWishart, rows: Tensor) -> None:
    shift = torch.tensor([50.0, -20.0, 7.0], dtype=torch.float64)
    bounds = [
        bound(ascend(build(family, prior._replace(m=prior.m + s), rows + s), rows + s, 5), rows + s)
        for s in (0 * shift, shift)
    ]
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-9)


def test_sort_orders_by_size_and_weights_sum_to_one(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    mixture = build(family, prior, rows, n_components=4)
    ordered = mixture.sort()
    assert bool((ordered.counts.diff() <= 0).all())
    assert sorted(ordered.counts.tolist()) == sorted(mixture.counts.tolist())
    assert bool((ordered.weights().diff() <= 0).all())
    assert float(mixture.weights().sum()) == pytest.approx(1)


def test_log_joint_has_the_gradients_of_finite_differences(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    mixture = build(family, prior, rows)

    def log_prior(mean: Tensor, log_var: Tensor) -> Tensor:
        return mixture.log_joint(mixture.family.features(mean, log_var.exp())).logsumexp(1)

    inputs = (rows[:3].clone().requires_grad_(), (rows[3:6] / 5).requires_grad_())
    assert torch.autograd.gradcheck(log_prior, inputs)
