"""Where Gamma sticks come from, and how far they are from the Beta that they are taken for."""

import numpy as np
import pytest
import torch
from scipy.special import gamma
from torch import Tensor

from infimix.distributions.beta import BetaSticks
from infimix.distributions.gamma_sticks import GammaSticks


def numbers(*x: float) -> list[Tensor]:
    return list(torch.tensor(x, dtype=torch.float64))


def uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.8), (1.0, 1.0), (4.0, 2.0)])
def test_gamma_sticks_are_drawn_as_printed(a: float, b: float) -> None:
    u = uniform(200, 2)
    x, y = (u[:, i].numpy() ** (1 / c) * (c * gamma(c)) ** (1 / c) for i, c in enumerate((a, b)))
    drawn = GammaSticks(*numbers(a, b)).draw(u)
    np.testing.assert_allclose(drawn.log_v.exp(), x / (x + y), rtol=1e-10)
    np.testing.assert_allclose(drawn.log1m_v.exp(), y / (x + y), rtol=1e-10)


def test_gamma_sticks_are_not_beta_but_become_so() -> None:
    sizes = torch.tensor([0.01, 0.1, 0.5, 1.0, 5.0], dtype=torch.float64)
    gap = GammaSticks(sizes, sizes).kl(BetaSticks(sizes, sizes))
    np.testing.assert_allclose(gap, [5e-7, 0.00045, 0.0224, 0.0794, 0.5002], rtol=0.02, atol=1e-6)


def test_the_papers_divergence_is_that_of_the_beta() -> None:
    q, p = GammaSticks(*numbers(2.0, 3.0)), BetaSticks(*numbers(1.0, 5.0))
    assert q.kl_as_beta(p) == BetaSticks(*numbers(2.0, 3.0)).kl(p)
    assert q.kl(p) > q.kl_as_beta(p) + 0.1  # what the bound would be too high by
