"""How deep a valley parts two clusters: what every cut of the tree gives on the generated cases.

    python benchmarks/valleys.py
    python benchmarks/valleys.py --table

A finished fit is a line of `results/valleys.jsonl`, with the depths of its tree, and is not run
again. Cases of more than 200000 rows are run with seed 0 only.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generated import CASES, generate
from lines import append, markdown, read

from infimix import DPGaussianMixture

RESULTS = Path(__file__).parent / "results" / "valleys.jsonl"
SEEDS, SEED_ROWS = (0, 1, 2), 200_000
CUTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.4, 1.6, 2.0, 2.5, 3.0)


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: share of fits at the exact K, with too few and with too many."""
    K = np.array([line["K"] for line in lines])
    rows = []
    for cut in CUTS:
        found = np.array([1 + sum(depth >= cut for depth in line["depths"]) for line in lines])
        rows.append([cut, *(f"{at.mean():.3f}" for at in (found == K, found < K, found > K))])
    head = ["cut, nats", "exact", "too few", "too many"]
    return markdown(head, rows, n_text=0) + f"\n{len(lines)} fits.\n"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    is_table_only = parser.parse_args().table
    torch.set_num_threads(1)
    lines = read(RESULTS)
    done = {(line["case"], line["seed"]) for line in lines}
    jobs = [
        (case, seed) for seed in SEEDS for case in CASES if not seed or case.n_rows <= SEED_ROWS
    ]
    for case, seed in jobs:
        if is_table_only or (case.name, seed) in done:
            continue
        X, _ = generate(case, seed)
        fit = DPGaussianMixture(random_state=seed).fit(X)
        depths = [round(join.depth, 3) for join in fit.merge_path_]
        lines.append({"case": case.name, "seed": seed, "K": case.n_clusters, "depths": depths})
        append(RESULTS, lines[-1])
    sys.stdout.write(table(lines))


if __name__ == "__main__":
    main()
