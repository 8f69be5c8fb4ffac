"""Small modules of the unified model, in double precision where a test asks for it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from infimix.distributions.likelihoods import LIKELIHOODS
from infimix.models import InfiniteMixtureModule
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
        max_components=max_components,
        heavy_tails=heavy_tails,
        concentration=concentration,
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
