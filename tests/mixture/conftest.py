"""Families, priors and textbook formulas in NumPy and SciPy that the mixture is held against."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln
from torch import Tensor

from infimix.mixture import DiagonalCovariance, Family, FullCovariance, NormalWishart

L = 3  # features of the `family` fixture


class Textbook(NamedTuple):
    """What tests take as given; everything in float64, no code of the package behind it."""

    log_evidence: Callable[[NormalWishart, np.ndarray], float]
    log_partition: Callable[[NormalWishart, np.ndarray, list[list[int]], float], float]
    draw: Callable[[NormalWishart, int, int], tuple[np.ndarray, np.ndarray]]


def log_evidence(prior: NormalWishart, rows: np.ndarray) -> float:
    """Chain of Student-t predictives, row by row (Murphy 2007, eq. 258 and 110)."""
    m, kappa, nu, Psi = (value.numpy() for value in prior)
    total = 0.0
    for x in rows:
        grow = (kappa + 1) / kappa
        if Psi.ndim == 2:
            df = nu - len(m) + 1
            total += stats.multivariate_t(m, Psi * grow / df, df).logpdf(x)
            Psi = Psi + np.outer(x - m, x - m) / grow
        else:
            total += stats.t(nu, m, np.sqrt(Psi * grow / nu)).logpdf(x).sum()
            Psi = Psi + (x - m) ** 2 / grow
        m, kappa, nu = (kappa * m + x) / (kappa + 1), kappa + 1, nu + 1
    return float(total)


def log_partition(
    prior: NormalWishart, rows: np.ndarray, groups: list[list[int]], alpha: float
) -> float:
    """Log p(rows, partition): Chinese restaurant process times the evidence of each group."""
    n = np.array([len(group) for group in groups])
    restaurant = len(n) * np.log(alpha) + gammaln(n).sum()
    restaurant += gammaln(alpha) - gammaln(alpha + n.sum())
    return float(restaurant + sum(log_evidence(prior, rows[group]) for group in groups))


def draw(q: NormalWishart, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means (n, L) and precision matrices (n, L, L) of one component from its law."""
    m, kappa, nu, Psi = (value.numpy() for value in q)
    rng = np.random.default_rng(seed)
    if Psi.ndim == 2:
        precision = stats.wishart(float(nu), np.linalg.inv(Psi)).rvs(n, random_state=rng)
        precision = precision.reshape(n, len(m), len(m))
    else:
        gamma = stats.gamma(nu / 2, scale=2 / Psi).rvs((n, len(m)), random_state=rng)
        precision = gamma[:, :, None] * np.eye(len(m))
    factor = np.linalg.cholesky(np.linalg.inv(kappa * precision))
    noise = rng.standard_normal((n, len(m), 1))
    return m + (factor @ noise)[..., 0], precision


@pytest.fixture(scope="session")
def textbook() -> Textbook:
    """Formulas that no code of the package stands behind."""
    return Textbook(log_evidence, log_partition, draw)


def build_prior(family: Family, seed: int = 0, nu: float = 6.3) -> NormalWishart:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(family.n_features, family.n_features))
    Psi = torch.from_numpy(root @ root.T + 2 * np.eye(family.n_features))
    m = torch.from_numpy(rng.normal(size=family.n_features))
    scalars = torch.tensor([0.7, nu], dtype=torch.float64)
    return NormalWishart(
        m, scalars[0], scalars[1], Psi if family.name == "full" else Psi.diagonal()
    )


@pytest.fixture(scope="session")
def make_prior() -> Callable[..., NormalWishart]:
    """Prior of a family without any symmetry: make_prior(family, seed=0, nu=6.3)."""
    return build_prior


@pytest.fixture(params=[FullCovariance, DiagonalCovariance], ids=["full", "diag"])
def family_class(request: pytest.FixtureRequest) -> type[Family]:
    """Each family in turn."""
    return request.param


@pytest.fixture
def family(family_class: type[Family]) -> Family:
    """Each family in turn, with three features."""
    return family_class(L)


@pytest.fixture
def prior(family: Family) -> NormalWishart:
    """Prior of `family` without any symmetry."""
    return build_prior(family)


@pytest.fixture
def rows() -> Tensor:
    """Rows (9, 3) of unequal spread, away from the prior's mean."""
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.normal(size=(9, L)) * [0.5, 1, 3] + [1, -2, 4])
