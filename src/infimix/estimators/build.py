"""From an estimator's parameters to its module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from infimix.distributions.likelihoods import LIKELIHOODS
from infimix.models import InfiniteMixtureModule
from infimix.networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder

HIDDEN = (500, 500, 2000)  # from the rows towards the code (Xie, Girshick, Farhadi 2016)
CHANNELS = (32, 64, 128)

KIND_OF_LIKELIHOOD = {
    "auto": "auto",
    "bernoulli": "binary",
    "expected_bernoulli": "unit",
    "continuous_bernoulli": "unit",
    "normal": "real",
    "negative_binomial": "counts",
}


def kind_for(likelihood: str) -> str:
    """Kind of data that a likelihood asks for."""
    return KIND_OF_LIKELIHOOD[likelihood]


def build_module(estimator: Any, n_start: int, seed: int) -> InfiniteMixtureModule:
    """Networks and likelihood for an estimator's parameters; its start is a function of the seed.

    Parameters
    ----------
    estimator : InfiniteMixtureVAE
        With ``n_features_in_`` and ``likelihood_``.
    n_start : int
        Components that the mixture begins with.
    seed : int
        Seed of weights and of the mixture's starts.

    Returns
    -------
    InfiniteMixtureModule
        On the CPU.
    """
    n_features, n_latent = estimator.n_features_in_, estimator.n_latent
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: nn.Module
        decoder: nn.Module
        if estimator.network == "conv":
            shape = _image_shape(estimator.image_shape, n_features)
            channels = CHANNELS[: max(1, min(len(CHANNELS), min(shape[:2]).bit_length() - 2))]
            encoder = ConvEncoder(shape, channels, n_latent)
            decoder = ConvDecoder(n_latent, channels[::-1], shape)
        else:
            encoder = MLPEncoder(n_features, HIDDEN, n_latent)
            decoder = MLPDecoder(n_latent, HIDDEN[::-1], n_features)
        likelihood = LIKELIHOODS[estimator.likelihood_](n_features)
    return InfiniteMixtureModule(
        encoder,
        decoder,
        likelihood,
        n_latent=n_latent,
        max_components=n_start,
        concentration=estimator.concentration,
        n_restarts=estimator.n_init,
        seed=seed,
    )


def _image_shape(image_shape: Any, n_features: int) -> tuple[int, ...]:
    """Check that rows are images of this shape."""
    shape = tuple(int(side) for side in image_shape or ())
    n_pixels = 1
    for side in shape:
        n_pixels *= side
    if len(shape) not in (2, 3) or n_pixels != n_features:
        raise ValueError(
            "network='conv' needs image_shape=(H, W) or (H, W, C) whose product is the number of "
            f"columns, {n_features}; got {image_shape!r}."
        )
    return shape
