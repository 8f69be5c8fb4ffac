"""The unified model by the scikit-learn protocol: data in; clusters, embedding, samples out."""

from __future__ import annotations

import copy
import os
from numbers import Integral, Real
from typing import Any, ClassVar, Self, final

import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor

from infimix.estimators.build import (
    build_infinite,
    device_for,
    hidden_for,
    split_rows,
    train_config,
    views_for,
)
from infimix.estimators.deep import NETWORK_PARAMETERS, DeepEstimator
from infimix.estimators.joined import JoinedParts
from infimix.estimators.plotting import ComponentPlots
from infimix.mixture import (
    Block,
    DPMixture,
    Reservoir,
    group_moments,
    join_path,
    kept_numbers,
    valley_falls,
)
from infimix.models import InfiniteMixtureModule, Pass
from infimix.training import HeldRows, Rows, TrainConfig, Views


@final
class InfiniteMixtureVAE(ComponentPlots, JoinedParts, DeepEstimator):
    """Variational autoencoder with a Dirichlet-process mixture prior: clusters without a number.

    Training begins as an autoencoder whose codes are drawn together along neighbours (warm-up);
    then the mixture is started in the latent space, from the clusters that valleys of the density
    part, and one bound is climbed by the networks and by the mixture, while components merge as far
    as the evidence asks for it: first each row decoded from the code of a neighbour (joint phase),
    then from its own (fine-tuning).

    Parameters
    ----------
    n_latent : int, default=10
        L, dimension of the embedding.
    n_components : int, optional
        Their number, if it is known: then the prior is a finite mixture, and none are merged;
        those that lose all their rows are dropped.
    max_components : int or "auto", default="auto"
        Components that the mixture begins with, and the most that there may be; "auto" begins
        with 30, or the number of rows if less, and has no limit.
    heavy_tails : bool, default=True
        Whether components are Student's t in the latent space, degrees of freedom learned.
    concentration : float, default=1.0
        alpha of the Dirichlet process.
    n_neighbors : int, default=15
        Near rows that may be encoded in place of a row, so that codes keep what near rows share;
        0 encodes the row itself from the start: clusters are less clear then. Rows are near in 50
        principal components.
    augmentation : {"affine"}, optional
        Encode images turned, zoomed, sheared and shifted a little, and look for near rows as if
        such moves did not count; needs `image_shape`.
    likelihood : str, default="auto"
        "bernoulli", "expected_bernoulli", "continuous_bernoulli", "normal" or
        "negative_binomial"; "auto" follows the kind of the data.
    network : {"mlp", "conv"}, default="mlp"
        "conv" needs `image_shape`.
    image_shape : tuple (H, W) or (H, W, C), optional
        Shape of the image that a row is.
    warm_up_epochs, max_epochs : int or "auto", default="auto"
        Epochs as an autoencoder, and of the joint phase. Where rows have neighbours or images are
        moved, half as many of fine-tuning follow.
    batch_size : int, default=128
    learning_rate : float, default=1e-3
        Highest rate of Adam in each phase.
    validation_fraction : float, default=0.1
        Share of the rows that never train and decide when to stop, without labels.
    patience : int, default=20
        Epochs without a better validation bound before the joint phase ends, or the fine-tuning.
    n_init : int, default=3
        Starts of the mixture; the one with the best bound goes on.
    device : str, default="auto"
        "auto" takes CUDA if there is one.
    random_state : int, RandomState or None, default=None
        The same integer gives the same result on the same machine.
    verbose : int, default=0
    run_dir : path, optional
        Where history and checkpoints go during the fit.
    resume : bool, default=False
        Go on from the last checkpoint in `run_dir`.

    Attributes
    ----------
    n_components_ : int
        K, components found.
    weights_ : ndarray of shape (K,)
        In falling order; they sum to 1.
    labels_ : ndarray of shape (N,)
    means_ : ndarray of shape (K, L)
        In the latent space.
    covariances_ : ndarray of shape (K, L, L)
    merge_path_ : list of Join
        Tree of the components by the valleys of the density of codes between them, in nats: steps
        (n_components, parent, child, depth), the shallowest valley first. `cut` follows it.
    component_of_part_ : ndarray of shape (P,)
        Component of each component of the fit; they differ after `cut` only.
    lower_bound_ : float
        Evidence lower bound in nats per row, on the rows of the fit.
    history_ : list of dict
        One record an epoch.
    n_iter_ : int
        Epochs.
    hidden_ : tuple of int
        Widths of the hidden layers of network="mlp"; they follow the number of rows.
    interrupted_ : bool
        Whether Ctrl-C ended the fit; the model is then as far as it got.
    kind_sentence_ : str
        What the columns were taken for.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> model = InfiniteMixtureVAE(n_latent=2, warm_up_epochs=2, max_epochs=2, random_state=0)
    >>> model.fit(load_iris().data).transform(load_iris().data).shape
    (150, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = NETWORK_PARAMETERS | {
        "n_latent": [Interval(Integral, 1, None, closed="left")],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "max_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "heavy_tails": ["boolean"],
        "concentration": [Interval(Real, 0, None, closed="neither")],
        "n_neighbors": [Interval(Integral, 0, None, closed="left")],
        "augmentation": [StrOptions({"affine"}), None],
        "warm_up_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_latent: int = 10,
        *,
        n_components: int | None = None,
        max_components: int | str = "auto",
        heavy_tails: bool = True,
        concentration: float = 1.0,
        n_neighbors: int = 15,
        augmentation: str | None = None,
        likelihood: str = "auto",
        network: str = "mlp",
        image_shape: tuple[int, ...] | None = None,
        warm_up_epochs: int | str = "auto",
        max_epochs: int | str = "auto",
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        validation_fraction: float = 0.1,
        patience: int = 20,
        n_init: int = 3,
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
        run_dir: str | os.PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        self.n_latent = n_latent
        self.n_components = n_components
        self.max_components = max_components
        self.heavy_tails = heavy_tails
        self.concentration = concentration
        self.n_neighbors = n_neighbors
        self.augmentation = augmentation
        self.likelihood = likelihood
        self.network = network
        self.image_shape = image_shape
        self.warm_up_epochs = warm_up_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_init = n_init
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.run_dir = run_dir
        self.resume = resume

    @torch.inference_mode(mode=False)
    def partial_fit(self, X: Any, y: Any = None, X_past: Any = None) -> Self:
        """Learn from more rows, without forgetting: new clusters may come up, old ones stay.

        The networks go on from what they are, on rows drawn evenly from all that ever came, of
        which at most 20000 are kept, fewer of very wide rows; `fit` begins with that. Components
        keep their numbers from one call to the next, as far as they stay; new ones come last.

        Parameters
        ----------
        X : array-like, memory map or CSR matrix of shape (N, D)
            The first batch, of at least two rows, says what kind of data it is, and the scaling.
        y : ignored
        X_past : like X, optional
            Further rows that are not to be forgotten. Rows are never saved, so a model that was
            loaded needs some.

        Returns
        -------
        self
            `labels_` are those of X; `lower_bound_` is that of the rows kept.

        Raises
        ------
        ValueError
            If X or a parameter breaks a rule; the model is then as it was.
        DivergedError
            If the bound stops being finite; the model is then as it was.
        """
        if not hasattr(self, "weights_"):
            return self.fit(X)
        self._validate_params()
        kept = copy.deepcopy(self._kept) if hasattr(self, "_kept") else self._no_rows()
        if X_past is not None:
            self._keep(kept, X_past)
        if kept.n_rows == 0:
            raise ValueError(
                "partial_fit needs rows of the past, so as not to forget what they taught, and a "
                "model that was loaded holds none: pass some as X_past."
            )
        past = kept.z
        self._keep(kept, X)
        self._go_on(self._held(kept.z), self._held(past))
        self._kept = kept
        self._join()
        self._part_labels = self.labels_ = self.predict(X)
        self.lower_bound_ = self.score(kept.z.numpy() * self._scale + self._offset)
        return self

    def _remember(self, X: Any) -> None:
        kept = self._no_rows()
        self._keep(kept, X)
        self._kept, self._part_labels = kept, self.labels_
        self._join()

    @torch.no_grad()
    def _join(self) -> None:
        """Grow the tree of the components on the codes of rows that are kept."""
        parts = self._kept.z.to(device_for(self.device)).split(4096)
        codes = torch.cat([self.module_.embed(part) for part in parts])
        self.merge_path_ = join_path(valley_falls(self._parts, Block(codes)), self._parts.counts)

    def _responsibilities(self, module: Any, x: Tensor) -> Tensor:
        return self._grouped(module.responsibilities(x))

    def _draw(
        self, module: Any, n_samples: int, generator: torch.Generator, component: int | None
    ) -> tuple[Tensor, Tensor]:
        weights = self._weights_within(component)
        part = torch.multinomial(weights, n_samples, replacement=True, generator=generator)
        x, _ = module.sample(n_samples, generator, part)
        return x, self._groups[part.cpu()]

    def _no_rows(self) -> Reservoir:
        return Reservoir(self._seed(), self.n_features_in_)

    def _keep(self, kept: Reservoir, X: Any) -> None:
        """Let rows, as the module takes them, into a reservoir."""
        X = self._check_alike(X)
        kept.add(Block(x.cpu()) for x in self._rows(X).blocks())

    def _held(self, x: Tensor) -> Rows:
        return HeldRows(x.to(device_for(self.device)))

    def _go_on(self, rows: Rows, past: Rows) -> None:
        """Train on rows from the present networks; components are numbered as in the past."""
        old, history, seed, everything = self.module_, self.history_, self._seed(), {**vars(self)}
        before = _labels(old, past)
        self._n_first = self._n_start(rows.n_rows)
        self._build(self._offset, self._scale, seed)
        learned = {k: v for k, v in old.state_dict().items() if not k.startswith("state.")}
        self.module_.load_state_dict(learned, strict=False)
        train, valid = split_rows(rows.n_rows, self.validation_fraction, seed)
        try:
            self._train(rows, train, Pass(len(valid), lambda: rows.blocks(valid)), seed)
            if self.interrupted_:  # half of the way is worse than none
                raise KeyboardInterrupt
        except BaseException:  # whatever it was, the model is as it was
            vars(self).clear()
            vars(self).update(everything)
            raise
        state, mixture = self.module_.state, self.module_.mixture
        weights = torch.ones(past.n_rows)
        number = kept_numbers(before, _labels(self.module_, past), mixture.n_components, weights)
        state.store(mixture.with_statistics(mixture.sums[number.argsort()]))
        self._install()
        self.history_ = history + [r | {"epoch": len(history) + r["epoch"]} for r in self.history_]
        self.n_iter_ = len(self.history_)

    def _begin(self, n_rows: int) -> None:
        if self.n_components is not None and self.n_components > n_rows:
            raise ValueError(
                f"n_components={self.n_components} must be at most the number of rows, and X has "
                f"n_samples={n_rows}; lower it, or leave it out."
            )
        self._n_first, self.hidden_ = self._n_start(n_rows), hidden_for(n_rows)

    def _make_module(self, seed: int) -> InfiniteMixtureModule:
        return build_infinite(self, self._n_first, seed)

    def _plan(self, n_train: int, seed: int) -> TrainConfig:
        return train_config(self, n_train, seed)

    def _views(self, rows: Rows, train: Tensor, seed: int) -> Views | None:
        return views_for(self, rows, train, seed)

    def _install(self) -> None:
        """Set the fitted attributes that follow from the module."""
        self.module_.eval()
        self._regroup(torch.arange(self._parts.n_components))

    @property
    def _parts(self) -> DPMixture:
        return self.module_.mixture

    def _regroup(self, groups: Tensor) -> None:
        self._set_groups(groups)
        moments = group_moments(self._parts, groups.to(self._parts.sums.device))
        self.weights_, self.means_, self.covariances_ = (m.cpu().numpy() for m in moments)

    def _tensors(self) -> dict[str, Tensor]:
        return super()._tensors() | {"part_labels": torch.from_numpy(self._part_labels)}

    def _fitted(self) -> dict[str, Any]:
        return super()._fitted() | {"hidden": self.hidden_}

    def _restore(self, tensors: dict[str, Tensor], fitted: dict[str, Any]) -> None:
        self._n_first, self.hidden_ = 1, tuple(fitted["hidden"])
        groups = self._restore_tree(tensors, fitted)
        super()._restore(tensors, fitted)
        self._regroup(groups)


@torch.no_grad()
def _labels(module: InfiniteMixtureModule, rows: Rows) -> Tensor:
    """Most probable component of each row, (N,) on the CPU."""
    blocks = Pass(rows.n_rows, rows.blocks)
    return blocks.map(lambda x: module.responsibilities(x).argmax(1)).cpu()
