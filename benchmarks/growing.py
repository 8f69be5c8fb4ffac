"""Does a model that goes on learning find new clusters and keep old ones? MNIST, digit by digit.

    python benchmarks/growing.py
    python benchmarks/growing.py --table

`InfiniteMixtureVAE.partial_fit` gets the training rows of the digits 0 to 7, then all eights, then
all nines. After each batch the test rows of the digits seen so far are scored, and it is counted
how many test rows of 0 to 7 have the number that they had after the first. A finished run is lines
of `results/growing.jsonl` and is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from lines import Line, append, markdown, read

from infimix import InfiniteMixtureVAE
from infimix.data import load
from infimix.evaluation import score_clustering

RESULTS = Path(__file__).parent / "results" / "growing.jsonl"
BATCHES = [list(range(8)), [8], [9]]


def run(seed: int) -> list[Line]:
    """One line a batch."""
    train, test = load("mnist"), load("mnist", split="test")
    assert train.y is not None
    assert test.y is not None
    model, lines = InfiniteMixtureVAE(random_state=seed), list[Line]()
    is_first, at_first = np.isin(test.y, BATCHES[0]), None
    for digits in BATCHES:
        start = time.perf_counter()
        model.partial_fit(train.X[np.isin(train.y, digits)])
        seconds = time.perf_counter() - start
        is_seen = test.y <= max(digits)
        label = model.predict(test.X)
        at_first = label[is_first] if at_first is None else at_first
        found = score_clustering(test.y[is_seen], label[is_seen])
        line = {
            "seed": seed,
            "digits": f"{digits[0]} to {digits[-1]}" if len(digits) > 1 else str(digits[0]),
            "K": model.n_components_,
            "NMI": found.nmi,
            "ACC": found.accuracy,
            "same number": float(np.mean(label[is_first] == at_first)),
            "seconds": round(seconds, 1),
        }
        lines.append(line)
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    return lines


def table() -> str:
    """All lines, as Markdown."""
    keys = ["seed", "digits", "K", "NMI", "ACC", "same number", "seconds"]
    shares = {"NMI", "ACC", "same number"}
    rows = [
        [f"{line[key]:.3f}" if key in shares else line[key] for key in keys]
        for line in read(RESULTS)
    ]
    return markdown(keys, rows, n_text=2)


def main() -> None:
    """Run what has not been run, or show what has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to this one, less one")
    parser.add_argument("--table", action="store_true", help="show the runs that have finished")
    args = parser.parse_args()
    if args.table:
        sys.stdout.write(table())
        return
    done = {line["seed"] for line in read(RESULTS)}
    for seed in range(args.seeds):
        if seed in done:
            continue
        append(RESULTS, *run(seed))


if __name__ == "__main__":
    main()
