"""Everything that a run needs to go on where it was."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from infimix.models import LatentMixtureModule
from infimix.training.checkpoint import (
    load_last_checkpoint,
    remove_checkpoints,
    save_checkpoint,
    write_atomically,
)


class TrainState:
    """Weights, optimiser, generators, history and the best weights so far, between two epochs."""

    def __init__(
        self,
        module: LatentMixtureModule,
        lr: float,
        seed: int,
        device: torch.device,
        run: dict[str, Any],
    ) -> None:
        self.module = module
        self.run = run  # what a resumed run must have in common with this one, as JSON holds it
        self.optimizer = torch.optim.Adam(module.parameters(), lr=lr, fused=True)
        self.order = torch.Generator().manual_seed(seed)
        self.noise = torch.Generator(device).manual_seed(seed + 1)
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_bound = -math.inf
        self.epochs_since_best = 0
        self.interrupted = False
        self.checkpoint: Path | None = None  # the last one that is whole
        self._saved_at, self._saved_epoch = -math.inf, 0

    def end_epoch(self, record: dict[str, Any], *, is_candidate: bool) -> None:
        """Count the epoch; its weights may be the best so far if it is a candidate."""
        self.history.append(record)
        self.epoch += 1
        for slot in self.optimizer.state.values():
            # Of weights that get no gradient any more; denormal numbers are slow.
            slot["exp_avg"] = hardshrink(slot["exp_avg"], 1e-30)
        if not is_candidate:
            return
        bound = record["bound"] if record["valid_bound"] is None else record["valid_bound"]
        self.epochs_since_best += 1
        if bound > self.best_bound:
            self.best_bound, self.epochs_since_best = bound, 0
            self.take_for_best()

    def take_for_best(self) -> None:
        """Keep the present weights as the best."""
        self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}

    def restore_best(self) -> None:
        """Put the best weights back, if an epoch was a candidate."""
        if self.best:
            self.module.load_state_dict(self.best)

    def save(self, run_dir: Path | None, *, every_seconds: float) -> None:
        """Write history and checkpoint, unless the last is younger than that or as good."""
        is_young = time.monotonic() - self._saved_at < every_seconds
        if run_dir is None or is_young or self.epoch == self._saved_epoch:
            return
        self._saved_at, self._saved_epoch = time.monotonic(), self.epoch
        slots = self.optimizer.state_dict()["state"]
        tensors = {f"module/{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"best/{name}": value for name, value in self.best.items()}
        tensors |= {f"adam/{i}/{key}": v for i, slot in slots.items() for key, v in slot.items()}
        tensors |= {"order": self.order.get_state(), "noise": self.noise.get_state()}
        facts = {
            "run": self.run,
            "epoch": self.epoch,
            "history": self.history,
            "best_bound": None if math.isinf(self.best_bound) else self.best_bound,
            "epochs_since_best": self.epochs_since_best,
        }
        self.checkpoint = save_checkpoint(run_dir / "checkpoints", self.epoch, tensors, facts)
        write_history(run_dir, self.history)

    def begin(self, run_dir: Path | None, *, resume: bool) -> None:
        """Go back to the last checkpoint of a run directory, or clear it for a new run."""
        if run_dir is not None and resume:
            self.load(run_dir)
        elif run_dir is not None:
            remove_checkpoints(run_dir / "checkpoints")

    def load(self, run_dir: Path) -> None:
        """Go back to the last checkpoint of a run directory, if it has one."""
        checkpoint = load_last_checkpoint(run_dir / "checkpoints")
        if checkpoint is None:
            return
        tensors, facts = checkpoint.tensors, checkpoint.facts
        for name, value in json.loads(json.dumps(self.run)).items():
            before = facts["run"].get(name)
            if before != value:
                raise ValueError(
                    f"'{checkpoint.path}' was written with {name}={before!r} and this fit has "
                    f"{name}={value!r}: resume with the same data and parameters, or fit into "
                    "another run directory."
                )
        self.checkpoint = checkpoint.path
        self.module.load_state_dict(_under("module/", tensors))
        self.best = _under("best/", tensors)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _under("adam/", tensors).items():
            index, key = name.split("/")
            slots.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.order.set_state(tensors["order"])
        self.noise.set_state(tensors["noise"])
        self.epoch, self.history = facts["epoch"], facts["history"]
        self._saved_at, self._saved_epoch = time.monotonic(), self.epoch
        self.epochs_since_best = facts["epochs_since_best"]
        self.best_bound = -math.inf if facts["best_bound"] is None else facts["best_bound"]


def write_history(run_dir: Path, history: list[dict[str, Any]]) -> None:
    """Write ``history.jsonl``, one record a line."""
    lines = "".join(json.dumps(record) + "\n" for record in history)
    write_atomically(run_dir / "history.jsonl", lines.encode())


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors whose name begins with the prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
