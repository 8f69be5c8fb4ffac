"""What a run directory keeps of a fit besides its weights: ``metrics.json`` and ``summary.npz``.

Everything is computed through the estimator's public methods, block by block of rows, so that
memory maps are read only where they are looked at and sparse rows stay sparse.
"""

import io
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from infimix.data import Dataset, checksum
from infimix.evaluation.clustering import score_clustering
from infimix.evaluation.kept import arrays_of
from infimix.training import write_atomically

BLOCK_ROWS = 1024  # rows looked at at once
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn")


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
        What ``metrics.json`` holds. ``lower_bound`` is in nats per row; ``checksum`` tells whether
        two runs are of the same rows.

    Raises
    ------
    ValueError
        If the estimator was fitted on another number of rows than ``dataset`` has, or its bound
        is not finite.

    Notes
    -----
    ``summary.npz`` describes 2000 rows drawn without replacement by a generator of fixed seed, or
    all if there are fewer; of a leaf (a part of a mixture that can be cut, otherwise a component)
    of which fewer than 12 rows were drawn, rows up to 12 are added. There are M rows, P leaves,
    P + J nodes of the tree (`infimix.evaluation.tree`), D features, C labels.

    - Of each row: ``row``, ``component``, ``leaf``, ``embedding`` (its latent mean, or its scaled
      columns where there is no latent space), ``confidence`` (responsibility of its component),
      ``near`` and ``near_resp`` (its four most probable leaves), ``agreement`` (share of its ten
      nearest rows in its component), ``log_likelihood`` (bound, nats) and ``label``. For images
      ``picture``; otherwise the five features that differ most from their mean, ``top_feature``,
      ``top_value`` and ``top_effect`` (standard deviations).
    - Of each leaf: ``leaf_component``, ``leaf_size`` (of all rows), ``leaf_weight``, ``samples``
      (P, 10, D) and ``leaf_mean``: the mean of its kept rows; of images that of their codes,
      decoded where the estimator can; without rows the mean of its samples. For tables
      ``leaf_scale``, standard deviations of its kept rows.
    - Of each node: ``typical`` and ``borderline``, places (6,) among the M rows, -1 where there are
      fewer. The tree itself is ``merge_path`` (J, 4): that of the estimator, if ``can_be_cut``
      says so, or one by the valleys between the components of the kept rows.
    - ``odd``, places of the 12 rows of the lowest likelihood; ``confusion`` (C, P), all rows;
      ``feature_scale``, standard deviations over the kept rows; ``x`` and ``reconstruction`` of 16
      rows that are images; ``shown`` and ``shown_x``, the values of the rows a table is shown of.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    metrics = _metrics(estimator, dataset, test, seconds)
    arrays = arrays_of(estimator, dataset)
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
        "checksum": checksum(dataset.X),
        "n_components": int(estimator.n_components_),
        "finds_clusters": finds_clusters,
        "weights": [float(weight) for weight in estimator.weights_],
        "sizes": np.bincount(labels, minlength=estimator.n_components_).tolist(),
        "lower_bound": lower_bound,
        "seconds": None if seconds is None else float(seconds),
        "kind_sentence": getattr(estimator, "kind_sentence_", ""),
        "versions": {
            "Python": platform.python_version(),
            **{library: version(library) for library in LIBRARIES},
        },
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
