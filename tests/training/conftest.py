"""A run small enough to be made dozens of times."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from infimix.distributions.likelihoods import NormalLikelihood
from infimix.mixture import StickBreaking
from infimix.models import InfiniteMixtureModule, Pass
from infimix.networks import Encoder, MLPBody, MLPDecoder
from infimix.training import TrainConfig, TrainState, fit, rows_on

N, D, N_VALID = 60, 4, 10


class Run(NamedTuple):
    """How a run ended."""

    module: InfiniteMixtureModule
    state: TrainState


def build() -> InfiniteMixtureModule:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder, decoder = Encoder(MLPBody(D, (8,)), 2), MLPDecoder(2, (8,), D)
    return InfiniteMixtureModule(
        encoder,
        decoder,
        NormalLikelihood(D),
        n_latent=2,
        law=StickBreaking(1.0),
        n_start=4,
        max_components=4,
        n_fixed=None,
        by_valleys=True,
        heavy_tails=True,
        n_restarts=1,
        seed=0,
    )


@pytest.fixture(scope="session")
def make_module() -> Callable[[], InfiniteMixtureModule]:
    """A new module with the same weights every time."""
    return build


@pytest.fixture(scope="session")
def X() -> np.ndarray:
    """Three groups of rows, (60, 4)."""
    rng = np.random.default_rng(0)
    centre = 3 * rng.normal(size=(3, D))
    return (centre[rng.integers(3, size=N)] + rng.normal(size=(N, D))).astype(np.float32)


@pytest.fixture(scope="session")
def config() -> TrainConfig:
    """Three epochs of warm-up, five joint ones, a checkpoint after each."""
    return TrainConfig(3, 5, 16, 1e-2, patience=20, seed=3, checkpoint_seconds=0.0)


@pytest.fixture(scope="session")
def train(X: np.ndarray) -> Callable[..., Run]:
    """train(config, run_dir=None, module=None, ...): the last ten rows only validate."""

    def run(
        config: TrainConfig,
        run_dir: Path | None = None,
        module: Any = None,
        n_valid: int = N_VALID,
        **more: Any,
    ) -> Run:
        module = build() if module is None else module
        rows = rows_on(X, np.zeros(D), np.ones(D), torch.device("cpu"))
        index: Tensor = torch.arange(N)
        index, valid = index[: N - n_valid], index[N - n_valid :]
        return Run(
            module,
            fit(
                module,
                rows,
                index,
                Pass(len(valid), lambda: rows.blocks(valid)),
                config,
                run_dir=run_dir,
                **more,
            ),
        )

    return run


class KilledError(Exception):
    """Ends a run between two epochs, as a kill would."""


@pytest.fixture(scope="session")
def killed(train: Callable[..., Run]) -> Callable[..., None]:
    """killed(n_epochs, config, run_dir, ...): a run that ends after so many checkpoints."""

    def run(n_epochs: int, *args: Any, **more: Any) -> None:
        def watch(record: dict[str, Any]) -> None:
            if record["epoch"] == n_epochs:
                raise KilledError

        with pytest.raises(KilledError):
            train(*args, watch=watch, **more)

    return run
