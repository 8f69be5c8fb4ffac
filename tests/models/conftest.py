"""Small modules of every model, in double precision where a test asks for it."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infimix.distributions.likelihoods import LIKELIHOODS
from infimix.estimators import ESTIMATORS
from infimix.mixture import StickBreaking
from infimix.models import ChainModule, InfiniteMixtureModule
from infimix.networks import ConvBody, ConvDecoder, Encoder, MLPBody, MLPDecoder

MakeModule = Callable[..., InfiniteMixtureModule]
IMAGE_SHAPE = (4, 4)


def build(
    likelihood: str = "normal",
    n_features: int = 5,
    n_latent: int = 2,
    *,
    network: str = "mlp",
    hidden: tuple[int, ...] = (16,),
    networks: tuple[nn.Module, nn.Module] | None = None,
    max_components: int = 3,
    heavy_tails: bool = False,
    concentration: float = 1.0,
    n_fixed: int | None = None,
    by_valleys: bool = True,
) -> InfiniteMixtureModule:
    """Module whose weights are always the same; `networks` replaces encoder and decoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if networks is not None:
            encoder, decoder = networks
        elif network == "conv":
            encoder = Encoder(ConvBody(IMAGE_SHAPE, hidden), n_latent)
            decoder = ConvDecoder(n_latent, hidden[::-1], IMAGE_SHAPE)
        else:
            encoder = Encoder(MLPBody(n_features, hidden), n_latent)
            decoder = MLPDecoder(n_latent, hidden[::-1], n_features)
    return InfiniteMixtureModule(
        encoder,
        decoder,
        LIKELIHOODS[likelihood](n_features),
        n_latent=n_latent,
        law=StickBreaking(concentration),
        n_start=max_components,
        max_components=max_components,
        n_fixed=n_fixed,
        by_valleys=by_valleys,
        heavy_tails=heavy_tails,
        n_restarts=2,
        seed=0,
    )


@pytest.fixture(scope="session")
def make_module() -> MakeModule:
    """make_module(likelihood, n_features, n_latent, ...): see `build`."""
    return build


def draw_rows(likelihood: str, n: int, n_features: int) -> Tensor:
    """Rows in two groups that the likelihood can be asked about, (n, n_features) float32."""
    rng = np.random.default_rng(1)
    group = rng.integers(2, size=(n, 1))
    level = np.where(group == 1, np.linspace(-2, 2, n_features), np.linspace(2, -2, n_features))
    share = 1 / (1 + np.exp(-level))
    rows = {
        "normal": level + rng.normal(size=level.shape),
        "bernoulli": rng.uniform(size=level.shape) < share,
        "binomial": rng.uniform(size=level.shape) < share,  # levels 0 and 1
        "expected_bernoulli": rng.beta(4 * share, 4 * (1 - share)),
        "continuous_bernoulli": rng.beta(4 * share, 4 * (1 - share)),
        "negative_binomial": rng.poisson(20 * share),
    }[likelihood]
    return torch.from_numpy(rows.astype(np.float32))


@pytest.fixture(scope="session")
def make_rows() -> Callable[[str, int, int], Tensor]:
    """make_rows(likelihood, n, n_features): see `draw_rows`."""
    return draw_rows


def build_chain(
    name: str,
    n_features: int = 3,
    *,
    likelihood: str = "bernoulli",
    stir: float = 0.5,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    **parameters: Any,
) -> ChainModule:
    """Module that an estimator of paper 1 builds, in training mode.

    Networks are linear unless told otherwise. Every parameter is moved by normal noise of size
    `stir`, so that nothing is constant, zero or alike.
    """
    estimator = ESTIMATORS[name](**{"hidden": (), **parameters})
    estimator.n_features_in_, estimator.likelihood_ = n_features, likelihood
    estimator._begin(100)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = estimator._make_module(0)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += stir * torch.randn(parameter.shape)
    return module.to(dtype).train()


@pytest.fixture(scope="session")
def make_chain() -> Callable[..., ChainModule]:
    """make_chain(name, n_features, ...): see `build_chain`."""
    return build_chain


@pytest.fixture(scope="session")
def all_bits() -> Tensor:
    """Every row of three bits, (8, 3) float64."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)


def draw_normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal noise, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture(scope="session")
def normal() -> Callable[..., Tensor]:
    """normal(*shape, seed=0): see `draw_normal`."""
    return draw_normal
