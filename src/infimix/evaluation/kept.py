"""What ``summary.npz`` keeps of a fit: some of its rows, its groups, and the tree that joins them.

A leaf is the smallest group that is kept: a part of a mixture that can be cut along its merge path,
otherwise a component. Nodes are the leaves and what they join to (`infimix.evaluation.tree`).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from infimix.data import Dataset, detect_kind, summarise_columns
from infimix.evaluation.pictures import tiles_for
from infimix.evaluation.tree import Node, nodes_of
from infimix.mixture import falls_between, join_path

MAX_ROWS = 2000  # drawn from all rows
MIN_LEAF_ROWS = 12  # of a leaf of which fewer were drawn, rows up to so many are added
MAX_LEAVES = 60  # unless the fit has more components
N_SAMPLES = 10  # draws from each leaf
N_EXAMPLES = 6  # typical rows of a node, and as many that nearly belong to another
N_ODD = 12  # rows of the lowest likelihood
N_NEAR = 4  # most probable leaves of a row that are kept
N_TOP = 5  # features in which a row differs most from all
N_NEIGHBOURS = 10
SURE = 0.95  # rows above it are no borderline rows
MAX_RECONSTRUCTIONS = 16
MAX_PICTURE_BYTES = 3_000_000  # of the rows kept, before compression
MAX_SPACE = 10  # principal components that stand for the columns where there is no latent space
BLOCK_ROWS = 1024  # rows handed to the estimator at once
SEED = 0


class Leaves(NamedTuple):
    """The finest groups of a fit: P leaves, J joins."""

    estimator: Any  # whose components they are
    component: NDArray  # (P,)   of the fit that is described
    path: NDArray | None  # (J, 4), None if the estimator has none


class _Seen(NamedTuple):
    """What the estimator says of the rows that are kept: M rows, P leaves, D features."""

    embedding: NDArray | None  # (M, L), None if there is no latent space
    resp: NDArray  # (M, P)
    log_likelihood: NDArray  # (M,)
    leaf_mean: NDArray  # (P, D)
    leaf_scale: NDArray  # (P, D)  standard deviation of each feature in each leaf
    mean: NDArray  # (D,)
    scale: NDArray  # (D,)    standard deviation of each feature
    low: float
    high: float


def arrays_of(estimator: Any, dataset: Dataset) -> dict[str, NDArray]:
    """Content of ``summary.npz``; see `infimix.evaluation.summarise`."""
    component = np.asarray(estimator.labels_)  # (N,)
    leaves = leaves_of(estimator)
    leaf = _leaf_of_rows(leaves, component)  # (N,)
    row = _drawn(leaf, len(leaves.component))  # (M,)
    kept = leaf[row]
    seen = _look_at(leaves, estimator, dataset.X, row, kept)
    space = _scaled(dataset.X, row, seen) if seen.embedding is None else seen.embedding
    path = leaves.path
    if path is None:
        path = _path_of(space, kept, leaves) if estimator.finds_clusters else np.zeros((0, 4))
    sizes = np.bincount(leaf, minlength=len(leaves.component))
    own = leaves.component == component[row][:, None]  # (M, P)
    near = np.argsort(-seen.resp, axis=1, kind="stable")[:, :N_NEAR]
    arrays = {
        "embedding": space.astype(np.float32),
        "is_latent": np.array(seen.embedding is not None),
        "row": row.astype(np.int64),
        "component": component[row].astype(np.int64),
        "leaf": kept.astype(np.int64),
        "confidence": (seen.resp * own).sum(axis=1).astype(np.float32),
        "near": near.astype(np.int64),
        "near_resp": np.take_along_axis(seen.resp, near, axis=1).astype(np.float32),
        "agreement": _agreement(space, component[row]).astype(np.float32),
        "log_likelihood": seen.log_likelihood.astype(np.float32),
        "leaf_component": leaves.component.astype(np.int64),
        "leaf_size": sizes.astype(np.int64),
        "leaf_weight": np.asarray(leaves.estimator.weights_, dtype=np.float64),
        "merge_path": path,
        "can_be_cut": np.array(leaves.path is not None),
        "feature_scale": seen.scale.astype(np.float32),
    }
    is_image = dataset.image_shape is not None
    arrays |= _leaf_rows(leaves, space, kept, seen, is_image=is_image)
    nodes = nodes_of(path, len(leaves.component))
    arrays["typical"] = _typical(nodes, space, kept, len(leaves.component))
    arrays["borderline"] = _borderline(nodes, seen.resp, kept)
    arrays["odd"] = np.argsort(seen.log_likelihood, kind="stable")[:N_ODD].astype(np.int64)
    if is_image:
        arrays["image_shape"] = np.array(dataset.image_shape, dtype=np.int64)
        arrays |= _pictures(estimator, dataset, row, component[row], space, seen)
    else:
        shown = np.unique(
            np.concatenate([arrays[n].ravel() for n in ("typical", "borderline", "odd")])
        )
        shown = shown[shown >= 0]
        arrays |= {"shown": shown, "shown_x": _dense(dataset.X[row[shown]]).astype(np.float32)}
        arrays |= _top_features(dataset.X, row, seen)
    if dataset.y is not None:
        arrays["label"] = np.asarray(dataset.y)[row].astype(np.int64)
        arrays["confusion"] = _counts(np.asarray(dataset.y), leaf, len(sizes))
        if dataset.label_names is not None:
            arrays["label_names"] = np.array(dataset.label_names, dtype=np.str_)
    if dataset.feature_names is not None:
        arrays["feature_names"] = np.array(dataset.feature_names, dtype=np.str_)
    return arrays


def leaves_of(estimator: Any) -> Leaves:
    """Parts of a mixture that can be cut, at most 60 or as many as components; else components."""
    if not hasattr(estimator, "cut"):
        return Leaves(estimator, np.arange(int(estimator.n_components_)), None)
    coarse = np.asarray(estimator.component_of_part_)
    n_leaves = min(len(coarse), max(MAX_LEAVES, int(estimator.n_components_)))
    finest = estimator.cut(n_leaves)
    leaf_of_part = np.asarray(finest.component_of_part_)
    component = np.zeros(n_leaves, dtype=np.int64)
    component[leaf_of_part] = coarse
    path = [
        (n, leaf_of_part[parent], leaf_of_part[child], depth)
        for n, parent, child, depth in estimator.merge_path_
        if n < n_leaves
    ]
    return Leaves(finest, component, np.array(path, dtype=np.float64).reshape(-1, 4))


def _leaf_of_rows(leaves: Leaves, component: NDArray) -> NDArray:
    """Leaf of each row (N,): its own, or the first of its component if that is of another one.

    A row can be nearest to a part of one component and still belong to another, whose parts explain
    it together.
    """
    first = np.array([np.flatnonzero(leaves.component == k)[0] for k in range(component.max() + 1)])
    leaf = np.asarray(leaves.estimator.labels_)
    return np.where(leaves.component[leaf] == component, leaf, first[component])


def _drawn(leaf: NDArray, n_leaves: int) -> NDArray:
    """Rows that are kept, in their order: at random, and some of each leaf that has few."""
    generator = np.random.default_rng(SEED)
    n_rows = len(leaf)
    chosen = np.zeros(n_rows, dtype=bool)
    chosen[generator.choice(n_rows, size=min(n_rows, MAX_ROWS), replace=False)] = True
    for k in range(n_leaves):
        others = np.flatnonzero((leaf == k) & ~chosen)
        n_missing = max(0, MIN_LEAF_ROWS - np.count_nonzero((leaf == k) & chosen))
        chosen[generator.permutation(others)[:n_missing]] = True
    return np.flatnonzero(chosen)


def _look_at(leaves: Leaves, estimator: Any, X: Any, row: NDArray, leaf: NDArray) -> _Seen:
    """One pass over the rows that are kept, one block at a time."""
    n_leaves = len(leaves.component)
    scaler = StandardScaler(with_mean=False)  # running variances of dense and sparse columns
    has_space = hasattr(estimator, "inverse_transform")
    embeddings, resp, log_likelihood = [], [], []
    total, squares = np.zeros((2, n_leaves, X.shape[1]))
    low, high = np.inf, -np.inf
    for start in range(0, len(row), BLOCK_ROWS):
        k = leaf[start : start + BLOCK_ROWS]  # (B,)
        block = X[row[start : start + BLOCK_ROWS]]  # (B, D)
        if has_space:
            embeddings.append(estimator.transform(block))
        resp.append(leaves.estimator.predict_proba(block))
        log_likelihood.append(estimator.score_samples(block))
        scaler.partial_fit(block)
        member = _one_hot(k, n_leaves)  # (B, P)
        total += member.T @ block
        squares += member.T @ (block * block if issparse(block) else np.square(block, dtype=float))
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    n = np.maximum(np.bincount(leaf, minlength=n_leaves), 1)[:, None]  # (P, 1)
    leaf_mean = total / n
    return _Seen(
        embedding=np.concatenate(embeddings) if has_space else None,
        resp=np.concatenate(resp),
        log_likelihood=np.concatenate(log_likelihood),
        leaf_mean=leaf_mean,
        leaf_scale=np.sqrt(np.maximum(squares / n - leaf_mean**2, 0.0)),
        mean=total.sum(axis=0) / len(row),
        scale=np.sqrt(scaler.var_),
        low=low,
        high=high,
    )


def _scaled(X: Any, row: NDArray, seen: _Seen) -> NDArray:
    """Rows kept as points (M, L) where there is no latent space: their columns, each in sd."""
    scale = np.where(seen.scale > 0, seen.scale, 1.0).astype(np.float32)
    z = (_dense(X[row]).astype(np.float32) - seen.mean.astype(np.float32)) / scale
    if z.shape[1] <= MAX_SPACE or len(z) <= MAX_SPACE:
        return z
    return PCA(MAX_SPACE, random_state=SEED).fit_transform(z)


def _path_of(space: NDArray, leaf: NDArray, leaves: Leaves) -> NDArray:
    """Joins (P - 1, 4) by the valleys between groups of the rows kept."""
    n_leaves = len(leaves.component)
    z = space.astype(np.float64)
    member = [z[leaf == k] if (leaf == k).any() else z for k in range(n_leaves)]
    ridge = 1e-6 * (z.var(axis=0).mean() + 1e-12) * np.eye(z.shape[1])
    mean = np.stack([rows.mean(axis=0) for rows in member])
    cov = np.stack([np.cov(rows.T, ddof=0).reshape(ridge.shape) + ridge for rows in member])
    falls = falls_between(z, leaf, np.ones(len(z)), mean, cov)
    counts = np.bincount(np.asarray(leaves.estimator.labels_), minlength=n_leaves)
    return np.array(join_path(falls, counts), dtype=np.float64).reshape(-1, 4)


def _agreement(space: NDArray, component: NDArray) -> NDArray:
    """Share of a row's ten nearest rows, or of all if fewer, that are of its component: (M,)."""
    n = min(N_NEIGHBOURS, len(space) - 1)
    neighbours = NearestNeighbors(n_neighbors=n).fit(space).kneighbors(return_distance=False)
    return (component[neighbours] == component[:, None]).mean(axis=1)


def _leaf_rows(
    leaves: Leaves, space: NDArray, leaf: NDArray, seen: _Seen, *, is_image: bool
) -> dict[str, NDArray]:
    """Mean (P, D) and samples (P, S, D) of each leaf, and of tables the deviations (P, D).

    The mean of images is that of their codes, decoded: a mean of pixels is a blur.
    """
    n_leaves = len(leaves.component)
    samples = np.stack(
        [leaves.estimator.sample(N_SAMPLES, component=k)[0] for k in range(n_leaves)]
    )
    n = np.bincount(leaf, minlength=n_leaves)[:, None]  # (P, 1)
    mean = seen.leaf_mean
    if is_image and seen.embedding is not None:
        codes = _one_hot(leaf, n_leaves).T @ space / np.maximum(n, 1)
        mean = leaves.estimator.inverse_transform(codes)
    mean = np.where(n == 0, samples.mean(axis=1), mean)
    arrays = {"leaf_mean": mean.astype(np.float32), "samples": samples.astype(np.float32)}
    return arrays if is_image else arrays | {"leaf_scale": seen.leaf_scale.astype(np.float32)}


def _typical(nodes: list[Node], space: NDArray, leaf: NDArray, n_leaves: int) -> NDArray:
    """Rows (nodes, E) nearest to the means of a node's leaves, each in turn by its size."""
    turn = np.zeros(len(leaf))
    everywhere = space.var(axis=0)
    for k in range(n_leaves):
        member = np.flatnonzero(leaf == k)
        if not len(member):
            continue
        z = space[member]
        var = (len(member) * z.var(axis=0) + everywhere) / (len(member) + 1)
        distance = ((z - z.mean(axis=0)) ** 2 / np.where(var > 0, var, 1.0)).sum(axis=1)
        turn[member[np.argsort(distance, kind="stable")]] = (np.arange(len(member)) + 0.5) / len(
            member
        )
    return _first([(np.isin(leaf, node.leaves), turn) for node in nodes])


def _borderline(nodes: list[Node], resp: NDArray, leaf: NDArray) -> NDArray:
    """Rows (nodes, E) of a node whose responsibility for it is smallest, of those below 0.95."""
    chosen = []
    for node in nodes:
        own = resp[:, list(node.leaves)].sum(axis=1)
        chosen.append((np.isin(leaf, node.leaves) & (own < SURE), own))
    return _first(chosen)


def _first(chosen: list[tuple[NDArray, NDArray]]) -> NDArray:
    """Of each mask (M,) the places (E,) where an order (M,) is smallest; -1 where there are few."""
    places = np.full((len(chosen), N_EXAMPLES), -1, dtype=np.int64)
    for i, (mask, order) in enumerate(chosen):
        member = np.flatnonzero(mask)
        first = member[np.argsort(order[member], kind="stable")[:N_EXAMPLES]]
        places[i, : len(first)] = first
    return places


def _pictures(
    estimator: Any, dataset: Dataset, row: NDArray, component: NDArray, space: NDArray, seen: _Seen
) -> dict[str, NDArray]:
    """Rows kept as pictures, and some of them beside their reconstructions."""
    shape = tuple(dataset.image_shape or ())
    tiles = tiles_for(shape, seen.low, seen.high, len(row), MAX_PICTURE_BYTES)
    blocks = range(0, len(row), BLOCK_ROWS)
    pictures = [
        tiles.picture(x) for i in blocks for x in _dense(dataset.X[row[i : i + BLOCK_ROWS]])
    ]
    arrays = {"picture": np.stack(pictures), "range": np.array([seen.low, seen.high])}
    if seen.embedding is not None:
        shown = _spread(component, MAX_RECONSTRUCTIONS)
        arrays["x"] = _dense(dataset.X[row[shown]]).astype(np.float32)
        arrays["reconstruction"] = estimator.inverse_transform(space[shown]).astype(np.float32)
    return arrays


def _top_features(X: Any, row: NDArray, seen: _Seen) -> dict[str, NDArray]:
    """Of each row the features (M, T) that differ most from the mean, their values and effects.

    Of counts the order takes one count for noise, else every gene that is rare would come first
    where it was seen once.
    """
    is_counts = detect_kind(summarise_columns(X[row])).name == "counts"
    scale = np.where(seen.scale > 0, seen.scale, np.inf)
    damped = np.hypot(scale, 1.0 if is_counts else 0.0)
    found: list[tuple[NDArray, NDArray, NDArray]] = []
    for i in range(0, len(row), BLOCK_ROWS):
        x = _dense(X[row[i : i + BLOCK_ROWS]]).astype(np.float64)  # (B, D)
        difference = x - seen.mean
        top = np.argsort(-np.abs(difference / damped), axis=1, kind="stable")[:, :N_TOP]
        found.append((top, *(np.take_along_axis(a, top, axis=1) for a in (x, difference / scale))))
    top, value, effect = (np.concatenate(part) for part in zip(*found, strict=True))
    return {
        "top_feature": top.astype(np.int64),
        "top_value": value.astype(np.float32),
        "top_effect": effect.astype(np.float32),
    }


def _counts(y: NDArray, leaf: NDArray, n_leaves: int) -> NDArray:
    """Rows of each label in each leaf, (C, P)."""
    n_labels = int(y.max()) + 1
    return np.bincount(y * n_leaves + leaf, minlength=n_labels * n_leaves).reshape(n_labels, -1)


def _one_hot(group: NDArray, n_groups: int) -> NDArray:
    """(N,) groups as (N, K) zeros and ones."""
    return (group[:, None] == np.arange(n_groups)).astype(np.float64)


def _spread(component: NDArray, n: int) -> NDArray:
    """Positions (R,) of up to n rows, drawn from the components in turn, sorted by component.

    Drawn, because the first rows of a file that is sorted by class are all of one class.
    """
    drawn = np.random.default_rng(SEED).permutation(len(component))
    turn = np.zeros(len(component), dtype=np.int64)  # how many rows of the component came before
    for k in np.unique(component):
        member = drawn[component[drawn] == k]
        turn[member] = np.arange(len(member))
    shown = np.lexsort((component, turn))[:n]
    return shown[np.argsort(component[shown], kind="stable")]


def _dense(X: Any) -> NDArray:
    """Few rows (R, D) as a dense array."""
    return X.toarray() if issparse(X) else np.asarray(X)
