"""Data with known components, and both estimators fitted to it once."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from infimix.estimators import DPGaussianMixture, InfiniteMixtureVAE

# Enough to have a mixture; quality is asked for where it is tested.
QUICK = {"n_latent": 2, "warm_up_epochs": 3, "max_epochs": 3, "n_init": 1, "batch_size": 64}


def quick(**parameters: Any) -> InfiniteMixtureVAE:
    """Estimator that fits in a moment."""
    return InfiniteMixtureVAE(**{"random_state": 0, **QUICK, **parameters})


@pytest.fixture(scope="session")
def make_quick() -> Callable[..., InfiniteMixtureVAE]:
    """make_quick(**parameters): see `quick`."""
    return quick


@pytest.fixture(scope="session")
def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Four well separated groups of 75 rows, 60, 90, 75 in 6 columns, and which is which."""
    return make_blobs([75, 60, 90, 75], n_features=6, cluster_std=0.6, random_state=2)


@pytest.fixture(scope="session")
def counts() -> np.ndarray:
    """Counts (80, 12) of two groups, mostly zeros."""
    rng = np.random.default_rng(0)
    rate = np.where(np.arange(80)[:, None] % 2, np.linspace(0, 2, 12), np.linspace(2, 0, 12))
    return rng.poisson(rate)


@pytest.fixture(params=["dpgmm", "infinite"])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Each estimator in turn: make(**parameters)."""
    if request.param == "infinite":
        return quick
    return lambda **parameters: DPGaussianMixture(**{"random_state": 0, "tol": 0.01, **parameters})
