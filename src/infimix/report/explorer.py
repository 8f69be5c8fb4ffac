"""What the script of a report knows: points of the map, groups, labels, features of rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from infimix.plots.projection import Projection
from infimix.plots.signs import sign_of
from infimix.report.groups import Group, as_json
from infimix.report.images import Sheet

MAX_LABELS = 30  # with signs of their own
DIGITS = 4  # significant, of coordinates and values


def label_names(summary: dict[str, NDArray]) -> list[str]:
    """Names of the labels by their codes; none without labels."""
    if "label" not in summary:
        return []
    n_labels = len(summary["confusion"])
    names = [str(name) for name in summary.get("label_names", ())]
    return [names[y] if y < len(names) else str(y) for y in range(n_labels)]


def explorer_data(
    summary: dict[str, NDArray],
    groups: list[Group],
    projection: Projection,
    names: list[str],
    pictures: Sheet | None,
    *,
    n_components: int,
    word: str,
) -> dict[str, Any]:
    """All that the page's script is given, as JSON holds it.

    Parameters
    ----------
    summary : dict of arrays
        Of the run directory.
    groups : list of Group
    projection : Projection
        Of the M rows that are kept.
    names : list of str
        Of the features, for rows that are tables.
    pictures : Sheet or None
        Of the rows, if they are images.
    n_components : int
        Groups of the cut that the fit has made.
    word : str
        What a group is called.
    """
    labels = label_names(summary)
    rows: dict[str, Any] = {
        "x": _short(projection.xy[:, 0]),
        "y": _short(projection.xy[:, 1]),
        "row": summary["row"].tolist(),
        "leaf": summary["leaf"].tolist(),
        "near": summary["near"].tolist(),
        "resp": np.round(summary["near_resp"].astype(np.float64), 4).tolist(),
        "loglik": _short(summary["log_likelihood"]),
    }
    if labels:
        rows["label"] = summary["label"].tolist()
    features: list[str] = []
    if pictures is None:
        used, top = np.unique(summary["top_feature"], return_inverse=True)
        features = [names[d] for d in used]
        rows["feature"] = top.reshape(summary["top_feature"].shape).tolist()
        rows["value"] = [_short(values) for values in summary["top_value"]]
        rows["effect"] = np.round(summary["top_effect"].astype(np.float64), 1).tolist()
    return {
        "rows": rows,
        "groups": as_json(groups),
        "nComponents": n_components,
        "word": word,
        "depths": summary["merge_path"][:, 3].tolist(),
        "labels": [
            {"name": name, **sign_of(y)._asdict()} for y, name in enumerate(labels[:MAX_LABELS])
        ],
        "features": features,
        "sheet": None
        if pictures is None
        else {"nColumns": pictures.n_columns, "nRows": pictures.n_rows},
    }


def _short(values: NDArray) -> list[float]:
    """Four significant digits of each number."""
    return [float(f"{value:.{DIGITS}g}") for value in values.tolist()]
