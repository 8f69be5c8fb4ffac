"""What holds of the bound and of log p(z, c) for every family, law of weights, tail and row.

The bound never falls in a step, whole or memoised; log p(z, c) never falls in a merge; the bound is
below the exact evidence, found by all partitions of a few rows and, where tails are heavy, by
quadrature over the rows' own precisions.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import gammaln, logsumexp, roots_genlaguerre
from torch import Tensor

from infimix.mixture import (
    Block,
    DiagonalCovariance,
    DPMixture,
    Family,
    FiniteDirichlet,
    FullCovariance,
    Memo,
    NormalWishart,
    SphericalCovariance,
    StickBreaking,
    WeightLaw,
    e_step,
    log_partition_evidence,
    merge,
    merge_gains,
    merge_while_better,
    split,
)

FAMILIES = [FullCovariance, DiagonalCovariance, SphericalCovariance]
EACH_FAMILY = pytest.mark.parametrize("family_class", FAMILIES, ids=["full", "diag", "spherical"])
EACH_LAW = pytest.mark.parametrize("make_law", [StickBreaking, lambda a: FiniteDirichlet(a, 5)])
EACH_TAIL = pytest.mark.parametrize("dof", [math.inf, 4.7])
DOF, ALPHA = 4.7, 1.3


def build_prior(family: Family, seed: int = 0, nu: float = 6.3) -> NormalWishart:
    """Prior without any symmetry, of any family."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(family.n_features, family.n_features))
    Psi = torch.from_numpy(root @ root.T + 2 * np.eye(family.n_features))
    m = torch.from_numpy(rng.normal(size=family.n_features))
    kappa, nu_ = torch.tensor([0.7, nu], dtype=torch.float64)
    of = {"full": Psi, "diag": Psi.diagonal(), "spherical": Psi[0, :1]}
    return NormalWishart(m, kappa, nu_, of[family.name])


def assigned(
    family: Family,
    block: Block,
    *,
    law: WeightLaw,
    n_components: int = 3,
    zeta: float = 1.0,
    dof: float = math.inf,
    seed: int = 0,
) -> DPMixture:
    """Mixture that answers to random soft assignments of the rows."""
    resp = np.random.default_rng(seed).dirichlet(np.ones(n_components), len(block.z))
    features = block.weights()[:, None] * family.features(block.z, block.var)
    sums = torch.from_numpy(resp).mT @ features
    return DPMixture(family, build_prior(family, seed), law, sums, zeta, dof)


@st.composite
def mixtures(draw: Any) -> tuple[DPMixture, Block]:
    """A mixture of any kind and rows of any kind."""
    seed = draw(st.integers(0, 10_000))
    rng, n_features = np.random.default_rng(seed), draw(st.integers(1, 3))
    family = draw(st.sampled_from(FAMILIES))(n_features)
    n_rows, alpha = draw(st.integers(4, 50)), draw(st.floats(0.05, 10))
    z = rng.standard_t(3, size=(n_rows, n_features)) * 10 ** rng.uniform(-1, 1)
    var = rng.exponential(size=z.shape) * z.var() if draw(st.booleans()) else None
    weight = rng.exponential(size=n_rows) * rng.integers(0, 4, n_rows)
    weight = weight + (weight.sum() == 0) if draw(st.booleans()) else None
    block = Block(
        *(None if x is None else torch.from_numpy(np.asarray(x)) for x in (z, var, weight))
    )
    return assigned(
        family,
        block,
        law=draw(st.sampled_from([StickBreaking(alpha), FiniteDirichlet(alpha, 7)])),
        n_components=draw(st.integers(1, 6)),
        zeta=draw(st.sampled_from([1.0, 0.2])),
        dof=draw(st.sampled_from([math.inf, 30.0, 2.5])),
        seed=seed,
    ), block


def coarsened(bound: Tensor, mixture: DPMixture) -> float:
    """What rows worth zeta each maximise, of L: zeta (L + KL) - KL."""
    return float(mixture.zeta * (bound + mixture.kl) - mixture.kl)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(given_=mixtures())
def test_the_bound_never_falls_in_a_step(given_: tuple[DPMixture, Block]) -> None:
    """At a fixed prior; the degrees of freedom of heavy tails are learned too."""
    (mixture, block), previous = given_, -math.inf
    for _ in range(8):
        statistics = e_step(mixture, [block])
        bound = coarsened(mixture.bound(statistics), mixture)
        assert bound >= previous - 1e-8 * max(1.0, abs(previous))
        previous = bound
        mixture = mixture.with_statistics(statistics.sums).with_learned_tails(statistics)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(given_=mixtures(), size=st.integers(1, 25))
def test_the_bound_never_falls_in_a_memoised_step(
    given_: tuple[DPMixture, Block], size: int
) -> None:
    (mixture, block), previous, memo = given_, -math.inf, Memo()
    index = torch.arange(len(block.z)).split(size)
    for _ in range(6):
        mixture = memo.sweep(mixture, [block.take(part) for part in index], len(block.z))
        bound = coarsened(memo.bound(mixture), mixture)
        assert bound >= previous - 1e-8 * max(1.0, abs(previous))
        best = coarsened(mixture.bound(e_step(mixture, [block])), mixture)
        assert bound <= best + 1e-8 * max(1.0, abs(best))
        previous = bound


@settings(max_examples=50, deadline=None, derandomize=True)
@given(given_=mixtures(), n_sweeps=st.integers(0, 4))
def test_log_p_never_falls_in_a_merge(given_: tuple[DPMixture, Block], n_sweeps: int) -> None:
    """Of soft statistics, with precisions of the rows in them where tails are heavy."""
    mixture, block = given_
    for _ in range(n_sweeps):
        mixture = mixture.with_statistics(e_step(mixture, [block]).sums)
    gains, before = merge_gains(mixture), log_partition_evidence(mixture)
    for j, k in itertools.combinations(range(mixture.n_components), 2):
        change = log_partition_evidence(merge(mixture, j, k)) - before
        torch.testing.assert_close(change, gains[j, k], rtol=1e-7, atol=1e-7)
    merged, path = merge_while_better(mixture)
    gained = float(log_partition_evidence(merged) - before)
    assert all(step.gain > 0 for step in path)
    assert gained == pytest.approx(sum(step.gain for step in path), rel=1e-7, abs=1e-7)
    assert gained >= 0
    torch.testing.assert_close(merged.sums.sum(0), mixture.sums.sum(0))


@EACH_FAMILY
@EACH_LAW
@EACH_TAIL
@pytest.mark.parametrize("kind", ["plain", "weighted", "uncertain"])
def test_log_p_rises_in_a_split_of_two_clusters(
    family_class: type[Family], make_law: Any, dof: float, kind: str
) -> None:
    """It need not where clusters are not so clear: pieces learn a prior of their own."""
    rng, family = np.random.default_rng(0), family_class(2)
    z = torch.from_numpy(rng.normal(size=(120, 2)) + 9 * (np.arange(120) % 2)[:, None])
    var = torch.full_like(z, 0.3) if kind == "uncertain" else None
    weight = torch.from_numpy(rng.uniform(0.2, 3, 120)) if kind == "weighted" else None
    block = Block(z, var, weight)
    start = assigned(family, block, law=make_law(1.0), n_components=1, dof=dof)
    whole = start.with_statistics(e_step(start, [block]).sums)
    halves, n_splits = split(whole, whole.prior, block, max_components=4, seed=0)
    assert n_splits == 1
    assert float(log_partition_evidence(halves) - log_partition_evidence(whole)) > 10
    torch.testing.assert_close(halves.counts.sum(), block.weights().sum())
    for mixture in (halves, e_step(halves, [block])):  # and it is that of the two clusters
        want = torch.stack([block.weights()[half::2].sum() for half in (0, 1)])
        torch.testing.assert_close(
            mixture.sums[:, 0].sort().values, want.sort().values, rtol=1e-3, atol=0
        )


# ------------------------------------------------------------------------- the exact evidence


def exact_log_evidence(
    prior: NormalWishart, family: Family, rows: np.ndarray, law: WeightLaw, dof: float, n_nodes: int
) -> float:
    """Log p(rows): all partitions, or all assignments to the T components of a finite mixture."""
    every = range(len(rows))
    cached: dict[tuple[int, ...], float] = {}

    def of(group: tuple[int, ...]) -> float:
        if group not in cached:
            cached[group] = log_group(prior, family, rows[list(group)], dof, n_nodes)
        return cached[group]

    if isinstance(law, StickBreaking):
        total = []
        for partition in partitions(list(every)):
            n = np.array([len(group) for group in partition])
            restaurant = len(n) * np.log(law.alpha) + gammaln(n).sum()
            restaurant += gammaln(law.alpha) - gammaln(law.alpha + n.sum())
            total.append(restaurant + sum(of(tuple(sorted(group))) for group in partition))
        return float(logsumexp(total))
    assert isinstance(law, FiniteDirichlet)
    total, T = [], law.n_components
    for labels in itertools.product(range(T), repeat=len(rows)):  # Polya's urn, row after row
        log_p = 0.0
        for i in every:
            share = law.alpha / T + labels[:i].count(labels[i])
            log_p += math.log(share / (law.alpha + i))
        groups = [tuple(i for i in every if labels[i] == k) for k in set(labels)]
        total.append(log_p + sum(map(of, groups)))
    return float(logsumexp(total))


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every way to divide the items into groups."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for i, group in enumerate(rest):
            yield [*rest[:i], [items[0], *group], *rest[i + 1 :]]


def log_group(
    prior: NormalWishart, family: Family, rows: np.ndarray, dof: float, n_nodes: int
) -> float:
    """Log p(rows of one component): chain of Student-t predictives, the u_n by quadrature.

    With a precision u of its own a row has, given mu's law N(m, (kappa Lambda)^-1), the covariance
    (1 / u + 1 / kappa) Lambda^-1. Generalised Gauss-Laguerre nodes carry u ~ Gamma(dof/2, dof/2).
    """
    s, L = rows.shape
    if math.isinf(dof):
        u, log_w = np.ones((1, s)), np.zeros(1)
    else:
        x, w = roots_genlaguerre(n_nodes, dof / 2 - 1)
        nodes = np.array(list(itertools.product(range(n_nodes), repeat=s)))  # (Q, s)
        u, log_w = x[nodes] * 2 / dof, np.log(w / w.sum())[nodes].sum(1)
    m0, kappa0, nu, Psi0 = (value.numpy() for value in prior)
    m, kappa = np.broadcast_to(m0, (len(u), L)), np.full(len(u), float(kappa0))
    Psi = np.broadcast_to(Psi0, (len(u), *Psi0.shape))
    total, nu = log_w, float(nu)
    for x, precision in zip(rows, u.T, strict=True):
        wide, delta = 1 / precision + 1 / kappa, x - m  # (Q,), (Q, L)
        if family.name == "diag":
            scale = np.sqrt(Psi * wide[:, None] / nu)
            total = total + stats.t(nu).logpdf(delta / scale).sum(1) - np.log(scale).sum(1)
            Psi, nu = Psi + delta**2 / wide[:, None], nu + 1
        else:
            full = family.name == "full"
            df = nu - L + 1 if full else nu
            shape = Psi if full else Psi[:, :, None] * np.eye(L)
            cov = shape * (wide / df)[:, None, None]
            square = np.einsum("qi,qi->q", delta, np.linalg.solve(cov, delta[..., None])[..., 0])
            constant = gammaln((df + L) / 2) - gammaln(df / 2) - L / 2 * math.log(df * math.pi)
            total = total + constant - 0.5 * np.linalg.slogdet(cov)[1]
            total = total - (df + L) / 2 * np.log1p(square / df)
            outer = delta[:, :, None] * delta[:, None] if full else (delta**2).sum(1)[:, None]
            Psi = Psi + outer / wide.reshape(-1, *[1] * (outer.ndim - 1))
            nu += 1 if full else L
        m = (kappa[:, None] * m + precision[:, None] * x) / (kappa + precision)[:, None]
        kappa = kappa + precision
    return float(logsumexp(total))


@pytest.fixture
def few() -> Tensor:
    """Four rows of two features, two of them apart from the others."""
    rows = np.random.default_rng(3).normal(size=(4, 2)) * [0.5, 2]
    return torch.from_numpy(rows + np.array([[0, 0], [0, 0], [3, 5], [3, 5]]))


@EACH_FAMILY
@EACH_LAW
@EACH_TAIL
def test_the_bound_is_below_the_exact_evidence(
    family_class: type[Family], make_law: Any, dof: float, few: Tensor
) -> None:
    family, law = family_class(2), make_law(ALPHA)
    prior, block = build_prior(family), [Block(few)]
    exact, coarse = (exact_log_evidence(prior, family, few.numpy(), law, dof, n) for n in (16, 12))
    assert coarse == pytest.approx(exact, abs=0.02)  # the error of the quadrature
    best = -math.inf
    for zeta, n_components, seed in itertools.product((1.0, 0.3), (1, 2, 4), range(2)):
        mixture = assigned(
            family, block[0], law=law, n_components=n_components, zeta=zeta, dof=dof, seed=seed
        )
        mixture = DPMixture(family, prior, law, mixture.sums, zeta, dof)
        for n_sweeps in (0, 20):
            for _ in range(n_sweeps):
                mixture = mixture.with_statistics(e_step(mixture, block).sums)
            bound = float(mixture.bound(e_step(mixture, block)))
            assert bound < coarse - 0.02
            best = max(best, bound)
    assert best > exact - 5  # it is a bound, and no idle one


@EACH_FAMILY
@EACH_LAW
@EACH_TAIL
def test_the_bound_where_there_is_one_component(
    family_class: type[Family], make_law: Any, dof: float, few: Tensor
) -> None:
    """With alpha near 0, q has the form of the posterior; but for heavy tails, where u is apart."""
    family, law = family_class(2), make_law(1e-9)
    prior, block = build_prior(family), Block(few)
    exact = log_group(prior, family, few.numpy(), dof, 14)
    if isinstance(law, FiniteDirichlet):
        exact -= math.log(5)  # one of five components, and the bound holds to one
    mixture = assigned(family, block, law=law, n_components=1, dof=dof)
    for _ in range(30):
        mixture = mixture.with_statistics(e_step(mixture, [block]).sums)
    gap = exact - float(mixture.bound(e_step(mixture, [block])))
    low, high = (-1e-6, 1e-6) if math.isinf(dof) else (0.1, 1.2)
    assert low < gap < high


@EACH_FAMILY
def test_the_quadrature_is_the_mean_over_draws_of_the_parameters(
    family_class: type[Family], textbook
) -> None:
    """Two rows of one component, the other way round: u integrated out first, by Student's t."""
    family, n_draws = family_class(2), 100_000
    prior = build_prior(family)
    z = prior.m.numpy() + np.array([[0.5, -1.0], [-0.3, 2.0]])
    if family.name == "spherical":  # one precision for both features
        rng = np.random.default_rng(0)
        m, kappa, nu, Psi = (value.numpy() for value in prior)
        precision = rng.gamma(nu / 2, 2 / Psi[0], n_draws)[:, None, None] * np.eye(2)
        mean = m + rng.normal(size=(n_draws, 2)) / np.sqrt(kappa * precision[:, 0, :1])
    else:
        mean, precision = textbook.draw(prior, n_draws, 0)
    log_p = np.linalg.slogdet(precision)[1]  # a half for each of the rows
    for x in z:
        square = np.einsum("si,sij,sj->s", x - mean, precision, x - mean)
        log_p += np.log(stats.f(2, DOF).pdf(square / 2)) - math.log(2 * math.pi)
    p = np.exp(log_p)
    assert p.std() / p.mean() / math.sqrt(n_draws) < 0.01
    found = math.exp(log_group(prior, family, z, DOF, 14))
    assert abs(found - p.mean()) < 4 * p.std() / math.sqrt(n_draws)
    assert log_group(prior, family, z[::-1], DOF, 14) == pytest.approx(math.log(found), rel=1e-6)
