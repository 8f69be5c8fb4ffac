"""What is in a run directory, and rows that fit its model."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from infimix.data import Dataset


def load_both(run: Path, data: str, label: str | None, split: str) -> "tuple[Any, Dataset]":
    """Fitted estimator of a run, and rows for it."""
    from infimix.estimators import load

    model = load(run)
    return model, rows_for(model, run, data, label, split)


def rows_for(model: Any, run: Path, data: str, label: str | None, split: str) -> "Dataset":
    """Rows for the model of a run: labels and order of the columns as in the fit."""
    from infimix.data import has_column, load

    metrics, summary = facts_of(run)
    if label is None and (known := metrics.get("label")) and has_column(data, known):
        label = known
    dataset = load(data, split=split, label=label)
    names = getattr(model, "feature_names_in_", summary.get("feature_names"))
    return dataset if names is None else dataset.with_columns(names.tolist())


def facts_of(run: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metrics and arrays that a fit by the command has left; none for a bare saved model."""
    from infimix.report.run_directory import read_run_directory

    if not (run / "summary.npz").is_file():
        return {}, {}
    found = read_run_directory(run)
    return found.metrics, found.summary
