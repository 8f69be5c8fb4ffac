"""Published experiments with their configurations, their numbers, and ours."""

from infimix.papers import p1, p2
from infimix.papers.reproduce import draw, read, run, table

EXPERIMENTS = p1.EXPERIMENTS | p2.EXPERIMENTS

__all__ = ["EXPERIMENTS", "draw", "read", "run", "table"]
