"""Generated clusters, Gaussian and not, whose number is known: what a rule for K must travel over.

A case is a shape, N rows, D features, K clusters and how unequal they are. Every cluster has a
random orientation and scales of its own (a factor of three between the widest and the narrowest
direction); the closest two centres are at least `separation` standard deviations apart, measured
along the line between them with the wider of the two clusters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Random = np.random.Generator


class Case(NamedTuple):
    """One kind of data."""

    shape: str
    n_rows: int
    n_features: int
    n_clusters: int
    ratio: float = 1.0  # size of the largest cluster over the smallest
    separation: float = 6.0

    @property
    def name(self) -> str:
        """As tables print it."""
        unequal = f", 1:{self.ratio:g}" if self.ratio > 1 else ""
        return f"{self.shape}, {self.n_rows} x {self.n_features}, K={self.n_clusters}{unequal}"


def gaussian(n: int, d: int, random: Random) -> np.ndarray:
    """Normal."""
    return random.normal(size=(n, d))


def heavy(n: int, d: int, random: Random) -> np.ndarray:
    """Student's t of 4 degrees of freedom, one common scale a row."""
    scale = np.sqrt(random.chisquare(4, size=(n, 1)) / 4)
    return random.normal(size=(n, d)) / scale / np.sqrt(2)


def skewed(n: int, d: int, random: Random) -> np.ndarray:
    """Independent gamma variables of shape 2 (skewness 1.4)."""
    return (random.gamma(2.0, size=(n, d)) - 2) / np.sqrt(2)


def uniform(n: int, d: int, random: Random) -> np.ndarray:
    """Uniform in a cube."""
    return random.uniform(-1, 1, size=(n, d)) * np.sqrt(3)


def curved(n: int, d: int, random: Random) -> np.ndarray:
    """An arc of a half circle in two of the features, thick by an eighth of its radius."""
    x = random.normal(size=(n, d))
    angle = random.uniform(0, np.pi, size=n)
    arc = np.stack([np.cos(angle), np.sin(angle) - 2 / np.pi], 1)
    x[:, :2] = (arc + random.normal(size=(n, 2)) / 8) / 0.6
    return x


def mixed(n: int, d: int, random: Random) -> np.ndarray:
    """One of the other shapes."""
    shape = SHAPES[str(random.choice(["gaussian", "heavy", "skewed", "uniform", "curved"]))]
    return shape(n, d, random)


SHAPES: dict[str, Callable[[int, int, Random], np.ndarray]] = {
    "gaussian": gaussian,
    "heavy": heavy,
    "skewed": skewed,
    "uniform": uniform,
    "curved": curved,
    "mixed": mixed,
}

CASES = [
    *(Case(shape, 2000, 2, 5) for shape in SHAPES),
    *(Case(shape, 5000, 10, 10) for shape in SHAPES),
    *(Case(shape, 20000, 5, 20) for shape in SHAPES),
    *(Case(shape, 10000, 5, 6, ratio=100.0) for shape in SHAPES),
    *(Case(shape, 5000, 2, 1) for shape in SHAPES),
    *(Case(shape, 5000, 10, 1) for shape in SHAPES),
    *(Case(shape, 200, 2, 3) for shape in ("gaussian", "uniform", "skewed")),
    *(Case(shape, 300, 10, 4) for shape in ("gaussian", "uniform", "skewed")),
    *(Case(shape, 10000, 50, 10) for shape in ("gaussian", "heavy", "mixed")),
    *(Case(shape, 50000, 10, 50) for shape in ("gaussian", "mixed")),
    *(Case(shape, 100000, 8, 100) for shape in ("gaussian", "mixed")),
    *(Case(shape, 200000, 5, 10) for shape in SHAPES),
    *(Case(shape, 1000000, 2, 6) for shape in ("gaussian", "mixed")),
    *(Case("gaussian", 5000, d, 8, separation=4.0) for d in (2, 10)),
]


def generate(case: Case, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (N, D) float32 and their clusters (N,), in random order."""
    random = np.random.default_rng([seed, case.n_rows, case.n_features, case.n_clusters])
    K, D = case.n_clusters, case.n_features
    weights = case.ratio ** -np.linspace(0, 1, K)
    label = np.sort(random.choice(K, size=case.n_rows, p=weights / weights.sum()))
    axes = [_axes(D, random) for _ in range(K)]
    centres = _centres(axes, case.separation, random)
    rows = np.empty((case.n_rows, D))
    for k in range(K):
        mine = label == k
        rows[mine] = centres[k] + SHAPES[case.shape](int(mine.sum()), D, random) @ axes[k]
    order = random.permutation(case.n_rows)
    return rows[order].astype(np.float32), label[order]


def _axes(d: int, random: Random) -> np.ndarray:
    """A random orientation times scales between 1/sqrt(3) and sqrt(3): (D, D)."""
    turn, _ = np.linalg.qr(random.normal(size=(d, d)))
    return np.exp(random.uniform(-0.5, 0.5, size=(d, 1)) * np.log(3)) * turn


def _centres(axes: list[np.ndarray], separation: float, random: Random) -> np.ndarray:
    """Centres (K, D), each drawn in a cloud that grows until there is room."""
    centres = [np.zeros(axes[0].shape[1])]
    spread = separation
    while len(centres) < len(axes):
        candidate = spread * random.normal(size=len(centres[0])) / np.sqrt(len(centres[0]))
        apart = min(
            _apart(candidate - c, axes[len(centres)], a)
            for c, a in zip(centres, axes, strict=False)
        )
        if apart >= separation:
            centres.append(candidate)
        else:
            spread *= 1.02
    return np.array(centres)


def _apart(delta: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Distance in standard deviations of the wider cluster along the line."""
    length = np.linalg.norm(delta)
    widths = [np.linalg.norm(axes @ delta) / length for axes in (a, b)]
    return float(length / max(widths))
