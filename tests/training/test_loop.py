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
from torch import Tensor

from infimix.errors import DivergedError
from infimix.models import ElboTerms, InfiniteMixtureModule
from infimix.training import TrainConfig
from infimix.training.checkpoint import load_last_checkpoint

Train = Callable[..., Any]
Killed = Callable[..., None]
N_EPOCHS = 8


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


def test_fine_tuning_is_of_the_networks_alone(
    train: Train, config: TrainConfig, make_module: Callable[[], InfiniteMixtureModule]
) -> None:
    """The mixture is settled before it, and then stays."""
    module, sums, weights = make_module(), [], []

    def watch(record: dict[str, Any]) -> None:
        sums.append(module.state.sums.clone())
        weights.append(float(module.encoder.mean.bias[0].detach()))

    train(replace(config, fine_tune_epochs=3), module=module, watch=watch)
    assert len({tuple(s.flatten().tolist()) for s in sums[3:8]}) == 5
    assert len({tuple(s.flatten().tolist()) for s in sums[8:]}) == 1
    assert not any(torch.equal(sums[8], s) for s in sums[3:8])
    assert len(set(weights)) == len(weights) == 11
    assert torch.equal(module.state.sums, sums[8])


def test_the_same_seed_repeats_and_another_differs(
    train: Train, config: TrainConfig, whole: Any
) -> None:
    assert_same_end(train(config), whole)
    other = train(replace(config, seed=4))
    assert other.state.history[0]["bound"] != whole.state.history[0]["bound"]


@pytest.mark.parametrize("n_epochs", range(N_EPOCHS))
def test_resumed_at_any_epoch_ends_bit_for_bit(
    train: Train, killed: Killed, config: TrainConfig, whole: Any, tmp_path: Path, n_epochs: int
) -> None:
    killed(n_epochs, config, tmp_path)
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
    train: Train, killed: Killed, config: TrainConfig, whole: Any, tmp_path: Path
) -> None:
    killed(6, config, tmp_path)
    newest = tmp_path / "checkpoints" / "000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    with pytest.warns(UserWarning, match="000006"):
        assert_same_end(train(config, tmp_path, resume=True), whole)


def test_a_new_run_does_not_go_on_from_an_old_one(
    train: Train, killed: Killed, config: TrainConfig, tmp_path: Path
) -> None:
    """Old checkpoints have higher numbers than those of the first epochs of the new run."""
    train(config, tmp_path)
    other = replace(config, seed=4)
    killed(2, other, tmp_path)
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
    train: Train, killed: Killed, seldom: TrainConfig, whole: Any, tmp_path: Path, n_epochs: int
) -> None:
    killed(n_epochs, seldom, tmp_path, run={"n_rows": 60})
    assert load_last_checkpoint(tmp_path / "checkpoints").facts["epoch"] == 1
    with pytest.raises(ValueError, match="n_rows=60 and this fit has n_rows=61"):
        train(seldom, tmp_path, run={"n_rows": 61}, resume=True)
    assert_same_end(train(seldom, tmp_path, run={"n_rows": 60}, resume=True), whole)


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
