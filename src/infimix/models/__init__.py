"""The models: one file each, their bound as named terms per row."""

from infimix.models.base import ElboTerms, LatentMixtureModule, Pass
from infimix.models.chain import ChainModule
from infimix.models.context_layer import ContextLayer
from infimix.models.infinite import InfiniteMixtureModule
from infimix.models.label_layer import ASSIGNMENTS, LabelLayer
from infimix.models.layers import StochasticLayer
from infimix.models.mixture_layer import ENTROPIES, MixtureLayer, bounded_log
from infimix.models.stick_layer import LAWS, StickLayer, start_of

__all__ = [
    "ASSIGNMENTS",
    "ENTROPIES",
    "LAWS",
    "ChainModule",
    "ContextLayer",
    "ElboTerms",
    "InfiniteMixtureModule",
    "LabelLayer",
    "LatentMixtureModule",
    "MixtureLayer",
    "Pass",
    "StickLayer",
    "StochasticLayer",
    "bounded_log",
    "start_of",
]
