"""Run directories as `infimix fit` leaves them, made of a few random rows."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from infimix.report import write_report

CONFIG = {
    "format_version": 1,
    "infimix_version": "0.1.0",
    "estimator": "InfiniteMixtureVAE",
    "params": {"n_latent": 3, "likelihood": "auto", "device": None, "network": {"hidden": [5, 5]}},
}
TERMS = {"reconstruction": -18.0, "entropy": 2.0, "log_prior": -3.5, "kl_mixture": 0.25}
HISTORY = [
    {"epoch": 0, "phase": "warm-up", "n_components": None, "bound": -300.5, "valid_bound": None},
    {"epoch": 1, "phase": "warm-up", "n_components": None, "bound": -200.5, "valid_bound": -201.0},
    {"epoch": 2, "phase": "joint", "n_components": 9, "bound": -20.25, "valid_bound": -21.25},
    {"epoch": 3, "phase": "joint", "n_components": 4, "bound": -19.75, "valid_bound": -20.5}
    | TERMS,
]
N_NEAR = 2


VOID = {"br", "hr", "img", "input", "link", "meta", "path"}


class Page(HTMLParser):
    """The elements of a page, the text of those that are no script, and what does not close."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words, self.scripts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open, f"{self.open} is not closed"
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif not self.open or self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def plots(self):
        """Data and layout of each figure, by name."""
        names = [a["data-plot"] for a in self.all("script") if "data-plot" in a]
        return {name: json.loads(s) for name, s in zip(names, self.scripts, strict=False)}

    @property
    def data(self):
        """What the page's own script is given."""
        at = [a.get("id") for a in self.all("script")].index("data")
        return json.loads(self.scripts[at])


def chain(n_leaves):
    """Tree in which leaf after leaf joins the first, at valleys of 1, 2, ... nats."""
    joins = [(n_leaves - 1 - j, 0, 1 + j, 1.0 + j) for j in range(n_leaves - 1)]
    return np.array(joins, dtype=float).reshape(-1, 4)


def summary_of(n_components, n_rows, n_latent, n_features, *, parts=1, is_image=False):
    """Arrays of a fit whose components have so many leaves each; row n is of leaf n mod P."""
    generator = np.random.default_rng(0)
    n_leaves = n_components * parts
    leaf = np.arange(n_rows) % n_leaves
    other = (leaf + 1) % n_leaves
    sure = np.linspace(0.55, 1.0, n_rows)
    path = chain(n_leaves)
    n_nodes = n_leaves + len(path)
    n_places = min(n_rows, 2)
    summary = {
        "embedding": leaf[:, None] + generator.normal(0, 0.1, (n_rows, n_latent)),
        "is_latent": np.array(True),
        "row": np.arange(n_rows),
        "component": leaf % n_components,
        "leaf": leaf,
        "confidence": sure,
        "near": np.stack([leaf, other], axis=1)[:, :N_NEAR],
        "near_resp": np.stack([sure, 1 - sure], axis=1),
        "agreement": generator.uniform(size=n_rows),
        "log_likelihood": -np.arange(n_rows, dtype=float),
        "leaf_component": np.arange(n_leaves) % n_components,
        "leaf_size": np.bincount(leaf, minlength=n_leaves),
        "leaf_weight": np.bincount(leaf, minlength=n_leaves) / n_rows,
        "leaf_mean": generator.uniform(size=(n_leaves, n_features)),
        "samples": generator.uniform(size=(n_leaves, 10, n_features)),
        "merge_path": path,
        "typical": np.tile(np.arange(n_places), (n_nodes, 1)),
        "borderline": np.full((n_nodes, 2), -1),
        "odd": np.arange(n_rows)[::-1][:3],
        "feature_scale": np.ones(n_features),
    }
    summary["borderline"][:n_leaves, 0] = 0
    if is_image:
        grey = generator.integers(256, size=(n_rows, 2, n_features // 2)).astype(np.uint8)
        return summary | {
            "picture": grey,
            "range": np.array([0.0, 1.0]),
            "image_shape": np.array([2, n_features // 2]),
        }
    shown = np.unique([*range(n_places), *summary["odd"]])
    return summary | {
        "leaf_scale": np.ones((n_leaves, n_features)),
        "shown": shown,
        "shown_x": generator.uniform(size=(len(shown), n_features)),
        "top_feature": np.tile(np.arange(min(5, n_features)), (n_rows, 1)),
        "top_value": np.full((n_rows, min(5, n_features)), 0.5),
        "top_effect": np.full((n_rows, min(5, n_features)), -1.5),
    }


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a run directory; keywords replace arrays or metrics."""

    def make(
        n_components=3,
        n_rows=30,
        n_latent=2,
        n_features=4,
        arrays=(),
        parts=1,
        is_image=False,
        **metrics,
    ):
        summary = summary_of(
            n_components, n_rows, n_latent, n_features, parts=parts, is_image=is_image
        )
        summary |= dict(arrays)
        sizes = np.bincount(np.arange(n_rows) % n_components, minlength=n_components)
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
            "versions": {"torch": "2.13.0"},
        }
        (tmp_path / "metrics.json").write_text(json.dumps(content | metrics))
        kept = {name: array for name, array in summary.items() if array is not None}
        np.savez(tmp_path / "summary.npz", **kept)
        return tmp_path

    return make


@pytest.fixture
def page_of():
    """Return a function that writes the report of a run directory and parses it."""
    return lambda run_dir: Page(write_report(run_dir).read_text(encoding="utf-8"))


@pytest.fixture
def image_run(make_run):
    """Run directory whose rows are images of 2 by 3 pixels."""
    x = np.linspace(0, 1, 2 * 6).reshape(2, 6)
    return make_run(n_features=6, is_image=True, arrays={"x": x, "reconstruction": x[::-1]})
