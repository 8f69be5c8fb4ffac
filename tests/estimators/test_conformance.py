"""scikit-learn's own checks over every estimator, with no expected failure."""

from typing import Any

import pytest
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.utils.estimator_checks import parametrize_with_checks

from infimix.estimators import ESTIMATORS, GaussianVAE

# Few epochs and starts: the checks fit some fifty times, and look at the protocol, not at quality.
QUICK: dict[str, dict[str, Any]] = {
    "infinite": {"warm_up_epochs": 2, "max_epochs": 2, "n_latent": 2, "n_init": 1},
    "dpgmm": {"tol": 0.01},
    "gaussian": {"max_epochs": 2, "n_latent": 2},
    "stick-breaking": {"max_epochs": 2, "n_latent": 3},
    "dlgmm": {"max_epochs": 2, "n_latent": 2},
    "dldpmm": {"max_epochs": 2, "n_latent": 2, "max_components": 4},
    "gmvae": {"max_epochs": 2, "n_latent": 2, "n_components": 3},
    "alternating": {"max_epochs": 2, "n_latent": 2, "max_components": 3},
    "two-stage": {"autoencoder": GaussianVAE(2, max_epochs=2), "clusterer": KMeans(2)},
}


def quick_estimators() -> list[BaseEstimator]:
    """One of each estimator; a new one without an entry in `QUICK` is checked as it comes."""
    return [make(**QUICK.get(name, {})) for name, make in ESTIMATORS.items()]


# One check has fewer rows than columns, and looks at weights.
@pytest.mark.filterwarnings("ignore:X has .* rows for .* columns:UserWarning")
@parametrize_with_checks(quick_estimators())
def test_scikit_learn_protocol(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)
