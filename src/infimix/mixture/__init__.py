"""Dirichlet-process Gaussian mixtures on additive statistics: no network, no labels, no files."""

from infimix.mixture.diagonal import DiagonalCovariance
from infimix.mixture.dp import Blocks, DPMixture, Statistics, e_step, responsibilities
from infimix.mixture.families import Family, NormalWishart
from infimix.mixture.fit import MixtureFit, Sweep, fit_mixture, settle
from infimix.mixture.full import FullCovariance
from infimix.mixture.moves import (
    Merge,
    log_partition_evidence,
    merge,
    merge_gains,
    merge_while_better,
    rows_worth,
)
from infimix.mixture.state import MixtureState

__all__ = [
    "Blocks",
    "DPMixture",
    "DiagonalCovariance",
    "Family",
    "FullCovariance",
    "Merge",
    "MixtureFit",
    "MixtureState",
    "NormalWishart",
    "Statistics",
    "Sweep",
    "e_step",
    "fit_mixture",
    "log_partition_evidence",
    "merge",
    "merge_gains",
    "merge_while_better",
    "responsibilities",
    "rows_worth",
    "settle",
]
