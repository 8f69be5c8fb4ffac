"""Turning a run directory into one page that can be mailed: it loads nothing from anywhere."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import plotly
import sklearn
from markupsafe import Markup
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from infimix.plots.projection import project
from infimix.report.calibration import calibrate
from infimix.report.cards import image_cards, image_tiles, table_cards
from infimix.report.explorer import explorer_data, label_names
from infimix.report.features import feature_effects
from infimix.report.figures import (
    bound_plots,
    calibration_plot,
    components_plot,
    last_terms,
    terms_plot,
    tree_plot,
)
from infimix.report.formats import FILTERS, template
from infimix.report.groups import Group, groups_of_run
from infimix.report.images import sheet, strip
from infimix.report.run_directory import RunDirectory, read_run_directory
from infimix.training import write_atomically

MAX_TEXT = 200  # characters of one value of the configuration
MAX_CONFUSED = 30  # labels with rows of their own in the table
CLEAR = 0.9  # responsibility from which a row is said to belong clearly
FAR_BELOW = 5.0  # median distances from the median likelihood, from where a row fits nowhere
SCORE_NAMES = {
    "accuracy": "Accuracy, one to one",
    "nmi": "NMI",
    "ari": "ARI",
    "completeness": "Completeness",
    "homogeneity": "Homogeneity",
    "n_components_used": "Components used",
    "n_components_over_1_percent": "Components over 1 %",
}


def write_report(run_dir: str | os.PathLike[str]) -> Path:
    """Write ``report.html`` of a run directory from the directory's other files.

    Parameters
    ----------
    run_dir : path
        Holds ``config.json`` and ``metrics.json``, and ``history.jsonl`` and ``summary.npz`` if
        curves, the map and the cards of groups are wanted.

    Returns
    -------
    Path
        The page: one file under 15 MB that needs no network.

    Raises
    ------
    FileNotFoundError
        If the directory or one of the two required files is missing; the message names it.
    ValueError
        If a file is damaged, or of an infimix whose fits kept less; the message names it.

    Notes
    -----
    Nothing is computed from the model again. The map is a t-SNE (fixed seed) of the rows that are
    kept, some two thousand, which takes some seconds.
    """
    run = read_run_directory(run_dir)
    if run.summary and "leaf" not in run.summary:
        raise ValueError(
            f"{run.path / 'summary.npz'} is of an earlier infimix and lacks what a report shows; "
            "fit again for a new report. The old report.html is left as it is."
        )
    page = template("report.html.j2", FILTERS).render(_context(run))
    report = run.path / "report.html"
    write_atomically(report, page.encode("utf-8"))
    return report


def _context(run: RunDirectory) -> dict[str, Any]:
    """Everything the template shows."""
    metrics, summary = run.metrics, run.summary
    finds_clusters = metrics.get("finds_clusters", True)
    sizes = np.asarray(metrics["sizes"], dtype=np.int64)  # (K,)
    curves = bound_plots(run.history)
    number = components_plot(run.history, metrics["n_components"]) if finds_clusters else None
    terms = terms_plot(run.history)
    files = (("history.jsonl", run.history), ("summary.npz", summary))
    content = {
        "metrics": metrics,
        "label_title": metrics.get("label", "label"),
        "word": "group" if finds_clusters else "component",
        "finds_clusters": finds_clusters,
        "n_over_1_percent": int((sizes > 0.01 * sizes.sum()).sum()),
        "n_empty": int((sizes == 0).sum()),
        "sizes": sizes,
        "missing": [name for name, found in files if not found],
        "summary": summary,
        "curves": [*curves[-1:], *(plot for plot in (terms, number) if plot), *curves[:-1]],
        "terms": last_terms(run.history),
        "scores": _scores(metrics.get("scores", {})),
        "likelihoods": _likelihoods(metrics.get("log_likelihood", {})),
        "neighbours": metrics.get("neighbour_errors", {}),
        "params": _settings(run.config.get("params", {})),
        "config": _settings(_facts(run.config)),
        "versions": _settings(metrics.get("versions", {})),
        "drawn_by": {"plotly": plotly.__version__, "scikit-learn": sklearn.__version__},
        "plotlyjs": Markup(get_plotlyjs()),
    }
    return content | _explored(run, finds_clusters=finds_clusters) if summary else content


def _explored(run: RunDirectory, *, finds_clusters: bool) -> dict[str, Any]:
    """What is shown of the rows and groups that ``summary.npz`` describes."""
    summary, n_components = run.summary, run.metrics["n_components"]
    groups = groups_of_run(summary)
    pictures = sheet(summary["picture"]) if "picture" in summary else None
    tiles = image_tiles(summary, len(groups)) if pictures else None
    effects = None if tiles else feature_effects(summary, groups, n_components)
    if tiles:
        cards = image_cards(summary, groups, tiles)
    else:
        cards = table_cards(summary, groups, effects)
    projection = project(summary["embedding"])
    calibration = calibrate(summary) if finds_clusters and n_components > 1 else None
    fitted = [group for group in groups if group.stands(n_components)]
    loglik = summary["log_likelihood"].astype(np.float64)
    median = float(np.median(loglik))
    usual = float(np.median(np.abs(loglik - median)))
    labels = label_names(summary)
    return {
        "cards": sorted(cards, key=lambda card: -card.group.size),
        "fitted": sorted(fitted, key=lambda group: -group.size),
        "n_leaves": len(summary["leaf_component"]),
        "coarsest": min(group.fewest for group in groups),
        "labels": labels,
        "confusion": _confusion(summary, groups, labels) if finds_clusters else [],
        "tiles": tiles,
        "sheet": pictures,
        "reconstructions": _reconstructions(summary, tiles),
        "effects": effects,
        "columns": effects.columns().tolist() if effects and len(fitted) > 1 else [],
        "projection": projection,
        "clear": float((summary["confidence"] >= CLEAR).mean()),
        "closest": _closest(summary, groups, n_components),
        "tree": tree_plot(summary["merge_path"], groups, n_components),
        "calibration": calibration,
        "calibration_plot": calibration_plot(calibration) if calibration else None,
        "median": median,
        "n_far_below": int((loglik < median - FAR_BELOW * usual).sum()),
        "odd": _odd(summary),
        "data": explorer_data(
            summary,
            groups,
            projection,
            effects.names if effects else [],
            pictures,
            n_components=n_components,
            word="group" if finds_clusters else "component",
        ),
    }


def _reconstructions(summary: dict[str, NDArray], tiles: Any) -> list[str]:
    """Pictures of rows above what the model makes of them."""
    if "reconstruction" not in summary:
        return []
    pairs = zip(summary["x"], summary["reconstruction"], strict=True)
    return [strip(tiles, pair, across=False) for pair in pairs]


def _closest(
    summary: dict[str, NDArray], groups: list[Group], n_components: int
) -> tuple[str, str, float] | None:
    """Names of the two groups of the fit that would join next, and the valley between them."""
    joins = {int(n): float(depth) for n, _, _, depth in summary["merge_path"]}
    if n_components - 1 not in joins:
        return None
    one, other = (
        group.name
        for group in groups
        if group.stands(n_components) and group.fewest == n_components
    )
    return one, other, joins[n_components - 1]


def _confusion(
    summary: dict[str, NDArray], groups: list[Group], labels: list[str]
) -> list[dict[str, Any]]:
    """Rows of the table: a label, and how many of its rows are in each group of every cut."""
    if not labels:
        return []
    counts = summary["confusion"]  # (C, P)
    order = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:MAX_CONFUSED])
    lines = [(labels[y], counts[y]) for y in order]
    if len(order) < len(labels):
        rest = counts.sum(axis=0) - counts[order].sum(axis=0)
        lines.append((f"{len(labels) - len(order)} other labels", rest))
    return [
        {
            "label": label,
            "size": int(row.sum()),
            "counts": {g.number: int(row[list(g.leaves)].sum()) for g in groups},
        }
        for label, row in lines
    ]


def _odd(summary: dict[str, NDArray]) -> list[dict[str, Any]]:
    """Rows of the lowest likelihood, lowest first."""
    return [
        {
            "place": place,
            "row": int(summary["row"][place]),
            "component": int(summary["component"][place]),
            "confidence": float(summary["confidence"][place]),
            "log_likelihood": float(summary["log_likelihood"][place]),
        }
        for place in summary["odd"].tolist()
    ]


def _scores(scores: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Rows of the table of scores: one score, its value on each set."""
    names = [name for name in SCORE_NAMES if any(name in split for split in scores.values())]
    return [
        {"name": SCORE_NAMES[name], "values": {s: v.get(name) for s, v in scores.items()}}
        for name in names
    ]


def _likelihoods(estimates: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table of log-likelihoods: rows that were scored, and one number of samples."""
    return [
        {"rows": rows, **each}
        for rows, estimate in estimates.items()
        for each in (*estimate["at"].values(), estimate)
    ]


def _facts(config: dict[str, Any]) -> dict[str, Any]:
    """Configuration without the parameters, which have a table, and the path, which has a tree."""
    fitted = {
        name: value
        for name, value in config.get("fitted", {}).items()
        if name not in ("merge_path", "component_of_part")
    }
    return {name: value for name, value in config.items() if name != "params"} | (
        {"fitted": fitted} if fitted else {}
    )


def _settings(config: dict[str, Any]) -> list[tuple[str, str]]:
    """Nested settings as pairs of a dotted name and a text of a few lines at most."""
    pairs = []
    for name, value in config.items():
        if isinstance(value, dict) and value:
            pairs += [(f"{name}.{inner}", text) for inner, text in _settings(value)]
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            pairs.append((name, text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …"))
    return pairs
