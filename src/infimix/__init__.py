"""Deep latent-variable models whose latent space is a mixture, finite or infinite.

The names below are imported when they are first used, so that ``import infimix`` and
``infimix --help`` do not wait for torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infimix.estimators import (
        DLDPMM,
        DLGMM,
        GMVAE,
        AlternatingDPVAE,
        DPGaussianMixture,
        GaussianVAE,
        InfiniteMixtureVAE,
        StickBreakingVAE,
        TwoStage,
        load,
    )

# Threads that wait must sleep: spinning makes small networks many times slower on a busy machine.
# Read when torch is loaded, so it has no effect on a program that has loaded it before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = [
    "DLDPMM",
    "DLGMM",
    "GMVAE",
    "AlternatingDPVAE",
    "DPGaussianMixture",
    "GaussianVAE",
    "InfiniteMixtureVAE",
    "StickBreakingVAE",
    "TwoStage",
    "__version__",
    "load",
]


def __getattr__(name: str) -> object:
    """Public name ``name``, imported from the estimators."""
    if name not in __all__:
        raise AttributeError(f"Module 'infimix' has no attribute {name!r}.")
    return getattr(import_module("infimix.estimators"), name)


def __dir__() -> list[str]:
    """Public names, for completion."""
    return __all__
