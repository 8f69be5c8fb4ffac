"""Are small clusters beside large ones found?

    python benchmarks/small_clusters.py
    python benchmarks/small_clusters.py --table

Three large Gaussian clusters, and many small ones of half their width around them, so many of the
large one's standard deviations away in random directions that small and large never overlap; two
small ones may, in few features: the clusters that no other comes closer to than six of its own
standard deviations are the least that should be found. HDBSCAN, told half the size of a small
cluster, stands beside. A finished run is a line of `results/small_clusters.jsonl` and is not run
again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from lines import Line, append, markdown, read
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist, squareform
from sklearn.cluster import HDBSCAN
from sklearn.metrics import adjusted_rand_score

from infimix import DPGaussianMixture

RESULTS = Path(__file__).parent / "results" / "small_clusters.jsonl"
N_LARGE = 3
WIDTH = 0.5  # standard deviation of a small cluster
APART = 6.0  # of them, from where two small ones are two


class Case(NamedTuple):
    """One kind of data."""

    n_rows: int  # of the large clusters together
    n_features: int
    n_small: int
    size: int  # rows of a small cluster
    distance: float  # from the large one, in its standard deviations


SHAPES = [
    (20_000, 2, 12, 100),
    (20_000, 5, 30, 100),
    (20_000, 10, 30, 100),
    (20_000, 10, 60, 200),
    (5_000, 10, 20, 50),
    (5_000, 5, 40, 50),
    (20_000, 30, 30, 200),
    (100_000, 10, 30, 300),
]
CASES = [Case(*shape, distance) for shape in SHAPES for distance in (9.0, 15.0)]


def generate(case: Case, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows, their clusters (the large ones first), and how many clusters are well apart."""
    rng = np.random.default_rng([seed, *map(int, case)])
    D = case.n_features
    centres = 30 * rng.normal(size=(N_LARGE, D))
    widths = rng.uniform(0.7, 1.4, size=(N_LARGE, D))
    beside = np.arange(case.n_small) % N_LARGE
    direction = rng.normal(size=(case.n_small, D))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    reach = np.linalg.norm(direction * widths[beside], axis=1)
    small = centres[beside] + case.distance * reach[:, None] * direction
    y = np.repeat(np.arange(N_LARGE), case.n_rows // N_LARGE)
    y = np.concatenate([y, N_LARGE + np.repeat(np.arange(case.n_small), case.size)])
    widths = np.concatenate([widths, np.full((case.n_small, D), WIDTH)])
    X = np.concatenate([centres, small])[y] + widths[y] * rng.normal(size=(len(y), D))
    is_near = squareform(pdist(small)) < APART * WIDTH
    return X, y, N_LARGE + int(connected_components(is_near)[0])


def infimix(X: np.ndarray, case: Case, seed: int) -> np.ndarray:
    """The library."""
    return DPGaussianMixture(random_state=seed).fit(X).labels_


def hdbscan(X: np.ndarray, case: Case, seed: int) -> np.ndarray:
    """Density clustering that knows the size of what it looks for."""
    return HDBSCAN(min_cluster_size=case.size // 2, copy=True).fit_predict(X)


RULES: dict[str, Callable[[np.ndarray, Case, int], np.ndarray]] = {
    "infimix": infimix,
    "HDBSCAN": hdbscan,
}


def run(n_seeds: int, most_rows: int, results: Path) -> None:
    """All cases that the results lack."""
    done = {(line["rule"], *line["case"], line["seed"]) for line in read(results)}
    wanted = [case for case in CASES if case.n_rows <= most_rows]
    for seed in range(n_seeds):
        for case in wanted:
            X, y, n_apart = generate(case, seed)
            is_small = y >= N_LARGE
            for name, rule in RULES.items():
                if (name, *case, seed) in done or (name == "HDBSCAN" and case.n_rows > 20_000):
                    continue
                start = time.process_time()
                labels = rule(X, case, seed)
                seconds = time.process_time() - start
                line = {"rule": name, "case": case, "seed": seed, "n_apart": n_apart}
                line |= {"n_found": len(set(labels[labels >= 0].tolist()))}
                ari = adjusted_rand_score(y[is_small], labels[is_small])
                line |= {"ari_small": round(float(ari), 4), "seconds": round(seconds, 2)}
                append(results, line)


def table(lines: list[Line]) -> str:
    """Markdown: components found in each seed, clusters well apart, clusters."""
    rows = []
    head = ["rows, features, small, size, distance", "rule", "found", "apart", "all", "ARI, small"]
    for case in CASES:
        for name in RULES:
            mine = [x for x in lines if x["rule"] == name and tuple(x["case"]) == tuple(case)]
            if not mine:
                continue
            found, apart = (", ".join(str(x[key]) for x in mine) for key in ("n_found", "n_apart"))
            means = [np.mean([x[key] for x in mine]) for key in ("ari_small", "seconds")]
            cells = [", ".join(f"{value:g}" for value in case), name, found, apart]
            cells += [str(N_LARGE + case.n_small), f"{means[0]:.3f}", f"{means[1]:.1f}"]
            rows.append(cells)
    return markdown([*head, "seconds"], rows, n_text=4)


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-rows", type=int, default=100_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    arguments = parser.parse_args()
    if arguments.table:
        sys.stdout.write(table(read(arguments.results)))
        return
    run(arguments.seeds, arguments.max_rows, arguments.results)


if __name__ == "__main__":
    main()
