"""Which rule finds the number of clusters?

Every rule is run on the generated cases of `generated.py`, whose number of clusters is known:

    python benchmarks/how_many.py --max-rows 5001 --seeds 2
    python benchmarks/how_many.py --table

A finished run is a line of `results/how_many.jsonl` and is not run again. The rules, beside the
library's own: its parts before any joining, normal tails, rows that are all worth one (plain
evidence), rows worth a fixed number, parts joined by dip tests (package `diptest`), the longest
lifetime in the tree of joins, and three estimators of scikit-learn. Where INFIMIX_DATA is set, the
ten features of MNIST in INFIMIX_DATA/embeddings are clustered as well.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from generated import CASES, SHAPES, Case, generate
from lines import Line, append, markdown, read
from rules import GROUPS, Found, notes_of, timed
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from infimix import DPGaussianMixture
from infimix.evaluation import score_clustering

RESULTS = Path(__file__).parent / "results" / "how_many.jsonl"
EMBEDDING = "embeddings/umap10_mnist.npz"


def record(case: Case, seed: int, y: np.ndarray, found: Found) -> Line:
    """One line of the results; no labels, no scores."""
    line = {"case": case.name, **case._asdict(), "seed": seed, "rule": found.rule}
    if found.labels is not None:
        K = len(np.unique(found.labels)) if found.n_clusters is None else found.n_clusters
        ari = round(float(adjusted_rand_score(y, found.labels)), 4)
        line |= {"n_found": K, "is_exact": K == case.n_clusters, "ari": ari}
    return line | {"seconds": round(found.seconds, 3), **found.notes}


def run(arguments: argparse.Namespace) -> None:
    """All cases and rules that the results lack."""
    done = {(line["case"], line["seed"], line["rule"]) for line in read(arguments.results)}
    wanted = [case for case in CASES if arguments.min_rows <= case.n_rows <= arguments.max_rows]
    for seed in range(arguments.seeds):
        for name in arguments.rules:
            for case in wanted:
                if (case.name, seed, name) in done:
                    continue
                X, y = generate(case, seed)
                founds = list(GROUPS[name](X, case.n_clusters, seed))
                append(arguments.results, *(record(case, seed, y, found) for found in founds))


def embedding(path: Path, n_seeds: int, results: Path) -> None:
    """The library on ten features of MNIST."""
    done = {line["seed"] for line in read(results) if line["case"] == path.stem}
    with np.load(path) as file:
        X, y = file["X"].astype(np.float32), file["y"]
    for seed in sorted(set(range(n_seeds)) - done):
        fit, seconds = timed(DPGaussianMixture(random_state=seed).fit, X)
        scores = score_clustering(y, fit.labels_)
        line = {"case": path.stem, "seed": seed, "rule": "infimix", "n_found": fit.n_components_}
        line |= {"nmi": round(scores.nmi, 4), "accuracy": round(scores.accuracy, 4)}
        append(results, line | {"seconds": round(seconds, 1)} | notes_of(fit))


def table(lines: list[Line], *, shared_only: bool) -> str:
    """Markdown: how often each rule is exact, on the runs that all rules (or it alone) finished.

    A run that a rule skipped for its cost is left out of that rule's shares and counted in `runs`.
    """
    runs = {rule: {} for rule in dict.fromkeys(line["rule"] for line in lines)}
    for line in lines:
        runs[line["rule"]][line["case"], line["seed"]] = line
    shared = set.intersection(*(set(mine) for mine in runs.values()))
    shapes = [shape for shape in SHAPES if any(line["shape"] == shape for line in lines)]
    head = ["rule", "runs", "exact K", "too few", "too many", *shapes, "K = 1", "ARI", "seconds"]
    rows = []
    for rule, mine in runs.items():
        of = [line for key, line in mine.items() if not shared_only or key in shared]
        kept = [line for line in of if "n_found" in line]
        if not kept:
            continue
        many = [line for line in kept if line["n_clusters"] > 1]
        off = np.array([line["n_found"] - line["n_clusters"] for line in kept])
        cells = [f"{len(kept)}/{len(of)}", _share(off == 0), _share(off < 0), _share(off > 0)]
        for shape in shapes:
            cells.append(_share([line["is_exact"] for line in many if line["shape"] == shape]))
        cells.append(_share([line["is_exact"] for line in kept if line["n_clusters"] == 1]))
        cells.append(f"{np.mean([line['ari'] for line in kept]):.3f}")
        cells.append(f"{np.median([line['seconds'] for line in kept]):.2g}")
        rows.append([rule, *cells])
    return markdown(head, rows)


def misses(lines: list[Line], rule: str) -> str:
    """Markdown: the runs in which a rule is not exact."""
    head = ["case", "seed", "K", "parts", "ARI"]
    rows = [
        [line["case"], line["seed"], line["n_found"], line.get("n_parts", ""), line["ari"]]
        for line in lines
        if line["rule"] == rule and not line.get("is_exact", True)
    ]
    return markdown(head, rows)


def _share(is_so: Any) -> str:
    return f"{100 * np.mean(is_so):.0f} %" if len(is_so) else "–"


def main() -> None:
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--max-rows", type=int, default=20_000)
    parser.add_argument("--min-rows", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rules", nargs="*", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the tables and run nothing")
    parser.add_argument(
        "--all-runs", action="store_true", help="in the table, not only shared ones"
    )
    arguments = parser.parse_args()
    if arguments.table:
        smallest, largest = arguments.min_rows, arguments.max_rows
        lines = [line for line in read(arguments.results) if "shape" in line]
        lines = [line for line in lines if smallest <= line["n_rows"] <= largest]
        text = table(lines, shared_only=not arguments.all_runs)
        sys.stdout.write(text + "\n" + misses(lines, "infimix"))
        return
    warnings.simplefilter("ignore", ConvergenceWarning)  # `converged` is in the records
    run(arguments)
    if "INFIMIX_DATA" in os.environ:
        embedding(Path(os.environ["INFIMIX_DATA"]) / EMBEDDING, 5, arguments.results)


if __name__ == "__main__":
    main()
