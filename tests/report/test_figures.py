import json

import numpy as np
import pytest

from infimix.plots import component_style
from infimix.report.figures import (
    bound_plots,
    components_plot,
    latent_map,
    sizes_plot,
    tree_plot,
)


def summary_of(n_rows, n_latent=3, n_components=2):
    generator = np.random.default_rng(0)
    return {
        "embedding": generator.normal(size=(n_rows, n_latent)).astype(np.float32),
        "row": np.arange(n_rows) * 2,
        "component": np.arange(n_rows) % n_components,
        "confidence": np.linspace(0, 1, n_rows),
    }


@pytest.mark.parametrize(("n_components", "is_said"), [(8, True), (16, False)])
def test_components_merged_after_the_last_epoch_are_told(n_components, is_said):
    history = [{"epoch": e, "phase": "joint", "n_components": K} for e, K in enumerate((30, 16))]
    plot = components_plot(history, n_components)
    assert (f"16 → {n_components} components" in plot.caption) == is_said
    assert (f"ends with {n_components}" in plot.alt) == is_said


def test_map_says_how_many_rows_it_shows():
    whole = latent_map(summary_of(30), 30)
    assert whole.caption.startswith("t-SNE of the latent means of all 30 rows.")
    thinned = latent_map(summary_of(2500, n_latent=2), 60000)
    assert "2,000 of 60,000 rows, drawn at random" in thinned.caption
    assert thinned.json.count('"confidence') == 0
    assert thinned.json.count("],[") >= 1998


def test_map_of_a_model_without_clusters_has_the_colours_of_the_labels():
    summary = summary_of(30) | {
        "label": np.arange(30) % 3,
        "label_names": np.array(["a", "<b", "c"]),
    }
    plot = latent_map(summary, 30, finds_clusters=False)
    drawn = json.loads(plot.json)
    assert [trace["name"] for trace in drawn["data"]] == ["a", "&lt;b", "c"]
    assert drawn["data"][1]["customdata"][:2] == [[2, "&lt;b"], [8, "&lt;b"]]
    assert len(drawn["layout"]["annotations"]) == 3
    assert "Colours are the labels, which the fit never saw" in plot.caption
    assert "component" not in plot.json + plot.caption + plot.alt


@pytest.mark.parametrize("labels", [{}, {"label": np.arange(40)}], ids=["none", "many"])
def test_map_without_clusters_and_few_labels_has_one_colour(labels):
    plot = latent_map(summary_of(40) | labels, 40, finds_clusters=False)
    drawn = json.loads(plot.json)
    assert len(drawn["data"]) == 1
    assert not drawn["layout"].get("annotations")
    assert "Hover for the row (counted from 0)." in plot.caption


def test_bars_are_sorted_and_carry_the_weight():
    plot = sizes_plot(np.array([3, 9, 0]), np.array([0.2, 0.7, 0.1]))
    assert '"x":["1","0","2"]' in plot.json
    assert '"customdata":[[0.75,0.7],[0.25,0.2],[0.0,0.1]]' in plot.json
    assert "from 9 to 0 rows" in plot.alt


def test_tree_joins_parts_at_the_depths_of_their_valleys():
    """Parts 2 and 3 join, then 0 and 1; then all. Three parts in two components before."""
    path = [[3, 2, 3, 0.4], [2, 0, 1, 0.9], [1, 2, 0, 7.5]]
    plot = tree_plot(path, [0, 0, 1, 1])
    drawn = json.loads(plot.json)
    *joins, leaves = drawn["data"]
    assert sorted(max(join["y"]) for join in joins) == [0.4, 0.9, 7.5]
    assert sorted(leaves["customdata"]) == [[0, 0], [1, 0], [2, 1], [3, 1]]
    colour = [component_style(k)[0] for _, k in leaves["customdata"]]
    assert leaves["marker"]["color"] == colour
    for join in joins[:2]:  # each over the two leaves of one component
        ends = [leaves["customdata"][leaves["x"].index(x)][1] for x in (join["x"][0], join["x"][3])]
        assert ends[0] == ends[1]
    assert "inside a component is 0.9 nats" in plot.caption
    assert "between two is 7.5 nats" in plot.caption
    assert "4 parts to 2 components" in plot.alt


def test_one_part_has_no_tree():
    assert tree_plot([], [0]) is None
    assert tree_plot([], []) is None


def test_training_without_a_warm_up_has_no_mixture_to_speak_of():
    entry = {"phase": "joint", "n_components": 1, "bound": -2.0, "valid_bound": None}
    (plot,) = bound_plots([entry | {"epoch": epoch} for epoch in range(3)])
    assert (plot.title, plot.caption) == ("Bound: training", "Higher is better.")
