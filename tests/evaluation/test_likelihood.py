"""Importance sampling against an exact evidence, and what it refuses."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from infimix.estimators import DLGMM, DPGaussianMixture, GaussianVAE
from infimix.evaluation import estimate_likelihood
from infimix.evaluation.likelihood import NOISE_BYTES
from infimix.models import LatentMixtureModule

N, D, L = 150, 5, 2
QUICK = {"hidden": (), "max_epochs": 40, "learning_rate": 0.01, "likelihood": "normal"}


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    """Rows of a linear factor model, in units far from 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * N, L)) @ rng.normal(size=(L, D)) + rng.normal(size=(2 * N, D))
    return 100 + x * np.array([1.0, 10.0, 0.1, 3.0, 1.0])


@pytest.fixture(scope="module")
def vae(X: np.ndarray) -> GaussianVAE:
    return GaussianVAE(L, **QUICK, random_state=0).fit(X[:N])


def log_evidence(model: GaussianVAE, X: np.ndarray) -> np.ndarray:
    """Log p(x) of each row under linear maps without hidden layers; by SciPy, in the units of X."""
    with torch.no_grad():
        outputs = model.module_.decoder(torch.cat([torch.zeros(1, L), torch.eye(L)])).numpy()
        noise = model.module_.likelihood.scale.numpy()
    offset = model.inverse_transform(np.zeros((1, L)))[0]
    axes = model.inverse_transform(np.eye(L)) - offset  # (L, D), in the units of X
    unit = axes[0] / (outputs[1] - outputs[0])  # of a scaled feature
    cov = axes.T @ axes + np.diag((noise * unit) ** 2)
    return stats.multivariate_normal(offset, cov).logpdf(X)


@pytest.mark.parametrize("make", [GaussianVAE, DLGMM])
def test_it_is_the_exact_evidence_of_a_linear_model(make: Any, X: np.ndarray) -> None:
    model = make(L, **QUICK, random_state=0).fit(X[:N])
    exact = log_evidence(model, X[N:])
    found = estimate_likelihood(model, X[N:], 2000, at=(1, 50), per_row=True)
    assert found.monte_carlo_error < 0.01
    assert abs(found.log_likelihood - exact.mean()) < 3 * found.monte_carlo_error
    np.testing.assert_allclose(found.per_row, exact, atol=0.2)
    assert found.standard_error == pytest.approx(exact.std() / math.sqrt(N), rel=0.02)
    one, fifty = found.at[1].log_likelihood, found.at[50].log_likelihood
    assert model.score(X[N:]) < exact.mean()
    assert one < fifty - 3 * found.at[50].monte_carlo_error
    assert fifty < exact.mean() + 3 * found.at[50].monte_carlo_error


def test_the_error_of_sampling_is_that_of_repetitions(vae: GaussianVAE, X: np.ndarray) -> None:
    runs = [estimate_likelihood(vae, X[N : N + 64], 100, random_state=seed) for seed in range(24)]
    spread = np.std([run.log_likelihood for run in runs])
    assert runs[0].monte_carlo_error == pytest.approx(spread, rel=0.5)


def test_the_result_does_not_depend_on_the_blocks(vae: GaussianVAE, X: np.ndarray) -> None:
    whole, tiny = (
        estimate_likelihood(vae, X[N:], 70, at=(33,), per_row=True, memory=memory)
        for memory in (2**27, 2**15)
    )
    np.testing.assert_allclose(whole.per_row, tiny.per_row, rtol=1e-5)
    assert whole.ess_min == pytest.approx(tiny.ess_min, rel=1e-3)
    assert whole.at[33].log_likelihood == pytest.approx(tiny.at[33].log_likelihood, rel=1e-5)


def test_a_seed_repeats_and_every_row_has_noise_of_its_own(vae: GaussianVAE, X: np.ndarray) -> None:
    equal = np.repeat(X[N : N + 1], 130, axis=0)
    first, again, other = (
        estimate_likelihood(vae, equal, 5, per_row=True, random_state=seed).per_row
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == 130
    assert not np.isin(first, other).any()


def test_effective_samples(vae: GaussianVAE, X: np.ndarray) -> None:
    found = estimate_likelihood(vae, X[N:], 100, at=(1,))
    assert found.at[1].ess_mean == pytest.approx(1)
    assert found.at[1].monte_carlo_error is None
    assert 1 < found.ess_min < found.ess_mean < 100


def test_it_can_be_kept_as_json(vae: GaussianVAE, X: np.ndarray) -> None:
    found = estimate_likelihood(vae, X[N:], 4, at=(2,), per_row=True)
    kept = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert kept["at"]["2"]["log_likelihood"] == found.at[2].log_likelihood
    assert kept["n_rows"] == N
    assert "per_row" not in kept


def test_progress_is_shown_if_asked_for(
    vae: GaussianVAE, X: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate_likelihood(vae, X[N:], 2)
    assert capsys.readouterr().err == ""
    found = estimate_likelihood(vae, X[N:], 2, verbose=1)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"3/3  importance sampling  bound {found.log_likelihood:.3f} nats/row"


class Recorder(LatentMixtureModule):
    """Log weights that are given, made of something large; it is remembered how large."""

    n_components = 1
    N_HIDDEN = 100

    def __init__(self, n_noise: int, log_weight: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(self.N_HIDDEN))
        self.n_noise, self.log_weight = n_noise, log_weight
        self.largest = self.largest_noise = 0

    def draw_noise(self, n: int, generator: Generator) -> Tensor:
        noise = torch.randn(n, self.n_noise, generator=generator)
        self.largest_noise = max(self.largest_noise, noise.nbytes)
        return noise

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        large = (noise[..., None] * self.weight).exp()  # (S, N, F, hidden)
        if not torch.is_grad_enabled():
            self.largest = max(self.largest, large.nbytes)
        log_w = 0 * large.sum((-2, -1))
        wrong = (x[:, 0] > 1000).expand(log_w.shape)
        wrong = wrong & (torch.arange(len(log_w)) == len(log_w) // 2)[:, None]
        return torch.where(wrong, self.log_weight, log_w)

    def embed(self, x: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor, x: Tensor | None = None) -> Distribution:
        return Independent(Normal(z, 1.0), 1)

    draw_code = elbo = responsibilities = sample = NotImplemented


@pytest.mark.parametrize("n_noise", [1, 40, 400])
def test_memory_is_bounded(vae: GaussianVAE, X: np.ndarray, n_noise: int) -> None:
    model, memory = with_module(vae, Recorder(n_noise)), 2**22
    found = estimate_likelihood(model, X[N:], 50, memory=memory)
    assert found.log_likelihood == pytest.approx(-vae.log_jacobian_)
    assert found.ess_min == pytest.approx(50)
    assert memory / 20 < model.module_.largest <= memory
    assert model.module_.largest_noise <= NOISE_BYTES


def with_module(vae: GaussianVAE, module: LatentMixtureModule) -> GaussianVAE:
    model = GaussianVAE()
    vars(model).update(vars(vae) | {"module_": module.eval()})
    return model


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_that_is_not_finite_is_named(vae: GaussianVAE, X: np.ndarray, value: float) -> None:
    model, X = with_module(vae, Recorder(3, value)), X[N:].copy()
    X[97, 0] = 1e6
    with pytest.raises(FloatingPointError, match=rf"The log-likelihood of row 97 is {value}; look"):
        estimate_likelihood(model, X, 40)


def test_what_has_no_likelihood_is_refused(X: np.ndarray) -> None:
    mixture = DPGaussianMixture(random_state=0).fit(X)
    with pytest.raises(ValueError, match="draws latent codes and DPGaussianMixture has none"):
        estimate_likelihood(mixture, X)
    grey = np.random.default_rng(0).beta(0.2, 0.2, size=(40, 4))
    model = GaussianVAE(L, hidden=(), max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match="no likelihood of such rows; fit it to binarised data"):
        estimate_likelihood(model.fit(grey), grey)
    binary = (grey > 0.5).astype(float)
    model.fit(binary)
    assert np.isfinite(estimate_likelihood(model, binary, 2).log_likelihood)
    binary[33, 2] = 0.5
    with pytest.raises(ValueError, match=r"not of the kind of the rows of the fit: .* binary"):
        estimate_likelihood(model, binary, 2)
    model.set_params(likelihood="continuous_bernoulli").fit(grey)
    grey[33, 2] = 1.2
    with pytest.raises(ValueError, match="Row 33 of X holds values that the likelihood 'contin"):
        estimate_likelihood(model, grey, 2)


@pytest.mark.parametrize(
    ("n_samples", "at", "message"),
    [
        (0, (), "n_samples must be at least 1; got 0"),
        (10, (50,), r"`at` must hold numbers of samples in 1..10, .*; got \[50\]"),
        (10, (0,), r"got \[0\]"),
    ],
)
def test_wrong_numbers_of_samples(
    vae: GaussianVAE, X: np.ndarray, n_samples: int, at: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        estimate_likelihood(vae, X, n_samples, at=at)
