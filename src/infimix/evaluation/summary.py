"""What a run directory keeps of a fit besides its weights: ``metrics.json`` and ``summary.npz``.

Everything is computed through the estimator's public methods, block by block of rows, so that
memory maps are read only where they are looked at and sparse rows stay sparse.
"""

import io
import json
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.preprocessing import StandardScaler

from infimix.data import Dataset
from infimix.evaluation.clustering import score_clustering
from infimix.training import write_atomically

MAX_ROWS = 5000  # rows whose embedding is kept
MAX_RECONSTRUCTIONS = 16
N_SAMPLES = 10  # draws from each component
BLOCK_ROWS = 1024  # rows handed to the estimator at once
SUBSET_SEED = 0


class _Subset(NamedTuple):
    """What the estimator says of the rows that are kept: M rows, K components, L latent, D data."""

    embedding: NDArray  # (M, L)
    confidence: NDArray  # (M,)  responsibility of the row's own component
    n: NDArray  # (K,)    rows of the subset in each component
    mean_embedding: NDArray  # (K, L)
    mean_x: NDArray  # (K, D)
    scale: NDArray  # (D,)    standard deviation of each feature


def summarise(
    estimator: Any,
    dataset: Dataset,
    run_dir: str | os.PathLike,
    *,
    test: Dataset | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Write ``metrics.json`` and ``summary.npz`` of a fitted estimator.

    Parameters
    ----------
    estimator : fitted estimator
        Only its public methods and fitted attributes are used.
    dataset : Dataset of N rows and D features
        The rows the estimator was fitted on; its labels, if it has any, are used for scores only.
    run_dir : path
        Existing or new directory that gets the two files.
    test : Dataset, optional
        Rows the estimator has not seen; if they have labels their scores are written too. A model
        that has one component by its nature gets no scores.
    seconds : float, optional
        Wall time of the fit in seconds.

    Returns
    -------
    dict
        What ``metrics.json`` holds. ``lower_bound`` is in nats per row.

    Raises
    ------
    ValueError
        If the estimator was fitted on another number of rows than ``dataset`` has, or its bound
        is not finite.

    Notes
    -----
    ``summary.npz`` describes at most 5000 rows drawn without replacement by a generator of fixed
    seed. ``component_mean`` is the decoded mean embedding of the component's drawn rows if the
    estimator has ``inverse_transform``, otherwise the mean of those rows; for a component none of
    whose rows was drawn it is the mean of its samples. ``feature_scale`` is the standard deviation
    of each feature over the drawn rows. ``checksum`` tells whether two runs are of the same rows.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    metrics = _metrics(estimator, dataset, test, seconds)
    arrays = _arrays(estimator, dataset)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(run_dir / "summary.npz", buffer.getvalue())
    _write_metrics(run_dir, metrics)
    return metrics


def record_score(
    run_dir: str | os.PathLike, name: str, rows: str, values: dict[str, Any]
) -> dict[str, Any]:
    """Add what was found later to ``metrics.json``; the same score of the same rows is replaced.

    Parameters
    ----------
    run_dir : path
        Holds ``metrics.json``.
    name : str
        What was measured, such as "log_likelihood".
    rows : str
        On which rows.
    values : dict
        As JSON holds it.

    Returns
    -------
    dict
        What ``metrics.json`` holds now.
    """
    run_dir = Path(run_dir)
    metrics: dict[str, Any] = json.loads((run_dir / "metrics.json").read_text(encoding="utf-8"))
    metrics[name] = metrics.get(name, {}) | {rows: values}
    _write_metrics(run_dir, metrics)
    return metrics


def _write_metrics(run_dir: Path, metrics: dict[str, Any]) -> None:
    """Write ``metrics.json``."""
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    write_atomically(run_dir / "metrics.json", text.encode())


def _metrics(
    estimator: Any, dataset: Dataset, test: Dataset | None, seconds: float | None
) -> dict[str, Any]:
    """Content of ``metrics.json``."""
    n_rows, n_features = dataset.X.shape
    labels = np.asarray(estimator.labels_)
    if len(labels) != n_rows:
        raise ValueError(
            f"The estimator was fitted on {len(labels)} rows but '{dataset.name}' has {n_rows}; "
            "pass the data set it was fitted on."
        )
    lower_bound = float(estimator.lower_bound_)
    if not np.isfinite(lower_bound):
        raise ValueError(
            f"The lower bound of {type(estimator).__name__} on '{dataset.name}' must be finite but "
            f"is {lower_bound}; fit it again with a lower learning rate."
        )
    finds_clusters = bool(estimator.finds_clusters)
    metrics = {
        "data": dataset.name,
        "estimator": type(estimator).__name__,
        "n_rows": n_rows,
        "n_features": n_features,
        "checksum": _checksum(dataset.X),
        "n_components": int(estimator.n_components_),
        "finds_clusters": finds_clusters,
        "weights": [float(weight) for weight in estimator.weights_],
        "sizes": np.bincount(labels, minlength=estimator.n_components_).tolist(),
        "lower_bound": lower_bound,
        "seconds": None if seconds is None else float(seconds),
        "kind_sentence": getattr(estimator, "kind_sentence_", ""),
    }
    if dataset.label is not None:
        metrics["label"] = dataset.label
    scores = {}
    has_clusters = finds_clusters or estimator.n_components_ > 1
    if dataset.y is not None and has_clusters:
        scores["train"] = score_clustering(dataset.y, labels).as_dict()
    if test is not None and test.y is not None and has_clusters:
        starts = range(0, test.X.shape[0], BLOCK_ROWS)
        predicted = [estimator.predict(test.X[start : start + BLOCK_ROWS]) for start in starts]
        scores["test"] = score_clustering(test.y, np.concatenate(predicted)).as_dict()
    if scores:
        metrics["scores"] = scores
    return metrics


def _arrays(estimator: Any, dataset: Dataset) -> dict[str, NDArray]:
    """Content of ``summary.npz``."""
    n_rows = dataset.X.shape[0]
    generator = np.random.default_rng(SUBSET_SEED)
    row = np.sort(generator.choice(n_rows, size=min(n_rows, MAX_ROWS), replace=False))  # (M,)
    component = np.asarray(estimator.labels_)[row]
    subset = _look_at(estimator, dataset.X, row, component)
    samples = np.stack(
        [estimator.sample(N_SAMPLES, component=k)[0] for k in range(estimator.n_components_)]
    )  # (K, S, D)
    arrays = {
        "embedding": subset.embedding.astype(np.float32),
        "row": row.astype(np.int64),
        "component": component.astype(np.int64),
        "confidence": subset.confidence.astype(np.float32),
        "samples": samples.astype(np.float32),
        "feature_scale": subset.scale.astype(np.float32),
    }
    can_decode = hasattr(estimator, "inverse_transform")
    mean = estimator.inverse_transform(subset.mean_embedding) if can_decode else subset.mean_x
    unseen = (subset.n == 0)[:, None]
    arrays["component_mean"] = np.where(unseen, samples.mean(axis=1), mean).astype(np.float32)
    if can_decode:
        shown = _spread(component, MAX_RECONSTRUCTIONS)
        x = _dense(dataset.X[row[shown]])
        embedding = subset.embedding[shown]
        arrays["x"] = x.astype(np.float32)
        arrays["reconstruction"] = estimator.inverse_transform(embedding).astype(np.float32)
    if dataset.y is not None:
        arrays["label"] = np.asarray(dataset.y)[row].astype(np.int64)
        if dataset.label_names is not None:
            arrays["label_names"] = np.array(dataset.label_names, dtype=np.str_)
    if dataset.feature_names is not None:
        arrays["feature_names"] = np.array(dataset.feature_names, dtype=np.str_)
    if dataset.image_shape is not None:
        arrays["image_shape"] = np.array(dataset.image_shape, dtype=np.int64)
    return arrays


def _look_at(estimator: Any, X: Any, row: NDArray, component: NDArray) -> _Subset:
    """One pass over the rows that are kept, one block at a time."""
    n_components = int(estimator.n_components_)
    scaler = StandardScaler(with_mean=False)  # running variances of dense and sparse columns
    embeddings, confidences = [], []
    total = np.zeros((n_components, X.shape[1]))  # (K, D)
    for start in range(0, len(row), BLOCK_ROWS):
        k = component[start : start + BLOCK_ROWS]  # (B,)
        block = X[row[start : start + BLOCK_ROWS]]  # (B, D)
        embeddings.append(estimator.transform(block))
        confidences.append(estimator.predict_proba(block)[np.arange(len(k)), k])
        scaler.partial_fit(block)
        total += _one_hot(k, n_components).T @ block  # (K, B) x (B, D) -> (K, D)
    embedding = np.concatenate(embeddings)  # (M, L)
    member = _one_hot(component, n_components)  # (M, K)
    n = member.sum(axis=0)  # (K,)
    return _Subset(
        embedding=embedding,
        confidence=np.concatenate(confidences),
        n=n,
        mean_embedding=member.T @ embedding / np.maximum(n, 1)[:, None],
        mean_x=total / np.maximum(n, 1)[:, None],
        scale=np.sqrt(scaler.var_),
    )


def _checksum(X: Any) -> str:
    """CRC-32 of the rows in their order, whatever type of number or file held them."""
    found = 0
    for start in range(0, X.shape[0], BLOCK_ROWS):
        block = np.ascontiguousarray(_dense(X[start : start + BLOCK_ROWS]), dtype=np.float32)
        found = zlib.crc32(block.tobytes(), found)
    return f"{found:08x}"


def _one_hot(component: NDArray, n_components: int) -> NDArray:
    """(N,) components as (N, K) zeros and ones."""
    return (component[:, None] == np.arange(n_components)).astype(np.float64)


def _spread(component: NDArray, n: int) -> NDArray:
    """Positions (R,) of up to n rows, drawn from the components in turn, sorted by component.

    Drawn, because the first rows of a file that is sorted by class are all of one class.
    """
    drawn = np.random.default_rng(SUBSET_SEED).permutation(len(component))
    turn = np.zeros(len(component), dtype=np.int64)  # how many rows of the component came before
    for k in np.unique(component):
        member = drawn[component[drawn] == k]
        turn[member] = np.arange(len(member))
    shown = np.lexsort((component, turn))[:n]
    return shown[np.argsort(component[shown], kind="stable")]


def _dense(X: Any) -> NDArray:
    """Few rows (R, D) as a dense array."""
    return X.toarray() if issparse(X) else np.asarray(X)
