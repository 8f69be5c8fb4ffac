"""What the mixture costs, beside scikit-learn's mixtures and HDBSCAN: an iteration, a whole fit.

    python benchmarks/mixture.py
    python benchmarks/mixture.py --table

An iteration is one E-step, one M-step and the bound. The library's are timed one by one as `fit`
runs them, without the first; scikit-learn's are the difference of two fits of different length, so
that starts and last E-steps cancel. The library begins at the true clusters, because it drops
components that lose their rows; scikit-learn, which keeps them all, at K random rows. The two take
turns, and the median counts. On a machine with other work take `--threads 1`. Peak memory is that
of a process of its own for each. Whole fits are timed once, each a line of its own: with K not
given (to scikit-learn's BayesianGaussianMixture thirty components) and, for its GaussianMixture,
given. A finished setting is a line of `results/mixture.jsonl` and is not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generated import Case, generate
from lines import Line, append, markdown, read
from sklearn.cluster import HDBSCAN
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from threadpoolctl import threadpool_limits

from infimix import DPGaussianMixture
from infimix.estimators.blocks import block_rows
from infimix.mixture import (
    Block,
    DPMixture,
    FullCovariance,
    MixtureFit,
    StickBreaking,
    coarsen,
    improve,
)
from infimix.mixture.blocks import moments
from infimix.mixture.fit import KAPPA, START_DOF

RESULTS = Path(__file__).parent / "results" / "mixture.jsonl"
SETTINGS = [  # N, D, K
    (60_000, 10, 50),
    (60_000, 2, 10),
    (60_000, 64, 50),
    (60_000, 10, 200),
    (200_000, 10, 20),
    (20_000, 128, 20),
]
DTYPES = {"float32": np.float32, "float64": np.float64}
LONG = (1_000_000, 2, 6)  # N, D, K of the fit of LONG_ITERATIONS
LONG_ITERATIONS = 100
WHOLE = [(60_000, 10, 20), (20_000, 50, 10), (1_000_000, 2, 6)]  # N, D, K
WHOLE_MODELS: dict[str, Any] = {  # of N, D, K
    "infimix": lambda n, d, k: DPGaussianMixture(random_state=0),
    "infimix, normal tails": lambda n, d, k: DPGaussianMixture(heavy_tails=False, random_state=0),
    "BayesianGaussianMixture": lambda n, d, k: BayesianGaussianMixture(
        n_components=30, max_iter=300, random_state=0
    ),
    "GaussianMixture, told K": lambda n, d, k: GaussianMixture(
        n_components=k, max_iter=300, random_state=0
    ),
    "HDBSCAN": lambda n, d, k: HDBSCAN(min_cluster_size=n // 200, copy=True),
}
SLOW, SLOW_ROWS = ("BayesianGaussianMixture", "HDBSCAN"), 60_000  # more rows take them long
FRACTION_OF_PEAK = (60_000, 64, 50)
ITERATIONS = 4  # beyond the first, each time it is timed
THEIR_ITERATIONS = 2  # by which two fits differ
GEMM = 4096


def now() -> float:
    """Seconds; of the processor if there is one thread, so that other work has no part in them."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def rows_of(n: int, d: int, k: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """K normal clusters, columns scaled to variance 1, and the cluster of each row."""
    X, y = generate(Case("gaussian", n, d, k), 0)
    return ((X - X.mean(0)) / X.std(0)).astype(DTYPES[dtype]), y


def started(X: np.ndarray, y: np.ndarray, *, heavy: bool) -> tuple[MixtureFit, list[Block]]:
    """A mixture that answers to the clusters y of the rows, and the rows in blocks."""
    z = torch.from_numpy(X)
    family = FullCovariance(X.shape[1])
    blocks = [Block(part) for part in z.split(block_rows(family.n_statistics, z.device))]
    reference = family.weak_prior(*moments(blocks), KAPPA)
    sums = torch.zeros(int(y.max()) + 1, family.n_statistics, dtype=torch.float64)
    for block, label in zip(blocks, torch.from_numpy(y).split(len(blocks[0].z)), strict=True):
        sums.index_add_(0, label, family.features(block.z.double()))
    mixture = DPMixture(family, reference, StickBreaking(1.0), sums)
    mixture = replace(coarsen(mixture), dof=START_DOF if heavy else math.inf)
    return MixtureFit(mixture, reference, -math.inf), blocks


def ours(X: np.ndarray, y: np.ndarray, n: int, *, heavy: bool) -> tuple[list[float], int]:
    """Seconds of each of n iterations, and how many components were left at the end."""
    fit, blocks = started(X, y, heavy=heavy)
    at = [now()]
    improve(fit, blocks, max_sweeps=n, tol=-math.inf, watch=lambda sweep: at.append(now()))
    return list(np.diff(at)), fit.mixture.n_components


def theirs(X: np.ndarray, K: int, n: int, *, seed: int) -> float:
    """Seconds of a fit of n iterations."""
    model = BayesianGaussianMixture(
        n_components=K, tol=0, max_iter=n, init_params="random_from_data", random_state=seed
    )
    begin = now()
    model.fit(X)
    return now() - begin


def compare(setting: tuple[int, int, int], dtype: str, n_repeats: int) -> Line:
    """Median seconds an iteration of all three, taken in turns, and their peak memory."""
    (X, y), K = rows_of(*setting, dtype), setting[2]
    seconds: dict[str, list[float]] = {"normal": [], "heavy": [], "sklearn": []}
    left = {}
    for repeat in range(n_repeats):
        for tails in ("normal", "heavy"):
            each, left[tails] = ours(X, y, 1 + ITERATIONS, heavy=tails == "heavy")
            seconds[tails].append(float(np.median(each[1:])))
        short, long = (theirs(X, K, n, seed=repeat) for n in (1, 1 + THEIR_ITERATIONS))
        seconds["sklearn"].append((long - short) / THEIR_ITERATIONS)
    line: Line = {"setting": list(setting), "dtype": dtype, "n_repeats": n_repeats}
    for who, each in seconds.items():
        line[who] = round(float(np.median(each)), 5)
        line[f"{who}_range"] = [round(min(each), 5), round(max(each), 5)]
        line[f"{who}_mib"] = peak_memory(setting, dtype, who)
    return line | {"n_left": left, "load": os.getloadavg()[0]}


def peak_memory(setting: tuple[int, int, int], dtype: str, who: str) -> list[int]:
    """MiB of a process with the rows alone and after three iterations."""
    command = [sys.executable, __file__, "--memory", json.dumps([*setting, dtype, who])]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def memory(n: int, d: int, k: int, dtype: str, who: str) -> list[int]:
    """What `peak_memory` asks a fresh process for."""
    X, y = rows_of(n, d, k, dtype)
    # Not getrusage: on Linux a process begins with the peak of the one that started it.
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    before = _peak_mib()
    if who == "sklearn":
        theirs(X, k, 3, seed=0)
    else:
        ours(X, y, 3, heavy=who == "heavy")
    return [before, _peak_mib()]


def _peak_mib() -> int:
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) // 1024


def long_fit() -> Line:
    """Seconds of many iterations over many rows of few features."""
    (X, y), K = rows_of(*LONG, "float32"), LONG[2]
    line: Line = {"long": list(LONG), "iterations": LONG_ITERATIONS}
    for tails in ("normal", "heavy"):
        each, left = ours(X, y, LONG_ITERATIONS, heavy=tails == "heavy")
        line |= {tails: round(sum(each), 2), f"{tails}_left": left}
    line["sklearn"] = round(theirs(X, K, LONG_ITERATIONS, seed=0), 2)
    return line | {"load": os.getloadavg()[0]}


def whole_fit(setting: tuple[int, int, int], name: str) -> Line:
    """Seconds, number of components, adjusted Rand index and mean log density of a whole fit."""
    (X, y), model = rows_of(*setting, "float32"), WHOLE_MODELS[name](*setting)
    begin = now()
    label = model.fit_predict(X)
    line: Line = {"whole": list(setting), "model": name, "seconds": round(now() - begin, 2)}
    line["K"] = int((np.bincount(label[label >= 0]) > 0).sum())
    line["ari"] = round(float(adjusted_rand_score(y, label)), 4)
    if hasattr(model, "score"):
        line["score"] = round(float(model.score(X)), 4)
    return line | {"load": os.getloadavg()[0]}


def peak() -> Line:
    """Share of the machine's float32 matrix product that an iteration reaches."""
    n, d, k = FRACTION_OF_PEAK
    X, y = rows_of(n, d, k, "float32")
    a = torch.rand(GEMM, GEMM)
    gemm, sweep = [], {"normal": [], "heavy": []}
    for _ in range(5):
        begin = now()
        torch.mm(a, a)
        gemm.append(now() - begin)
        for tails, each in sweep.items():
            each += ours(X, y, 1 + ITERATIONS, heavy=tails == "heavy")[0][1:]
    best = 2 * GEMM**3 / min(gemm)
    # rho and the statistics are a product of (K, P) and (P, N) each
    needed = 2 * 2 * n * k * FullCovariance(d).n_statistics
    shares = {tails: round(needed / np.median(each) / best, 3) for tails, each in sweep.items()}
    return {"peak_gflops": round(best / 1e9, 1), "share_of_peak": shares}


def table(lines: list[Line]) -> str:
    """Markdown."""
    head = ["N, D, K", "dtype", "threads", "normal tails", "heavy tails", "scikit-learn"]
    head += ["ratio normal", "ratio heavy", "MiB normal / heavy / scikit-learn"]
    rows = []
    for line in lines:
        if "setting" in line:
            who = ("normal", "heavy", "sklearn")
            cells = [f"{1000 * line[name]:.4g} ms" for name in who]
            ratios = [f"{line['sklearn'] / line[name]:.2f}" for name in who[:2]]
            mib = " / ".join(str(np.diff(line[f"{name}_mib"])[0]) for name in who)
            name = ", ".join(str(n) for n in line["setting"])
            rows.append([name, line["dtype"], line["threads"], *cells, *ratios, mib])
    text = [markdown(head, rows, n_text=2)]
    text += ["Seconds are medians; ratios above 1: the library is faster; MiB beside the rows."]
    others = [json.dumps(line) for line in lines if "setting" not in line]
    return "\n".join([*text, "", *others]) + "\n"


def run(arguments: argparse.Namespace) -> None:
    """What the results lack."""
    lines = read(arguments.results)
    lines = [line for line in lines if line["threads"] == arguments.threads]
    done = {(*line["setting"], line["dtype"]) for line in lines if "setting" in line}
    jobs = [
        (lambda s=setting, t=dtype: compare(s, t, arguments.repeats))
        for dtype in DTYPES
        for setting in SETTINGS[: arguments.settings]
        if (*setting, dtype) not in done
    ]
    others = {"peak_gflops": peak, "long": long_fit}
    jobs += [job for key, job in others.items() if not any(key in line for line in lines)]
    whole = {(*line["whole"], line["model"]) for line in lines if "whole" in line}
    jobs += [
        (lambda s=setting, m=name: whole_fit(s, m))
        for setting in WHOLE
        for name in WHOLE_MODELS
        if (*setting, name) not in whole and (name not in SLOW or setting[0] <= SLOW_ROWS)
    ]
    for job in jobs:
        append(arguments.results, job() | {"threads": arguments.threads})


def main() -> None:
    """Measure what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="only the first few")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    parser.add_argument("--memory", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)  # all fits are cut short
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(limits=arguments.threads):
        if arguments.memory:
            sys.stdout.write(json.dumps(memory(*arguments.memory)))
            return
        if not arguments.table:
            run(arguments)
    sys.stdout.write(table(read(arguments.results)))


if __name__ == "__main__":
    main()
