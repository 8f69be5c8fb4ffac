"""Whether a fit is as sure as it should be: its confidences beside what can be counted."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Bin(NamedTuple):
    """Rows of about the same confidence."""

    low: float
    high: float
    n_rows: int
    confidence: float  # mean
    agreement: float  # share of their nearest rows that are of the same group, mean
    right: float | None  # share that carry the most frequent label of their component


class Calibration(NamedTuple):
    """Bins in rising order of confidence, and the mean distance over rows."""

    bins: list[Bin]
    agreement_error: float
    label_error: float | None


def calibrate(summary: dict[str, NDArray]) -> Calibration:
    """Confidence beside the agreement of neighbours, and beside the labels if there are any.

    Parameters
    ----------
    summary : dict of arrays
        ``confidence``, ``agreement`` and ``component`` (M,); ``label`` (M,), ``confusion`` (C, P)
        and ``leaf_component`` (P,) if there are labels.

    Returns
    -------
    Calibration
        Its errors are means over rows of the distance in their bin, the expected calibration error.
    """
    confidence = summary["confidence"].astype(np.float64).clip(0.0, 1.0)
    agreement = summary["agreement"].astype(np.float64)
    right = _is_right(summary) if "label" in summary else None
    place = np.searchsorted(EDGES[1:-1], confidence, side="left")
    bins = []
    for i in range(len(EDGES) - 1):
        mine = place == i
        if mine.any():
            share = None if right is None else float(right[mine].mean())
            means = float(confidence[mine].mean()), float(agreement[mine].mean())
            bins.append(Bin(EDGES[i], EDGES[i + 1], int(mine.sum()), *means, share))
    n = sum(each.n_rows for each in bins)
    off = sum(each.n_rows * abs(each.confidence - each.agreement) for each in bins) / n
    if right is None:
        return Calibration(bins, off, None)
    wrong = sum(each.n_rows * abs(each.confidence - (each.right or 0.0)) for each in bins) / n
    return Calibration(bins, off, wrong)


def _is_right(summary: dict[str, NDArray]) -> NDArray:
    """Whether each row (M,) carries the most frequent label of its component."""
    component = summary["leaf_component"]
    counts = np.stack(
        [
            summary["confusion"][:, component == k].sum(axis=1)
            for k in range(int(component.max()) + 1)
        ]
    )  # (K, C)
    right: NDArray = counts.argmax(axis=1)[summary["component"]] == summary["label"]
    return right
