"""Limits of the unified model in which it must be another, simpler thing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import digamma
from torch import Tensor, nn

from infimix.estimators import DPGaussianMixture
from infimix.mixture import (
    Block,
    DPMixture,
    FullCovariance,
    StickBreaking,
    e_step,
    fit_mixture,
    responsibilities,
    settle,
)
from infimix.models import InfiniteMixtureModule, Pass
from infimix.networks import EncoderOutput

MakeModule = Callable[..., InfiniteMixtureModule]
N, L = 240, 2


class FrozenEncoder(nn.Module):
    """The row itself is the mean of its code; the variance is given."""

    def __init__(self, log_var: float) -> None:
        super().__init__()
        self.log_var = log_var

    def forward(self, x: Tensor) -> EncoderOutput:
        return EncoderOutput(x, torch.full_like(x, self.log_var))


@pytest.fixture(scope="module")
def codes() -> Tensor:
    """Three groups of rows (240, 2), float64."""
    rng = np.random.default_rng(0)
    centre = np.array([[0.0, 0.0], [8.0, 1.0], [-3.0, 9.0]])[rng.integers(3, size=N)]
    return torch.from_numpy(centre + rng.normal(size=(N, L)) * [1.0, 0.5])


def frozen(
    make_module: MakeModule, log_var: float, max_components: int, *, by_valleys: bool = True
) -> InfiniteMixtureModule:
    networks = (FrozenEncoder(log_var), nn.Linear(L, L))
    module = make_module(
        "normal", L, L, networks=networks, max_components=max_components, by_valleys=by_valleys
    )
    return module.double()


def test_exact_codes_leave_the_dp_mixture(make_module: MakeModule, codes: Tensor) -> None:
    """Noise is 1e-3 at least: a millionth of a row's square is what may differ."""
    module = frozen(make_module, log_var=-80.0, max_components=6)
    module.eval().start_epoch(Pass(N, lambda: iter(codes.split(100))))
    terms = module.elbo(codes, torch.zeros(N, L, dtype=torch.float64))
    plan = {"max_sweeps": module.SWEEPS, "tol": module.TOLERANCE}
    fit = fit_mixture(
        FullCovariance(L),
        [Block(codes)],
        N,
        n_components=6,
        max_components=6,
        law=StickBreaking(1.0),
        n_restarts=2,
        seed=0,
        **plan,
    )
    alone = settle(fit, [Block(codes)], **plan).mixture
    assert module.n_components == alone.n_components == 3
    torch.testing.assert_close(module.mixture.sums, alone.sums, rtol=1e-5, atol=1e-4)
    bound = e_step(alone, [Block(codes)]).log_norm - alone.kl
    torch.testing.assert_close((terms.log_prior - terms.kl_mixture).sum(), bound, rtol=1e-5, atol=0)
    resp = responsibilities(alone, [Block(codes)])
    torch.testing.assert_close(module.responsibilities(codes), resp, rtol=0, atol=1e-5)
    noise = stats.norm(scale=1e-3).entropy()
    torch.testing.assert_close(terms.entropy, terms.entropy.new_full((N,), L * noise))


def test_exact_codes_have_the_bound_of_the_estimator(
    make_module: MakeModule, codes: Tensor
) -> None:
    module = frozen(make_module, log_var=-80.0, max_components=6)
    module.start_epoch(Pass(N, lambda: iter([codes])))
    terms = module.elbo(codes, torch.zeros(N, L, dtype=torch.float64))
    found = DPGaussianMixture(6, heavy_tails=False, random_state=5).fit(
        codes.numpy()
    )  # another seed, whitened rows
    bound = float((terms.log_prior - terms.kl_mixture).mean())
    assert found.lower_bound_ == pytest.approx(bound, abs=2e-3)
    np.testing.assert_array_equal(found.labels_, module.responsibilities(codes).argmax(1))


def test_one_component_has_the_closed_form(make_module: MakeModule, codes: Tensor) -> None:
    """E_q[log p(z)] of two rows by draws of z, of the component's law and of its stick."""
    module = frozen(make_module, log_var=-1.0, max_components=1)
    module.start_epoch(Pass(N, lambda: iter([codes])))
    mixture = module.mixture
    m, kappa, nu, Psi = (value[0].numpy() for value in mixture.components)
    n_worth, alpha = float(mixture.zeta * mixture.counts.sum()), 1.0
    n_draws, rng = 20_000, np.random.default_rng(3)
    precision = stats.wishart(float(nu), np.linalg.inv(Psi)).rvs(n_draws, random_state=rng)
    factor = np.linalg.cholesky(np.linalg.inv(kappa * precision))
    mean = m + (factor @ rng.standard_normal((n_draws, L, 1)))[..., 0]
    log_stick = np.log(rng.beta(1 + n_worth, alpha, n_draws))
    terms = module.elbo(codes[:2], torch.zeros(2, L, dtype=torch.float64))
    for row, found in zip(codes[:2].numpy(), terms.log_prior.tolist(), strict=True):
        z = row + np.exp(-0.5) * rng.standard_normal((n_draws, L))
        delta = z - mean
        square = np.einsum("ni,nij,nj->n", delta, precision, delta)
        log_p = 0.5 * (np.linalg.slogdet(precision)[1] - square) - L / 2 * np.log(2 * np.pi)
        draws = log_p + log_stick
        error = draws.std() / np.sqrt(n_draws)
        assert error < 0.02
        assert abs(draws.mean() - found) < 4 * error
    exact = digamma(1 + n_worth) - digamma(1 + n_worth + alpha)
    assert log_stick.mean() == pytest.approx(exact, abs=1e-3)


def test_no_prior_in_the_warm_up(make_module: MakeModule, codes: Tensor) -> None:
    module = frozen(make_module, log_var=-1.0, max_components=3)
    terms = module.elbo(codes, torch.zeros(N, L, dtype=torch.float64))
    assert module.n_components == 0
    assert terms.statistics is None
    assert not terms.log_prior.any()
    assert not terms.kl_mixture.any()


@pytest.mark.parametrize("by_valleys", [True, False])
def test_a_bent_cluster_is_one_component_where_valleys_decide(
    make_module: MakeModule, *, by_valleys: bool
) -> None:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, np.pi, 3000)
    bent = np.stack([10 * np.cos(angle), 10 * np.sin(angle)], 1) + rng.normal(size=(3000, 2)) / 2
    module = frozen(make_module, log_var=-80.0, max_components=8, by_valleys=by_valleys)
    module.start_epoch(Pass(3000, lambda: iter([torch.from_numpy(bent)])))
    assert (module.n_components == 1) == by_valleys


@pytest.mark.parametrize("by_valleys", [True, False])
def test_a_background_is_dropped_when_the_mixture_settles(
    make_module: MakeModule, *, by_valleys: bool
) -> None:
    """Six clusters on a circle, and few rows over all of them, as a component of their own."""
    rng, angle = np.random.default_rng(0), 2 * np.pi * np.arange(6) / 6
    small = [rng.normal((6 * np.cos(a), 6 * np.sin(a)), 0.3, (400, 2)) for a in angle]
    z = torch.from_numpy(np.concatenate([*small, rng.normal(0, 5, (300, 2))]))
    module = frozen(make_module, log_var=-80.0, max_components=8, by_valleys=by_valleys)
    family, label = FullCovariance(L), torch.arange(6).repeat_interleave(400)
    member = torch.nn.functional.one_hot(torch.cat([label, torch.full((300,), 6)])).double()
    prior = family.weak_prior(z.mean(0), z.mT.cov(), 0.05)
    mixture = DPMixture(family, prior, StickBreaking(1.0), member.mT @ family.features(z))
    module.state.store(mixture, prior)
    module.eval().start_epoch(Pass(len(z), lambda: iter([z])))
    assert module.n_components == (6 if by_valleys else 7)
    assert float(module.mixture.counts.sum()) == pytest.approx(len(z), rel=1e-6)
