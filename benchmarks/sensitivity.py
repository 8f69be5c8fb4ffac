"""What the parameters of DPGaussianMixture change, one at a time, and what they do not.

    python benchmarks/sensitivity.py
    python benchmarks/sensitivity.py --table

Every setting is fitted to some generated data sets (`generated.py`, seeds 0 to 2, which are those
of the fit as well) and to scikit-learn's wines. A finished setting is a line of
`results/sensitivity.jsonl` and is not run again; `--table` prints Markdown.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generated import Case, generate
from lines import append, markdown, read
from sklearn.datasets import load_wine
from sklearn.metrics import adjusted_rand_score

from infimix import DPGaussianMixture

RESULTS = Path(__file__).parent / "results" / "sensitivity.jsonl"
SEEDS = (0, 1, 2)
CASES = [
    Case("gaussian", 60, 5, 4, separation=4.0),
    Case("skewed", 300, 10, 4),
    Case("mixed", 5000, 10, 10),
    Case("mixed", 20_000, 5, 20),
    Case("gaussian", 10_000, 50, 10),
]
SETTINGS: list[dict[str, Any]] = [
    {},
    *({"cluster_spread": value} for value in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)),
    *({"concentration": value} for value in (0.01, 0.1, 10.0, 100.0)),
    {"weight_prior": "dirichlet"},
    *({"max_components": value} for value in (20, 60)),
    *({"n_init": value} for value in (1, 10)),
    *({"tol": value} for value in (1e-3, 1e-5)),
    *({"covariance_type": value} for value in ("diag", "spherical")),
    {"heavy_tails": False},
]


def data(name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and their true clusters."""
    if name == "wine":
        X, y = load_wine(return_X_y=True)
        return X, y
    return generate(next(case for case in CASES if case.name == name), seed)


def fit(setting: dict[str, Any], name: str) -> dict[str, Any]:
    """Number of components and adjusted Rand index of each seed."""
    found, rand = [], []
    for seed in SEEDS:
        X, y = data(name, seed)
        model = DPGaussianMixture(random_state=seed, **setting).fit(X)
        found.append(model.n_components_)
        rand.append(round(float(adjusted_rand_score(y, model.labels_)), 4))
    return {"setting": setting, "data": name, "K": found, "ari": rand}


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: a row for each setting, a column for each data set."""
    names = ["wine", *(case.name for case in CASES)]
    rows = []
    for setting in SETTINGS:
        cells = [", ".join(f"`{key}={value!r}`" for key, value in setting.items()) or "defaults"]
        for name in names:
            mine = [one for one in lines if one["setting"] == setting and one["data"] == name]
            cells += [f"{_numbers(one['K'])} ({np.mean(one['ari']):.2f})" for one in mine[:1]]
        rows.append(cells)
    return markdown(["setting", *names], rows, n_text=1 + len(names))


def _numbers(found: list[int]) -> str:
    return str(found[0]) if len(set(found)) == 1 else " ".join(map(str, found))


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true", help="print the table and run nothing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = read(RESULTS)
    done = [(one["setting"], one["data"]) for one in lines]
    for name in ["wine", *(case.name for case in CASES)]:
        for setting in SETTINGS:
            if not arguments.table and (setting, name) not in done:
                lines.append(fit(setting, name))
                append(RESULTS, lines[-1])
    sys.stdout.write(table(lines))


if __name__ == "__main__":
    main()
