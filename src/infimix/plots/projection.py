"""Points of the latent space on paper, and the joins of a merge path as a tree."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

MAX_POINTS = 2000  # on a map
MIN_TSNE_POINTS = 10
SHALLOWEST = 0.05  # nats, on a tree; shallower valleys are drawn so
SEED = 0


class Projection(NamedTuple):
    """Points on paper, and how they came there."""

    xy: NDArray  # (M, 2)
    method: str
    note: str


class Tree(NamedTuple):
    """Brackets that join parts; part `leaves[i]` stands at 5 + 10 i."""

    x: NDArray  # (J, 4)  corners of each bracket
    y: NDArray  # (J, 4)  nats
    leaves: list[int]


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
    note = "Neighbours are faithful, distances between far groups are not."
    return Projection(_t_sne(embedding.tobytes(), n_latent), "t-SNE", note)


@lru_cache(maxsize=1)
def _t_sne(points: bytes, n_latent: int) -> NDArray:
    """Map (M, 2) of points (M, L), float64; kept, for a report and a figure show the same ones."""
    embedding = np.frombuffer(points).reshape(-1, n_latent)
    perplexity = min(30.0, (len(embedding) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=SEED)
    xy = tsne.fit_transform(embedding)
    xy.setflags(write=False)
    return xy


def drawn_rows(n_rows: int) -> NDArray:
    """Rows that a map shows: all up to 2000, else as many drawn by a fixed seed, in order."""
    if n_rows <= MAX_POINTS:
        return np.arange(n_rows)
    generator = np.random.default_rng(SEED)
    return np.sort(generator.choice(n_rows, size=MAX_POINTS, replace=False))


def tree_of(merge_path: Sequence[Sequence[float]], n_parts: int) -> Tree:
    """Brackets of a merge path (n_components, parent, child, depth), at least one join of it."""
    cluster, size, links = list(range(n_parts)), [1] * n_parts, []
    for _, parent, child, depth in merge_path:  # as scipy numbers the clusters of a linkage
        i, j = int(parent), int(child)
        size[i] += size[j]
        links.append([cluster[i], cluster[j], max(depth, SHALLOWEST), size[i]])
        cluster[i] = n_parts + len(links) - 1
    drawn = dendrogram(np.array(links), no_plot=True)
    y = np.maximum(drawn["dcoord"], SHALLOWEST / 2)  # the axis is logarithmic
    return Tree(np.array(drawn["icoord"]), y, drawn["leaves"])
