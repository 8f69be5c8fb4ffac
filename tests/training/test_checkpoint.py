"""Checkpoints: whole or not at all, two kept, damage found and named."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from infimix.training import checkpoint, load_tensors, save_tensors, write_atomically
from infimix.training.checkpoint import load_last_checkpoint, save_checkpoint

SHARED = torch.ones(2)  # buffers may share memory, files may not


def tensors(value: float) -> dict[str, Tensor]:
    return {
        "weight": torch.full((40, 3), value, dtype=torch.float64).mT,  # not contiguous
        "none": torch.zeros(0, 5),
        "step": torch.tensor(value),
        "state": torch.arange(7, dtype=torch.uint8),
        "alias": SHARED,
        "alias of it": SHARED,
    }


def save(folder: Path, number: int) -> Path:
    return save_checkpoint(folder, number, tensors(number), {"epoch": number})


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "cut off":
        content = content[:-20]
    elif how == "one bit of a tensor":
        content[-50] ^= 1
    elif how == "facts":
        at = content.index(b"epoch") + 9  # within its value
        content[at] = ord("7")
    elif how == "empty":
        content.clear()
    else:
        content[:] = b"something else entirely"
    path.write_bytes(content)


DAMAGES = ["cut off", "one bit of a tensor", "facts", "empty", "other file"]


def test_tensors_and_facts_come_back(tmp_path: Path) -> None:
    save_tensors(tmp_path / "new folder" / "a.safetensors", tensors(2.5), {"x": [1, None, "é"]})
    found = load_tensors(tmp_path / "new folder" / "a.safetensors")
    assert found.facts == {"x": [1, None, "é"]}
    assert found.tensors.keys() == tensors(2.5).keys()
    for name, value in tensors(2.5).items():
        assert torch.equal(found.tensors[name], value)
        assert found.tensors[name].dtype == value.dtype


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*args: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_file_appears_only_when_it_is_whole_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "file", []
    sync, replace = os.fsync, os.replace

    def watch_sync(descriptor: int) -> None:
        seen.append(("fsync", path.exists()))
        sync(descriptor)

    def watch_replace(old: Path, new: Path) -> None:
        seen.append(("replace", Path(old).read_bytes() == b"content"))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watch_sync)
    monkeypatch.setattr(os, "replace", watch_replace)
    write_atomically(path, b"content")
    assert seen == [("fsync", False), ("replace", True), ("fsync", True)]


def test_two_are_kept_and_half_files_swept_up(tmp_path: Path) -> None:
    (tmp_path / ".000001.safetensors.77.tmp").write_bytes(b"half a file of a run that was killed")
    for number in (1, 2, 9, 10):
        save(tmp_path, number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000009.safetensors", "000010.safetensors"]
    assert load_last_checkpoint(tmp_path).facts == {"epoch": 10}


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_of_the_newest_falls_back_with_a_warning(tmp_path: Path, how: str) -> None:
    save(tmp_path, 11)
    damage(save(tmp_path, 12), how)
    with pytest.warns(UserWarning, match=r"000012\.safetensors' is damaged .* before it is used"):
        found = load_last_checkpoint(tmp_path)
    assert found.facts == {"epoch": 11}
    assert float(found.tensors["step"]) == 11


def test_damage_of_all_is_an_error_that_names_one(tmp_path: Path) -> None:
    for number in (1, 2):
        damage(save(tmp_path, number), "cut off")
    with (
        pytest.warns(UserWarning, match="000002"),
        pytest.raises(ValueError, match=r"000001\.safetensors' is damaged"),
    ):
        load_last_checkpoint(tmp_path)


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_last_checkpoint(tmp_path / "not there") is None


def test_a_file_without_a_checksum_is_not_ours(tmp_path: Path) -> None:
    content = checkpoint.save({"a": torch.zeros(2)}, metadata={"facts": "{}"})
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="not written by infimix"):
        load_tensors(tmp_path / "a.safetensors")
