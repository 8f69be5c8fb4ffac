"""Draws of latent codes from the posterior of each row."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from infimix.estimators import DLGMM, GaussianVAE, InfiniteMixtureVAE, StickBreakingVAE

QUICK = {"hidden": (8,), "max_epochs": 2, "random_state": 0}
X = np.random.default_rng(0).normal(size=(300, 4))


@pytest.fixture(scope="module")
def vae() -> GaussianVAE:
    return GaussianVAE(2, **QUICK).fit(X)


def test_draws_have_the_moments_of_the_posterior(vae: GaussianVAE) -> None:
    equal = np.repeat(X[:1], 4000, axis=0)
    draws = vae.sample_latent(equal, random_state=0)
    with torch.no_grad():
        q = vae.module_._posterior(vae.model_rows(X[:1]).take(torch.tensor([0])))
        scale = q.scale[0, 0, 0].numpy()
    error = scale / np.sqrt(4000)
    assert (np.abs(draws.mean(0) - vae.transform(X[:1])[0]) < 4 * error).all()
    np.testing.assert_allclose(draws.std(0), scale, rtol=0.05)
    assert len(np.unique(draws[:, 0])) == 4000  # each row has noise of its own


def test_a_seed_repeats(vae: GaussianVAE) -> None:
    first = vae.sample_latent(X, random_state=1)
    np.testing.assert_array_equal(first, vae.sample_latent(X, random_state=1))
    assert not np.isin(first, vae.sample_latent(X, random_state=2)).any()
    np.testing.assert_array_equal(vae.sample_latent(X), vae.sample_latent(X, random_state=0))
    generator = np.random.RandomState(0)
    one, other = (vae.sample_latent(X, generator) for _ in range(2))
    assert not np.isin(one, other).any()


def test_precision_is_that_of_the_rows(vae: GaussianVAE) -> None:
    double, single = (vae.sample_latent(X.astype(dtype), 0) for dtype in ("f8", "f4"))
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(single, double, atol=1e-4)


def test_all_estimators_with_codes_have_draws(
    make_quick: Callable[..., InfiniteMixtureVAE],
) -> None:
    models: list[Any] = [
        make_quick(),
        DLGMM((3, 2), n_components=2, **QUICK),
        StickBreakingVAE(3, **QUICK),
    ]
    for model in models:
        draws = model.fit(X).sample_latent(X)
        assert draws.shape == model.transform(X).shape
        assert np.isfinite(draws).all()
        assert not np.isclose(draws, model.transform(X)).all()
    np.testing.assert_allclose(draws.sum(1), 1)  # weights that sum to 1


def test_before_the_fit() -> None:
    with pytest.raises(NotFittedError):
        GaussianVAE().sample_latent(X)
