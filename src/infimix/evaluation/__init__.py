"""Scores of a finished fit, and the files that describe it.

Takes an estimator, or arrays of labels, and gives back numbers; nothing here fits anything, and
labels are read here and nowhere else.
"""

from infimix.evaluation.clustering import ClusteringScores, one_to_one_accuracy, score_clustering
from infimix.evaluation.summary import summarise

__all__ = [
    "ClusteringScores",
    "one_to_one_accuracy",
    "score_clustering",
    "summarise",
]
