"""Run directories as `infimix fit` leaves them, made of a few random rows."""

import json

import numpy as np
import pytest

CONFIG = {
    "format_version": 1,
    "infimix_version": "0.1.0",
    "estimator": "InfiniteMixtureVAE",
    "params": {"n_latent": 3, "likelihood": "auto", "device": None, "network": {"hidden": [5, 5]}},
}
HISTORY = [
    {"epoch": 0, "phase": "warm-up", "n_components": None, "bound": -300.5, "valid_bound": None},
    {"epoch": 1, "phase": "warm-up", "n_components": None, "bound": -200.5, "valid_bound": -201.0},
    {"epoch": 2, "phase": "joint", "n_components": 9, "bound": -20.25, "valid_bound": -21.25},
    {"epoch": 3, "phase": "joint", "n_components": 4, "bound": -19.75, "valid_bound": -20.5},
]


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a run directory; keywords replace arrays or metrics."""

    def make(n_components=3, n_rows=30, n_latent=3, n_features=4, arrays=(), **metrics):
        generator = np.random.default_rng(0)
        component = np.arange(n_rows) % n_components
        sizes = np.bincount(component, minlength=n_components)
        (tmp_path / "config.json").write_text(json.dumps(CONFIG))
        (tmp_path / "history.jsonl").write_text("".join(json.dumps(e) + "\n" for e in HISTORY))
        content = {
            "data": "digits",
            "estimator": "InfiniteMixtureVAE",
            "n_rows": n_rows,
            "n_features": n_features,
            "n_components": n_components,
            "weights": (sizes / n_rows).tolist(),
            "sizes": sizes.tolist(),
            "lower_bound": -19.75,
            "seconds": 75.2,
            "kind_sentence": "treating 4 columns as real",
        }
        (tmp_path / "metrics.json").write_text(json.dumps(content | metrics))
        summary = {
            "embedding": component[:, None] + generator.normal(0, 0.1, (n_rows, n_latent)),
            "row": np.arange(n_rows),
            "component": component,
            "confidence": generator.uniform(size=n_rows),
            "samples": generator.uniform(size=(n_components, 10, n_features)),
            "component_mean": generator.uniform(size=(n_components, n_features)),
        }
        summary |= dict(arrays)
        kept = {name: array for name, array in summary.items() if array is not None}
        np.savez(tmp_path / "summary.npz", **kept)
        return tmp_path

    return make
