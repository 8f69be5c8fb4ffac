"""Published experiments with their configurations, their numbers, and ours."""

from infimix.papers.p1 import EXPERIMENTS
from infimix.papers.reproduce import picture, read, run, table

__all__ = ["EXPERIMENTS", "picture", "read", "run", "table"]
