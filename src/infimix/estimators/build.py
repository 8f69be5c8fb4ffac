"""From an estimator's parameters to its device, its module and its training plan."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from infimix.data import ColumnSummary, Kind, checksum, detect_kind
from infimix.data.columns import summarise_columns
from infimix.distributions.likelihoods import (
    LIKELIHOODS,
    BinomialLikelihood,
    Likelihood,
    NegativeBinomialLikelihood,
)
from infimix.estimators.persistence import plain
from infimix.mixture import FiniteDirichlet, StickBreaking
from infimix.models import InfiniteMixtureModule
from infimix.networks import Body, ConvBody, ConvDecoder, Encoder, MLPBody, MLPDecoder
from infimix.training import Affine, Rows, TrainConfig, Views, nearest

# Hidden layers from the rows towards the code: the usual ones (Xie, Girshick, Farhadi 2016), and
# narrower ones for data that would not fill them.
WIDE, NARROW, WIDE_FROM_ROWS = (500, 500), (256, 256), 10_000
CHANNELS = (32, 64, 128)

KIND_OF_LIKELIHOOD = {
    "auto": "auto",
    "bernoulli": "binary",
    "expected_bernoulli": "unit",
    "binomial": "levels",
    "continuous_bernoulli": "unit",
    "normal": "real",
    "negative_binomial": "counts",
}


def kind_for(likelihood: str) -> str:
    """Kind of data that a likelihood asks for."""
    return KIND_OF_LIKELIHOOD[likelihood]


# How far values of further rows may lie beyond the range of those of the fit, in ranges.
ROOM = {"levels": 0.0, "unit": 0.5}

# Parameters that may differ between a run and the one it resumes.
NOT_OF_A_RUN = {"verbose", "run_dir", "resume", "device"}


def device_for(name: str) -> torch.device:
    """Device of this name; "auto" is CUDA if there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N'; got {name!r}."
        ) from error
    n_devices = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(device.type, 0)
    if (device.index or 0) >= n_devices:
        raise ValueError(
            f"device={name!r} is not among the devices that torch finds here, 'cpu' and "
            f"{torch.cuda.device_count()} of CUDA; leave it at 'auto' or name one of these."
        )
    return device


def present_or_auto(name: str) -> str:
    """Name of a device if it is here, else "auto": models move between machines."""
    try:
        device_for(name)
    except ValueError:
        return "auto"
    return name


def run_facts(estimator: Any, X: Any, X_valid: Any) -> dict[str, Any]:
    """What a run that is resumed must have in common with this one, as JSON holds it."""
    facts = {k: plain(v) for k, v in estimator.get_params().items() if k not in NOT_OF_A_RUN}
    facts |= _row_facts(X)
    facts["X_valid"] = None if X_valid is None else _row_facts(X_valid)
    return facts


def _row_facts(X: Any) -> dict[str, Any]:
    shape = {"n_rows": X.shape[0], "n_features": X.shape[1]}
    return {**shape, "checksum of the rows": checksum(X)}


def check_alike(X: Any, kind: Kind, name: str = "X") -> None:
    """Raise ValueError unless further rows are of the kind and on the scale of those of the fit."""
    summary = summarise_columns(X)
    try:
        detect_kind(summary, kind.name)
    except ValueError as error:
        raise ValueError(f"{name} is not of the kind of the rows of the fit: {error}") from error
    if kind.name in ROOM:
        ends = kind.offset[0], kind.offset[0] + kind.scale[0]
        room = ROOM[kind.name] * kind.scale[0]
        low, high = summary.minimum.min(), summary.maximum.max()
        if low < ends[0] - room or high > ends[1] + room:
            raise ValueError(
                f"{name} holds values in [{low:g}, {high:g}], and the rows of the fit were taken "
                f"for {kind.name} in [{ends[0]:g}, {ends[1]:g}]: bring them to the same scale."
            )


def hidden_for(n_rows: int) -> tuple[int, ...]:
    """Widths of the hidden layers for data of this many rows."""
    return WIDE if n_rows >= WIDE_FROM_ROWS else NARROW


def body_and_decoder(
    estimator: Any, hidden: tuple[int, ...], n_latent: int
) -> tuple[Body, nn.Module]:
    """Network from rows to features, and from codes (..., n_latent) back to rows.

    Parameters
    ----------
    estimator : DeepEstimator
        With ``n_features_in_``.
    hidden : tuple of int
        Widths of the layers of network="mlp", from the rows on; those of "conv" follow the image.
    n_latent : int
    """
    n_features = estimator.n_features_in_
    if estimator.network == "mlp":
        return MLPBody(n_features, hidden), MLPDecoder(n_latent, hidden[::-1], n_features)
    shape = _image_shape("network='conv'", estimator.image_shape, n_features)
    channels = CHANNELS[: max(1, min(len(CHANNELS), min(shape[:2]).bit_length() - 2))]
    return ConvBody(shape, channels), ConvDecoder(n_latent, channels[::-1], shape)


def build_infinite(estimator: Any, n_start: int, seed: int) -> InfiniteMixtureModule:
    """Networks, likelihood and mixture; the start is torch's current random state.

    Parameters
    ----------
    estimator : InfiniteMixtureVAE
        With ``n_features_in_``, ``likelihood_`` and ``hidden_``.
    n_start : int
        Components that the mixture begins with.
    seed : int
        Seed of the mixture's starts.
    """
    body, decoder = body_and_decoder(estimator, tuple(estimator.hidden_), estimator.n_latent)
    n_fixed, alpha = estimator.n_components, estimator.concentration
    return InfiniteMixtureModule(
        Encoder(body, estimator.n_latent),
        decoder,
        LIKELIHOODS[estimator.likelihood_](estimator.n_features_in_),
        n_latent=estimator.n_latent,
        law=StickBreaking(alpha) if n_fixed is None else FiniteDirichlet(alpha, n_fixed),
        n_start=n_start,
        max_components=None if estimator.max_components == "auto" else estimator.max_components,
        n_fixed=n_fixed,
        by_valleys=estimator.n_neighbors > 0 or estimator.augmentation is not None,
        heavy_tails=estimator.heavy_tails,
        n_restarts=estimator.n_init,
        seed=seed,
    )


def views_for(estimator: Any, rows: Rows, train: Tensor, seed: int) -> Views | None:
    """What is encoded in place of the rows that train.

    Parameters
    ----------
    estimator : InfiniteMixtureVAE
        With its module.
    rows : Rows
    train : Tensor of int64
    seed : int
    """
    warp = near = None
    if estimator.augmentation == "affine":
        name = "augmentation='affine'"
        warp = Affine(_image_shape(name, estimator.image_shape, estimator.n_features_in_))
    if estimator.n_neighbors > 0:
        prepare = estimator.module_.likelihood.encoder_input
        near = nearest(rows, train, prepare, estimator.n_neighbors, seed, warp)
    return None if warp is near is None else Views(rows, train, near, warp)


def _image_shape(what: str, image_shape: Any, n_features: int) -> tuple[int, ...]:
    """Check that rows are images of this shape, for `what` needs it."""
    shape = tuple(int(side) for side in image_shape or ())
    n_pixels = 1
    for side in shape:
        n_pixels *= side
    if len(shape) not in (2, 3) or n_pixels != n_features:
        raise ValueError(
            f"{what} needs image_shape=(H, W) or (H, W, C) whose product is the number of "
            f"columns, {n_features}; got {image_shape!r}."
        )
    return shape


def set_units(likelihood: Likelihood, summary: ColumnSummary, kind: Kind) -> None:
    """Tell a likelihood what only the data know: the size of a typical row, the highest level."""
    if isinstance(likelihood, NegativeBinomialLikelihood):
        likelihood.set_typical_size(float(summary.mean.sum()) or 1.0)
    elif isinstance(likelihood, BinomialLikelihood):
        likelihood.set_n_trials(float(kind.scale[0]))


def split_rows(n_rows: int, validation_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows that train, in their order, and rows that only measure the bound; int64 indices."""
    n_valid = int(validation_fraction * n_rows)
    order = torch.randperm(n_rows, generator=torch.Generator().manual_seed(seed))
    return order[n_valid:].sort().values, order[:n_valid].sort().values


def train_config(estimator: Any, n_train: int, seed: int) -> TrainConfig:
    """Training plan; small data get as many epochs as bring enough gradient steps.

    Parameters
    ----------
    estimator : InfiniteMixtureVAE
    n_train : int
        Rows that train.
    seed : int
        Seed of batches and noise.
    """
    n_steps = math.ceil(n_train / estimator.batch_size)
    warm_up, joint = estimator.warm_up_epochs, estimator.max_epochs
    joint = _epochs(20, n_steps) if joint == "auto" else joint
    has_views = estimator.n_neighbors > 0 or estimator.augmentation is not None
    return TrainConfig(
        warm_up_epochs=_warm_up(n_steps) if warm_up == "auto" else warm_up,
        max_epochs=joint,
        fine_tune_epochs=math.ceil(joint / 2) if has_views else 0,
        batch_size=estimator.batch_size,
        learning_rate=estimator.learning_rate,
        patience=estimator.patience,
        seed=seed,
    )


def _warm_up(n_steps: int) -> int:
    """On thousands of rows as many as make 5000 steps, up to 100: steps part the clusters."""
    return max(_epochs(25, n_steps), min(100, math.ceil(5000 / n_steps)))


def _epochs(n_epochs: int, n_steps: int) -> int:
    """At least `n_epochs`, and on small data as many as make 1500 gradient steps, up to 300."""
    return max(n_epochs, min(300, math.ceil(1500 / n_steps)))
