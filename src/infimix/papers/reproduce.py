"""Running a published experiment: every run resumable, every finished one a line of a file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from infimix.estimators import DeepEstimator, load
from infimix.papers.experiments import Experiment, Row, Split

Line = dict[str, Any]


def run(
    experiment: Experiment,
    *,
    seeds: range,
    results: Path,
    run_dir: Path,
    only: str = "",
    device: str = "auto",
    verbose: int = 0,
    watch: Callable[[Line], None] = lambda line: None,
) -> None:
    """Fit and measure what the results lack.

    Parameters
    ----------
    experiment : Experiment
    seeds : range
        Of each row.
    results : Path
        JSON lines; a finished run is appended, and never run again.
    run_dir : Path
        Folder of run directories; an interrupted fit goes on from there.
    only : str
        Rows whose name has this in it.
    device, verbose
        As the estimators have them.
    watch : callable
        Told of every new line.
    """
    done = {(line["row"], line["seed"]) for line in read(results, experiment)}
    for seed in seeds:
        for row in experiment.rows:
            if only not in row.name or (row.name, seed) in done:
                continue
            split = row.data()
            folder = run_dir / experiment.name / _slug(row.name) / f"seed-{seed}"
            estimator, seconds = fitted(row, split, seed, folder, device=device, verbose=verbose)
            line = {"experiment": experiment.name, "row": row.name, "seed": seed}
            line |= experiment.measure(estimator, split, seed)
            line |= {"epochs": estimator.n_iter_, "seconds": round(seconds, 1)}
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            watch(line)


def fitted(
    row: Row, split: Split, seed: int, folder: Path, *, device: str, verbose: int
) -> tuple[DeepEstimator, float]:
    """Fit of a row, taken from its run directory as far as it came, and its seconds of epochs."""
    if (folder / "config.json").is_file():
        estimator = load(folder)
        assert isinstance(estimator, DeepEstimator)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        estimator = row.make().set_params(
            random_state=seed, run_dir=str(folder), resume=True, device=device, verbose=verbose
        )
        estimator.fit(split.train, X_valid=split.valid)
        if estimator.interrupted_:
            raise KeyboardInterrupt
        estimator.save(folder)
    return estimator, sum(record["seconds"] for record in estimator.history_)


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
            if name == "seconds" or name.startswith("standard error"):
                continue
            values = [line[name] for line in mine]
            mean = sum(values) / len(values)
            obtained = f"{mean:.2f} ({len(values)})"
            if len(values) > 1:
                sd = (sum((v - mean) ** 2 for v in values) / (len(values) - 1)) ** 0.5
                obtained = f"{mean:.2f} ± {sd:.2f} ({len(values)})"
            reported = row.reported.get(name)
            yield (
                row.name,
                name,
                obtained,
                "" if reported is None else f"{reported.value:.2f}",
                "" if reported is None else f"{mean - reported.value:+.2f}",
                "" if reported is None else reported.source,
            )


def _slug(name: str) -> str:
    """Name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
