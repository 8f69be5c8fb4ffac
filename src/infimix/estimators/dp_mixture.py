"""Dirichlet-process Gaussian mixture on features, by the scikit-learn protocol."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self, final

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight

from infimix.data import detect_kind
from infimix.estimators.blocks import FAMILIES
from infimix.estimators.parts import PartsEstimator
from infimix.estimators.subspace import find_subspace, whole
from infimix.mixture import (
    BLOCK_ROWS,
    VALLEY,
    Block,
    Blocks,
    FiniteDirichlet,
    MixtureFit,
    StickBreaking,
    Stream,
    Sweep,
    e_step,
    fit_mixture,
    groups_of,
    join_path,
    kept_numbers,
    most_probable,
    plain_moments,
    responsibilities,
    sample_rows,
    search,
    valley_falls,
)
from infimix.training import Progress, rows_on

MANY = 2**31  # rows of a stream, at most
MOST_BYTES = 2**34  # of the statistics of a block of rows


@final
class DPGaussianMixture(PartsEstimator):
    """Mixture whose number of components is inferred: a Dirichlet process of Gaussian parts.

    A component is a cluster. It is one Gaussian part, or several that no valley of the density
    parts, as bent and skewed clusters need. Parts have heavy tails as far as the data have them.
    Columns are brought to mean 0 and variance 1 first; means, covariances, samples and
    log-likelihoods are those of the data as they came. Columns that never vary change nothing, nor,
    with full covariances, do those that follow from others: log-likelihoods are without them.

    Parameters
    ----------
    max_components : int or "auto", default="auto"
        Parts that the fit begins with and never exceeds; "auto" begins with 30 and splits as far
        as the rows ask for it.
    covariance_type : {"full", "diag", "spherical"}, default="full"
        Shape of the parts.
    heavy_tails : bool, default=True
        Whether parts are Student's t, their degrees of freedom learned; they come close to the
        Gaussian where tails are light. False takes the plain Gaussian, under which a wide part
        gathers far rows of several heavy-tailed clusters and may join them.
    concentration : float, default=1.0
        alpha of the Dirichlet process, or of all components together of the finite Dirichlet.
    weight_prior : {"dirichlet_process", "dirichlet"}, default="dirichlet_process"
        Law of the weights; "dirichlet" is finite, over `max_components` parts ("auto": 30).
    cluster_spread : float in (0, 1], default=1.0
        Expected standard deviation of the rows of a part, as a share of that of all rows. The prior
        is learned and leans on this as on one part more, so it weighs where there are few parts or
        few rows for their features; there less of it makes more parts.
    n_init : int, default=3
        k-means starts; the one with the best bound goes on.
    max_iter : int, default=200
        Sweeps at most, after the start and after each round of merges.
    tol : float, default=1e-4
        A sweep that raises the bound by less, in nats per row, is the last.
    device : str, default="auto"
        "auto" takes CUDA if there is one.
    random_state : int, RandomState or None, default=None
        The same integer gives the same result.
    verbose : int, default=0

    Attributes
    ----------
    n_components_ : int
        K, components found.
    weights_ : ndarray of shape (K,)
        They sum to 1, in falling order but after `partial_fit`.
    means_ : ndarray of shape (K, D)
    covariances_ : ndarray of shape (K, D, D), or (K, D) for "diag" and "spherical"
        Of a component's rows, spread between its parts included.
    merge_path_ : list of Join
        How parts join to components: a record (n_components, parent, child, depth) for each step
        from all parts to one component, by rising depth of the valley in nats. Those of less than
        1.25 nats were made; `cut` makes more or fewer.
    component_of_part_ : ndarray of shape (n_parts,)
        In 0..K - 1; parts are in falling order of size.
    degrees_of_freedom_ : float
        Of the tails of all parts; infinite without heavy tails.
    labels_ : ndarray of shape (N,)
    lower_bound_ : float
        Whole evidence lower bound in nats per row, all constants kept.
    history_ : list of dict
        One record a sweep.
    n_iter_ : int
        Sweeps over a sample or over all rows, those of the other starts left out; `partial_fit`
        counts one a batch.
    converged_ : bool
    kind_sentence_ : str
        How the columns were scaled.

    References
    ----------
    .. [1] Blei and Jordan, "Variational inference for Dirichlet process mixtures", 2006.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> X, _ = make_blobs(300, centers=4, cluster_std=0.5, random_state=0)
    >>> DPGaussianMixture(random_state=0).fit(X).n_components_
    4
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "covariance_type": [StrOptions(set(FAMILIES))],
        "heavy_tails": ["boolean"],
        "concentration": [Interval(Real, 0, None, closed="neither")],
        "weight_prior": [StrOptions({"dirichlet_process", "dirichlet"})],
        "cluster_spread": [Interval(Real, 0, 1, closed="right")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        max_components: int | str = "auto",
        *,
        covariance_type: str = "full",
        heavy_tails: bool = True,
        concentration: float = 1.0,
        weight_prior: str = "dirichlet_process",
        cluster_spread: float = 1.0,
        n_init: int = 3,
        max_iter: int = 200,
        tol: float = 1e-4,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.max_components = max_components
        self.covariance_type = covariance_type
        self.heavy_tails = heavy_tails
        self.concentration = concentration
        self.weight_prior = weight_prior
        self.cluster_spread = cluster_spread
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Find the components.

        Parameters
        ----------
        X : array-like, memory map or CSR matrix of shape (N, D)
            Finite numbers, at least two rows.
        y : ignored
        sample_weight : array-like of shape (N,), optional
            How often each row counts; a weight of 2 is as good as the row twice.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If X or a parameter breaks a rule; the message names it.
        """
        X, weight = self._begin(X, sample_weight)
        n_rows = float(X.shape[0] if weight is None else weight.sum())
        blocks, seed = self._blocks(X, weight), self._seed()
        family, plan = self._family(), self._plan(X.shape[0])
        with Progress(shown=self.verbose > 0, n_steps=None) as progress:
            watch = self._watch(n_rows, progress)
            fit = fit_mixture(family, blocks, X.shape[0], seed=seed, watch=watch, **plan)
        if not fit.converged:
            warnings.warn(
                f"The bound still rose after max_iter={self.max_iter} sweeps; raise max_iter or "
                f"tol (now {self.tol:g}).",
                ConvergenceWarning,
                stacklevel=2,
            )
        self.n_iter_ = len(fit.sweeps)
        self._stream = self._new_stream()
        self._stream.take_over(fit, blocks)
        self._finish(fit, blocks, sample_rows(blocks, X.shape[0], seed), n_rows)
        self._label(X)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Take in a batch of rows; what is kept of all earlier ones does not grow.

        The first call, or `fit` before it, begins a mixture and fixes the scaling of the columns;
        later ones follow it (`infimix.mixture.stream`). Batches should be drawn from
        all of the data, not one cluster after the other, and may differ in size. Components keep
        their numbers from one call to the next, as far as they stay; new ones come last.

        Parameters
        ----------
        X : array-like, memory map or CSR matrix of shape (N, D)
            Finite numbers; the first batch has at least two rows.
        y : ignored
        sample_weight : array-like of shape (N,), optional

        Returns
        -------
        self
            `labels_` are those of this batch; `lower_bound_` is an estimate for all rows so far.

        Raises
        ------
        ValueError
            If X or a parameter breaks a rule; the batch is then left out and nothing else is lost.
            If the model was loaded: rows are never saved, so it has none to go on from.
        """
        if hasattr(self, "weights_") and not hasattr(self, "_stream"):
            raise ValueError(
                "partial_fit goes on from rows of earlier batches, and a model that was loaded "
                "holds none: begin with a new estimator (sklearn.base.clone makes one), and pass "
                "it all batches."
            )
        if hasattr(self, "_stream"):
            self._validate_params()
            X = self._check(X, reset=False)
            weight = self._weight(X, sample_weight)
            self._warn_if_astray(X)
            past, before = self._stream.reservoir.sample(), (self._mixture, self._groups)
        else:
            X, weight = self._begin(X, sample_weight)
            self._stream, before, self.n_iter_ = self._new_stream(), None, 0
        self._stream.step(self._blocks(X, weight))
        self.n_iter_ += 1
        sample = self._stream.reservoir.sample()
        self._finish(self._stream.fit, list(sample.cut()), sample, self._stream.reservoir.weight)
        if before is not None:
            now = (self._mixture, self._groups)
            labels = [groups[most_probable(mixture, past)] for mixture, groups in (before, now)]
            number = kept_numbers(*labels, self.n_components_, past.weights().cpu())
            self._regroup(number[self._groups])
        self._record(self.n_components_, self.lower_bound_)
        self._label(X)
        return self

    def _new_stream(self) -> Stream:
        """Stream without rows; its mixture begins with the first batch."""
        plan, family, seed = self._plan(MANY), self._family(), self._seed()
        shared = {name: plan[name] for name in ("max_components", "max_sweeps", "tol")}
        begin = partial(fit_mixture, family, **plan, seed=seed)
        return Stream(begin, partial(search, **shared, seed=seed), family.n_features, seed)

    def _begin(self, X: Any, sample_weight: Any) -> tuple[Any, np.ndarray | None]:
        """Check everything and scale the columns by these rows; history begins."""
        self._validate_params()
        X = self._check(X, reset=True)
        self._n_start(X.shape[0])
        weight = self._weight(X, sample_weight)
        summary = self._summarise(X, stacklevel=4)
        kind = detect_kind(summary, "real")
        self._offset, self._scale = kind.offset, kind.scale
        self._choose_columns(X, weight)
        self.kind_sentence_ = kind.sentence
        self.history_: list[dict[str, Any]] = []
        return X, weight

    def _choose_columns(self, X: Any, weight: np.ndarray | None) -> None:
        """Choose what the mixture is fitted to; weighted rows have other scales."""
        is_full = self.covariance_type == "full"
        self._subspace = whole(X.shape[1])
        found = plain_moments(self._blocks(X, weight), is_full=is_full)
        mean, cov = found[0].numpy(), found[1].numpy()
        if weight is not None:
            deviation = np.sqrt(cov.diagonal() if is_full else cov)
            deviation = np.where(deviation > 0, deviation, 1.0)
            self._offset, self._scale = self._offset + mean * self._scale, self._scale * deviation
            cov = cov / deviation / (deviation[:, None] if is_full else deviation)
        self._subspace = find_subspace(cov, X.shape[0])
        columns = self._subspace.columns
        if is_full and cov.any() and X.shape[0] <= len(columns):
            warnings.warn(
                f"X has {X.shape[0]} rows for {len(columns)} columns, too few for full "
                "covariances: pass fewer columns, by PCA say, or covariance_type='diag'.",
                stacklevel=4,
            )
        n_bytes = 8 * min(X.shape[0], BLOCK_ROWS) * self._family().n_statistics
        if n_bytes > MOST_BYTES:
            raise ValueError(
                f"Full covariances of {len(columns)} columns need {n_bytes / 2**30:.0f} GiB at a "
                f"time, and at most {MOST_BYTES / 2**30:.0f} are taken: pass fewer columns, by PCA "
                "say, or covariance_type='diag'."
            )
        if self.covariance_type == "spherical":  # spheres stay spheres
            self._scale = np.full_like(self._scale, np.sqrt(np.mean(self._scale[columns] ** 2)))

    def _warn_if_astray(self, X: Any) -> None:
        """Warn of columns that are left out and should not be, by these rows of a later batch."""
        if len(self._subspace.columns) == X.shape[1]:
            return
        rows = rows_on(X, self._offset, self._scale, torch.device("cpu"), torch.float64)
        astray = {int(column) for x in rows.blocks() for column in self._subspace.astray(x.numpy())}
        if astray:
            warnings.warn(
                f"Columns {sorted(astray)} of X were left out of the mixture, for in the first "
                "batch they were constant or followed from others, and here they do not: begin "
                "anew with a larger first batch.",
                stacklevel=3,
            )

    def _weight(self, X: Any, sample_weight: Any) -> np.ndarray | None:
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, X, ensure_non_negative=True)

    def _plan(self, n_rows: int) -> dict[str, Any]:
        """What `fit_mixture` is told, for so many rows at most."""
        n_start = self._n_start(n_rows)
        is_process = self.weight_prior == "dirichlet_process"
        is_open = is_process and self.max_components == "auto"
        finite = FiniteDirichlet(self.concentration, n_start)
        return {
            "law": StickBreaking(self.concentration) if is_process else finite,
            "n_components": n_start,
            "max_components": n_rows if is_open else n_start,
            "n_restarts": self.n_init,
            "max_sweeps": self.max_iter,
            "tol": self.tol,
            "spread": self.cluster_spread,
            "heavy_tails": self.heavy_tails,
        }

    def _watch(self, n_rows: float, progress: Progress) -> Callable[[Sweep], None]:
        """Keep and show a record of each sweep."""

        def watch(sweep: Sweep) -> None:
            self._record(sweep.n_components, sweep.bound / n_rows - self._log_jacobian)
            progress.show(self.history_[-1])

        return watch

    def _record(self, n_components: int, bound: float) -> None:
        record = {"phase": "mixture", "n_components": n_components, "bound": bound}
        self.history_.append({"epoch": len(self.history_), **record, "valid_bound": None})

    def _finish(self, fit: MixtureFit, blocks: Blocks, sample: Block, n_rows: float) -> None:
        """Take every row for one, join parts to components, set what follows from the mixture."""
        mixture = replace(fit.mixture, zeta=1.0)
        bound = float(mixture.bound(e_step(mixture, blocks)))
        self.converged_, self.lower_bound_ = fit.converged, bound / n_rows - self._log_jacobian
        self.merge_path_ = join_path(valley_falls(mixture, sample), mixture.counts)
        state = self._empty_state(mixture.law)
        state.store(mixture, fit.reference)
        n_components = 1 + sum(join.depth >= VALLEY for join in self.merge_path_)
        self._load(state)
        self._regroup(groups_of(self.merge_path_, mixture.weights(), n_components))

    def _label(self, X: Any) -> None:
        resp = responsibilities(self._mixture, self._blocks(X)).cpu()
        self._part_labels = resp.argmax(1).numpy()
        self.labels_ = self._grouped(resp).argmax(1).numpy()
