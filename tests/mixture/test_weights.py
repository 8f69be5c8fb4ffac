"""Laws of the weights against draws, quadrature, urns and every order of the sticks."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import betaln, roots_jacobi

from infimix.mixture import FiniteDirichlet, StickBreaking, WeightLaw

COUNTS = torch.tensor([5.0, 0.5, 12.0, 3.0], dtype=torch.float64)
SOME_LAWS = [StickBreaking(1.3), FiniteDirichlet(1.3, 7)]
LAWS = pytest.mark.parametrize("law", SOME_LAWS, ids=repr)
ALPHAS = pytest.mark.parametrize("alpha", [0.4, 1.0, 3.7])


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
    expected_pi = StickBreaking(alpha).expected(COUNTS)[order]
    expected_log_pi = StickBreaking(alpha).expected_log(COUNTS)[order]
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
    assert StickBreaking(alpha).log_evidence(counts).item() == pytest.approx(
        math.log(integral), rel=1e-10
    )


@ALPHAS
def test_falling_size_is_the_best_order_of_the_sticks(alpha: float) -> None:
    evidence = []
    for order in itertools.permutations(COUNTS.numpy()):
        n = np.array(order)
        later = n[::-1].cumsum()[::-1] - n
        evidence.append((betaln(1 + n, alpha + later) + math.log(alpha)).sum())
    best = StickBreaking(alpha).log_evidence(COUNTS).item()
    assert best == pytest.approx(max(evidence), rel=1e-12)
    assert max(evidence) - min(evidence) > 1


@pytest.mark.parametrize("order", [[3, 1, 0, 2], [1, 2, 3, 0]], ids=str)
@LAWS
def test_weights_move_with_their_components(law: WeightLaw, order: list[int]) -> None:
    for function in (law.expected, law.expected_log):
        torch.testing.assert_close(function(COUNTS[order]), function(COUNTS)[order])
    torch.testing.assert_close(law.log_evidence(COUNTS[order]), law.log_evidence(COUNTS))


@LAWS
def test_empty_components_cost_nothing(law: WeightLaw) -> None:
    """So bounds of different numbers of components compare."""
    more = torch.cat([COUNTS, COUNTS.new_zeros(3)])
    torch.testing.assert_close(law.log_evidence(more), law.log_evidence(COUNTS), rtol=1e-12, atol=0)
    torch.testing.assert_close(law.expected_log(more)[:4], law.expected_log(COUNTS))


@ALPHAS
def test_finite_weights_are_means_of_draws(alpha: float) -> None:
    n = np.concatenate([COUNTS.numpy(), np.zeros(3)])  # seven components, four hold rows
    pi = np.random.default_rng(0).dirichlet(alpha / 7 + n, 200_000)[:, :4]
    law = FiniteDirichlet(alpha, 7)
    expected = {law.expected: pi, law.expected_log: np.log(pi)}
    for function, draws in expected.items():
        error = draws.std(0) / math.sqrt(len(draws))
        assert np.all(np.abs(draws.mean(0) - function(COUNTS).numpy()) < 4 * error)


@ALPHAS
def test_finite_evidence_is_the_chain_of_predictives(alpha: float) -> None:
    """Polya's urn: row after row, with probability (alpha / T + n_k) / (alpha + n)."""
    counts, log_p = [4, 2, 1], 0.0
    for k, n in enumerate(counts):
        for i in range(n):
            log_p += math.log((alpha / 5 + i) / (alpha + sum(counts[:k]) + i))
    found = FiniteDirichlet(alpha, 5).log_evidence(torch.tensor(counts, dtype=torch.float64))
    assert found.item() == pytest.approx(log_p, rel=1e-12)


def log_partition(law: WeightLaw, sizes: list[int]) -> float:
    n = torch.tensor(sizes, dtype=torch.float64)
    return (law.log_size(n).sum() + law.log_labels(len(n)) + law.log_rows(n.sum())).item()


@pytest.mark.parametrize("law", [*SOME_LAWS, FiniteDirichlet(0.6, 9)], ids=repr)
def test_all_partitions_of_the_rows_have_probability_one(law: WeightLaw) -> None:
    """Five rows: as many partitions of each shape as Bell's triangle says, 52 in all."""
    shapes = {(5,): 1, (4, 1): 5, (3, 2): 10, (3, 1, 1): 10, (2, 2, 1): 15, (2, 1, 1, 1): 10}
    shapes[1, 1, 1, 1, 1] = 1
    total = sum(n * math.exp(log_partition(law, list(shape))) for shape, n in shapes.items())
    assert total == pytest.approx(1, rel=1e-12)


@ALPHAS
def test_many_finite_components_are_the_dirichlet_process(alpha: float) -> None:
    many, process = FiniteDirichlet(alpha, 10**8), StickBreaking(alpha)
    for sizes in ([5], [3, 2], [2, 2, 1]):
        assert log_partition(many, sizes) == pytest.approx(log_partition(process, sizes), abs=1e-6)
