"""Checkpoints: one safetensors file each, written so that no kill can leave half of one.

A file is written under a temporary name, synced to disk and renamed; the last two are kept. Its
header holds everything that is not a tensor as JSON. Nothing in it is ever executed.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

KEPT = 2


class Checkpoint(NamedTuple):
    """Tensors by name, and what else there is to know, as JSON can hold it."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    path: Path


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def save_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors and facts to one safetensors file."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(plain, metadata={"facts": json.dumps(facts)}))


def load_tensors(path: Path) -> Checkpoint:
    """Read what `save_tensors` wrote.

    Raises
    ------
    ValueError
        If the file is damaged or is no such file; it is named.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"'{path}' is damaged or was not written by infimix: {error}.") from error
    return Checkpoint(tensors, facts, path)


def save_checkpoint(
    folder: Path, number: int, tensors: dict[str, Tensor], facts: dict[str, Any]
) -> None:
    """Write checkpoint `number` and remove all but the last two."""
    save_tensors(folder / f"{number:06d}.safetensors", tensors, facts)
    for old in _files(folder)[:-KEPT]:
        old.unlink()


def load_last_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; a damaged one is named in a warning.

    Returns
    -------
    Checkpoint or None
        None if there is none.

    Raises
    ------
    ValueError
        If there are checkpoints and all are damaged.
    """
    files = _files(folder)
    for path in reversed(files):
        try:
            return load_tensors(path)
        except ValueError as error:
            if path == files[0]:
                raise
            warnings.warn(f"{error} The checkpoint before it is used.", stacklevel=2)
    return None


def _files(folder: Path) -> list[Path]:
    """Checkpoints in the order they were written."""
    return sorted(folder.glob("*.safetensors"))
