"""The models: one file each, their bound as named terms per row."""

from infimix.models.base import ElboTerms, LatentMixtureModule, Pass
from infimix.models.chain import ChainModule
from infimix.models.infinite import InfiniteMixtureModule
from infimix.models.layers import StochasticLayer
from infimix.models.mixture_layer import ENTROPIES, MixtureLayer, bounded_log
from infimix.models.stick_layer import LAWS, StickLayer, start_of

__all__ = [
    "ENTROPIES",
    "LAWS",
    "ChainModule",
    "ElboTerms",
    "InfiniteMixtureModule",
    "LatentMixtureModule",
    "MixtureLayer",
    "Pass",
    "StickLayer",
    "StochasticLayer",
    "bounded_log",
    "start_of",
]
