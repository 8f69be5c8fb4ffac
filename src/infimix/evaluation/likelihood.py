r"""Marginal log-likelihood of rows by importance sampling (Burda, Grosse, Salakhutdinov 2016).

.. math:: \log \hat p(x) = \log \frac1S \sum_s w_s, \qquad
          w_s = \frac{p(x, h_s)}{q(h_s \mid x)}, \quad h_s \sim q(h \mid x),

is in expectation never above log p(x), and rises to it with S. By the delta method its error is

.. math:: e = \frac{\mathrm{sd}(w)}{\sqrt S \, E[w]}, \qquad
          e^2 = \frac{S}{S - 1} \Big(\frac1{\mathrm{ESS}} - \frac1S\Big), \quad
          \mathrm{ESS} = \frac{(\sum_s w_s)^2}{\sum_s w_s^2},

and it falls short of log p(x) by about :math:`e^2 / 2`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from infimix.estimators import DeepEstimator
from infimix.models import LatentMixtureModule
from infimix.training import Progress

MEMORY = 2**25  # bytes of a block's densities; far above, the system maps pages for each anew
NOISE_BYTES = 2**25
TILE_ROWS, TILE_SAMPLES = 64, 32  # whose noise is drawn at once, if it fits
PROGRESS_STEPS = 100


@dataclass(frozen=True)
class LikelihoodEstimate:
    """Log-likelihood of rows with its errors, all in nats per row; larger is better.

    Attributes
    ----------
    log_likelihood : float
        Mean over rows, for the data as they came.
    standard_error : float
        Of that mean as one of N rows that might have been others.
    monte_carlo_error : float or None
        What the finite number of samples adds: the standard error of the mean for these very rows.
        None for one sample, which does not show its spread.
    n_rows, n_samples : int
        N and S.
    ess_mean, ess_min : float
        Effective sample size, the mean and the least over rows. Where the least is a few samples
        only, a row's estimate hangs on them, and its error is not to be trusted.
    at : dict of int to LikelihoodEstimate
        What the first so many samples of the same run say.
    per_row : ndarray of shape (N,) or None
    """

    log_likelihood: float
    standard_error: float
    monte_carlo_error: float | None
    n_rows: int
    n_samples: int
    ess_mean: float
    ess_min: float
    at: dict[int, LikelihoodEstimate] = field(default_factory=dict)
    per_row: NDArray[np.float64] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return all but the rows by name, ready for JSON."""
        values = asdict(self)
        del values["per_row"]
        values["at"] = {str(n): estimate.as_dict() for n, estimate in self.at.items()}
        return values


@torch.no_grad()
def estimate_likelihood(
    estimator: Any,
    X: Any,
    n_samples: int = 1000,
    *,
    at: Sequence[int] = (),
    per_row: bool = False,
    random_state: int = 0,
    memory: int = MEMORY,
    verbose: int = 0,
) -> LikelihoodEstimate:
    r"""Mean marginal log-likelihood :math:`\log p(x)` of rows, by importance sampling.

    Parameters
    ----------
    estimator : fitted estimator with networks
        Its posterior proposes; components are summed, not drawn.
    X : array-like or CSR matrix of shape (N, D)
        Rows that were not trained on.
    n_samples : int, default=1000
        S, draws for each row.
    at : sequence of int
        Smaller numbers of samples to tell the estimate at too, at almost no cost.
    per_row : bool, default=False
        Whether to return the estimate of each row.
    random_state : int, default=0
        Every row has noise of its own; the same integer gives the same on the same device.
    memory : int, default=2**25
        Bytes that densities may take at a time. Rows and samples are cut into blocks for that, and
        the result does not depend on it but for rounding.
    verbose : int, default=0
        Whether to show progress.

    Returns
    -------
    LikelihoodEstimate
        Nats per row; for real data and "continuous_bernoulli" that of a density in the units of X.

    Raises
    ------
    ValueError
        If the estimator has no such likelihood, or a row is none that it can have.
    FloatingPointError
        If an estimate is not finite; the message names the row.

    Notes
    -----
    Computed in float32, summed over samples in float64. Besides `memory`, the noise takes up to
    32 MiB.

    "expected_bernoulli" is refused: it takes grey values for probabilities, and its numbers are no
    likelihood of grey rows. Counts are given their row's sum. In `InfiniteMixtureVAE` the weights
    and components of the prior have a variational posterior that is not sampled from: its estimate
    tends to a lower bound of log p(x).

    References
    ----------
    .. [1] Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from infimix.estimators import GaussianVAE
    >>> X = load_iris().data
    >>> model = GaussianVAE(n_latent=2, max_epochs=2, random_state=0).fit(X[::2])
    >>> estimate = estimate_likelihood(model, X[1::2], n_samples=50)
    >>> estimate.log_likelihood > model.score(X[1::2])
    True
    """
    _refuse(estimator)
    counts = _counts(n_samples, at)
    rows, module = estimator.model_rows(X), estimator.module_
    generator = Generator(rows.device).manual_seed(random_state)
    tile_rows, tile_samples = _tile(module, generator)
    cost = _cost(module, rows.take(torch.zeros(2, dtype=torch.long)), memory)
    kept = np.empty((len(counts), 2, rows.n_rows))  # log sums of w and of w^2 at each count
    groups = torch.split(torch.arange(rows.n_rows), tile_rows)
    stride = math.ceil(len(groups) / PROGRESS_STEPS)
    with Progress(shown=verbose > 0, n_steps=len(groups)) as progress:
        for i, index in enumerate(groups):
            x, first = rows.take(index), int(index[0])
            _check_support(estimator, x, first)
            log_sum = torch.full((2, len(x)), -torch.inf, dtype=torch.float64, device=x.device)
            for start in range(0, n_samples, tile_samples):
                n = min(tile_samples, n_samples - start)
                noise = module.draw_noise(n * len(x), generator).reshape(n, len(x), -1)
                log_w = _log_weights(module, x, noise, cost, memory).double()  # (n, rows)
                # Running sums of w and of w^2, (n, 2, rows).
                log_sums = torch.cat([log_sum[None], torch.stack([log_w, 2 * log_w], 1)])
                log_sums = log_sums.logcumsumexp(0)[1:]
                log_sum = log_sums[-1]
                for c, count in enumerate(counts):
                    if start < count <= start + n:
                        kept[c][:, index] = log_sums[count - start - 1].cpu().numpy()
            _check_finite(kept[-1, 0, index], first)
            if i % stride == 0 or i + 1 == len(groups):
                so_far = kept[-1, 0, : first + len(x)].mean() - math.log(n_samples)
                progress.show(_record(i, so_far - estimator.log_jacobian_))
    estimates = {
        count: _estimate(*log_sums, count, estimator.log_jacobian_, per_row=per_row)
        for count, log_sums in zip(counts, kept, strict=True)
    }
    whole = estimates.pop(n_samples)
    return LikelihoodEstimate(**{**vars(whole), "at": estimates})


class _Cost(NamedTuple):
    """Bytes that log weights take."""

    of_row: int  # beside its samples
    of_sample: int  # of one row


def _refuse(estimator: Any) -> None:
    """Refuse estimators whose numbers would not be likelihoods."""
    name = type(estimator).__name__
    if not isinstance(estimator, DeepEstimator):
        raise ValueError(
            f"Importance sampling draws latent codes and {name} has none: take its score_samples, "
            "which needs no draws."
        )
    if getattr(estimator, "likelihood_", None) == "expected_bernoulli":
        raise ValueError(
            f"This {name} reads values in [0, 1] as probabilities of binary ones "
            "(likelihood 'expected_bernoulli'), so it has no likelihood of such rows; fit it to "
            "binarised data, or with another likelihood."
        )


def _counts(n_samples: int, at: Sequence[int]) -> list[int]:
    """Numbers of samples to tell the estimate at, in rising order; the last is S."""
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1; got {n_samples}.")
    counts = sorted({*at, n_samples})
    if counts[0] < 1 or counts[-1] > n_samples:
        raise ValueError(
            f"`at` must hold numbers of samples in 1..{n_samples}, the n_samples of the run; got "
            f"{list(at)}."
        )
    return counts


def _tile(module: LatentMixtureModule, generator: Generator) -> tuple[int, int]:
    """Rows and samples whose noise is drawn at once: a function of the module alone."""
    n_bytes = module.draw_noise(1, generator).nbytes
    n_samples = max(1, min(TILE_SAMPLES, NOISE_BYTES // n_bytes))
    return max(1, min(TILE_ROWS, NOISE_BYTES // (n_bytes * n_samples))), n_samples


def _cost(module: LatentMixtureModule, x: Tensor, memory: int) -> _Cost:
    """Bytes by what autograd would keep of two rows x (2, D): all that layers and densities make.

    A count and not a formula, so that it holds for every body, decoder and number of paths.
    """
    generator = Generator(x.device).manual_seed(0)
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}

    def kept(n_samples: int, x: Tensor) -> int:
        n_bytes = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal n_bytes
            if tensor.untyped_storage().data_ptr() not in weights:
                n_bytes += tensor.nbytes
            return tensor

        noise = module.draw_noise(n_samples * len(x), generator).reshape(n_samples, len(x), -1)
        noise.requires_grad_()
        hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
        with torch.enable_grad(), hooks:
            module.log_weights(x, noise)
        return n_bytes

    one = kept(1, x[:1])
    if one > memory // 4:  # a few of them fit, if any: no need to tell row from sample
        return _Cost(0, one)
    of_sample = max(1, kept(2, x[:1]) - one)
    return _Cost(max(0, kept(1, x) - one - of_sample), of_sample)


def _log_weights(
    module: LatentMixtureModule, x: Tensor, noise: Tensor, cost: _Cost, memory: int
) -> Tensor:
    """Log weights (S, N) for rows x (N, D) and noise (S, N, F), block by block."""
    n_samples = min(len(noise), max(1, (memory - cost.of_row) // cost.of_sample))
    n_rows = max(1, memory // (cost.of_row + n_samples * cost.of_sample))
    log_w = noise.new_empty(noise.shape[:2])
    for r in range(0, len(x), n_rows):
        for s in range(0, len(noise), n_samples):
            block = (slice(s, s + n_samples), slice(r, r + n_rows))
            log_w[block] = module.log_weights(x[block[1]], noise[block])
    return log_w


def _check_support(estimator: Any, x: Tensor, first: int) -> None:
    """Refuse rows that the likelihood gives no probability to: grey ones to a Bernoulli, say."""
    module = estimator.module_
    is_possible = module.decode(module.embed(x), x).support.check(x)  # (N,)
    if not bool(is_possible.all()):
        row = first + int((~is_possible).nonzero()[0])
        raise ValueError(
            f"Row {row} of X holds values that the likelihood '{estimator.likelihood_}' of this "
            "model cannot have; pass rows of the kind that it was fitted to."
        )


def _check_finite(log_sum: NDArray[np.float64], first: int) -> None:
    """Refuse sums (N,) that are not finite: they stay so after one weight that is not."""
    wrong = np.flatnonzero(~np.isfinite(log_sum))
    if wrong.size:
        raise FloatingPointError(
            f"The log-likelihood of row {first + wrong[0]} is {log_sum[wrong[0]]}; look for "
            "extreme values in that row, or fit again with a lower learning_rate."
        )


def _estimate(
    log_sum: NDArray[np.float64],
    log_sum_of_squares: NDArray[np.float64],
    n_samples: int,
    log_jacobian: float,
    *,
    per_row: bool,
) -> LikelihoodEstimate:
    """Means and errors over rows, from log sums (N,) of weights and of their squares."""
    n_rows = len(log_sum)
    log_p = log_sum - math.log(n_samples) - log_jacobian
    ess = np.exp(2 * log_sum - log_sum_of_squares)
    error = None
    if n_samples > 1:
        squares = n_samples / (n_samples - 1) * (1 / ess - 1 / n_samples)  # e^2 of each row
        error = float(np.sqrt(squares.clip(0).sum()) / n_rows)
    return LikelihoodEstimate(
        log_likelihood=float(log_p.mean()),
        standard_error=float(log_p.std() / math.sqrt(n_rows)),
        monte_carlo_error=error,
        n_rows=n_rows,
        n_samples=n_samples,
        ess_mean=float(ess.mean()),
        ess_min=float(ess.min()),
        per_row=log_p if per_row else None,
    )


def _record(i: int, log_p: float) -> dict[str, Any]:
    """Progress after a group of rows, in the form of an epoch."""
    so_far = {"bound": log_p, "valid_bound": None, "n_components": None}
    return {"epoch": i, "phase": "importance sampling", **so_far}
