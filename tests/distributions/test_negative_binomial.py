"""Negative binomial against scipy, enumeration and torch's own, in both precisions."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from infimix.distributions.negative_binomial import FeatureNegativeBinomial

R = torch.tensor([1e-3, 0.3, 1.0, 30.0, 1e3], dtype=torch.float64)


def counts_and_logits(largest: float, n: int = 500) -> tuple[Tensor, Tensor]:
    """Counts up to ``largest``, even on a log scale, and logits of means in their neighbourhood."""
    rng = np.random.default_rng(0)
    x = np.floor(np.exp(rng.uniform(0, np.log(largest), (n, len(R)))) - 0.5)
    mean = (x + 0.5) * np.exp(0.5 * rng.normal(size=x.shape))
    return torch.from_numpy(x), torch.from_numpy(np.log(mean)) - R.log()


def test_it_is_that_of_scipy_and_of_torch() -> None:
    x, logits = counts_and_logits(1e5)
    log_prob = FeatureNegativeBinomial(R, logits).log_prob(x)
    expected = stats.nbinom(R.numpy(), torch.sigmoid(-logits).numpy()).logpmf(x.numpy())
    np.testing.assert_allclose(log_prob, expected, rtol=1e-9, atol=1e-9)
    theirs = torch.distributions.NegativeBinomial(R, logits=logits).log_prob(x)
    torch.testing.assert_close(log_prob, theirs, rtol=1e-9, atol=1e-9)


def test_it_sums_to_one_with_its_mean_and_variance() -> None:
    r = torch.tensor([0.5, 4.0], dtype=torch.float64)
    px = FeatureNegativeBinomial(r, (3 / r).log())
    count = torch.arange(3000, dtype=torch.float64)[:, None]
    p = px.log_prob(count).exp()
    one = torch.ones(2, dtype=torch.float64)
    torch.testing.assert_close(p.sum(0), one)
    torch.testing.assert_close((p * count).sum(0), 3 * one)
    torch.testing.assert_close((p * (count - 3).square()).sum(0), 3 + 9 / r)
    torch.testing.assert_close(px.variance, 3 + 9 / r)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.34, 1.0])
def test_zeros_that_are_skipped_change_neither_density_nor_gradient(share: float) -> None:
    x, logits = counts_and_logits(100)
    x = (x + 1) * (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < share)
    found = []
    for law in (FeatureNegativeBinomial, torch.distributions.NegativeBinomial):
        parameters = R.clone().requires_grad_(), logits.clone().requires_grad_()
        log_prob = law(parameters[0], logits=parameters[1]).log_prob(x)
        found.append([log_prob.detach(), *torch.autograd.grad(log_prob.sum(), parameters)])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("largest", "error"), [(1e3, 1e-3), (1e5, 0.15)])
def test_single_precision_has_the_stated_error(largest: float, error: float) -> None:
    x, logits = counts_and_logits(largest)
    single = FeatureNegativeBinomial(R.float(), logits.float()).log_prob(x.float())
    # The double-precision density of the very numbers that single precision was given.
    double = FeatureNegativeBinomial(R.float().double(), logits.float().double()).log_prob(x)
    assert (single.double() - double).abs().max() < error


def test_a_larger_batch_is_the_same_distribution() -> None:
    x, logits = counts_and_logits(100, n=3)
    px = FeatureNegativeBinomial(R, logits)
    wide = px.expand((2, 3, len(R)))
    assert wide.batch_shape == (2, 3, len(R))
    assert torch.equal(wide.log_prob(x), px.log_prob(x).expand(2, 3, len(R)))


def test_values_that_are_no_counts_are_refused_if_asked() -> None:
    px = FeatureNegativeBinomial(R, torch.zeros_like(R), validate_args=True)
    with pytest.raises(ValueError, match="support"):
        px.log_prob(torch.full_like(R, 0.5))
