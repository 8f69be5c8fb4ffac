"""Conjugate families against SciPy's densities, quadrature and Monte Carlo."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import dblquad
from scipy.spatial.distance import cdist
from torch import Tensor

from infimix.mixture import DiagonalCovariance, Family, FullCovariance, NormalWishart

MakePrior = Callable[..., NormalWishart]


def statistics(family: Family, rows: Tensor) -> Tensor:
    """Statistics (1, P) of one component that holds all rows."""
    return family.features(rows).sum(0, keepdim=True)


def one(q: NormalWishart) -> NormalWishart:
    """The only component of a batch of one."""
    return NormalWishart(*(value[0] for value in q))


def components(family: Family, prior: NormalWishart, rows: Tensor) -> NormalWishart:
    """Two components, after rows 0 to 3 and after the others."""
    first, second = statistics(family, rows[:4]), statistics(family, rows[4:])
    return family.posterior(prior, torch.cat([first, second]))


def matrices(family: Family, q: NormalWishart) -> np.ndarray:
    """Covariances (K, L, L) whatever the family."""
    cov = family.covariance(q)
    return (cov if family.name == "full" else torch.diag_embed(cov)).numpy()


def test_features_have_the_promised_number(family: Family, rows: Tensor) -> None:
    assert family.features(rows).shape == (9, family.n_statistics)
    assert family.n_statistics == {"full": 1 + 3 + 6 + 1, "diag": 1 + 3 + 3 + 1}[family.name]


def test_features_are_the_same_with_gradients_and_without(family: Family, rows: Tensor) -> None:
    """And their gradients are those of finite differences."""
    z, var = rows[:3].clone().requires_grad_(), rows[3:6].exp().requires_grad_()
    assert torch.equal(family.features(z, var), family.features(z.detach(), var.detach()))
    assert torch.equal(family.features(z), family.features(z.detach()))
    assert torch.autograd.gradcheck(family.features, (z, var))


@pytest.mark.parametrize("n", [0, 1, 9])
def test_log_evidence_is_a_chain_of_student_t_predictives(
    family: Family, prior: NormalWishart, rows: Tensor, textbook, n: int
) -> None:
    evidence = family.log_evidence(prior, statistics(family, rows[:n]))
    expected = textbook.log_evidence(prior, rows[:n].numpy())
    assert evidence.shape == (1,)
    assert float(evidence) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_posterior_of_rows_one_by_one_is_that_of_all_at_once(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    q = prior
    for row in rows:
        q = one(family.posterior(q, statistics(family, row[None])))
    torch.testing.assert_close(one(family.posterior(prior, statistics(family, rows))), q)


def test_posterior_without_rows_is_the_prior(family: Family, prior: NormalWishart) -> None:
    q = family.posterior(prior, torch.zeros(1, family.n_statistics, dtype=torch.float64))
    torch.testing.assert_close(one(q), prior)


@pytest.mark.parametrize("far", [1e3, 1e6, 1e9])
def test_rounding_leaves_the_scale_of_equal_rows_positive(
    family: Family, prior: NormalWishart, far: float
) -> None:
    """Squares cancel down to nothing, and may come out below zero."""
    for n in range(1, 40):
        rows = far * torch.tensor([[1.1, 0.7, -1.3]], dtype=torch.float64).repeat(n, 1)
        tight = prior._replace(m=rows[0], Psi=1e-12 * prior.Psi)
        q = family.posterior(tight, statistics(family, rows))
        assert bool(family.log_normaliser(q).isfinite())
        assert bool(family.expected_natural(q).isfinite().all())


@pytest.mark.parametrize("uncertain", [False, True], ids=["known", "uncertain"])
def test_expected_natural_gives_the_expected_log_density(
    family: Family, prior: NormalWishart, rows: Tensor, textbook, uncertain: bool
) -> None:
    """E_q(mu, Lambda) E_q(z) log N(z | mu, Lambda^-1) by draws of all three."""
    q = components(family, prior, rows)
    z = rows[[0, 8]]
    var = torch.tensor([[0.3, 2.0, 0.7], [1.0, 0.1, 0.4]]).double() if uncertain else None
    expected = family.features(z, var) @ family.expected_natural(q).mT  # (N, K)
    n_draws = 100_000
    noise = np.random.default_rng(9).standard_normal((n_draws, 3))
    for k in range(2):
        mean, precision = textbook.draw(NormalWishart(*(v[k] for v in q)), n_draws, seed=k)
        log_det = np.linalg.slogdet(precision)[1]
        for n in range(2):
            draws = z[n].numpy() + (0 if var is None else np.sqrt(var[n].numpy()) * noise)
            delta = draws - mean
            square = np.einsum("si,sij,sj->s", delta, precision, delta)
            log_density = 0.5 * (log_det - 3 * math.log(2 * math.pi) - square)
            error = log_density.std() / math.sqrt(n_draws)
            assert error < 0.2
            assert abs(float(expected[n, k]) - log_density.mean()) < 4 * error


def test_log_normaliser_is_the_integral_in_one_dimension(family_class: type[Family]) -> None:
    family = family_class(1)
    m, kappa, nu, Psi = 0.4, 0.7, 3.6, 2.5

    def density(mu: float, log_precision: float) -> float:
        precision = math.exp(log_precision)  # its own Jacobian
        quadratic = kappa * precision * (mu - m) ** 2 + Psi * precision
        return (
            math.sqrt(precision) * precision ** (nu / 2 - 1) * math.exp(-quadratic / 2) * precision
        )

    def reach(log_precision: float) -> float:
        return 12 / math.sqrt(kappa * math.exp(log_precision))

    integral, _ = dblquad(density, -25, 6, lambda t: m - reach(t), lambda t: m + reach(t))
    q = NormalWishart(*(torch.tensor([v], dtype=torch.float64) for v in (m, kappa, nu, Psi)))
    shape = (1, 1, 1) if family.name == "full" else (1, 1)
    q = q._replace(m=q.m[:, None], Psi=q.Psi.reshape(shape))
    assert family.log_normaliser(q).exp().item() == pytest.approx(integral, rel=1e-6)


def test_families_agree_in_one_dimension(make_prior: MakePrior, rows: Tensor) -> None:
    full, diag = FullCovariance(1), DiagonalCovariance(1)
    x, var = rows[:, 2:], rows[:, :1].square()
    prior = make_prior(diag)
    same = prior._replace(Psi=prior.Psi[:, None])
    features = diag.features(x, var)
    torch.testing.assert_close(full.features(x, var), features)
    stats_ = torch.stack([features[:4].sum(0), features[4:].sum(0)])
    q, q_full = diag.posterior(prior, stats_), full.posterior(same, stats_)
    torch.testing.assert_close(q_full._replace(Psi=q_full.Psi[..., 0]), q)
    torch.testing.assert_close(full.expected_natural(q_full), diag.expected_natural(q))
    torch.testing.assert_close(full.log_evidence(same, stats_), diag.log_evidence(prior, stats_))
    torch.testing.assert_close(full.log_normaliser(q_full), diag.log_normaliser(q))
    torch.testing.assert_close(full.mahalanobis(q_full, x), diag.mahalanobis(q, x))


def test_diagonal_family_is_a_product_of_features(make_prior: MakePrior, rows: Tensor) -> None:
    diag, single = DiagonalCovariance(3), DiagonalCovariance(1)
    prior = make_prior(diag)
    total = sum(
        single.log_evidence(
            prior._replace(m=prior.m[[i]], Psi=prior.Psi[[i]]), statistics(single, rows[:, [i]])
        )
        for i in range(3)
    )
    torch.testing.assert_close(diag.log_evidence(prior, statistics(diag, rows)), total)


def test_covariance_inverts_the_expected_precision(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    q = components(family, prior, rows)
    assert family.covariance(q).shape == q.Psi.shape
    assert family.covariance(prior).shape == prior.Psi.shape
    cov = matrices(family, q)
    for k in range(2):
        nu, Psi = float(q.nu[k]), q.Psi[k].numpy()
        if family.name == "full":
            expected = stats.wishart(nu, np.linalg.inv(Psi)).mean()
        else:
            expected = np.diag(stats.gamma(nu / 2, scale=2 / Psi).mean())
        np.testing.assert_allclose(np.linalg.inv(cov[k]), expected, rtol=1e-10, atol=1e-12)


def test_samples_have_the_moments_of_their_components(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    q = components(family, prior, rows)
    n = 40_000
    component = torch.arange(2).repeat(n)
    z = family.sample(q, component, torch.Generator().manual_seed(0))
    assert torch.equal(z, family.sample(q, component, torch.Generator().manual_seed(0)))
    for k, cov in enumerate(matrices(family, q)):
        sd = np.sqrt(np.diag(cov))
        mine = z[component == k].numpy()
        assert np.all(np.abs(mine.mean(0) - q.m[k].numpy()) < 5 * sd / math.sqrt(n))
        spread = np.abs(np.cov(mine.T) - cov) / np.outer(sd, sd)
        assert spread.max() < 5 * math.sqrt(2 / n)


def test_mahalanobis_is_that_of_scipy(family: Family, prior: NormalWishart, rows: Tensor) -> None:
    """Also for many rows far from the origin, where expanding the square would cancel."""
    far = 1e5
    z = rows.repeat(20, 1)
    q = components(family, prior, rows)
    distance = family.mahalanobis(q._replace(m=q.m + far), z + far)
    for k, cov in enumerate(matrices(family, q)):
        expected = cdist(z.numpy(), q.m[[k]].numpy(), "mahalanobis", VI=np.linalg.inv(cov))[:, 0]
        np.testing.assert_allclose(distance[:, k], expected, rtol=1e-8)


def test_weak_prior_expects_the_given_covariance(family: Family, rows: Tensor) -> None:
    cov = torch.cov(rows.mT)
    weak = family.weak_prior(rows.mean(0), cov, kappa=0.05)
    expected = cov if family.name == "full" else cov.diagonal()
    torch.testing.assert_close(family.covariance(weak), expected)
    torch.testing.assert_close(weak.m, rows.mean(0))
    assert float(weak.kappa) == 0.05
    # One degree of freedom fewer, and the expected covariance of a component is infinite.
    assert float(weak.nu) == {"full": 3 + 2, "diag": 3}[family.name]


def test_a_matrix_with_a_nan_is_an_error(prior: NormalWishart, rows: Tensor) -> None:
    family = FullCovariance(3)
    rows = rows.clone()
    rows[0, 0] = torch.nan
    Psi = prior.Psi if prior.Psi.ndim == 2 else torch.diag(prior.Psi)
    with pytest.raises(torch.linalg.LinAlgError):
        family.log_evidence(prior._replace(Psi=Psi), statistics(family, rows))
