"""Running a published experiment: every run resumable, every finished one a line of a file."""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sklearn.frozen import FrozenEstimator  # type: ignore[import-untyped]

from infimix.estimators import TwoStage, load
from infimix.papers.experiments import Experiment, Row, Split
from infimix.papers.pictures import written

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
            split, start = row.data(), time.perf_counter()
            estimator = fitted(
                experiment, row, split, seed, run_dir, device=device, verbose=verbose
            )
            seconds = time.perf_counter() - start  # of what was not there yet
            if row.stage_one is None:
                seconds = sum(record["seconds"] for record in estimator.history_)
            line = {"experiment": experiment.name, "row": row.name, "seed": seed}
            line |= experiment.measure(estimator, split, seed)
            line |= {"epochs": estimator.n_iter_, "seconds": round(seconds, 1)}
            results.parent.mkdir(parents=True, exist_ok=True)
            with results.open("a") as file:
                file.write(json.dumps(line) + "\n")
            yield line


class Drawn(NamedTuple):
    """Files of a figure, and the rows that it lacks."""

    files: list[Path]  # none if no row was fitted
    unfinished: list[Row]


def draw(experiment: Experiment, seed: int, run_dir: Path, out: Path) -> Drawn:
    """Draw the figure of an experiment, if it has one, from those of its rows that were fitted.

    Parameters
    ----------
    experiment : Experiment
    seed : int
        Of the runs.
    run_dir : Path
        Folder of run directories, as `run` leaves it.
    out : Path
        Folder that gets a .png and a .pdf.
    """
    if experiment.draw is None:
        return Drawn([], [])
    folders = {row.name: _folder(run_dir, experiment, row, seed) for row in experiment.rows}
    unfinished = [row for row in experiment.rows if not _is_finished(folders[row.name])]
    estimators = [load(folder) for folder in folders.values() if _is_finished(folder)]
    if not estimators:
        return Drawn([], unfinished)
    figure = experiment.draw(estimators, experiment.rows[0].data())
    return Drawn(written(figure, out, experiment.name.replace("/", "-")), unfinished)


def fitted(
    experiment: Experiment,
    row: Row,
    split: Split,
    seed: int,
    run_dir: Path,
    *,
    device: str,
    verbose: int,
) -> Any:
    """Fit of a row, taken from its run directory as far as it came."""
    folder = _folder(run_dir, experiment, row, seed)
    if _is_finished(folder):
        return load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if row.stage_one is not None:
        options = {"device": device, "verbose": verbose}
        first = fitted(experiment, row.stage_one, split, seed, run_dir, **options)
        estimator = TwoStage(FrozenEstimator(first), row.make(), random_state=seed)
        return _saved(estimator.fit(split.train), folder)
    estimator = row.make().set_params(
        random_state=seed, run_dir=str(folder), resume=True, device=device, verbose=verbose
    )
    is_followed = experiment.follow is not None and estimator.finds_clusters
    follow = experiment.follow(split) if is_followed else None
    estimator.fit(split.train, X_valid=split.valid, follow=follow)
    if estimator.interrupted_:
        raise KeyboardInterrupt
    return _saved(estimator, folder)


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
            digits = 2 if abs(mean) >= 10 else 3
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            obtained = f"{mean:.{digits}f}{spread} ({len(values)})"
            reported = row.reported.get(name)
            yield (
                row.name,
                name,
                obtained,
                "" if reported is None else f"{reported.value:.2f}",
                "" if reported is None else f"{mean - reported.value:+.{digits}f}",
                "" if reported is None else reported.source,
            )


def _saved(estimator: Any, folder: Path) -> Any:
    """Save an estimator."""
    estimator.save(folder)
    return estimator


def _folder(run_dir: Path, experiment: Experiment, row: Row, seed: int) -> Path:
    """Run directory; a row that stands in several experiments of a paper is fitted once."""
    return run_dir / experiment.name.split("/")[0] / _slug(row.name) / f"seed-{seed}"


def _is_finished(folder: Path) -> bool:
    """Whether a fit was saved; its config.json is written last."""
    return (folder / "config.json").is_file()


def _slug(name: str) -> str:
    """Name of a folder."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
