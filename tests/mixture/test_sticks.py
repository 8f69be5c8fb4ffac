"""Stick-breaking weights against draws, quadrature and every order of the sticks."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import betaln, roots_jacobi

from infimix.mixture.sticks import expected_log_weights, expected_weights, log_evidence_sticks

COUNTS = torch.tensor([5.0, 0.5, 12.0, 3.0], dtype=torch.float64)
ALPHAS = pytest.mark.parametrize("alpha", [0.4, 1.0, 3.7])


def concentration(alpha: float) -> torch.Tensor:
    return torch.tensor(alpha, dtype=torch.float64)


def draw_weights(n: np.ndarray, alpha: float, n_draws: int) -> np.ndarray:
    """Weights (S, K) of q(v) for counts in the order of the sticks."""
    later = n[::-1].cumsum()[::-1] - n
    v = np.random.default_rng(0).beta(1 + n, alpha + later, size=(n_draws, len(n)))
    left = np.cumprod(1 - v, axis=1)
    return v * np.concatenate([np.ones((n_draws, 1)), left[:, :-1]], axis=1)


@ALPHAS
def test_expected_weights_are_means_of_draws(alpha: float) -> None:
    order = COUNTS.argsort(descending=True)
    pi = draw_weights(COUNTS[order].numpy(), alpha, n_draws=200_000)
    expected_pi = expected_weights(COUNTS, concentration(alpha))[order]
    expected_log_pi = expected_log_weights(COUNTS, concentration(alpha))[order]
    for draws, expected in ((pi, expected_pi), (np.log(pi), expected_log_pi)):
        error = draws.std(0) / math.sqrt(len(draws))
        assert np.all(np.abs(draws.mean(0) - expected.numpy()) < 4 * error)


@ALPHAS
@pytest.mark.parametrize("n", [(4.0,), (7.0, 2.0), (6.0, 3.0, 1.0)], ids=len)
def test_evidence_is_the_integral_over_the_sticks(n: tuple[float, ...], alpha: float) -> None:
    """Gauss-Jacobi nodes carry the prior alpha (1 - v)^(alpha - 1); whole counts: exact."""
    K = len(n)
    x, w = roots_jacobi(12, alpha - 1, 0)
    v, w = (1 + x) / 2, w / w.sum()
    integral = 0.0
    for nodes in itertools.product(range(12), repeat=K):
        sticks = v[list(nodes)]
        left = np.concatenate([[1.0], np.cumprod(1 - sticks)[:-1]])
        integral += w[list(nodes)].prod() * np.prod((sticks * left) ** n)
    counts = torch.tensor(n, dtype=torch.float64)
    assert log_evidence_sticks(counts, concentration(alpha)).item() == pytest.approx(
        math.log(integral), rel=1e-10
    )


@ALPHAS
def test_falling_size_is_the_best_order_of_the_sticks(alpha: float) -> None:
    evidence = []
    for order in itertools.permutations(COUNTS.numpy()):
        n = np.array(order)
        later = n[::-1].cumsum()[::-1] - n
        evidence.append((betaln(1 + n, alpha + later) + math.log(alpha)).sum())
    best = log_evidence_sticks(COUNTS, concentration(alpha)).item()
    assert best == pytest.approx(max(evidence), rel=1e-12)
    assert max(evidence) - min(evidence) > 1


@pytest.mark.parametrize("order", [[3, 1, 0, 2], [1, 2, 3, 0]], ids=str)
def test_weights_move_with_their_components(order: list[int]) -> None:
    alpha = concentration(1.3)
    for function in (expected_weights, expected_log_weights):
        torch.testing.assert_close(function(COUNTS[order], alpha), function(COUNTS, alpha)[order])
    torch.testing.assert_close(
        log_evidence_sticks(COUNTS[order], alpha), log_evidence_sticks(COUNTS, alpha)
    )


def test_an_empty_component_at_the_end_costs_nothing() -> None:
    """So bounds of different numbers of components compare."""
    alpha = concentration(0.8)
    more = torch.cat([COUNTS, COUNTS.new_zeros(3)])
    torch.testing.assert_close(
        log_evidence_sticks(more, alpha), log_evidence_sticks(COUNTS, alpha), rtol=1e-12, atol=0
    )
    torch.testing.assert_close(
        expected_log_weights(more, alpha)[:4], expected_log_weights(COUNTS, alpha)
    )
