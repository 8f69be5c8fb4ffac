"""Reading a run directory: ``config.json``, ``metrics.json``, ``history.jsonl``, ``summary.npz``.

The first two must be there. Without ``history.jsonl`` a report has no curves, and without
``summary.npz`` no latent map and no pictures of components.
"""

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RUN_FILES = (
    "config.json",
    "weights.safetensors",
    "history.jsonl",
    "metrics.json",
    "summary.npz",
    "report.html",
    "picture.png",  # of the demo
    "checkpoints",
    "tensorboard",
    "autoencoder",  # these of two stages
    "clusterer",
    "clusterer.skops",
)
METRICS_KEYS = (
    "data",
    "estimator",
    "n_rows",
    "n_features",
    "n_components",
    "weights",
    "sizes",
    "lower_bound",
)
# Arrays that must be there, with one entry for each row kept, leaf of the tree, node of the tree.
ROW_ARRAYS = (
    "row",
    "component",
    "leaf",
    "embedding",
    "confidence",
    "near",
    "near_resp",
    "agreement",
    "log_likelihood",
)
LEAF_ARRAYS = ("leaf_component", "leaf_size", "leaf_weight", "leaf_mean", "samples")
NODE_ARRAYS = ("typical", "borderline")
OTHER_ARRAYS = ("is_latent", "merge_path", "feature_scale", "odd")
IMAGE_ARRAYS = ("picture", "range")
TABLE_ARRAYS = ("leaf_scale", "shown", "shown_x", "top_feature", "top_value", "top_effect")


@dataclass(frozen=True)
class RunDirectory:
    """What the files of a run directory say.

    Attributes
    ----------
    path : Path
    config, metrics : dict
    history : list of dict
        One entry for each epoch; empty without ``history.jsonl``.
    summary : dict of arrays
        Empty without ``summary.npz``.
    """

    path: Path
    config: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, NDArray[Any]]


def read_run_directory(path: str | os.PathLike[str]) -> RunDirectory:
    """Read and check the files of a run directory.

    Parameters
    ----------
    path : path of a directory

    Returns
    -------
    RunDirectory

    Raises
    ------
    FileNotFoundError
        If the directory, its ``config.json`` or its ``metrics.json`` is missing.
    ValueError
        If a file is damaged; the message names it.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(
            f"A report needs a run directory but {path} is no directory; pass the folder that "
            "`infimix fit --out` wrote."
        )
    config = _read_object(path / "config.json")
    metrics = _read_object(path / "metrics.json")
    _check_metrics(path / "metrics.json", metrics)
    history = _read_history(path / "history.jsonl")
    summary = _read_summary(path / "summary.npz", metrics["n_components"])
    return RunDirectory(path, config, metrics, history, summary)


@contextmanager
def replacing_run(path: Path) -> Iterator[None]:
    """Set the files of a run aside for those of another; they come back if it never begins.

    What else lies in the folder stays. A run has begun when it has a checkpoint or was saved.
    """
    aside = path / ".replaced"
    _remove_run(aside)
    _move_run(path, aside)
    try:
        yield
    finally:
        has_begun = (path / "config.json").exists() or any(path.glob("checkpoints/*.safetensors"))
        if not has_begun:
            _remove_run(path)
            _move_run(aside, path)
        _remove_run(aside)
        aside.rmdir()


def _move_run(path: Path, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    for file in (path / name for name in RUN_FILES):
        if file.exists():
            file.rename(to / file.name)


def _remove_run(path: Path) -> None:
    for file in (path / name for name in RUN_FILES):
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)


def _damaged(file: Path, why: object) -> ValueError:
    """Error for a file that cannot be read."""
    return ValueError(f"{file} is damaged ({why}); fit again or restore it from a copy.")


def _read_object(file: Path) -> dict[str, Any]:
    """One JSON object from a file that must exist."""
    if not file.is_file():
        raise FileNotFoundError(
            f"A report needs {file.name} but {file} does not exist; finish the fit, or pass the "
            "run directory of a finished one."
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # also a wrong encoding
        raise _damaged(file, error) from error
    if not isinstance(content, dict):
        raise _damaged(file, f"it must hold a JSON object, not {type(content).__name__}")
    return content


def _check_metrics(file: Path, metrics: dict[str, Any]) -> None:
    """All keys are there and there is one weight and one size for each component."""
    missing = [key for key in METRICS_KEYS if key not in metrics]
    if missing:
        raise _damaged(file, f"'{missing[0]}' is missing")
    n_components = metrics["n_components"]
    for key in ("weights", "sizes"):
        if len(metrics[key]) != n_components:
            raise _damaged(file, f"{len(metrics[key])} {key} for {n_components} components")


def _read_history(file: Path) -> list[dict[str, Any]]:
    """One dict a line; an empty list without the file."""
    if not file.is_file():
        return []
    history = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise _damaged(file, error) from error
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            history.append({"epoch": entry["epoch"], "phase": entry["phase"], **entry})
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(file, f"line {number}: {error}") from error
    return history


def _read_summary(file: Path, n_components: int) -> dict[str, NDArray[Any]]:
    """All arrays by name; an empty dict without the file."""
    if not file.is_file():
        return {}
    if not zipfile.is_zipfile(file):
        raise _damaged(file, "it is no archive of arrays, or it was cut off")
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            summary = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(file, error) from error
    if "leaf" in summary:  # that of an earlier version serves all but the report
        _check_summary(file, summary, n_components)
    return summary


def _check_summary(file: Path, summary: dict[str, NDArray[Any]], n_components: int) -> None:
    """All arrays are there and fit together."""
    of_kind = IMAGE_ARRAYS if "image_shape" in summary else TABLE_ARRAYS
    for name in (*ROW_ARRAYS, *LEAF_ARRAYS, *NODE_ARRAYS, *OTHER_ARRAYS, *of_kind):
        if name not in summary:
            raise _damaged(file, f"the array '{name}' is missing")
    n_leaves, n_joins = len(summary["leaf_component"]), len(summary["merge_path"])
    lengths = dict.fromkeys(
        (*ROW_ARRAYS, "label", "picture", *TABLE_ARRAYS[3:]), len(summary["row"])
    )
    lengths |= dict.fromkeys((*LEAF_ARRAYS, "leaf_scale"), n_leaves)
    lengths |= dict.fromkeys(NODE_ARRAYS, n_leaves + n_joins)
    for name, length in lengths.items():
        if name in summary and len(summary[name]) != length:
            raise _damaged(file, f"'{name}' has {len(summary[name])} entries in place of {length}")
    if "image_shape" in summary and np.prod(summary["image_shape"]) != summary["samples"].shape[-1]:
        raise _damaged(file, f"rows are no images of shape {tuple(summary['image_shape'])}")
    for name, limit in (
        ("component", n_components),
        ("leaf_component", n_components),
        ("leaf", n_leaves),
    ):
        if summary[name].size and summary[name].max() >= limit:
            raise _damaged(file, f"an entry of '{name}' is not below {limit}")
