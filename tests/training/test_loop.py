"""The loop: schedules, early stopping, resuming, divergence, all in one process."""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from infimix.errors import DivergedError
from infimix.models import ElboTerms, InfiniteMixtureModule, LatentMixtureModule
from infimix.training import TrainConfig
from infimix.training.checkpoint import load_last_checkpoint

Train = Callable[..., Any]
N_EPOCHS = 8


class KilledError(Exception):
    """Ends a run between two epochs, as a kill would."""


def kill_after(n_epochs: int) -> Callable[[dict[str, Any]], None]:
    """Watcher that lets the checkpoints of `n_epochs` epochs be written."""

    def watch(record: dict[str, Any]) -> None:
        if record["epoch"] == n_epochs:
            raise KilledError

    return watch


def without_time(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def assert_same_end(found: Any, expected: Any) -> None:
    """Bit for bit."""
    ours, theirs = found.module.state_dict(), expected.module.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert without_time(found.state.history) == without_time(expected.state.history)


@pytest.fixture(scope="module")
def whole(train: Train, config: TrainConfig) -> Any:
    """The uninterrupted run, which writes nothing."""
    return train(config)


def test_the_schedule_is_this_table() -> None:
    config = TrainConfig(2, 4, 16, 0.5, patience=1, seed=0, fine_tune_epochs=2)
    assert config.n_epochs == 8
    phases = ["warm-up"] * 2 + ["joint"] * 4 + ["fine-tuning"] * 2
    assert [config.phase(e) for e in range(8)] == phases
    assert replace(config, fine_tune_epochs=0).n_epochs == 6
    assert [config.kl_weight(e) for e in range(8)] == [0, 0, 0.5, 1, 1, 1, 1, 1]
    assert [replace(config, max_epochs=1).kl_weight(e) for e in range(3)] == [0, 0, 1]
    table = {  # each phase: share that is done -> rise, half a cosine down
        (0, 0.0): 0.01,
        (0, 0.1): 0.51 * math.cos(math.pi * 0.05 / 2) ** 2,
        (0, 0.5): math.cos(math.pi * 0.25 / 2) ** 2,
        (1, 0.0): 0.5,
        (1, 1.0): 0.0,
        (2, 0.0): 0.01,
        (4, 0.0): 0.5,
        (5, 1.0): 0.0,
        (6, 0.0): 0.01,
        (7, 0.0): 0.5,
        (7, 1.0): 0.0,
    }
    for (epoch, done), share in table.items():
        assert config.lr(epoch, done) == pytest.approx(0.5 * share, abs=1e-12)


def test_history_says_what_happened(whole: Any, config: TrainConfig) -> None:
    history = whole.state.history
    assert [record["epoch"] for record in history] == list(range(N_EPOCHS))
    assert [record["phase"] for record in history] == ["warm-up"] * 3 + ["joint"] * 5
    assert [record["n_components"] for record in history[:3]] == [None] * 3
    assert all(1 <= record["n_components"] <= 4 for record in history[3:])
    for record in history:
        rest = record["entropy"] + record["log_prior"] - record["kl_mixture"]
        expected = record["reconstruction"] + (config.kl_weight(record["epoch"]) > 0) * rest
        assert record["bound"] == pytest.approx(expected, rel=1e-5)
    assert history[-1]["valid_bound"] > history[3]["valid_bound"]
    assert not whole.state.interrupted


def test_the_same_seed_repeats_and_another_differs(
    train: Train, config: TrainConfig, whole: Any
) -> None:
    assert_same_end(train(config), whole)
    other = train(replace(config, seed=4))
    assert other.state.history[0]["bound"] != whole.state.history[0]["bound"]


@pytest.mark.parametrize("n_epochs", range(N_EPOCHS))
def test_resumed_at_any_epoch_ends_bit_for_bit(
    train: Train, config: TrainConfig, whole: Any, tmp_path: Path, n_epochs: int
) -> None:
    with pytest.raises(KilledError):
        train(config, tmp_path, watch=kill_after(n_epochs))
    last = load_last_checkpoint(tmp_path / "checkpoints")
    assert (last.facts["epoch"] if last else 0) == n_epochs
    assert_same_end(train(config, tmp_path, resume=True), whole)
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert without_time(map(json.loads, lines)) == without_time(whole.state.history)


def test_resuming_a_finished_run_changes_nothing(
    train: Train, config: TrainConfig, whole: Any, tmp_path: Path
) -> None:
    train(config, tmp_path)
    shown: list[int] = []
    again = train(config, tmp_path, resume=True, watch=lambda record: shown.append(record["epoch"]))
    assert_same_end(again, whole)
    assert shown == list(range(N_EPOCHS))  # the progress bar is brought up to date


def test_resumed_from_the_checkpoint_before_a_damaged_one(
    train: Train, config: TrainConfig, whole: Any, tmp_path: Path
) -> None:
    with pytest.raises(KilledError):
        train(config, tmp_path, watch=kill_after(6))
    newest = tmp_path / "checkpoints" / "000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="000006"):
        assert_same_end(train(config, tmp_path, resume=True), whole)


def test_a_new_run_does_not_go_on_from_an_old_one(
    train: Train, config: TrainConfig, tmp_path: Path
) -> None:
    """Old checkpoints have higher numbers than those of the first epochs of the new run."""
    train(config, tmp_path)
    other = replace(config, seed=4)
    with pytest.raises(KilledError):
        train(other, tmp_path, watch=kill_after(2))
    assert_same_end(train(other, tmp_path, resume=True), train(other))


def test_another_run_is_not_resumed(train: Train, config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path, run={"n_rows": 60, "image_shape": (2, 2)})
    train(config, tmp_path, run={"n_rows": 60, "image_shape": (2, 2)}, resume=True)
    with pytest.raises(ValueError, match="n_rows=60 and this fit has n_rows=61"):
        train(config, tmp_path, run={"n_rows": 61, "image_shape": (2, 2)}, resume=True)


@pytest.fixture
def seldom(config: TrainConfig) -> TrainConfig:
    """No second checkpoint by the clock."""
    return replace(config, checkpoint_seconds=3600.0)


def test_checkpoints_keep_their_distance(train: Train, seldom: TrainConfig, tmp_path: Path) -> None:
    """But the first epoch and the last have one, so that there is always one to resume from."""
    train(seldom, tmp_path)
    kept = sorted(path.stem for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["000001", f"{N_EPOCHS:06d}"]
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == N_EPOCHS


@pytest.mark.parametrize("n_epochs", [1, 5])
def test_a_short_run_is_resumed_from_its_first_epoch_and_checked(
    train: Train, seldom: TrainConfig, whole: Any, tmp_path: Path, n_epochs: int
) -> None:
    with pytest.raises(KilledError):
        train(seldom, tmp_path, run={"n_rows": 60}, watch=kill_after(n_epochs))
    assert load_last_checkpoint(tmp_path / "checkpoints").facts["epoch"] == 1
    with pytest.raises(ValueError, match="n_rows=60 and this fit has n_rows=61"):
        train(seldom, tmp_path, run={"n_rows": 61}, resume=True)
    assert_same_end(train(seldom, tmp_path, run={"n_rows": 60}, resume=True), whole)


@pytest.mark.parametrize("patience", [1, 20])
def test_a_finished_run_is_not_trained_again(
    train: Train, seldom: TrainConfig, tmp_path: Path, patience: int
) -> None:
    """Whether it came to its last epoch or stopped early."""
    config, bounds = replace(seldom, patience=patience), [9.0, 3.0, 2.0, 2.9, 8.0]
    train(config, tmp_path, Scripted(bounds))
    files = list((tmp_path / "checkpoints").iterdir())
    written = {path: path.stat().st_mtime_ns for path in files}
    module, n_steps = Scripted(bounds), []
    module.after_step = n_steps.append
    state = train(config, tmp_path, module, resume=True).state
    assert not n_steps
    assert len(state.history) == (7 if patience == 1 else N_EPOCHS)
    assert {path: path.stat().st_mtime_ns for path in files} == written


@pytest.mark.parametrize(("epoch", "n_components"), [(1, 0), (4, 1)])
def test_ctrl_c_ends_the_run_with_a_usable_module(
    train: Train, config: TrainConfig, epoch: int, n_components: int
) -> None:
    def press(record: dict[str, Any]) -> None:
        if record["epoch"] == epoch:
            assert (record["n_components"] or 0) >= n_components
            raise KeyboardInterrupt

    module, state = train(config, watch=press)
    assert state.interrupted
    assert len(state.history) == epoch + 1
    assert module.n_components >= 1
    resp = module.responsibilities(torch.zeros(2, 4))
    torch.testing.assert_close(resp.sum(1), torch.ones(2, dtype=resp.dtype))


@pytest.mark.parametrize("n_valid", [0, 10])
def test_a_huge_learning_rate_is_a_divergence(
    train: Train, config: TrainConfig, tmp_path: Path, n_valid: int
) -> None:
    with pytest.raises(DivergedError, match="learning_rate"):
        train(replace(config, learning_rate=1e30), tmp_path, n_valid=n_valid)


@pytest.mark.parametrize(
    ("parameter", "term"),
    [
        ("decoder.output.bias", "reconstruction first"),
        ("encoder.log_var.bias", "reconstruction, entropy"),
        ("likelihood.log_var_over_gain", "reconstruction first"),
    ],
)
@pytest.mark.parametrize("epoch", [1, 5])
def test_a_poisoned_weight_is_named_by_its_term(
    train: Train,
    config: TrainConfig,
    make_module: Callable[[], InfiniteMixtureModule],
    tmp_path: Path,
    parameter: str,
    term: str,
    epoch: int,
) -> None:
    """After two of the four batches of a warm-up epoch, and of a joint one.

    Not a number: an infinite log-variance of codes would be bounded by the model itself.
    """
    module, n_steps = make_module(), itertools.count(1)

    def poison(terms: ElboTerms) -> None:
        if next(n_steps) == 4 * epoch + 2:
            dict(module.named_parameters())[parameter].data[0] = torch.nan

    module.after_step = poison
    with pytest.raises(DivergedError) as caught:
        train(config, tmp_path, module)
    last = load_last_checkpoint(tmp_path / "checkpoints")
    assert f"at epoch {epoch}, batch 2: {term}" in str(caught.value)
    assert f"the last checkpoint is {last.path}" in str(caught.value)
    assert last.facts["epoch"] == epoch
    assert all(value.isfinite().all() for value in last.tensors.values())


def test_batches_of_an_epoch_are_of_equal_size(
    train: Train, config: TrainConfig, make_module: Callable[[], InfiniteMixtureModule]
) -> None:
    """Fifty rows in batches of at most 49 are twice 25: the row left over is no batch."""
    module, sizes = make_module(), []
    whole = module.objective

    def objective(x: Tensor, *args: Any, **options: Any) -> ElboTerms:
        sizes.append(len(x))
        return whole(x, *args, **options)

    module.objective = objective
    train(replace(config, batch_size=49, warm_up_epochs=1, max_epochs=1), None, module)
    assert sizes == [25, 25, 10, 25, 25, 10]  # ten rows validate


def test_a_poisoned_last_batch_is_found_by_the_validation(
    train: Train, config: TrainConfig, make_module: Callable[[], InfiniteMixtureModule]
) -> None:
    """Before it can be saved, or a mixture started on its codes."""
    module, n_steps = make_module(), itertools.count(1)

    def poison(terms: ElboTerms) -> None:
        if next(n_steps) == 12:
            module.encoder.mean.bias.data[0] = torch.nan

    module.after_step = poison
    with pytest.raises(DivergedError, match=r"epoch 2, validation: .* no checkpoint has been"):
        train(config, module=module)


class Scripted(LatentMixtureModule):
    """Its validation bounds are given; it counts the epochs that have begun."""

    n_components = 1

    def __init__(self, bounds: list[float]) -> None:
        super().__init__()
        self.bounds = bounds
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("n_begun", torch.tensor(0))

    def elbo(self, x: Tensor, noise: Tensor, seen: Tensor | None = None) -> ElboTerms:
        zero = torch.zeros(len(x))
        value = self.weight if self.training else torch.tensor(self.bounds[int(self.n_begun) - 1])
        return ElboTerms(zero + value, zero, zero, zero)

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
    ("bounds", "patience", "epochs", "begun_with", "best"),
    [
        ([9.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], 2, [*range(11)], 5, 8.0),
        ([9.0, 5.0, 3.0, 2.0, 4.0], 2, [*range(11)], 2, 5.0),  # the second went on
        ([9.0, 5.0, 3.0, 2.0], 1, [*range(7), 8, 9], 2, 5.0),  # both phases end early
    ],
)
def test_the_best_of_the_joint_phase_is_fine_tuned(
    train: Train,
    config: TrainConfig,
    tmp_path: Path,
    bounds: list[float],
    patience: int,
    epochs: list[int],
    begun_with: int,
    best: float,
) -> None:
    """A run that is killed at the border goes the same way."""
    n_joint = len([epoch for epoch in epochs if 3 <= epoch < 8])
    plan = replace(config, patience=patience, fine_tune_epochs=3)
    begun: list[int] = []

    def scripted() -> Scripted:
        module = Scripted(bounds)
        start = module.start_epoch

        def noted(rows: Any) -> None:
            begun.append(int(module.n_begun))
            start(rows)

        module.start_epoch = noted
        return module

    module, state = train(plan, module=scripted())
    assert [record["epoch"] for record in state.history] == epochs
    assert begun[n_joint] == begun_with
    assert state.best_bound == best
    with pytest.raises(KilledError):
        train(plan, tmp_path, scripted(), watch=kill_after(epochs[3 + n_joint]))
    resumed = train(plan, tmp_path, scripted(), resume=True)
    assert without_time(resumed.state.history) == without_time(state.history)
    assert int(resumed.module.n_begun) == int(module.n_begun)


def test_a_resumed_run_remembers_how_long_it_has_waited(
    train: Train, config: TrainConfig, tmp_path: Path
) -> None:
    """The best of these bounds is the second; one epoch without a better one had passed."""
    impatient, bounds = replace(config, patience=1), [9.0, 3.0, 2.0, 2.9, 8.0]
    with pytest.raises(KilledError):
        train(impatient, tmp_path, Scripted(bounds), watch=kill_after(6))
    module, state = train(impatient, tmp_path, Scripted(bounds), resume=True)
    assert len(state.history) == 7
    assert state.best_bound == 3.0
    assert int(module.n_begun) == 3


def test_the_schedule_is_followed(train: Train, config: TrainConfig) -> None:
    """Adam moves a weight with a constant gradient by the learning rate at every step."""
    module, _ = train(config, module=Scripted([1.0, 2.0, 3.0, 4.0, 5.0]))
    rates = [config.lr(epoch, step / 4) for epoch in range(N_EPOCHS) for step in range(4)]
    assert float(module.weight.detach()) == pytest.approx(sum(rates), rel=1e-5)


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
