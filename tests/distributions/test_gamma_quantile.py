"""Quantiles of the Gamma distribution against scipy, and their slope against differences."""

import numpy as np
import pytest
import torch
from scipy.special import gammainccinv, gammaincinv
from torch.autograd import gradcheck

from infimix.distributions.gamma_quantile import log_gamma_quantile

SHAPES = torch.tensor([1.0, 1.001, 1.3, 2, 5, 20, 100, 1001], dtype=torch.float64)[:, None]
U = torch.tensor(
    [1e-16, 1e-9, 1e-4, 0.02, 0.3, 0.49, 0.51, 0.8, 0.99, 1 - 1e-5, 1 - 2**-32],
    dtype=torch.float64,
)


def exact(shapes: np.ndarray) -> np.ndarray:
    u = U.numpy()
    return np.log(np.where(u < 0.5, gammaincinv(shapes, u), gammainccinv(shapes, 1 - u)))


def test_quantiles_are_scipy_s() -> None:
    np.testing.assert_allclose(log_gamma_quantile(SHAPES, U), exact(SHAPES.numpy()), atol=3e-9)


def test_slope_is_that_of_scipy_s_quantiles() -> None:
    shapes = SHAPES.expand(-1, len(U)).clone().requires_grad_()
    (slope,) = torch.autograd.grad(log_gamma_quantile(shapes, U).sum(), shapes)
    h = 1e-4
    expected = (exact(SHAPES.numpy() + h) - exact(SHAPES.numpy() - h)) / (2 * h)
    np.testing.assert_allclose(slope, expected, rtol=3e-5, atol=3e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_keep_shape_and_type(dtype: torch.dtype) -> None:
    shapes = SHAPES.to(dtype).requires_grad_()
    log_x = log_gamma_quantile(shapes, U.to(dtype).clamp(1e-8, 1 - 1e-7))
    assert log_x.dtype == dtype
    (slope,) = torch.autograd.grad(log_x.sum(), shapes)
    assert slope.shape == shapes.shape
    assert slope.isfinite().all()


def test_gradcheck() -> None:
    shapes = torch.tensor([1.0, 1.7, 8.0, 300.0], dtype=torch.float64, requires_grad=True)
    for u in (0.01, 0.4, 0.95):
        assert gradcheck(log_gamma_quantile, (shapes, torch.tensor(u).double()), atol=1e-5)
