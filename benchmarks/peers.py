"""Clusters without labels: the unified model beside what people use, one after the other.

    pip install umap-learn clustpy
    python benchmarks/peers.py --data mnist
    python benchmarks/peers.py --table

Data are those of `seeds.py`, and are scored on the same rows, one-to-one. All methods get pixels in
[0, 1], columns in standard deviations, or of cells 50 principal components of log(1 + counts, ten
thousand a cell); of cells the unified model has its own lines there, on counts. Peers run with
their defaults unless the name says more. HDBSCAN and the peers that have no `predict` give a test
row the cluster of the nearest training row, in their own embedding, that belongs to one. A finished
run is a line of `results/peers.jsonl` and is not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lines import Line, append, markdown, mean_and_sd, read
from seeds import DATA, TABLES, parts
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA
from sklearn.mixture import BayesianGaussianMixture
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize

from infimix import DPGaussianMixture, InfiniteMixtureVAE
from infimix.evaluation import score_clustering

RESULTS = Path(__file__).parent / "results" / "peers.jsonl"
# Training rows, test rows and a seed to clusters of the test rows.
Clusterer = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def unified(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Ours, defaults."""
    return InfiniteMixtureVAE(random_state=seed).fit(train).predict(test)


def umap_then(cluster: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Clusterer:
    """Ten dimensions by UMAP, as its manual has it for clustering (min_dist=0), then `cluster`."""

    def run(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        from umap import UMAP  # type: ignore[import-not-found]

        umap = UMAP(n_components=10, min_dist=0.0, random_state=seed).fit(train)
        return cluster(umap.embedding_, like(train, test, umap.embedding_, umap.transform), seed)

    return run


def hdbscan(share: int) -> Clusterer:
    """HDBSCAN by scikit-learn; a cluster has one row in `share` at least, or five."""

    def run(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        size = max(5, len(train) // share)
        label = HDBSCAN(min_cluster_size=size, copy=True).fit_predict(train)
        return nearest_of(train, label, test)

    return run


def sklearn_dp(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Dirichlet process of scikit-learn with room for thirty components."""
    return (
        BayesianGaussianMixture(n_components=30, max_iter=500, random_state=seed)
        .fit(train)
        .predict(test)
    )


def our_dp(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """Our mixture alone."""
    return DPGaussianMixture(random_state=seed).fit(train).predict(test)


def clustpy(name: str, **parameters: Any) -> Clusterer:
    """A deep peer of ClustPy."""

    def run(train: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
        from clustpy import deep  # type: ignore[import-not-found]

        model = getattr(deep, name)(random_state=seed, device=torch.device("cpu"), **parameters)
        model.fit(train)
        codes = model.transform(train)
        return nearest_of(codes, model.labels_, like(train, test, codes, model.transform))

    return run


def like(
    train: np.ndarray,
    test: np.ndarray,
    of_train: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """A function of the test rows, where it is not known as that of the training rows."""
    return of_train if test is train else function(test)


def nearest_of(train: np.ndarray, label: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Cluster of the nearest training row that belongs to one."""
    clustered = label >= 0
    return KNeighborsClassifier(1).fit(train[clustered], label[clustered]).predict(test)


ROWS: dict[str, Clusterer] = {
    "InfiniteMixtureVAE": unified,
    "UMAP + HDBSCAN, clusters of N / 600": umap_then(hdbscan(600)),
    "UMAP + HDBSCAN, clusters of N / 120": umap_then(hdbscan(120)),
    "UMAP + scikit-learn's DP": umap_then(sklearn_dp),
    "UMAP + DPGaussianMixture": umap_then(our_dp),
    "ClustPy DipDECK": clustpy("DipDECK"),
    "ClustPy VaDE, K = 10 given": clustpy("VaDE", n_clusters=10),
}


def prepared(data: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are fitted, as all methods get them; rows that are scored, and their labels."""
    X, X_test, y = parts(data)
    if data in TABLES:
        X = StandardScaler().fit_transform(X)
        return X, X, y
    if data == "pbmc3k":
        X = PCA(50, random_state=0).fit_transform(np.log1p(1e4 * normalize(X, "l1").toarray()))
        return X, X, y
    scaled = np.asarray(X, np.float32) / X.max()
    return scaled, scaled if X_test is X else np.asarray(X_test, np.float32) / X.max(), y


def run(data: str, name: str, seed: int) -> Line:
    """One fit and its scores."""
    X, X_test, y = prepared(data)
    wall, busy = time.perf_counter(), time.process_time()
    predicted = ROWS[name](X, X_test, seed)
    seconds = {"seconds": time.perf_counter() - wall, "cpu seconds": time.process_time() - busy}
    found = score_clustering(y, predicted)
    return {
        "data": data,
        "row": name,
        "seed": seed,
        "K": found.n_components_used,
        "NMI": found.nmi,
        "ACC": found.accuracy,
        "ARI": found.ari,
        **{key: round(value, 1) for key, value in seconds.items()},
        "threads": torch.get_num_threads(),
    }


def table() -> str:
    """A row a method, mean and standard deviation over seeds, as Markdown."""
    rows, done = [], read(RESULTS)
    for data, name in dict.fromkeys((line["data"], line["row"]) for line in done):
        mine = [line for line in done if (line["data"], line["row"]) == (data, name)]
        cells = [data, name, " ".join(str(line["K"]) for line in mine), len(mine)]
        cells += [mean_and_sd(line[key] for line in mine) for key in ("NMI", "ACC")]
        cells += [f"{np.median([x[key] for x in mine]):.0f}" for key in ("seconds", "cpu seconds")]
        rows.append(cells)
    head = ["data", "method", "K", "seeds", "NMI", "ACC", "s", "s of processor"]
    return markdown(head, rows, n_text=3)


def main() -> None:
    """Run what has not been run, or show what has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA, default="mnist")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 to this one, less one")
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
