"""Turning a run directory into one page that can be mailed: it loads nothing from anywhere."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import plotly
import sklearn
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from infimix.plots import SYMBOLS, component_style
from infimix.report.features import FeatureEffects, feature_effects
from infimix.report.figures import (
    bound_plots,
    components_plot,
    latent_map,
    sizes_plot,
    tree_plot,
)
from infimix.report.images import Tiles, tiles_for
from infimix.report.run_directory import RunDirectory, read_run_directory
from infimix.training import write_atomically

MAX_TEXT = 200  # characters of one value of the configuration
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
        curves, the latent map and pictures of the components are wanted.

    Returns
    -------
    Path
        The page: one file under 8 MB that needs no network.

    Raises
    ------
    FileNotFoundError
        If the directory or one of the two required files is missing; the message names it.
    ValueError
        If a file is damaged; the message names it.

    Notes
    -----
    Nothing is computed from the model again. The latent map is a t-SNE (fixed seed) of at most
    2000 rows of the stored embedding, which takes some seconds.
    """
    run = read_run_directory(run_dir)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        short=_short,
        signed=_signed,
        score=_score,
        duration=_duration,
        nats=_nats,
        percent=_percent,
    )
    source = files("infimix.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(source).render(_context(run))
    report = run.path / "report.html"
    write_atomically(report, page.encode("utf-8"))
    return report


def _context(run: RunDirectory) -> dict[str, Any]:
    """Everything the template shows."""
    metrics = run.metrics
    sizes = np.asarray(metrics["sizes"], dtype=np.int64)  # (K,)
    weights = np.asarray(metrics["weights"], dtype=np.float64)  # (K,)
    order = np.argsort(-sizes, kind="stable")
    finds_clusters = metrics.get("finds_clusters", True)
    curves = bound_plots(run.history)
    number = components_plot(run.history, metrics["n_components"]) if finds_clusters else None
    fitted = run.config.get("fitted", {})
    tree = tree_plot(fitted.get("merge_path", []), fitted.get("component_of_part", []))
    missing = [
        name
        for name, content in (("history.jsonl", run.history), ("summary.npz", run.summary))
        if not content
    ]
    return {
        "metrics": metrics,
        "components": [_component(k, sizes, weights) for k in order],
        "n_over_1_percent": int((sizes > 0.01 * sizes.sum()).sum()),
        "n_empty": int((sizes == 0).sum()),
        "missing": missing,
        "finds_clusters": finds_clusters,
        "latent_map": latent_map(run.summary, metrics["n_rows"], finds_clusters=finds_clusters)
        if run.summary
        else None,
        "sizes_plot": sizes_plot(sizes, weights),
        "curves": [*curves[-1:], *(plot for plot in (number, tree) if plot), *curves[:-1]],
        **_pictures_or_features(run.summary, sizes, order),
        "scores": _scores(metrics.get("scores", {})),
        "likelihoods": _likelihoods(metrics.get("log_likelihood", {})),
        "neighbours": metrics.get("neighbour_errors", {}),
        "params": _settings(run.config.get("params", {})),
        "config": _settings({k: v for k, v in run.config.items() if k != "params"}),
        "versions": {"plotly": plotly.__version__, "scikit-learn": sklearn.__version__},
        "plotlyjs": Markup(get_plotlyjs()),
    }


def _component(k: int, sizes: NDArray, weights: NDArray) -> dict[str, Any]:
    """Row of the table of components."""
    colour, symbol = component_style(k)
    return {
        "number": int(k),
        "size": int(sizes[k]),
        "share": float(sizes[k] / max(sizes.sum(), 1)),
        "weight": float(weights[k]),
        "colour": colour,
        "path": SYMBOLS[symbol],
    }


def _pictures_or_features(
    summary: dict[str, NDArray], sizes: NDArray, order: NDArray
) -> dict[str, Any]:
    """Pictures of the components for images, their features otherwise."""
    content: dict[str, Any] = {
        "tiles": None,
        "n_samples": 0,
        "reconstructions": [],
        "samples": {},
        "effects": None,
        "strongest": {},
        "columns": [],
    }
    if "image_shape" in summary:
        tiles = _tiles(summary)
        content["tiles"] = tiles
        content["n_samples"] = summary["samples"].shape[1]
        if "reconstruction" in summary:
            pairs = zip(summary["x"], summary["reconstruction"], strict=True)
            content["reconstructions"] = [
                tiles.strip(np.stack(pair), across=False) for pair in pairs
            ]
        content["samples"] = {
            int(k): (
                tiles.strip(summary["component_mean"][[k]]),
                tiles.strip(summary["samples"][k]),
            )
            for k in order
        }
    elif summary and len(sizes) > 1:  # one component has nothing to differ from
        effects: FeatureEffects = feature_effects(summary, sizes)
        content["effects"] = effects
        content["strongest"] = {int(k): effects.strongest(k) for k in order}
        content["columns"] = effects.columns().tolist()
    return content


def _tiles(summary: dict[str, NDArray]) -> Tiles:
    """One size and one scale of grey for all pictures of the report."""
    samples = summary["samples"]  # (K, S, D)
    n_images = samples.shape[0] * (samples.shape[1] + 1) + 2 * len(summary.get("x", ()))
    values = summary.get("x", samples)
    return tiles_for(tuple(summary["image_shape"].tolist()), values, n_images)


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


def _nats(value: float | None) -> str:
    """Four decimals, a dash for nothing."""
    return "–" if value is None else f"{value:.4f}".replace("-", "−")


def _percent(value: float | None) -> str:
    """Two decimals, a dash for nothing."""
    return "–" if value is None else f"{value:.2f}"


def _short(value: float | None) -> str:
    """Four significant digits, whole numbers with separators, a dash for nothing."""
    if value is None:
        return "–"
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}".replace("-", "−")
    return f"{value:.4g}".replace("-", "−")


def _signed(value: float) -> str:
    """Two decimals with a sign."""
    return f"{value:+.2f}".replace("-", "−")


def _score(value: float | None) -> str:
    """Three decimals for a score, none for a count, a dash for nothing."""
    return f"{value:.3f}".replace("-", "−") if isinstance(value, float) else _short(value)


def _duration(seconds: float) -> str:
    """Wall time in the units people say it in."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
