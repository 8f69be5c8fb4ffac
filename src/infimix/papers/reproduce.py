"""Running a published experiment: every run resumable, every finished one a line of a file."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from infimix.estimators import DeepEstimator, load
from infimix.papers.experiments import Experiment, Row, Split

Line = dict[str, Any]


def run(
    experiment: Experiment,
    *,
    seeds: Iterable[int],
    results: Path,
    run_dir: Path,
    only: str = "",
    device: str = "auto",
    verbose: int = 0,
) -> Iterator[Line]:
    """Fit and measure what the results lack; gives every new line.

    Parameters
    ----------
    experiment : Experiment
    seeds : iterable of int
        Of each row.
    results : Path
        JSON lines; a finished run is appended, and never run again.
    run_dir : Path
        Folder of run directories; an interrupted fit goes on from there.
    only : str
        Rows whose name has this in it.
    device, verbose
        As the estimators have them.
    """
    done = {(line["row"], line["seed"]) for line in read(results, experiment)}
    for seed in seeds:
        for row in experiment.rows:
            if only not in row.name or (row.name, seed) in done:
                continue
            split, folder = row.data(), _folder(run_dir, experiment, row, seed)
            estimator = fitted(row, split, seed, folder, device=device, verbose=verbose)
            seconds = sum(record["seconds"] for record in estimator.history_)
            line = {"experiment": experiment.name, "row": row.name, "seed": seed}
            line |= experiment.measure(estimator, split, seed)
            line |= {"epochs": estimator.n_iter_, "seconds": round(seconds, 1)}
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            yield line


def picture(experiment: Experiment, seed: int, run_dir: Path) -> Path | None:
    """Draw the figure of an experiment, if it has one and all its rows were fitted."""
    folders = [_folder(run_dir, experiment, row, seed) for row in experiment.rows]
    if experiment.draw is None or not all((each / "config.json").is_file() for each in folders):
        return None
    estimators = [_load(folder) for folder in folders]
    return experiment.draw(estimators, experiment.rows[0].data(), run_dir / experiment.name)


def fitted(
    row: Row, split: Split, seed: int, folder: Path, *, device: str, verbose: int
) -> DeepEstimator:
    """Fit of a row, taken from its run directory as far as it came."""
    if (folder / "config.json").is_file():
        return _load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    estimator = row.make().set_params(
        random_state=seed, run_dir=str(folder), resume=True, device=device, verbose=verbose
    )
    estimator.fit(split.train, X_valid=split.valid)
    if estimator.interrupted_:
        raise KeyboardInterrupt
    estimator.save(folder)
    return estimator


def read(results: Path, experiment: Experiment) -> list[Line]:
    """Finished runs of an experiment."""
    if not results.is_file():
        return []
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    return [line for line in lines if line["experiment"] == experiment.name]


def table(experiment: Experiment, lines: list[Line]) -> Iterator[tuple[str, ...]]:
    """Rows (model, measure, obtained, reported, gap, source), as text, of what has been run.

    Obtained is mean ± standard deviation (number of seeds); the gap is obtained less reported.
    """
    for row in experiment.rows:
        mine = [line for line in lines if line["row"] == row.name]
        names = [name for name in mine[0] if isinstance(mine[0][name], float)] if mine else []
        for name in names:
            if name in ("seconds", "standard error", "Monte Carlo error"):
                continue
            values = [line[name] for line in mine]
            mean = statistics.mean(values)
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            obtained = f"{mean:.2f}{spread} ({len(values)})"
            reported = row.reported.get(name)
            yield (
                row.name,
                name,
                obtained,
                "" if reported is None else f"{reported.value:.2f}",
                "" if reported is None else f"{mean - reported.value:+.2f}",
                "" if reported is None else reported.source,
            )


def _load(folder: Path) -> DeepEstimator:
    estimator = load(folder)
    assert isinstance(estimator, DeepEstimator)
    return estimator


def _folder(run_dir: Path, experiment: Experiment, row: Row, seed: int) -> Path:
    return run_dir / experiment.name / _slug(row.name) / f"seed-{seed}"


def _slug(name: str) -> str:
    """Name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
