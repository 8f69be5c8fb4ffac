"""Saving fitted estimators: ``config.json`` and ``weights.safetensors``, nothing that executes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from infimix import __version__
from infimix.training import load_tensors, save_tensors, write_atomically

FORMAT_VERSION = 1


def save_estimator(
    folder: Path,
    estimator: str,
    params: dict[str, Any],
    tensors: dict[str, Tensor],
    fitted: dict[str, Any],
) -> None:
    """Write the two files; `fitted` is what the tensors cannot hold, as JSON."""
    config = {
        "format_version": FORMAT_VERSION,
        "infimix_version": __version__,
        "estimator": estimator,
        "params": {name: plain(value) for name, value in params.items()},
        "fitted": fitted,
    }
    save_tensors(folder / "weights.safetensors", tensors, {"format_version": FORMAT_VERSION})
    write_atomically(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())


def load_config(folder: Path) -> dict[str, Any]:
    """Read and check ``config.json``.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is none, it is damaged, or a newer infimix has written it.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"'{folder}' holds no config.json, so no model was saved there; "
            "name the folder that `save` or `infimix fit --out` has written."
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text())
        version = int(config["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"'{path}' is damaged ({error}): save the model again.") from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"'{path}' has format version {version} and infimix {__version__} reads up to "
            f"{FORMAT_VERSION}: it was saved by a newer infimix; upgrade to load it."
        )
    if missing := {"estimator", "params", "fitted"} - config.keys():
        raise ValueError(
            f"'{path}' is damaged ({', '.join(sorted(missing))} missing): save the model again."
        )
    return config


def load_weights(folder: Path) -> dict[str, Tensor]:
    """Read ``weights.safetensors``; a missing or damaged file is named."""
    path = folder / "weights.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path}' is missing, the saved model is not whole: save it again."
        )
    return load_tensors(path).tensors


def load_history(folder: Path) -> list[dict[str, Any]]:
    """Read ``history.jsonl``, one record a line; a missing or damaged file is named."""
    path = folder / "history.jsonl"
    if not path.is_file():
        raise FileNotFoundError(
            f"'{path}' is missing: the saved model is not whole; save it again."
        )
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except ValueError as error:
        raise ValueError(f"'{path}' is damaged: {error}; save the model again.") from error


def plain(value: Any) -> Any:
    """Return a parameter in the form that JSON holds it."""
    if isinstance(value, np.integer | np.floating):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.random.RandomState):
        return None  # a generator in mid-stream is no parameter that can be written down
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value
