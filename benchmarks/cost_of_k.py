"""What a component costs: a training step, and the bound after equal time, of DLGMM by K.

    python benchmarks/cost_of_k.py
    python benchmarks/cost_of_k.py --table

Static binarized MNIST (INFIMIX_DATA), 500d-25s, batches of 100, one thread and processor time. A
step is a median of 100. In the second part each setting trains for as long as K = 1 takes for ten
epochs; the bound is then that of full marginalisation on 2000 validation rows. A finished setting
is a line of `results/cost_of_k.jsonl` and is not run again.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lines import Line, append, markdown, read

from infimix import DLGMM
from infimix.data import load
from infimix.training.loop import clip_gradients

RESULTS = Path(__file__).parent / "results" / "cost_of_k.jsonl"
COMPONENTS = (1, 3, 10, 50)
SETTINGS = (  # passes of the decoder, entropy
    ("all", "mixture"),
    (1, "mixture"),
    (2, "mixture"),
    ("all", "components"),
    (1, "components"),
    (2, "components"),
)
N_STEPS, N_WARM = 100, 10
EPOCHS = 10.0  # of K = 1, the time that all have


def module_of(K: int, passes: int | str, entropy: str, X: np.ndarray) -> torch.nn.Module:
    """Module in its start, on binary rows."""
    options = {"decoder_passes": passes, "entropy": entropy, "max_epochs": 1, "random_state": 0}
    estimator = DLGMM(25, n_components=K, learning_rate=1e-12, **options)
    return estimator.fit(X[:200]).module_.train()


def stepper(module: torch.nn.Module, x: torch.Tensor, seed: int) -> Any:
    """A function that takes one step of training as the loop does."""
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-4, fused=True)
    noise, order = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)

    def step() -> None:
        index = torch.randint(len(x), (100,), generator=order)
        loss = -module.objective(x[index], noise).weighted(1.0).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip_gradients(module, 100.0)
        optimizer.step()

    return step


def milliseconds(module: torch.nn.Module, x: torch.Tensor) -> float:
    """Median of a step."""
    step = stepper(module, x, 0)
    times = []
    for _ in range(N_WARM + N_STEPS):
        start = time.process_time()
        step()
        times.append(time.process_time() - start)
    return 1e3 * float(np.median(times[N_WARM:]))


def bound_after(module: torch.nn.Module, x: torch.Tensor, v: torch.Tensor, seconds: float) -> Line:
    """Validation bound, every component counted, after so much processor time."""
    step, n_steps, start = stepper(module, x, 0), 0, time.process_time()
    while time.process_time() - start < seconds:
        step()
        n_steps += 1
    module.eval()
    with torch.no_grad():
        noise = module.draw_noise(len(v), torch.Generator().manual_seed(1))
        bound = float(module.elbo(v, noise).total.mean())
    return {"valid_bound": round(bound, 3), "steps": n_steps}


def run(results: Path) -> None:
    """All settings that the results lack."""
    done = read(results)
    seen = {(line["K"], line["passes"], line["entropy"]) for line in done}
    x = torch.from_numpy(load("binarized-mnist").X).float()
    v = torch.from_numpy(load("binarized-mnist", split="valid").X[:2000]).float()
    budget = next((line["budget_s"] for line in done), None)
    for K in COMPONENTS:
        for passes, entropy in SETTINGS[: 1 if K == 1 else None]:
            if (K, passes, entropy) in seen:
                continue
            ms = milliseconds(module_of(K, passes, entropy, x.numpy()), x)
            budget = budget or round(EPOCHS * len(x) / 100 * ms / 1e3, 1)
            line = {"K": K, "passes": passes, "entropy": entropy, "ms": round(ms, 2)}
            line |= {"budget_s": budget}
            line |= bound_after(module_of(K, passes, entropy, x.numpy()), x, v, budget)
            append(results, line)


def table(results: Path) -> str:
    """Markdown."""
    lines = read(results)
    first = next(line["ms"] for line in lines if line["K"] == 1)
    rows = [
        [
            line["entropy"],
            line["K"],
            line["passes"],
            f"{line['ms']:.1f}",
            f"{line['ms'] / first:.1f}",
            line["steps"],
            f"{line['valid_bound']:.2f}",
        ]
        for line in lines
    ]
    head = ["entropy", "K", "decoder passes", "ms a step", "K = 1 is 1", "steps"]
    return markdown([*head, "validation bound"], rows)


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.table:
        sys.stdout.write(table(arguments.results))
    else:
        run(arguments.results)


if __name__ == "__main__":
    main()
