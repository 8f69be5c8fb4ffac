"""Checkpoints: one safetensors file each, written so that no kill can leave half of one.

A file is written under a temporary name, synced to disk and renamed; the last two are kept. Its
header holds everything that is not a tensor as JSON. Nothing in it is ever executed.
"""

from __future__ import annotations

import json
import os
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
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
    # Copies: two names of one tensor, which buffers may be, are more than the format takes.
    plain = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }
    text = json.dumps(facts)
    metadata = {"facts": text, "crc32": str(_checksum(plain, text))}
    write_atomically(path, save(plain, metadata=metadata))


def load_tensors(path: Path) -> Checkpoint:
    """Read what `save_tensors` wrote.

    Raises
    ------
    ValueError
        If the file is damaged or is no such file; it is named.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            text, checksum = metadata["facts"], metadata["crc32"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if str(_checksum(tensors, text)) != checksum:
            raise ValueError("its checksum does not match what it holds")
        facts = json.loads(text)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"'{path}' is damaged or was not written by infimix: {error}.") from error
    return Checkpoint(tensors, facts, path)


def save_checkpoint(
    folder: Path, number: int, tensors: dict[str, Tensor], facts: dict[str, Any]
) -> Path:
    """Write checkpoint `number` and remove all but the last two; the path of the new one."""
    path = folder / f"{number:06d}.safetensors"
    save_tensors(path, tensors, facts)
    for old in _files(folder)[:-KEPT]:
        old.unlink()
    for half in folder.glob(".*.tmp"):  # left by a write that was killed
        half.unlink()
    return path


def remove_checkpoints(folder: Path) -> None:
    """Remove those of a run that is not resumed, lest they be taken for the new one's."""
    for path in _files(folder):
        path.unlink()


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


def _checksum(tensors: dict[str, Tensor], text: str) -> int:
    """CRC-32 of a text and of the tensors' values in the order of their names."""
    checksum = zlib.crc32(text.encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(tensors[name].numpy().data, checksum)
    return checksum


def _files(folder: Path) -> list[Path]:
    """Checkpoints in the order they were written."""
    return sorted(folder.glob("*.safetensors"))
