"""The models: one file each, their bound as named terms per row."""

from infimix.models.base import ElboTerms, LatentMixtureModule, Pass
from infimix.models.infinite import InfiniteMixtureModule

__all__ = ["ElboTerms", "InfiniteMixtureModule", "LatentMixtureModule", "Pass"]
