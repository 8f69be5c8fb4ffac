"""The tests that scikit-learn ships for its own mixtures, run on DPGaussianMixture.

They are taken from the installed scikit-learn, not copied. docs/sklearn_tests.md holds the two
tables below for the reader.
"""

import importlib.util
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Self
from unittest import mock

import numpy as np
import pytest
import sklearn.mixture.tests.test_gaussian_mixture  # noqa: F401  before anything is patched

from infimix import DPGaussianMixture

MODULES = ("test_bayesian_mixture", "test_gaussian_mixture", "test_mixture")

APPLIES = {
    "test_bayesian_mixture_check_is_fitted": "The error before `fit`.",
    "test_bayesian_mixture_fit_predict": "`fit_predict` is `fit`, then `predict`.",
    "test_bayesian_mixture_fit_predict_n_init": "`fit_predict` is `predict` after ten starts.",
    "test_bayesian_mixture_predict_predict_proba": "Labels are the most probable components.",
    "test_gaussian_mixture_estimate_log_prob_resp": "Responsibilities sum to one.",
    "test_gaussian_mixture_fit": "The true weights, means and precisions are found.",
    "test_gaussian_mixture_fit_best_params": "Ten starts are as good as one start ten times.",
    "test_gaussian_mixture_fit_convergence_warning": "One sweep does not converge and says so.",
    "test_gaussian_mixture_fit_predict": "`fit_predict` is `predict`; groups are found.",
    "test_gaussian_mixture_fit_predict_n_init": "`fit_predict` is `predict` after five starts.",
    "test_gaussian_mixture_predict_predict_proba": "Labels are the most probable components.",
    "test_gaussian_mixture_single_component_stable": "One component of three rows can be sampled.",
    "test_gaussian_mixture_verbose": "Both levels of `verbose` run.",
    "test_invariant_translation": "A shift of the data shifts the means and nothing else.",
    "test_means_for_all_inits": "Means lie within the data; the k-means start only.",
    "test_mixture_n_components_greater_than_n_samples_error": "Too many components are refused.",
    "test_sample": "Samples have the moments of their components; on groups that stand apart.",
    "test_score": "The score is the mean over rows, and rises with more sweeps.",
    "test_score_samples": "One score a row.",
}

DOES_NOT_APPLY = {
    "It looks at a private function of scikit-learn and at no estimator.": (
        "test_compute_log_det_cholesky",
        "test_gaussian_mixture_log_probabilities",
        "test_gaussian_suffstat_sk_spherical",
        "test_log_dirichlet_norm",
        "test_log_wishart_norm",
        "test_suffstat_sk_diag",
        "test_suffstat_sk_full",
        "test_suffstat_sk_tied",
    ),
    "It looks at private methods of scikit-learn's classes.": (
        "test_compare_covar_type",
        "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters",
        "test_gaussian_mixture_n_parameters",
        "test_gaussian_mixture_precisions_init",
    ),
    "Weights, means or precisions to start from are no parameters of ours.": (
        "test_check_means",
        "test_check_precisions",
        "test_check_weights",
        "test_gaussian_mixture_precisions_init_diag",
        "test_gaussian_mixture_setting_best_params",
    ),
    "`max_iter=0`, the bare start, is refused: a fit takes at least one sweep.": (
        "test_init_means_not_duplicated",
        "test_max_iter_zero",
    ),
    "There is no `warm_start`; that the bound rises is tested on the sweeps themselves.": (
        "test_convergence_detected_with_warm_start",
        "test_monotonic_likelihood",
        "test_warm_start",
    ),
    "It reads priors and posteriors that are no attributes of ours, as `weight_concentration_`.": (
        "test_bayesian_mixture_mean_prior_initialisation",
        "test_bayesian_mixture_precisions_prior_initialisation",
        "test_bayesian_mixture_weights",
        "test_bayesian_mixture_weights_prior_initialisation",
    ),
    "There is no `precisions_`; the adapter's is the inverse of `covariances_` by construction.": (
        "test_check_covariance_precision",
        "test_fitted_precision_covariance_concistency",
        "test_property",
    ),
    "It reads back parameters as they were given, which would test the adapter.": (
        "test_gaussian_mixture_attributes",
    ),
    "There is no `aic` or `bic`: the bound chooses the number of components.": (
        "test_bic_1d_1component",
        "test_gaussian_mixture_aic_bic",
    ),
    "Components of equal rows must fail without `reg_covar`; our prior holds them.": (
        "test_regularisation",
    ),
    "`n_iter_` must be `max_iter`; ours counts those after splits and merges too.": (
        "test_gaussian_mixture_n_iter",
    ),
    "More starts must score no lower, to the last bit; ours agree to 1e-10 on its data.": (
        "test_multiple_init",
    ),
    "More starts must not lower the bound after one sweep; ours are chosen before that sweep.": (
        "test_init",
    ),
    "There is no dispatch by the array API: results are NumPy's arrays.": (
        "test_gaussian_mixture_array_api_compliance",
        "test_gaussian_mixture_raises_where_array_api_not_implemented",
    ),
}

# Values that a case may not have; the other cases of its test are run.
LACKED = {"tied", "random", "random_from_data", "k-means++"}

# What we say | what scikit-learn says there.
WORDS = {
    "n_samples must be at least 1; got": "Invalid value for 'n_samples'",
    "max_components=.* must be at most the number of rows": "Expected n_samples >= n_components",
    "The bound still rose after max_iter=": "Best performing initialization did not converge. "
    "Try different init parameters, or increase max_iter, tol, or check for degenerate data.",
}


class BayesianGaussianMixture(DPGaussianMixture):
    """DPGaussianMixture under the names, defaults and words of scikit-learn.

    `n_components` is the number of parts to begin with, so fewer may be found. `reg_covar` and the
    starting values are taken and not used: the fit has to do without them. What is missing here is
    refused.
    """

    heavy_tails, cluster_spread = False, 1.0
    device = "cpu"

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        weight_concentration_prior_type: str = "dirichlet_process",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        vars(self).update({k: v for k, v in locals().items() if k != "self"})

    @property
    def max_components(self) -> int:
        return self.n_components

    @property
    def concentration(self) -> float:
        """scikit-learn's default: 1 / K for the process, and 1 / K of each part of K."""
        return 1 / self.n_components if self.weight_prior == "dirichlet_process" else 1.0

    @property
    def weight_prior(self) -> str:
        return {"dirichlet_distribution": "dirichlet"}.get(
            self.weight_concentration_prior_type, self.weight_concentration_prior_type
        )

    def fit(self, X: Any, y: Any = None) -> Self:
        assert not LACKED & {v for v in self.get_params().values() if isinstance(v, str)}
        with in_their_words():
            return super().fit(X)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        with in_their_words():
            return super().sample(n_samples)


class GaussianMixture(BayesianGaussianMixture):
    """The same, with each part a component, as scikit-learn's components are single Gaussians."""

    def fit(self, X: Any, y: Any = None) -> Self:
        super().fit(X)
        vars(self).update(vars(self.cut(len(self.component_of_part_))))
        if self.covariance_type == "spherical":
            np.testing.assert_allclose(np.ptp(self.covariances_, axis=1), 0, atol=1e-12)
            self.covariances_ = self.covariances_[:, 0]
        is_full = self.covariance_type == "full"
        self.precisions_ = np.linalg.inv(self.covariances_) if is_full else 1 / self.covariances_
        return self


@contextmanager
def in_their_words() -> Iterator[None]:
    """Put scikit-learn's words for ours in errors and warnings."""

    def translate(said: Exception) -> None:
        for ours, theirs in WORDS.items():
            if re.match(ours, str(said)):
                said.args = (theirs,)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ValueError as error:
            translate(error)
            raise
    for record in caught:
        translate(record.message)
        warnings.warn(record.message, stacklevel=3)


def borrowed(name: str) -> ModuleType:
    """Return a copy of a test module of scikit-learn, to which our estimator is given as theirs."""
    spec = importlib.util.find_spec(f"sklearn.mixture.tests.{name}")
    module = importlib.util.module_from_spec(spec)
    ours = {cls.__name__: cls for cls in (GaussianMixture, BayesianGaussianMixture)}
    with mock.patch.multiple("sklearn.mixture", **ours):
        spec.loader.exec_module(module)
    for values in ("COVARIANCE_TYPE", "PRIOR_TYPE"):
        if hasattr(module, values):
            setattr(module, values, [v for v in getattr(module, values) if v not in LACKED])
    return module


def without_lacked(marks: list[pytest.Mark]) -> Iterator[pytest.Mark]:
    """The marks of a test, without the cases that have a value we lack."""
    for mark in marks:
        if mark.name == "parametrize":
            names, values = mark.args
            values = [v for v in values if not (isinstance(v, str) and v in LACKED)]
            yield pytest.mark.parametrize(names, values, **mark.kwargs).mark
        else:
            yield mark


BORROWED = {name: borrowed(name) for name in MODULES}
for _module in BORROWED.values():
    for _name in filter(vars(_module).__contains__, APPLIES):
        _test = globals()[_name] = getattr(_module, _name)
        _test.pytestmark = list(without_lacked(getattr(_test, "pytestmark", [])))


def test_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of the three groups it draws lie on each other and are one to us, so they are parted."""
    module = BORROWED["test_gaussian_mixture"]
    data = module.RandomData
    monkeypatch.setattr(module, "RandomData", lambda rng, **kw: data(rng, **kw | {"scale": 60}))
    module.test_sample()


@pytest.fixture
def global_random_seed() -> int:
    return 42  # scikit-learn's default


@pytest.fixture
def global_dtype() -> type:
    return np.float64  # scikit-learn's default


def test_every_test_is_run_or_has_a_reason() -> None:
    found = {name for module in BORROWED.values() for name in vars(module) if name[:5] == "test_"}
    listed = [*APPLIES, *(name for names in DOES_NOT_APPLY.values() for name in names)]
    assert len(listed) == len(set(listed))
    assert found - set(listed) == set(), "new in this scikit-learn: enter them in one of the tables"


def test_the_page_has_the_tables() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sklearn_tests.md").read_text(encoding="utf-8")
    rows = [f"| `{name}` | {what} |" for name, what in APPLIES.items()]
    rows += [f"| `{name}` | {why} |" for why, names in DOES_NOT_APPLY.items() for name in names]
    assert [line for line in page.splitlines() if line.startswith("| `test_")] == rows
