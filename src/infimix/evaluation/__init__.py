"""Scores of a finished fit, and the files that describe it.

Takes an estimator, or arrays of labels, and gives back numbers; nothing here fits anything, and
labels are read here and nowhere else.
"""

from infimix.evaluation.clustering import ClusteringScores, one_to_one_accuracy, score_clustering
from infimix.evaluation.likelihood import LikelihoodEstimate, estimate_likelihood
from infimix.evaluation.neighbours import NeighbourErrors, neighbour_errors
from infimix.evaluation.summary import record_score, summarise

__all__ = [
    "ClusteringScores",
    "LikelihoodEstimate",
    "NeighbourErrors",
    "estimate_likelihood",
    "neighbour_errors",
    "one_to_one_accuracy",
    "record_score",
    "score_clustering",
    "summarise",
]
