"""Points of the latent space on paper."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

MIN_TSNE_POINTS = 10
SEED = 0


class Projection(NamedTuple):
    """Points on paper, and how they came there."""

    xy: NDArray  # (M, 2)
    method: str
    note: str


def project(embedding: NDArray) -> Projection:
    """Points (M, L) as points (M, 2), and the name of the method.

    Up to two dimensions are shown as they are. Otherwise t-SNE is used, or principal components
    where there are fewer than 10 points or all points are one.
    """
    embedding = embedding.astype(np.float64)
    n_points, n_latent = embedding.shape
    if n_latent == 1:
        height = np.random.default_rng(SEED).uniform(size=n_points)
        note = "The height of a point is random: there is one dimension."
        return Projection(np.column_stack([embedding[:, 0], height]), "Direct view", note)
    if n_latent == 2:
        return Projection(embedding, "Direct view", "There are two dimensions.")
    if np.ptp(embedding, axis=0).max(initial=0.0) == 0.0:
        return Projection(embedding[:, :2], "Direct view", "All points lie in the same place.")
    if n_points < MIN_TSNE_POINTS:
        return Projection(PCA(n_components=2).fit_transform(embedding), "Principal components", "")
    perplexity = min(30.0, (n_points - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=SEED)
    note = "Neighbours are faithful, distances between far groups are not."
    return Projection(tsne.fit_transform(embedding), "t-SNE", note)
