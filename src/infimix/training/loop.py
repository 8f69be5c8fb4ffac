"""The training loop, whole and visible, for every model.

A run is a function of its rows, its module and its `TrainConfig`: batches and noise come from
generators that are seeded from the config and saved with every checkpoint, so that a resumed run
ends with the weights of the uninterrupted one, bit for bit on one CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infimix.errors import DivergedError
from infimix.models import ElboTerms, LatentMixtureModule, Pass
from infimix.training.rows import CODE_ROWS, Rows
from infimix.training.state import TrainState, write_history
from infimix.training.views import Views


@dataclass(frozen=True)
class TrainConfig:
    """How to train; the estimators' parameters of the same names say more."""

    warm_up_epochs: int
    max_epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    seed: int
    max_grad_norm: float = 100.0
    kl_ramp: float = 0.5  # share of the joint phase in which the weight of the KL rises
    is_annealed: bool = True  # the learning rate; else it stays
    checkpoint_seconds: float = 10.0  # between two, but the first and last; 0: after every epoch
    fine_tune_epochs: int = 0  # of rows with views, at the end: each is decoded from its own code
    log_volume: float = 0.0  # of a unit of rows as the module sees them, nats; for the history

    @property
    def n_epochs(self) -> int:
        """Epochs of all phases."""
        return self.joint_end + self.fine_tune_epochs

    @property
    def joint_end(self) -> int:
        """Epochs before the fine-tuning."""
        return self.warm_up_epochs + self.max_epochs

    def phase(self, epoch: int) -> str:
        """Name of the phase of an epoch: "warm-up", then "joint", then "fine-tuning"."""
        if epoch < self.warm_up_epochs:
            return "warm-up"
        return "joint" if epoch < self.joint_end else "fine-tuning"

    def kl_weight(self, epoch: int) -> float:
        """Weight of all but the reconstruction: 0 in the warm-up, then up to 1 by the ramp."""
        joint = epoch - self.warm_up_epochs + 1
        return min(1.0, max(0, joint) / max(1, int(self.kl_ramp * self.max_epochs)))

    def lr(self, epoch: int, done: float) -> float:
        """Learning rate, `done` of the epoch in [0, 1]: up in a tenth of a phase, cosine to 0."""
        if not self.is_annealed:
            return self.learning_rate
        begins, epochs = {
            "warm-up": (0, self.warm_up_epochs),
            "joint": (self.warm_up_epochs, self.max_epochs),
            "fine-tuning": (self.joint_end, self.fine_tune_epochs),
        }[self.phase(epoch)]
        at = (epoch - begins + done) / epochs
        rise = min(1.0, at / 0.1 + 0.01)
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * at))


Follower = Callable[[], dict[str, float]]
Watcher = Callable[[dict[str, Any]], None]


def fit(
    module: LatentMixtureModule,
    rows: Rows,
    train: Tensor,
    valid: Pass,
    config: TrainConfig,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    run: dict[str, Any] | None = None,
    views: Views | None = None,
    follow: Follower = dict,
    watch: Watcher = lambda record: None,
) -> TrainState:
    """Train a module in place; it ends at the weights with the best validation bound.

    Parameters
    ----------
    module : LatentMixtureModule
        On the device of the rows.
    rows : Rows
        All rows.
    train : Tensor of int64
        Which rows train.
    valid : Pass
        Rows that only measure the bound; there may be none, then that of the training rows decides.
    config : TrainConfig
        How to train.
    run_dir : Path, optional
        Where ``checkpoints/`` and ``history.jsonl`` go.
    resume : bool
        Go on from the last checkpoint of `run_dir`, if there is one.
    run : dict, optional
        What tells this run from another (parameters, shape of the data); a run is only resumed
        if it was the same.
    views : Views, optional
        What is encoded in place of the rows that train.
    follow : callable
        Gives numbers by name after an epoch, the module as it then is; its record keeps them.
    watch : callable
        Told of every epoch's record.

    Returns
    -------
    TrainState
        History and how the run ended; ``interrupted`` after Ctrl-C, the module is then usable.

    Raises
    ------
    DivergedError
        If a term of the bound stops being finite; the last checkpoint stays.
    """
    device = rows.take(train[:1]).device
    state = TrainState(module, config.learning_rate, config.seed, device, run or {})
    state.begin(run_dir, resume=resume)
    for record in state.history:
        watch(record)
    train_pass = Pass(len(train), lambda: rows.blocks(train))
    try:
        while _goes_on(state, config, train_pass):
            module.train()
            if config.phase(state.epoch) == "joint":
                module.start_epoch(train_pass)
            record = _epoch(state, rows, train, views, config)
            record |= _validate(state, valid, config) | follow()
            state.end_epoch(record, is_candidate=config.kl_weight(state.epoch) == 1)
            watch(record)
            state.save(run_dir, every_seconds=config.checkpoint_seconds)
        state.save(run_dir, every_seconds=0.0)
    except KeyboardInterrupt:
        state.interrupted = True
    if run_dir is not None:
        write_history(run_dir, state.history)
    if state.epoch > config.joint_end:  # fine-tuned under a mixture that was finished before
        state.restore_best()
        module.eval()
    else:
        _finish(state, train_pass)
    return state


def _finish(state: TrainState, train_pass: Pass) -> None:
    """Bring the best weights back, with a mixture that is what all rows make of it."""
    state.restore_best()
    state.module.eval().start_epoch(train_pass)
    state.take_for_best()


def _goes_on(state: TrainState, config: TrainConfig, train_pass: Pass) -> bool:
    """Whether an epoch follows; the best of the joint phase is finished, and then fine-tuned."""
    has_stalled = state.epochs_since_best > config.patience
    if config.fine_tune_epochs == 0 or state.epoch > config.joint_end:
        return state.epoch < config.n_epochs and not has_stalled
    if has_stalled or state.epoch == config.joint_end:
        state.epoch, state.epochs_since_best = config.joint_end, 0
        _finish(state, train_pass)
    return True


def _epoch(
    state: TrainState, rows: Rows, train: Tensor, views: Views | None, config: TrainConfig
) -> dict[str, Any]:
    """Every training row once; the record of the epoch."""
    module, start = state.module, time.perf_counter()
    kl_weight, phase = config.kl_weight(state.epoch), config.phase(state.epoch)
    order = torch.randperm(len(train), generator=state.order)
    batches = order.tensor_split(math.ceil(len(train) / config.batch_size))  # of equal size
    sums: dict[str, Tensor] = {}
    for step, position in enumerate(batches):
        x = rows.take(train[position])
        view = (
            None
            if views is None
            else views.draw(position, state.order, is_warm_up=phase == "warm-up")
        )
        terms = module.objective(x, state.noise, view, from_view=phase == "joint")
        loss = -terms.weighted(kl_weight).mean()
        if terms.closeness is not None:
            loss = loss - terms.closeness.mean()
        if not torch.isfinite(loss):
            raise _diverged(state, config, terms, f"batch {step}")
        for group in state.optimizer.param_groups:
            group["lr"] = config.lr(state.epoch, step / len(batches))
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(module, config.max_grad_norm)
        state.optimizer.step()
        if phase != "fine-tuning":  # which is of the networks alone
            module.after_step(terms)
        bound = terms.weighted(float(kl_weight > 0))  # whole also while its weight still rises
        for name, term in {"bound": bound, **terms.named()}.items():
            sums[name] = sums.get(name, torch.zeros(())) + term.detach().sum().cpu()
    means = {name: float(total) / len(train) for name, total in sums.items()}
    for name in ("bound", "reconstruction"):
        means[name] -= config.log_volume
    return {
        "epoch": state.epoch,
        "phase": phase,
        **means,
        "seconds": time.perf_counter() - start,
    }


@torch.no_grad()
def clip_gradients(module: nn.Module, max_norm: float) -> None:
    """Shorten the gradient to this norm; only where it is longer, which is seldom."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if norm > max_norm:
        nn.utils.clip_grads_with_norm_(module.parameters(), max_norm, norm)


@torch.no_grad()
def _validate(state: TrainState, valid: Pass, config: TrainConfig) -> dict[str, Any]:
    """Components in use, and the bound of rows that do not train, with the same noise always."""
    module = state.module.eval()
    found: dict[str, Any] = {"n_components": module.n_components or None, "valid_bound": None}
    if valid.n_rows:
        noise = torch.Generator(state.noise.device).manual_seed(0)
        total = 0.0
        for x in (part for block in valid.blocks() for part in torch.split(block, CODE_ROWS)):
            terms = module.objective(x, noise)
            total += float(terms.weighted(float(module.n_components > 0)).sum())
            if not math.isfinite(total):
                raise _diverged(state, config, terms, "validation")
        found["valid_bound"] = total / valid.n_rows - config.log_volume
    return found


def _diverged(state: TrainState, config: TrainConfig, terms: ElboTerms, at: str) -> DivergedError:
    """Error for a run whose bound stopped being finite."""
    bad = [name for name, term in terms.named().items() if not torch.isfinite(term).all()]
    kept = "no checkpoint has been written"
    if state.checkpoint is not None:
        kept = f"the last checkpoint is {state.checkpoint}"
    return DivergedError(
        f"The bound of {type(state.module).__name__} stopped being finite at epoch {state.epoch}, "
        f"{at}: {', '.join(bad) or 'the sum'} first; {kept}. "
        f"Lower learning_rate (now {config.learning_rate:g}), or look for extreme values in X."
    )
