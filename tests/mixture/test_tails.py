"""Heavy tails against quadrature over a row's own precision, loops and limits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import digamma
from torch import Tensor

from infimix.mixture import (
    Block,
    DPMixture,
    Family,
    FullCovariance,
    NormalWishart,
    Statistics,
    StickBreaking,
    e_step,
    fit_mixture,
)

MakePrior = Callable[..., NormalWishart]
DOF = 4.7


@pytest.fixture
def mixture(family: Family, prior: NormalWishart, rows: Tensor) -> DPMixture:
    """Three components with heavy tails that answer to random soft assignments."""
    resp = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(3), len(rows)))
    law = StickBreaking(1.3)
    return DPMixture(family, prior, law, resp.mT @ family.features(rows), 1.0, DOF)


def squares_and_constants(mixture: DPMixture, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Delta (N, K) and E log pi + E log|Lambda| / 2 - L log(2 pi) / 2, (K,)."""
    natural = mixture.natural
    squares = -2 * mixture.family.features(rows)[:, 1:] @ natural[:, 1:].mT
    return squares.numpy(), natural[:, 0].numpy()


def test_log_joint_is_the_integral_over_the_precision_of_a_row(
    mixture: DPMixture, rows: Tensor
) -> None:
    """Log of the integral of p(u) exp(E log N(z | mu, 1 / (u Lambda)))."""
    delta, constant = squares_and_constants(mixture, rows)
    rho = mixture.log_joint(mixture.family.features(rows))
    prior = stats.gamma(DOF / 2, scale=2 / DOF)
    for n in (0, 4):
        for k in range(3):
            integral, _ = quad(
                lambda u, d=delta[n, k]: prior.pdf(u) * u**1.5 * math.exp(-u * d / 2), 0, np.inf
            )
            assert float(rho[n, k]) == pytest.approx(constant[k] + math.log(integral), rel=1e-6)


def test_statistics_are_weighed_by_the_expected_precision(mixture: DPMixture, rows: Tensor) -> None:
    """q(u | c) is a gamma law; its mean weighs all but the count, E[log u - u] is summed."""
    delta, _ = squares_and_constants(mixture, rows)
    features = mixture.family.features(rows)
    resp = mixture.log_joint(features).softmax(1).numpy()
    law = stats.gamma((DOF + 3) / 2, scale=2 / (DOF + delta))
    expected = np.einsum("nk,np->kp", resp * law.mean(), features.numpy())
    expected[:, 0] = resp.sum(0)
    found = e_step(mixture, [Block(rows)])
    np.testing.assert_allclose(found.sums, expected, rtol=1e-10)
    log_u = digamma((DOF + 3) / 2) - np.log((DOF + delta) / 2)
    assert float(found.tail) == pytest.approx((resp * (log_u - law.mean())).sum(), rel=1e-10)


def test_many_degrees_of_freedom_are_the_normal_law(
    family: Family, prior: NormalWishart, rows: Tensor
) -> None:
    law = StickBreaking(1.0)
    sums = family.features(rows).sum(0, keepdim=True)
    normal = e_step(DPMixture(family, prior, law, sums), [Block(rows)])
    nearly = e_step(DPMixture(family, prior, law, sums, dof=1e9), [Block(rows)])
    torch.testing.assert_close(nearly.sums, normal.sums, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(nearly.log_norm, normal.log_norm, rtol=1e-6, atol=0)


def test_bound_from_its_local_part_is_the_bound(mixture: DPMixture, rows: Tensor) -> None:
    """At the statistics of its own E-step; also after other statistics came in, by a loop."""
    found = e_step(mixture, [Block(rows)])
    local = mixture.local(found)
    torch.testing.assert_close(mixture.bound_from_local(local, found), mixture.bound(found))
    moved = mixture.with_statistics(found.sums).with_learned_tails(found)
    assert float(moved.bound_from_local(local, found)) > float(mixture.bound(found))
    assert float(moved.bound_from_local(local, found)) < float(
        moved.bound(e_step(moved, [Block(rows)]))
    )


def test_learned_tails_come_to_the_best_at_these_precisions(
    mixture: DPMixture, rows: Tensor
) -> None:
    """They step beyond it as long as the bound rises, so to and fro, and never fall."""
    found = e_step(mixture, [Block(rows)])
    local = mixture.local(found)
    learned, bounds = mixture, [float(mixture.bound_from_local(local, found))]
    for _ in range(200):
        learned = learned.with_learned_tails(found)
        bounds.append(float(learned.bound_from_local(local, found)))
    assert np.diff(bounds).min() > -1e-9
    assert bounds[1] > bounds[0]
    best = bounds[-1]
    for factor in (0.7, 0.95, 1.05, 1.4):
        other = DPMixture(
            mixture.family, mixture.prior, mixture.law, mixture.sums, dof=factor * learned.dof
        )
        assert float(other.bound_from_local(local, found)) < best


def test_tails_of_the_data_are_found() -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(20_000, 3))
    heavy = normal / np.sqrt(rng.chisquare(5, size=(20_000, 1)) / 5)
    found = [
        fit_mixture(
            FullCovariance(3),
            [Block(torch.from_numpy(rows))],
            len(rows),
            n_components=1,
            max_components=None,
            law=StickBreaking(1.0),
            n_restarts=1,
            max_sweeps=200,
            tol=1e-7,
            seed=0,
            heavy_tails=True,
        ).mixture
        for rows in (normal, heavy)
    ]
    assert found[0].dof > 50
    assert found[1].dof == pytest.approx(5, rel=0.1)
    np.testing.assert_allclose(found[1].covariance()[0], 5 / 3 * np.eye(3), atol=0.15)
    z = found[1].sample(torch.zeros(20_000, dtype=torch.long), torch.Generator().manual_seed(0))
    assert stats.ks_2samp(z[:, 0], heavy[:, 0]).pvalue > 0.01


def test_statistics_add_up_with_their_tails(mixture: DPMixture, rows: Tensor) -> None:
    whole = e_step(mixture, [Block(rows)])
    parts = e_step(mixture, [Block(rows[:4])]) + e_step(mixture, [Block(rows[4:])])
    assert isinstance(parts, Statistics)
    torch.testing.assert_close(parts.tail, whole.tail)
    torch.testing.assert_close(parts.sums, whole.sums)


def test_weights_count_like_repeated_rows(mixture: DPMixture, rows: Tensor) -> None:
    times = torch.arange(len(rows)) % 3
    weighted = e_step(mixture, [Block(rows, rows.abs(), times.double())])
    again = torch.repeat_interleave(torch.arange(len(rows)), times)
    repeated = e_step(mixture, [Block(rows[again], rows[again].abs())])
    for name, value in vars(weighted).items():
        torch.testing.assert_close(value, getattr(repeated, name))
