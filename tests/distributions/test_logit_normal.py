"""Logit-normal sticks against quadrature and the normal law of their logit."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit, log_expit
from torch import Tensor

from infimix.distributions.logit_normal import LogitNormalSticks
from infimix.distributions.stick_posterior import Sticks


def numbers(*x: float) -> list[Tensor]:
    return list(torch.tensor(x, dtype=torch.float64))


@pytest.mark.parametrize(("m", "s"), [(0.0, 0.01), (-3.0, 0.5), (2.0, 1.0), (-12.0, 3.0)])
def test_logit_normal_expectations_are_quadrature_s(m: float, s: float) -> None:
    q = LogitNormalSticks(*numbers(m, s))

    def expected(f) -> float:
        weighted = lambda e: f(m + s * e) * np.exp(-0.5 * e**2) / np.sqrt(2 * np.pi)  # noqa: E731
        return quad(weighted, -12, 12, points=[-m / s] if abs(m / s) < 12 else None, limit=300)[0]

    assert q.expected_log().log_v.item() == pytest.approx(expected(log_expit), abs=1e-8)
    rest = expected(lambda w: log_expit(-w))
    assert q.expected_log().log1m_v.item() == pytest.approx(rest, abs=1e-8)
    assert q.mean.item() == pytest.approx(expected(expit), rel=1e-7)


def test_logit_normal_density_is_that_of_its_logit() -> None:
    w = torch.linspace(-6, 6, 30, dtype=torch.float64)
    sticks = Sticks(torch.nn.functional.logsigmoid(w), torch.nn.functional.logsigmoid(-w))
    log_prob = LogitNormalSticks(*numbers(0.5, 2.0)).log_prob(sticks)
    slope = expit(w.numpy()) * expit(-w.numpy())  # dv / dw
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(w, 0.5, 2.0) - np.log(slope))


@pytest.mark.parametrize("sign", [-1, 1])
def test_far_out_the_logs_of_the_mean_stay_right(sign: int) -> None:
    log_mean = LogitNormalSticks(*numbers(sign * 200.0, 1.0)).log_mean()
    small = log_mean[0 if sign < 0 else 1].item()
    assert small == pytest.approx(-200 + 0.5, abs=1e-6)  # E[e^w] = e^(m + s^2 / 2)
