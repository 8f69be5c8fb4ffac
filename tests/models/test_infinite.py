"""Terms, statistics and samples of the unified model's module."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infimix.errors import DivergedError
from infimix.models import ElboTerms, InfiniteMixtureModule, Pass
from infimix.models.closeness import closeness

MakeModule = Callable[..., InfiniteMixtureModule]
MakeRows = Callable[[str, int, int], Tensor]
N, D = 60, 5


@pytest.fixture
def rows(make_rows: MakeRows) -> Tensor:
    return make_rows("normal", N, D)


@pytest.fixture
def module(make_module: MakeModule, rows: Tensor) -> InfiniteMixtureModule:
    """Module with a mixture of several components."""
    module = make_module("normal", D, 2)
    module.start_epoch(Pass(N, lambda: iter(rows.split(25))))
    assert module.n_components > 1
    return module


def noise(n: int) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(7))


def test_total_and_weighted_by_hand() -> None:
    terms = ElboTerms(*(torch.tensor([float(v), 0.0]) for v in (-7, 2, -3, 0.5)))
    torch.testing.assert_close(terms.total, torch.tensor([-8.5, 0.0]))
    torch.testing.assert_close(terms.weighted(0.0), torch.tensor([-7.0, 0.0]))
    torch.testing.assert_close(terms.weighted(0.2), torch.tensor([-7.3, 0.0]))
    assert list(terms.named()) == ["reconstruction", "entropy", "log_prior", "kl_mixture"]


def test_statistics_sum_to_the_batch(module: InfiniteMixtureModule, rows: Tensor) -> None:
    terms = module.elbo(rows[:17], noise(17))
    assert float(terms.statistics.sums[:, 0].sum()) == pytest.approx(17, rel=1e-6)
    codes = module.encode(rows[:17]).mean
    torch.testing.assert_close(
        terms.statistics.sums[:, 1:3].sum(0), codes.sum(0).double(), rtol=1e-5, atol=1e-5
    )
    log_norm = float(terms.log_prior.detach().sum())
    assert float(terms.statistics.log_norm) == pytest.approx(log_norm, rel=1e-5)


def test_a_step_keeps_the_mass(module: InfiniteMixtureModule, rows: Tensor) -> None:
    before = module.mixture.sums.clone()
    terms = module.elbo(rows[:15], noise(15))
    module.after_step(terms)
    after = module.mixture.sums
    assert float(after[:, 0].sum()) == pytest.approx(N, rel=1e-6)
    torch.testing.assert_close(after, 0.75 * before + terms.statistics.sums, rtol=1e-5, atol=1e-5)


def test_a_step_on_all_rows_replaces_the_statistics(
    module: InfiniteMixtureModule, rows: Tensor
) -> None:
    """Also where dropped components left less mass than rows: no count falls below zero."""
    mixture = module.mixture
    far = 5 * mixture.family.features(torch.full((1, 2), 500.0, dtype=torch.float64))
    module.state.store(mixture.with_statistics(torch.cat([0.9 * mixture.sums, far])))
    terms = module.elbo(rows, noise(N))
    module.after_step(terms)
    torch.testing.assert_close(module.mixture.sums, terms.statistics.sums, rtol=0, atol=0)
    assert float(module.mixture.counts[-1]) == pytest.approx(0, abs=1e-6)


def test_components_may_be_far_and_narrow(make_module: MakeModule) -> None:
    """Codes two thousand widths from 0: in single precision their squares cancel to nothing."""

    class Far(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return 2000 * x[:, :2], torch.zeros_like(x[:, :2]) - 2

    corners = torch.tensor([[-1.0, 1, 0, 0, 0], [1, -1, 0, 0, 0], [1, 1, 0, 0, 0]])
    x = corners.repeat(20, 1)
    module = make_module("normal", D, 2, networks=(Far(), nn.Linear(2, D)))
    module.start_epoch(Pass(N, lambda: iter([x])))
    assert module.n_components == 3
    for rows in x.split(15) * 10:
        module.after_step(module.elbo(rows, noise(15)))
    terms, qz = module.elbo(x, noise(N)), module.encode(x)
    features = module.state.family.features(qz.mean.double(), qz.variance.double())
    exact = module.mixture.explain(features).log_norm
    torch.testing.assert_close(terms.log_prior.double(), exact, rtol=0, atol=0.01)


def test_steps_raise_the_bound_of_a_frozen_encoder(
    module: InfiniteMixtureModule, rows: Tensor
) -> None:
    """Statistics of one half only are put in; going over all rows must mend it."""

    def bound() -> float:
        terms = module.elbo(rows, noise(N))
        return float((terms.log_prior - terms.kl_mixture).mean())

    with torch.no_grad():
        spoilt = module.mixture.with_statistics(module.mixture.sums.flip(0) + 5)
        module.state.store(spoilt)
        start = bound()
        for _ in range(20):
            for x in rows.split(20):
                module.after_step(module.elbo(x, noise(len(x))))
        assert bound() > start + 0.1


def test_components_fall_in_size_and_rows_sum_to_one(
    module: InfiniteMixtureModule, rows: Tensor
) -> None:
    resp = module.responsibilities(rows)
    torch.testing.assert_close(resp.sum(1), torch.ones(N, dtype=resp.dtype))
    assert (resp.sum(0).diff() <= 0).all()


def test_samples_follow_weights_and_component(module: InfiniteMixtureModule) -> None:
    generator = torch.Generator().manual_seed(0)
    x, c = module.sample(4000, generator)
    assert x.shape == (4000, D)
    share = torch.bincount(c, minlength=module.n_components) / 4000
    torch.testing.assert_close(share.double(), module.mixture.weights(), atol=0.04, rtol=0)
    x, c = module.sample(300, generator, component=1)
    assert set(c.tolist()) == {1}
    again, _ = module.sample(300, torch.Generator().manual_seed(3), component=1)
    same, _ = module.sample(300, torch.Generator().manual_seed(3), component=1)
    assert torch.equal(again, same)
    assert not torch.equal(again, x)


def test_state_goes_into_a_module_without_a_mixture(
    module: InfiniteMixtureModule, make_module: MakeModule, rows: Tensor
) -> None:
    other = make_module("normal", D, 2, max_components=9)
    assert other.n_components == 0
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(
        other.elbo(rows, noise(N)).total, module.elbo(rows, noise(N)).total, rtol=0, atol=0
    )


def test_codes_that_are_not_finite_start_no_mixture(make_module: MakeModule, rows: Tensor) -> None:
    module = make_module("normal", D, 2)
    with torch.no_grad():
        module.encoder.mean.bias[0] = torch.nan
    with pytest.raises(DivergedError, match="lower learning_rate"):
        module.start_epoch(Pass(N, lambda: iter([rows])))


def test_rows_far_out_keep_a_finite_bound(make_module: MakeModule, rows: Tensor) -> None:
    module = make_module()
    with torch.no_grad():
        module.encoder.log_var.weight.fill_(1.0)
    far = 1e3 * rows
    terms = module.elbo(far, torch.zeros(len(rows), module.n_latent))
    assert torch.isfinite(terms.total).all()
    scale = module.encode(far).stddev
    assert scale.min() >= 0.999e-3
    assert scale.max() <= 1.001e3


def test_what_views_do_before_and_after_there_is_a_mixture(
    make_module: MakeModule, rows: Tensor
) -> None:
    module = make_module("normal", D, 2)
    view = rows.roll(1, 0)
    warm = module.objective(rows, torch.Generator().manual_seed(0), view)
    mean = module.embed(rows)
    torch.testing.assert_close(warm.closeness, closeness(mean, mean.roll(1, 0)))
    torch.testing.assert_close(warm.reconstruction, module.elbo(rows, noise_of(0)).reconstruction)
    module.start_epoch(Pass(N, lambda: iter([rows])))
    joint = module.objective(rows, torch.Generator().manual_seed(0), view, from_view=True)
    assert joint.closeness is None
    qz = module.encode(view)
    z = qz.mean + qz.stddev * noise_of(0)
    torch.testing.assert_close(joint.reconstruction, module.decode(z).log_prob(rows))
    tuned = module.objective(rows, torch.Generator().manual_seed(0), view)
    torch.testing.assert_close(tuned.total, module.elbo(rows, noise_of(0)).total)


def test_codes_of_views_are_drawn_to_the_components_of_their_rows(
    module: InfiniteMixtureModule, rows: Tensor
) -> None:
    """By E[log p(z, c) - log q(z)], here by Monte Carlo; rows are not drawn to their views."""
    x, view = rows.clone().requires_grad_(), rows.roll(1, 0).requires_grad_()
    found = module.objective(x, torch.Generator().manual_seed(0), view).closeness
    with torch.no_grad():
        qz, resp = module.encode(view), module.responsibilities(x)  # z of the view, c of the row
        draws = []
        for z in qz.sample((2000,)):
            log_joint = module.mixture.log_joint(module.state.family.features(z))
            draws.append((resp * log_joint).sum(1) - qz.log_prob(z))
        expected, error = torch.stack(draws).mean(0), torch.stack(draws).std(0) / math.sqrt(2000)
        assert float((resp - module.responsibilities(view)).abs().max()) > 0.5
    assert ((found - expected).abs() < 5 * error).all()
    found.sum().backward()
    assert float(x.grad.abs().max()) == 0
    assert float(view.grad.abs().max()) > 0


def noise_of(seed: int) -> Tensor:
    return torch.randn(N, 2, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n_fixed", [1, 2, 3])
def test_a_number_that_is_given_is_kept(make_module: MakeModule, n_fixed: int) -> None:
    rng = np.random.default_rng(0)
    centre = np.array([[0.0, 0.0], [8.0, 1.0], [-3.0, 9.0]])[np.arange(240) % 3]
    x = torch.from_numpy(np.hstack([centre, np.zeros((240, 3))]) + rng.normal(size=(240, 5)))
    module = make_module("normal", D, 2, max_components=8, n_fixed=n_fixed)
    blocks = Pass(240, lambda: iter([x.float()]))
    module.start_epoch(blocks)
    assert module.n_components == n_fixed
    module.eval().start_epoch(blocks)
    assert module.n_components == n_fixed
    assert float(module.mixture.counts.sum()) == pytest.approx(240, rel=1e-6)
