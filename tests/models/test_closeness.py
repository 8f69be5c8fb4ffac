"""What draws near rows together: its value, its gradient, and that no scale of data matters."""

import math

import pytest
import torch
from torch import Tensor

from infimix.models.closeness import SHARE, Balance, closeness

B, L = 7, 3


def codes(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, L, generator=generator, dtype=torch.float64)


def test_value_by_a_slow_loop() -> None:
    mean, view = codes(0), codes(1)
    for n, found in enumerate(closeness(mean, view).tolist()):
        near = math.dist(mean[n].tolist(), view[n].tolist())
        value = math.log(1 / (1 + near**2))  # log-probability of a pair
        for j in range(B):
            if j != n:
                far = math.dist(mean[n].tolist(), view[j].tolist())
                value += 5 / (B - 1) * math.log(1 - 1 / (1 + far**2))  # and of no pair
        assert found == pytest.approx(value, rel=1e-12)


def test_gradient() -> None:
    mean, view = codes(0).requires_grad_(), codes(1).requires_grad_()
    assert torch.autograd.gradcheck(closeness, (mean, view))


@pytest.mark.parametrize("n", [1, 2])
def test_finite_where_all_codes_are_one(n: int) -> None:
    mean = torch.zeros(n, L, requires_grad=True)
    value = closeness(mean, torch.zeros(n, L)).sum()
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(mean.grad).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_second_gradient_is_a_multiple_of_the_first(scale: float) -> None:
    mean = codes(0).requires_grad_()
    first, second = Balance.apply(mean)
    target = codes(3)
    (scale * (first * codes(2)).sum() + (second * target).sum()).backward()
    own = scale * codes(2)
    expected = own + SHARE * own.norm() * target / target.norm()
    torch.testing.assert_close(mean.grad, expected)


@pytest.mark.parametrize("pull", [0.0, 1.0])
def test_codes_that_nothing_draws_together_follow_the_first_alone(pull: float) -> None:
    mean = codes(0).requires_grad_()
    first, second = Balance.apply(mean)
    (pull * first.sum() + 0 * second.sum()).backward()
    torch.testing.assert_close(mean.grad, torch.full_like(mean, pull))
