"""The scikit-learn protocol: NumPy in, NumPy out."""

from __future__ import annotations

import os
from pathlib import Path

from infimix.estimators.base import MixtureEstimator
from infimix.estimators.deep import DeepEstimator, Follow
from infimix.estimators.dlgmm import DLDPMM, DLGMM
from infimix.estimators.dp_mixture import DPGaussianMixture
from infimix.estimators.gaussian import GaussianVAE
from infimix.estimators.gmvae import GMVAE, AlternatingDPVAE
from infimix.estimators.infinite import InfiniteMixtureVAE
from infimix.estimators.persistence import load_config
from infimix.estimators.stick_breaking import StickBreakingVAE
from infimix.estimators.two_stage import TwoStage

__all__ = [
    "DLDPMM",
    "DLGMM",
    "ESTIMATORS",
    "GMVAE",
    "AlternatingDPVAE",
    "DPGaussianMixture",
    "DeepEstimator",
    "Follow",
    "GaussianVAE",
    "InfiniteMixtureVAE",
    "MixtureEstimator",
    "StickBreakingVAE",
    "TwoStage",
    "load",
]

ESTIMATORS: dict[str, type[MixtureEstimator]] = {
    "infinite": InfiniteMixtureVAE,
    "dpgmm": DPGaussianMixture,
    "gaussian": GaussianVAE,
    "stick-breaking": StickBreakingVAE,
    "dlgmm": DLGMM,
    "dldpmm": DLDPMM,
    "gmvae": GMVAE,
    "alternating": AlternatingDPVAE,
    "two-stage": TwoStage,
}


def load(folder: str | os.PathLike[str]) -> MixtureEstimator:
    """Read the estimator that was saved in a folder, whichever it is.

    Parameters
    ----------
    folder : path
        What `save` or ``infimix fit --out`` has written.

    Returns
    -------
    fitted estimator

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing, damaged, or written by a newer infimix.
    """
    name = load_config(Path(folder))["estimator"]
    for estimator in ESTIMATORS.values():
        if estimator.__name__ == name:
            return estimator.load(folder)
    raise ValueError(f"'{folder}' holds a {name!r}, which this infimix does not know; upgrade it.")
