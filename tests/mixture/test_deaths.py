"""Deletions: what a component is worth, and that only those go that do not pay."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from infimix.mixture import (
    Block,
    DPMixture,
    Family,
    MixtureFit,
    StickBreaking,
    delete_while_better,
    e_step,
    improve,
    losses_at_once,
    settle,
)

PACE = {"max_sweeps": 100, "tol": 1e-7}


def climbed(mixture: DPMixture, blocks: list[Block]) -> float:
    """The coarsened bound in nats of whole rows, from its definition."""
    bound = float(mixture.bound(e_step(mixture, blocks)))
    return bound - (1 / mixture.zeta - 1) * float(mixture.kl)


def fitted(mixture: DPMixture, reference, blocks: list[Block]) -> MixtureFit:
    fit = MixtureFit(mixture, reference, -math.inf)
    improve(fit, blocks, **PACE)
    return fit


def answering_to(
    family: Family, prior, rows: torch.Tensor, label: np.ndarray, **kwargs: float
) -> DPMixture:
    resp = torch.eye(int(label.max()) + 1, dtype=torch.float64)[label]
    return DPMixture(family, prior, StickBreaking(1.0), resp.mT @ family.features(rows), **kwargs)


@pytest.mark.parametrize("dof", [math.inf, 4.0])
def test_losses_are_those_of_a_bound_without_the_component(
    family: Family, make_prior, dof: float
) -> None:
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(60, 3)) * 3)
    label = rng.integers(0, 4, 60)
    mixture = answering_to(family, make_prior(family, 1), rows, label, zeta=0.3, dof=dof)
    weight = torch.from_numpy(rng.uniform(0.5, 2, 60))
    found = losses_at_once(mixture, [Block(rows, None, weight)])
    rho = mixture.log_joint(family.features(rows)).numpy()
    seen = 0.3 * mixture.sums
    for k in range(4):
        others = logsumexp(np.delete(rho, k, 1), 1) - logsumexp(rho, 1)
        alone = DPMixture(family, mixture.prior, mixture.law, seen[[k]], 1.0, dof)
        of_sticks = (seen[k, 0] * mixture.law.expected_log(seen[[k], 0])[0]) - (
            mixture.law.log_evidence(seen[[k], 0])
        )
        kl = float(alone.kl - of_sticks)
        assert float(found[k]) == pytest.approx(
            -0.3 * float(weight.numpy() @ others) - kl, rel=1e-9
        )


def test_what_sweeps_raise_is_the_coarsened_bound(family: Family, make_prior) -> None:
    rng = np.random.default_rng(3)
    rows = torch.from_numpy(rng.normal(size=(200, 3)) + 4 * rng.integers(0, 2, (200, 1)))
    prior = make_prior(family, 1)
    start = answering_to(family, prior, rows, rng.integers(0, 3, 200), zeta=0.4)
    fit = fitted(start, prior, [Block(rows)])
    assert fit.climbed == pytest.approx(climbed(fit.mixture, [Block(rows)]), abs=1e-3)


@pytest.mark.parametrize("dof", [math.inf, 5.0])
def test_superfluous_component_goes_and_true_ones_stay(family: Family, dof: float) -> None:
    rng = np.random.default_rng(1)
    label = np.arange(900) % 3
    rows = torch.from_numpy(rng.normal(size=(900, 3)) + 12 * np.eye(3)[label])
    blocks = [Block(rows)]
    reference = family.weak_prior(rows.mean(0), torch.cov(rows.mT), 0.05)
    label[: 900 // 4] += 3 * (label[: 900 // 4] == 0)  # a quarter of the first cluster apart
    mixture = answering_to(family, reference, rows, label, zeta=0.5, dof=dof)
    fit = MixtureFit(mixture, reference, -math.inf)
    improve(fit, blocks, max_sweeps=2, tol=0.0)  # more of them would starve it
    before, n_before = fit.climbed, fit.mixture.n_components
    delete_while_better(fit, blocks, lambda fit, blocks: settle(fit, blocks, **PACE), **PACE)
    assert (n_before, fit.mixture.n_components) == (4, 3)
    assert climbed(fit.mixture, blocks) > before
    torch.testing.assert_close(fit.mixture.counts, torch.full_like(fit.mixture.counts, 300.0))
    again = fit.mixture
    delete_while_better(fit, blocks, lambda fit, blocks: settle(fit, blocks, **PACE), **PACE)
    assert fit.mixture is again


def test_last_component_stays(family: Family, prior) -> None:
    rows = torch.from_numpy(np.random.default_rng(2).normal(size=(50, 3)))
    mixture = DPMixture(family, prior, StickBreaking(1.0), family.features(rows).sum(0)[None])
    fit = fitted(mixture, prior, [Block(rows)])
    delete_while_better(fit, [Block(rows)], settle, **PACE)
    assert fit.mixture.n_components == 1


def test_sweeps_that_cannot_reach_the_aim_end_early(family: Family, prior) -> None:
    rng = np.random.default_rng(4)
    rows = torch.from_numpy(rng.normal(size=(300, 3)))
    mixture = answering_to(family, prior, rows, rng.integers(0, 5, 300))
    whole, short = (MixtureFit(mixture, prior, -math.inf) for _ in range(2))
    improve(whole, [Block(rows)], **PACE)
    improve(short, [Block(rows)], **PACE, to_beat=whole.climbed + 1e6)
    assert len(short.sweeps) == 2 < len(whole.sweeps)
