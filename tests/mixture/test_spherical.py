"""The spherical family against SciPy's densities, the diagonal family and draws."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from infimix import DPGaussianMixture
from infimix.mixture import (
    Block,
    DiagonalCovariance,
    DPMixture,
    NormalWishart,
    SphericalCovariance,
    StickBreaking,
    e_step,
)

L = 3


@pytest.fixture
def family() -> SphericalCovariance:
    return SphericalCovariance(L)


@pytest.fixture
def prior() -> NormalWishart:
    m = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    return NormalWishart(m, *(torch.tensor(v, dtype=torch.float64) for v in (0.7, 4.3, [2.5])))


def components(family: SphericalCovariance, prior: NormalWishart, rows: Tensor) -> NormalWishart:
    sums = torch.stack([family.features(part).sum(0) for part in (rows[:4], rows[4:])])
    return family.posterior(prior, sums)


def test_features_have_the_promised_number(family: SphericalCovariance, rows: Tensor) -> None:
    features = family.features(rows, rows.abs())
    assert features.shape == (9, family.n_statistics)
    expected = rows.square().sum(1) + rows.abs().sum(1)
    torch.testing.assert_close(features[:, -2], expected)


def test_log_evidence_is_a_chain_of_student_t_predictives(
    family: SphericalCovariance, prior: NormalWishart, rows: Tensor
) -> None:
    m, kappa, nu, Psi = (value.numpy() for value in prior)
    expected = 0.0
    for x in rows.numpy():
        grow = (kappa + 1) / kappa
        expected += stats.multivariate_t(m, Psi[0] * grow / nu * np.eye(L), nu).logpdf(x)
        Psi = Psi + ((x - m) ** 2).sum() / grow
        m, kappa, nu = (kappa * m + x) / (kappa + 1), kappa + 1, nu + L
    found = family.log_evidence(prior, family.features(rows).sum(0, keepdim=True))
    assert float(found) == pytest.approx(float(expected), rel=1e-12)


def test_it_is_the_diagonal_family_in_one_dimension(make_prior, rows: Tensor) -> None:
    one, diag = SphericalCovariance(1), DiagonalCovariance(1)
    prior, x = make_prior(diag), rows[:, 2:]
    torch.testing.assert_close(one.features(x), diag.features(x))
    sums = torch.stack([diag.features(x[:4]).sum(0), diag.features(x[4:]).sum(0)])
    q, same = one.posterior(prior, sums), diag.posterior(prior, sums)
    torch.testing.assert_close(q, same)
    torch.testing.assert_close(one.expected_natural(q), diag.expected_natural(same))
    torch.testing.assert_close(one.log_normaliser(q), diag.log_normaliser(same))
    torch.testing.assert_close(one.covariance(q), diag.covariance(same))
    torch.testing.assert_close(one.mahalanobis(q, x), diag.mahalanobis(same, x))
    references = [f.weak_prior(prior.m, torch.cov(x.mT).reshape(1, 1), 0.05) for f in (one, diag)]
    torch.testing.assert_close(*references)
    learned = [f.empirical_bayes(prior, q, references[0]) for f in (one, diag)]
    torch.testing.assert_close(*learned)
    natural = one.expected_natural(q)
    torch.testing.assert_close(one.trace_of_precision(natural), diag.trace_of_precision(natural))


def test_expected_natural_gives_the_expected_log_density(
    family: SphericalCovariance, prior: NormalWishart, rows: Tensor
) -> None:
    q, n_draws, rng = components(family, prior, rows), 200_000, np.random.default_rng(0)
    z = rows[[0, 8]]
    expected = family.features(z) @ family.expected_natural(q).mT
    for k in range(2):
        m, kappa, nu, Psi = (value[k].numpy() for value in q)
        precision = rng.gamma(nu / 2, 2 / Psi[0], n_draws)
        mean = m + rng.normal(size=(n_draws, L)) / np.sqrt(kappa * precision)[:, None]
        for n in range(2):
            square = precision * ((z[n].numpy() - mean) ** 2).sum(1)
            draws = 0.5 * (L * np.log(precision / (2 * math.pi)) - square)
            error = draws.std() / math.sqrt(n_draws)
            assert abs(float(expected[n, k]) - draws.mean()) < 4 * error


def test_learned_prior_is_the_best(
    family: SphericalCovariance, prior: NormalWishart, rows: Tensor
) -> None:
    """Sum of E_q log p over components and reference, by SciPy's gamma and normal laws."""
    q = components(family, prior, rows)
    reference = family.weak_prior(prior.m, torch.cov(rows.mT), kappa=0.05)
    learned = family.empirical_bayes(prior, q, reference)
    rng = np.random.default_rng(1)
    laws = [NormalWishart(*(v[k] for v in q)) for k in range(2)] + [reference]
    draws = []
    for law in laws:
        m, kappa, nu, Psi = (value.numpy() for value in law)
        precision = rng.gamma(nu / 2, 2 / Psi[0], 20_000)
        noise = rng.normal(size=(20_000, L))
        draws.append((m + noise / np.sqrt(kappa * precision)[:, None], precision))

    def objective(kappa: float, nu: float, Psi: float) -> float:
        total = 0.0
        for mean, precision in draws:
            total += stats.gamma(nu / 2, scale=2 / Psi).logpdf(precision).mean()
            scale = 1 / np.sqrt(kappa * precision)[:, None]
            total += stats.norm(prior.m.numpy(), scale).logpdf(mean).sum(1).mean()
        return total

    kappa, nu, Psi = float(learned.kappa), float(learned.nu), float(learned.Psi)
    best = objective(kappa, nu, Psi)
    for factor in (0.7, 1.4):
        assert objective(factor * kappa, nu, Psi) < best
        assert objective(kappa, factor * nu, factor * Psi) < best
        assert objective(kappa, nu, factor * Psi) < best


def test_bound_rises_with_every_sweep(
    family: SphericalCovariance, prior: NormalWishart, rows: Tensor
) -> None:
    resp = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(3), len(rows)))
    sums, law = resp.mT @ family.features(rows), StickBreaking(1.0)
    for dof in (math.inf, 4.0):
        mixture, previous = DPMixture(family, prior, law, sums, 1.0, dof), -math.inf
        for _ in range(10):
            found = e_step(mixture, [Block(rows)])
            assert float(mixture.bound(found)) >= previous - 1e-9
            previous = float(mixture.bound(found))
            mixture = mixture.with_statistics(found.sums)


def test_spheres_of_three_sizes_are_found() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=1500)
    X = rng.normal(size=(1500, 4)) * np.array([0.5, 1, 2])[y, None] + 14 * np.eye(4)[y]
    model = DPGaussianMixture(covariance_type="spherical", random_state=0).fit(X)
    assert model.n_components_ == 3
    assert model.covariances_.shape == (3, 4)
    np.testing.assert_allclose(np.sort(model.covariances_[:, 0]), [0.25, 1, 4], rtol=0.15)
    assert np.ptp(model.covariances_, axis=1) == pytest.approx(0)
    assert model.transform(X).shape == (1500, 3)
    assert model.sample(10)[0].shape == (10, 4)
