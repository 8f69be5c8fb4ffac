"""The real thing: processes that are killed, interrupted, and watched for their memory."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import infimix
from infimix.training import load_tensors

N_EPOCHS = 12  # of each phase; an epoch of the warm-up takes some 20 ms

FIT = """
import functools, json, signal, sys
from sklearn.datasets import load_digits
from infimix.estimators import InfiniteMixtureVAE, build

signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have it ignored
build.TrainConfig = functools.partial(build.TrainConfig, checkpoint_seconds=0.0)
run_dir, resume, n_epochs = sys.argv[1], sys.argv[2] == "resume", int(sys.argv[3])
model = InfiniteMixtureVAE(
    n_latent=4, max_components=8, warm_up_epochs=n_epochs, max_epochs=n_epochs, n_init=1,
    batch_size=64, random_state=0, verbose=1, run_dir=run_dir, resume=resume,
)
model.fit(load_digits().data[:400]).save(run_dir)
print(json.dumps({"interrupted": model.interrupted_, "n_components": model.n_components_}))
"""

MEMORY = """
import json, sys, threading, time
import numpy as np, torch
from infimix.distributions.likelihoods import NormalLikelihood
from infimix.mixture import StickBreaking
from infimix.models import InfiniteMixtureModule, Pass
from infimix.networks import Encoder, MLPBody, MLPDecoder
from infimix.training import TrainConfig, fit, rows_on

def anonymous():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024  # MiB

def run(X):
    L, D = 2, X.shape[1]
    module = InfiniteMixtureModule(
        Encoder(MLPBody(D, (8,)), L), MLPDecoder(L, (8,), D), NormalLikelihood(D),
        n_latent=L, law=StickBreaking(1.0), n_start=4, max_components=4, n_fixed=None,
        by_valleys=True, heavy_tails=True, n_restarts=1, seed=0,
    )
    rows = rows_on(X, np.zeros(D), np.ones(D), torch.device("cpu"))
    index = torch.arange(len(X))
    config = TrainConfig(1, 1, 512, 1e-3, patience=5, seed=0)
    fit(module, rows, index[50:], Pass(50, lambda: rows.blocks(index[:50])), config)

X = np.load(sys.argv[1], mmap_mode="r")
run(np.array(X[:6000]))
peak, done = [anonymous()], False

def watch():
    while not done:
        peak.append(anonymous())
        time.sleep(0.002)

watcher = threading.Thread(target=watch)
watcher.start()
run(X)
done = True
watcher.join()
print(json.dumps({"growth": max(peak) - peak[0], "n_looks": len(peak)}))
"""


def start(run_dir: Path, how: str = "new") -> subprocess.Popen[str]:
    """Fit in a process of its own; each epoch is a line on stderr."""
    return subprocess.Popen(
        [sys.executable, "-c", FIT, str(run_dir), how, str(N_EPOCHS)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_epoch(process: subprocess.Popen[str], epoch: int) -> None:
    """Read its lines until one says that this many epochs are done."""
    for line in process.stderr:
        if line.startswith(f"{epoch}/"):
            return
    pytest.fail(f"the fit ended before epoch {epoch}")


def finish(process: subprocess.Popen[str]) -> dict[str, object]:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads(out)


def end_of(run_dir: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, object]]]:
    """Saved weights, and the history without its times."""
    history = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    for record in history:
        del record["seconds"]
    return load_tensors(run_dir / "weights.safetensors").tensors, history


def test_killed_again_and_again_it_ends_bit_for_bit(tmp_path: Path) -> None:
    """Killed early in the warm-up, later in it, in the joint phase; each time at some instant."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uninterrupted, how, epochs_done = start(whole), "new", []
    for epoch in (2, 6, 16):
        process = start(killed, how)
        wait_for_epoch(process, epoch)
        time.sleep(random.SystemRandom().uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        newest = max((killed / "checkpoints").glob("*.safetensors"), default=Path("000000"))
        epochs_done.append(int(newest.name[:6]))
        how = "resume"
    assert not (killed / "weights.safetensors").exists()
    assert epochs_done[0] < epochs_done[1] < epochs_done[2]
    assert epochs_done[1] < N_EPOCHS < epochs_done[2]
    finish(start(killed, how))
    finish(uninterrupted)
    (weights, history), (expected, expected_history) = end_of(killed), end_of(whole)
    assert weights.keys() == expected.keys()
    assert [name for name in weights if not torch.equal(weights[name], expected[name])] == []
    assert history == expected_history
    assert len(history) == 2 * N_EPOCHS + N_EPOCHS // 2  # warm-up, joint, fine-tuning


@pytest.mark.parametrize("epoch", [2, N_EPOCHS + 2], ids=["warm-up", "joint"])
def test_ctrl_c_leaves_a_usable_run_directory(tmp_path: Path, epoch: int) -> None:
    process = start(tmp_path)
    wait_for_epoch(process, epoch)
    process.send_signal(signal.SIGINT)
    assert finish(process)["interrupted"]
    model = infimix.load(tmp_path)
    assert model.interrupted_
    assert epoch <= len(model.history_) < 2 * N_EPOCHS
    assert model.predict(np.zeros((3, 64))).shape == (3,)
    assert model.sample(2)[0].shape == (2, 64)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_maps_are_streamed_in_bounded_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(
        tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(125_000, 100)
    )
    for part in np.array_split(X, 10):
        part[:] = rng.normal(size=part.shape)
    X.flush()
    process = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "x.npy")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout)
    assert found["n_looks"] > 50
    assert found["growth"] < 30  # MiB; the rows are 48
