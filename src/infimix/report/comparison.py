"""Run directories side by side: what is alike in them, what differs, how far clusters agree.

Bounds and clusters are compared between runs of the same rows only, which are told by the checksum
of the rows that a fit leaves in ``metrics.json``.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from infimix.estimators.persistence import load_weights
from infimix.evaluation import score_clustering
from infimix.report.run_directory import RunDirectory, read_run_directory

# Settings that say where and how loudly a run was made, not what it is.
NOT_COMPARED = {"run_dir", "verbose", "resume", "format_version"}
STAGES = ("autoencoder", "clusterer")  # folders of a run with two stages
DENSITIES = {"normal", "continuous_bernoulli", "mixture"}  # bounds in the unit of the data
NOTHING = "–"


class Column(NamedTuple):
    """One number of every run of a group, None where a run has none."""

    name: str
    values: list[float | None]
    is_best_high: bool  # whether the largest value is the best one


@dataclass(frozen=True)
class Group:
    """Runs of the same rows.

    Attributes
    ----------
    title : str
        Data and its shape.
    runs : list of int
        Numbers of the runs, from 1 on.
    columns : list of Column
        Numbers of the runs; those that no run has are left out.
    clustered : list of int
        Numbers of the runs that find clusters.
    ari, nmi : list of list of float
        Agreement of the clusters of each two of these; empty for less than two.
    notes : list of str
        Sentences about what must not be compared.
    """

    title: str
    runs: list[int]
    columns: list[Column]
    clustered: list[int]
    ari: list[list[float]]
    nmi: list[list[float]]
    notes: list[str]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes
    ----------
    runs : list of RunDirectory
        Run 1 is the first.
    groups : list of Group
        Runs of different groups have different rows.
    settings : list of (str, list of str)
        Each setting in which two runs differ, and its value in every run, "–" for a model that has
        no such setting.
    left_out : list of str
        A sentence for each path that is no finished run.
    """

    runs: list[RunDirectory]
    groups: list[Group]
    settings: list[tuple[str, list[str]]]
    left_out: list[str]

    def model(self, number: int) -> str:
        """Estimator and likelihood of a run."""
        run = self.runs[number - 1]
        return f"{run.metrics['estimator']}, {_likelihood(run).replace('_', ' ')}"


def compare(paths: Iterable[str | os.PathLike[str]]) -> Comparison:
    """Set run directories side by side.

    Parameters
    ----------
    paths : iterable of paths
        Two or more; a directory that was named twice counts once. What is there but is no finished
        run is left out, so that a pattern like ``runs/*`` can be given.

    Returns
    -------
    Comparison

    Raises
    ------
    FileNotFoundError
        If there is nothing under a path.
    ValueError
        If fewer than two of them are finished runs.
    """
    runs, labels, left_out, seen = list[RunDirectory](), list[NDArray](), list[str](), set[Path]()
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(
                f"There is no {path}; name run directories that infimix fit has written."
            )
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        try:
            run, of_rows = read_run_directory(path), load_weights(path)["labels"].numpy()
        except (FileNotFoundError, ValueError) as error:
            left_out.append(_why_left_out(path, error))
        else:
            runs.append(run)
            labels.append(of_rows)
    if len(runs) < 2:
        only = f"got one, {runs[0].path}: infimix report shows it" if runs else "got none"
        raise ValueError(
            f"A comparison needs two finished runs or more and {only}. {' '.join(left_out)}"
        )
    same = dict[object, list[int]]()
    for number, run in enumerate(runs, start=1):
        same.setdefault(_rows_of(run), []).append(number)
    groups = [_group(runs, labels, numbers) for numbers in same.values()]
    return Comparison(runs, groups, _settings(runs), left_out)


def _why_left_out(path: Path, error: Exception) -> str:
    """Sentence about a path that is no finished run."""
    if not path.is_dir():
        return f"{path} is a file, not a run directory."
    if (path / "metrics.json").exists() and (path / "config.json").exists():
        return str(error)  # which says what is damaged
    if any((path / name).exists() for name in ("checkpoints", "history.jsonl", "config.json")):
        return (
            f"{path} has no metrics.json: its fit is not finished, or was not made by infimix fit. "
            "The command that began it goes on with --resume."
        )
    return f"{path} is not a run directory."


def _rows_of(run: RunDirectory) -> object:
    """What is equal for runs of the same rows; names stand in where there is no checksum yet."""
    metrics = run.metrics
    checksum = metrics.get("checksum", metrics["data"])
    return metrics["n_rows"], metrics["n_features"], checksum


def _group(runs: list[RunDirectory], labels: list[NDArray], numbers: list[int]) -> Group:
    """Compare runs of the same rows, whose components are their labels (N,)."""
    mine = [runs[number - 1] for number in numbers]
    names = " = ".join(dict.fromkeys(str(run.metrics["data"]) for run in mine))
    shape = f"{mine[0].metrics['n_rows']:,} rows, {mine[0].metrics['n_features']:,} features"
    clustered = [n for n in numbers if runs[n - 1].metrics.get("finds_clusters", True)]
    ari, nmi = _agreement([labels[number - 1] for number in clustered])
    notes = []
    if len(mine) > 1 and "checksum" not in mine[0].metrics:
        notes.append(
            "These runs are of an earlier infimix, which kept no checksum of the rows: they are "
            "taken for the same rows by their name and number."
        )
    kinds = {_bound_kind(run) for run in mine}
    if len(kinds) > 1:
        notes.append(
            f"Bounds and likelihoods of {' and '.join(sorted(kinds))} measure different things and "
            "cannot be compared."
        )
    columns = _columns(mine, is_comparable=len(kinds) == 1)
    if len(clustered) > 2:  # of two, both agree as much
        mean = [(sum(row) - 1) / (len(row) - 1) for row in nmi]
        found = dict(zip(clustered, mean, strict=True))
        columns.insert(2, Column("NMI with the others", [found.get(n) for n in numbers], True))
    title = f"{names}: {shape}"
    return Group(title, numbers, columns, clustered, ari, nmi, notes)


def _columns(runs: list[RunDirectory], *, is_comparable: bool) -> list[Column]:
    """Numbers of runs, those that none has left out."""
    all_metrics = [run.metrics for run in runs]
    columns = [
        Column("K", [m["n_components"] for m in all_metrics], False),
        Column("bound, nats/row", [m["lower_bound"] for m in all_metrics], is_comparable),
    ]
    for rows in _names(m.get("log_likelihood", {}) for m in all_metrics):
        found = [m.get("log_likelihood", {}).get(rows, {}) for m in all_metrics]
        values = [each.get("log_likelihood") for each in found]
        columns.append(Column(f"log p(x) of {rows}, nats/row", values, is_comparable))
    for part in _names(m.get("scores", {}) for m in all_metrics):
        found = [m.get("scores", {}).get(part, {}) for m in all_metrics]
        for key, name in (("nmi", "NMI"), ("accuracy", "ACC"), ("ari", "ARI")):
            columns.append(Column(f"{name}, {part}", [each.get(key) for each in found], True))
    columns.append(Column("time", [m.get("seconds") for m in all_metrics], False))
    return [column for column in columns if any(v is not None for v in column.values)]


def _names(dicts: Iterable[dict[str, Any]]) -> list[str]:
    """Keys of all, each once."""
    return list(dict.fromkeys(key for each in dicts for key in each))


def _agreement(labels: list[NDArray]) -> tuple[list[list[float]], list[list[float]]]:
    """ARI and NMI of the clusters of each two runs; empty for less than two."""
    if len(labels) < 2:
        return [], []
    scores = [[score_clustering(a, b) for b in labels] for a in labels]
    ari = [[each.ari for each in row] for row in scores]
    return ari, [[each.nmi for each in row] for row in scores]


def _likelihood(run: RunDirectory) -> str:
    """Likelihood of a run; "mixture" for one that has no decoder."""
    for config in (run.config, _stage_config(run, "autoencoder")):
        if "likelihood" in config.get("fitted", {}):
            return str(config["fitted"]["likelihood"])
    return "mixture"


def _bound_kind(run: RunDirectory) -> str:
    """What a bound is a bound of."""
    likelihood = _likelihood(run)
    return (
        "a density" if likelihood in DENSITIES else f"a {likelihood.replace('_', ' ')} likelihood"
    )


def _stage_config(run: RunDirectory, stage: str) -> dict[str, Any]:
    """Configuration of one stage of a run with two; empty for others."""
    path = run.path / stage / "config.json"
    config: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return config


def _settings(runs: list[RunDirectory]) -> list[tuple[str, list[str]]]:
    """Settings in which two runs that have them differ, with their text for every run."""
    found = [_flat(run) for run in runs]
    rows = [(name, [each.get(name, NOTHING) for each in found]) for name in _names(found)]
    return [(name, texts) for name, texts in rows if len({*texts} - {NOTHING}) > 1]


def _flat(run: RunDirectory) -> dict[str, str]:
    """Settings of a run and of its stages, as texts."""
    settings = {"estimator": run.config.get("estimator"), **run.config.get("params", {})}
    settings["infimix_version"] = run.config.get("infimix_version")
    for stage in STAGES:
        config = _stage_config(run, stage)
        settings |= {f"{stage}.{k}": v for k, v in config.get("params", {}).items()}
    kept = {k: v for k, v in settings.items() if k.split(".")[-1] not in NOT_COMPARED}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in kept.items()}
