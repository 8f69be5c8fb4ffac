"""What each ingredient of the unified model brings, on MNIST and on digits.

    python benchmarks/ablation.py --data mnist --seeds 5
    python benchmarks/ablation.py --table

Every row is `InfiniteMixtureVAE` with other parameters than the defaults, or without its last
phase. Labels are looked at when a fit has ended. MNIST is fitted to its 60000 training rows and
scored once on its 10000 test rows, digits on the rows of the fit. A finished run is a line of
`results/ablation.jsonl` and is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from lines import Line, append, markdown, mean_and_sd, read

from infimix import InfiniteMixtureVAE
from infimix.data import NAMED, load
from infimix.evaluation import score_clustering
from infimix.training import TrainConfig

RESULTS = Path(__file__).parent / "results" / "ablation.jsonl"
ROWS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no neighbours": {"n_neighbors": 0},
    "5 neighbours": {"n_neighbors": 5},
    "30 neighbours": {"n_neighbors": 30},
    "moved images": {"augmentation": "affine"},
    "moved images, no neighbours": {"augmentation": "affine", "n_neighbors": 0},
    "moved images, convolutions": {"augmentation": "affine", "network": "conv"},
    "convolutions": {"network": "conv"},
    "batches of 64": {"batch_size": 64},
    "batches of 256": {"batch_size": 256},
    "normal tails": {"heavy_tails": False},
    "ten components given": {"n_components": 10},
    "begun with 100 components": {"max_components": 100},
    "begun with 300 components": {"max_components": 300},
    "half the warm-up": {"warm_up_epochs": 12},
    "twice the warm-up": {"warm_up_epochs": 50},
    "twice the joint phase": {"max_epochs": 40},
    "no fine-tuning": {},
}


class NotFineTuned(InfiniteMixtureVAE):
    """The model as the joint phase leaves it."""

    def _plan(self, n_train: int, seed: int) -> TrainConfig:
        return replace(super()._plan(n_train, seed), fine_tune_epochs=0)


def run(data: str, name: str, seed: int) -> Line:
    """One fit and its scores."""
    train = load(data)
    test = load(data, split="test") if "test" in NAMED[data].splits else train
    assert train.y is not None
    assert test.y is not None
    make = NotFineTuned if name == "no fine-tuning" else InfiniteMixtureVAE
    start = time.perf_counter()
    model = make(random_state=seed, image_shape=train.image_shape, **ROWS[name]).fit(train.X)
    seconds = time.perf_counter() - start
    found = score_clustering(test.y, model.predict(test.X))
    return {
        "data": data,
        "row": name,
        "seed": seed,
        "K": model.n_components_,
        "NMI": found.nmi,
        "ACC": found.accuracy,
        "ARI": found.ari,
        "train NMI": score_clustering(train.y, model.labels_).nmi,
        "bound": model.lower_bound_,
        "test bound": model.score(test.X),
        "seconds": round(seconds, 1),
    }


def table() -> str:
    """Mean and standard deviation over the seeds of each row, as Markdown."""
    rows, done = [], read(RESULTS)
    for data, name in dict.fromkeys((line["data"], line["row"]) for line in done):
        mine = [line for line in done if (line["data"], line["row"]) == (data, name)]
        spread = [
            mean_and_sd((line[key] for line in mine), digits)
            for key, digits in (("NMI", 3), ("ACC", 3), ("test bound", 1))
        ]
        counts = " ".join(str(line["K"]) for line in mine)
        rows.append([data, name, counts, len(mine), *spread])
    return markdown(["data", "row", "K", "seeds", "NMI", "ACC", "test bound"], rows, n_text=3)


def main() -> None:
    """Run what has not been run, or show what has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["mnist", "digits"], default="mnist")
    parser.add_argument("--seeds", type=int, default=5, help="seeds 0 to this one, less one")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--table", action="store_true", help="show the runs that have finished")
    args = parser.parse_args()
    if args.table:
        sys.stdout.write(table())
        return
    done = {(line["data"], line["row"], line["seed"]) for line in read(RESULTS)}
    for seed in range(args.seeds):
        for name in args.rows:
            if (args.data, name, seed) in done:
                continue
            line = run(args.data, name, seed)
            append(RESULTS, line)
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
