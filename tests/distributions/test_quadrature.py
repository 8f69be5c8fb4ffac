"""Gauss-Legendre nodes: polynomials, and use inside and outside of inference mode."""

import pytest
import torch

from infimix.distributions.quadrature import legendre


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_polynomials_are_integrated_exactly(dtype: torch.dtype) -> None:
    x, w = legendre(6, torch.tensor(0.0, dtype=dtype))
    for degree in range(12):
        assert (w * x**degree).sum().item() == pytest.approx(1 / (degree + 1), rel=1e-6)


def test_nodes_made_in_inference_mode_can_be_used_for_gradients() -> None:
    a = torch.tensor(2.0, requires_grad=True)
    with torch.inference_mode():
        legendre(7, a)
    x, w = legendre(7, a)
    (w * (a * x)).sum().backward()
    assert a.grad.item() == pytest.approx(0.5)
