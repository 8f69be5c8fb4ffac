"""Learned priors against a numerical optimiser, degrees of freedom against SciPy."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import digamma, multigammaln
from torch import Tensor

from infimix.mixture import DiagonalCovariance, Family, FullCovariance, NormalWishart
from infimix.mixture.families import VARIANCE_FLOOR, multidigamma, solve_degrees_of_freedom

Objective = Callable[[float, float, np.ndarray], float]


def blocks_of(q: NormalWishart, family: Family) -> list[tuple[NormalWishart, np.ndarray]]:
    """Each component as independent Normal-Wisharts, with the features of each.

    The diagonal family is one Wishart of order one for each feature.
    """
    q = NormalWishart(*(value.numpy() for value in q))
    K, L = q.m.shape
    if family.name == "full":
        return [(NormalWishart(*(v[k] for v in q)), np.arange(L)) for k in range(K)]
    return [
        (NormalWishart(q.m[k, [i]], q.kappa[k], q.nu[k], q.Psi[k, [i]][:, None]), np.array([i]))
        for k in range(K)
        for i in range(L)
    ]


def expected_log_prior(
    family: Family, q: NormalWishart, reference: NormalWishart, m: np.ndarray
) -> Objective:
    """Sum over components and the reference of E_q log p(mu, Lambda | kappa, nu, Psi)."""
    reference = NormalWishart(*(value[None] for value in reference))
    laws = [*blocks_of(q, family), *blocks_of(reference, family)]

    def objective(kappa: float, nu: float, Psi: np.ndarray) -> float:
        total = 0.0
        for law, features in laws:
            p = len(features)
            mine = Psi[np.ix_(features, features)] if family.name == "full" else Psi[features][None]
            precision = law.nu * np.linalg.inv(law.Psi)
            steps = np.arange(p)
            log_det = digamma((law.nu - steps) / 2).sum() + p * math.log(2)
            log_det -= np.linalg.slogdet(law.Psi)[1]
            delta = law.m - m[features]
            normal = p * math.log(kappa / (2 * math.pi)) + log_det
            normal -= kappa * (delta @ precision @ delta + p / law.kappa)
            wishart = (nu - p - 1) * log_det - np.trace(mine @ precision)
            wishart += nu * np.linalg.slogdet(mine)[1] - nu * p * math.log(2)
            total += 0.5 * (normal + wishart) - multigammaln(nu / 2, p)
        return total

    return objective


def unpack(theta: np.ndarray, family: Family) -> tuple[float, float, np.ndarray]:
    """Free parameters -> kappa, nu (in its range, from one more than the order on) and Psi."""
    L = family.n_features
    if family.name == "diag":
        return math.exp(theta[0]), 2 + math.exp(theta[1]), np.exp(theta[2:])
    factor = np.zeros((L, L))
    factor[np.tril_indices(L)] = theta[2:]
    factor[np.diag_indices(L)] = np.exp(factor.diagonal())
    return math.exp(theta[0]), L + 1 + math.exp(theta[1]), factor @ factor.T


def learn(
    family: Family, prior: NormalWishart, spread: float
) -> tuple[NormalWishart, NormalWishart, NormalWishart]:
    """Components, a reference and the prior learned from them."""
    rng = np.random.default_rng(5)
    scale = rng.uniform(0.5, 2, size=(4, 1, 1)) * [1.0, 0.4, 2.5]
    rows = torch.from_numpy(
        rng.normal(size=(4, 30, 3)) * scale + spread * rng.normal(size=(4, 1, 3))
    )
    stats = torch.stack([family.features(group).sum(0) for group in rows])
    flat = rows.flatten(0, 1)
    reference = family.weak_prior(prior.m, torch.cov(flat.mT), kappa=0.05)
    q = family.posterior(prior, stats)
    return q, reference, family.empirical_bayes(prior, q, reference)


@pytest.mark.parametrize("spread", [0.3, 10.0], ids=["inside the range", "at its lower end"])
def test_learned_prior_maximises_the_expected_log_prior(
    family: Family, prior: NormalWishart, spread: float
) -> None:
    q, reference, learned = learn(family, prior, spread)
    objective = expected_log_prior(family, q, reference, prior.m.numpy())
    n_free = 2 + (6 if family.name == "full" else 3)
    best = minimize(lambda theta: -objective(*unpack(theta, family)), np.zeros(n_free), tol=1e-9)
    kappa, nu, Psi = unpack(best.x, family)
    floor = VARIANCE_FLOOR * reference.Psi / reference.nu  # the one deliberate departure
    floor = torch.diag(floor.diagonal()) if family.name == "full" else floor
    assert float(learned.kappa) == pytest.approx(kappa, rel=1e-3)
    assert float(learned.nu) == pytest.approx(nu, rel=1e-3)
    np.testing.assert_allclose(
        learned.Psi - learned.nu * floor, Psi, rtol=2e-3, atol=1e-3 * np.abs(Psi).max()
    )
    reached = objective(float(learned.kappa), float(learned.nu), learned.Psi.numpy())
    assert reached == pytest.approx(-best.fun, abs=1e-4)
    torch.testing.assert_close(learned.m, prior.m)


def test_every_change_of_the_learned_prior_is_for_the_worse(
    family: Family, prior: NormalWishart
) -> None:
    q, reference, learned = learn(family, prior, 3.0)
    objective = expected_log_prior(family, q, reference, prior.m.numpy())
    kappa, nu, Psi = float(learned.kappa), float(learned.nu), learned.Psi.numpy()
    best = objective(kappa, nu, Psi)
    for factor in (0.97, 1.03):
        assert objective(factor * kappa, nu, Psi) < best
        assert objective(kappa, factor * nu, Psi) < best
        assert objective(kappa, factor * nu, factor * Psi) < best
        for i in range(3):
            other = Psi.copy()
            other[..., i] *= factor
            if family.name == "full":
                other[i] *= factor
            assert objective(kappa, nu, other) < best


def test_learned_prior_stays_wide_where_rows_stand_on_one_point(
    family: Family, prior: NormalWishart
) -> None:
    rows = torch.ones(50, 3, dtype=torch.float64)
    reference = family.weak_prior(prior.m, 4 * torch.eye(3, dtype=torch.float64), kappa=0.05)
    learned = prior
    for _ in range(50):
        q = family.posterior(learned, family.features(rows).sum(0, keepdim=True))
        learned = family.empirical_bayes(learned, q, reference)
    cov = family.covariance(learned)
    variance = cov.diagonal() if family.name == "full" else cov
    assert bool((variance >= 4 * VARIANCE_FLOOR).all())
    assert all(bool(value.isfinite().all()) for value in learned)


@pytest.mark.parametrize("p", [1, 2, 7])
@pytest.mark.parametrize("nu", [9.3, 41.0, 900.0])
def test_degrees_of_freedom_solve_their_equation(p: int, nu: float) -> None:
    gap = digamma((nu - np.arange(p)) / 2).sum() - p * math.log(nu / 2)
    solved = solve_degrees_of_freedom(torch.tensor(gap), p)
    assert solved.shape == ()
    assert float(solved) == pytest.approx(nu, rel=1e-7)


@pytest.mark.parametrize("p", [1, 3])
def test_degrees_of_freedom_stay_in_their_range(p: int) -> None:
    low, high = (solve_degrees_of_freedom(torch.tensor(gap), p) for gap in (-1e3, 0.0))
    assert float(low) == pytest.approx(p + 1, rel=1e-8)
    assert float(high) == pytest.approx(1e4 * p, rel=1e-8)


@pytest.mark.parametrize("p", [1, 2, 5])
def test_multidigamma_is_the_slope_of_scipys_multivariate_log_gamma(p: int) -> None:
    a, step = np.array([2.6, 3.0, 11.0]), 1e-5
    slope = (multigammaln_each(a + step, p) - multigammaln_each(a - step, p)) / (2 * step)
    np.testing.assert_allclose(multidigamma(torch.from_numpy(a), p), slope, rtol=1e-7)


def multigammaln_each(a: np.ndarray, p: int) -> np.ndarray:
    return np.array([float(multigammaln(value, p)) for value in a])


def test_families_learn_the_same_prior_in_one_dimension(
    make_prior: Callable[..., NormalWishart], rows: Tensor
) -> None:
    full, diag = FullCovariance(1), DiagonalCovariance(1)
    prior, x = make_prior(diag), rows[:, 2:]
    stats = torch.stack([diag.features(x[:4]).sum(0), diag.features(x[4:]).sum(0)])
    learned = []
    for family, law in ((full, prior._replace(Psi=prior.Psi[:, None])), (diag, prior)):
        reference = family.weak_prior(prior.m, torch.cov(x.mT).reshape(1, 1), kappa=0.05)
        q = family.posterior(law, stats)
        # The weak priors of the two families have different degrees of freedom only for L > 1.
        learned.append(family.empirical_bayes(law, q, reference))
    torch.testing.assert_close(learned[0]._replace(Psi=learned[0].Psi[0]), learned[1])
