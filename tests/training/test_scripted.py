"""The loop around a module with one weight, whose validation bounds are given."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from infimix.models import ElboTerms, LatentMixtureModule
from infimix.training import TrainConfig, TrainState

Train = Callable[..., Any]
Killed = Callable[..., None]
N_EPOCHS = 8


class Scripted(LatentMixtureModule):
    """Its bounds after three epochs of warm-up are given; it counts epochs, and starts of them."""

    n_components = 1

    def __init__(self, bounds: list[float]) -> None:
        super().__init__()
        self.bounds = bounds
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("n_epochs", torch.tensor(0))
        self.register_buffer("n_begun", torch.tensor(0))

    def elbo(self, x: Tensor, noise: Tensor, seen: Tensor | None = None) -> ElboTerms:
        zero = torch.zeros(len(x))
        given = torch.tensor(self.bounds[max(0, int(self.n_epochs) - 4)])
        return ElboTerms(zero + (self.weight if self.training else given), zero, zero, zero)

    def train(self, mode: bool = True) -> "Scripted":
        if mode:
            self.n_epochs += 1
        return super().train(mode)

    def start_epoch(self, rows: Any) -> None:
        if self.training or int(self.n_begun) == 0:
            assert rows.n_rows == sum(len(x) for x in rows.blocks()) == 50
        self.n_begun += 1

    def draw_noise(self, n: int, generator: Generator) -> Tensor:
        return torch.zeros(n)

    def embed(self, x: Tensor) -> Tensor:
        return x

    def draw_code(self, x: Tensor, noise: Tensor) -> Tensor:
        return x

    def decode(self, z: Tensor, x: Tensor | None = None) -> Distribution:
        return Independent(Normal(z, 1.0), 1)

    def log_weights(self, x: Tensor, noise: Tensor) -> Tensor:
        return noise

    def responsibilities(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 1)

    def sample(
        self, n: int, generator: Generator, component: int | None = None
    ) -> tuple[Tensor, Tensor]:
        return torch.zeros(n, 4), torch.zeros(n)


def bounds_of(state: TrainState) -> list[tuple[int, float]]:
    return [(record["epoch"], record["valid_bound"]) for record in state.history]


# In the first of the five joint epochs the prior has half its weight, so it is no candidate.
@pytest.mark.parametrize(
    ("bounds", "patience", "n_joint", "best"),
    [
        ([9.0, 2.0, 3.0, 4.0, 5.0], 1, 5, 5),  # always better: goes to the end
        ([9.0, 3.0, 2.0, 2.9, 8.0], 1, 4, 2),  # worse more often than patience allows
        ([9.0, 3.0, 2.0, 2.9, 8.0], 2, 5, 5),  # patient enough
        ([9.0, 4.0, 3.0, 2.0, 1.0], 2, 5, 2),
        ([9.0, 2.0, 2.0, 2.0, 2.0], 1, 4, 2),  # no worse is no better
    ],
)
def test_early_stopping_keeps_the_best(
    train: Train,
    config: TrainConfig,
    bounds: list[float],
    patience: int,
    n_joint: int,
    best: int,
) -> None:
    module = Scripted(bounds)
    state = train(replace(config, patience=patience), module=module).state
    assert len(state.history) == 3 + n_joint
    assert state.best_bound == bounds[best - 1]
    assert int(module.n_begun) == best + 1  # the best epoch's state, then the one last call


# Of three epochs of warm-up, five joint ones and three of fine-tuning.
@pytest.mark.parametrize(
    ("bounds", "patience", "epochs", "goes_on", "best"),
    [
        ([9.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 2, [*range(11)], 5, 8),
        ([9.0, 5.0, 3.0, 2.0, 4.0], 2, [*range(11)], 2, 2),
        ([9.0, 5.0, 3.0, 2.0], 1, [*range(7), 8, 9], 2, 2),  # both phases end early
    ],
)
def test_the_best_of_the_joint_phase_is_fine_tuned(
    train: Train,
    killed: Killed,
    config: TrainConfig,
    tmp_path: Path,
    bounds: list[float],
    patience: int,
    epochs: list[int],
    goes_on: int,
    best: int,
) -> None:
    """A run that is killed at the border goes the same way."""
    n_joint = len([epoch for epoch in epochs if 3 <= epoch < 8])
    plan = replace(config, patience=patience, fine_tune_epochs=3)
    module, state = train(plan, module=Scripted(bounds))
    assert [record["epoch"] for record in state.history] == epochs
    in_turn = [*range(1, n_joint + 1), *range(goes_on + 1, 9)]
    found = [record["valid_bound"] for record in state.history[3:]]
    assert found == [bounds[k - 1] for k in in_turn[: len(found)]]
    assert state.best_bound == bounds[best - 1]
    assert int(module.n_begun) == goes_on + 1  # at the end of the joint phase
    killed(epochs[3 + n_joint], plan, tmp_path, Scripted(bounds))
    resumed = train(plan, tmp_path, Scripted(bounds), resume=True)
    assert bounds_of(resumed.state) == bounds_of(state)
    assert int(resumed.module.n_epochs) == int(module.n_epochs)


def test_a_resumed_run_remembers_how_long_it_has_waited(
    train: Train, killed: Killed, config: TrainConfig, tmp_path: Path
) -> None:
    """The best of these bounds is the second; one epoch without a better one had passed."""
    impatient, bounds = replace(config, patience=1), [9.0, 3.0, 2.0, 2.9, 8.0]
    killed(6, impatient, tmp_path, Scripted(bounds))
    module, state = train(impatient, tmp_path, Scripted(bounds), resume=True)
    assert len(state.history) == 7
    assert state.best_bound == 3.0
    assert int(module.n_begun) == 3


def test_the_schedule_is_followed(train: Train, config: TrainConfig) -> None:
    """Adam moves a weight with a constant gradient by the learning rate at every step."""
    module, _ = train(config, module=Scripted([1.0, 2.0, 3.0, 4.0, 5.0]))
    rates = [config.lr(epoch, step / 4) for epoch in range(N_EPOCHS) for step in range(4)]
    assert float(module.weight.detach()) == pytest.approx(sum(rates), rel=1e-5)


@pytest.mark.parametrize("patience", [1, 20])
def test_a_finished_run_is_not_trained_again(
    train: Train, config: TrainConfig, tmp_path: Path, patience: int
) -> None:
    """Whether it came to its last epoch or stopped early."""
    config = replace(config, patience=patience, checkpoint_seconds=3600.0)
    bounds = [9.0, 3.0, 2.0, 2.9, 8.0]
    train(config, tmp_path, Scripted(bounds))
    files = list((tmp_path / "checkpoints").iterdir())
    written = {path: path.stat().st_mtime_ns for path in files}
    module, n_steps = Scripted(bounds), []
    module.after_step = n_steps.append
    state = train(config, tmp_path, module, resume=True).state
    assert not n_steps
    assert len(state.history) == (7 if patience == 1 else N_EPOCHS)
    assert {path: path.stat().st_mtime_ns for path in files} == written


def test_an_epoch_ends_without_denormal_moments(train: Train, config: TrainConfig) -> None:
    """Adam's mean of gradients, some hundred steps after the last one that was not 0."""
    module, state = train(config, module=Scripted([1.0, 2.0, 3.0, 4.0, 5.0]))
    moments = state.optimizer.state[module.weight]
    for _ in range(900):
        module.weight.grad = torch.zeros_like(module.weight)
        state.optimizer.step()
    assert 0 < float(moments["exp_avg"].abs().max()) < torch.finfo(torch.float32).tiny
    state.end_epoch({"bound": 0.0, "valid_bound": None}, is_candidate=False)
    assert not state.optimizer.state[module.weight]["exp_avg"].any()


@pytest.mark.parametrize(("longest", "expected"), [(0.25, 0.25), (2.0, 1.0)])
def test_a_gradient_is_no_longer_than_allowed(
    train: Train, config: TrainConfig, longest: float, expected: float
) -> None:
    """The gradient of the one weight is -1 at every step, and Adam's mean of it nearly that."""
    shorter = replace(config, max_grad_norm=longest)
    module, state = train(shorter, module=Scripted([1.0, 2.0, 3.0, 4.0, 5.0]))
    n_steps = 4 * N_EPOCHS
    mean = float(state.optimizer.state[module.weight]["exp_avg"])
    assert mean == pytest.approx(-expected * (1 - 0.9**n_steps), rel=1e-4)


def test_few_rows_that_validate_are_decoded_at_once(
    train: Train, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some models decode a row by every component; all ten rows are looked at all the same."""
    monkeypatch.setattr("infimix.training.loop.CODE_ROWS", 4)
    n_rows: list[int] = []

    class Counted(Scripted):
        def elbo(self, x: Tensor, noise: Tensor, seen: Tensor | None = None) -> ElboTerms:
            n_rows.extend([] if self.training else [len(x)])
            return super().elbo(x, noise, seen)

    train(config, module=Counted([5.0, 4.0, 3.0, 2.0, 1.0]))
    assert n_rows == [4, 4, 2] * N_EPOCHS
