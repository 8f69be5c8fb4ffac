import json
from itertools import combinations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from infimix.report.figures import (
    COLOURS,
    bound_plots,
    component_style,
    components_plot,
    latent_map,
    project,
    sizes_plot,
    tree_plot,
)

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
COLOUR_BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def linear_rgb(colour):
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b* under D65, in which distances are about as large as they look."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    f = np.cbrt(to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(colour, paper):
    light = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted([light @ linear_rgb(colour), light @ linear_rgb(paper)])
    return (high + 0.05) / (low + 0.05)


def summary_of(n_rows, n_latent=3, n_components=2):
    generator = np.random.default_rng(0)
    return {
        "embedding": generator.normal(size=(n_rows, n_latent)).astype(np.float32),
        "row": np.arange(n_rows) * 2,
        "component": np.arange(n_rows) % n_components,
        "confidence": np.linspace(0, 1, n_rows),
    }


def nearest(colours, kind="none"):
    """Distance of the two colours that look most alike."""
    seen = [lab(COLOUR_BLINDNESS[kind] @ linear_rgb(colour)) for colour in colours]
    return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))


def test_24_components_have_colours_that_look_different():
    colours = [component_style(k)[0] for k in range(24)]
    assert nearest(colours) > 20  # the three palettes of 24 and more in plotly: 24 to 26


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_colours_of_one_shape_stay_apart_for_colour_blind_eyes(kind):
    styles = [component_style(k) for k in range(28)]
    for shape in {symbol for _, symbol in styles}:
        colours = [colour for colour, symbol in styles if symbol == shape]
        assert len(colours) == 7
        assert nearest(colours, kind) > 15


@pytest.mark.parametrize("paper", ["#ffffff", "#1c2024"])
def test_colours_can_be_seen_on_light_and_dark_paper(paper):
    assert min(contrast(colour, paper) for colour in COLOURS) > 2


def test_more_than_a_hundred_components_look_different():
    assert len({component_style(k) for k in range(168)}) == 168
    assert component_style(0) == component_style(168)


@pytest.mark.parametrize(("n_components", "is_said"), [(8, True), (16, False)])
def test_components_merged_after_the_last_epoch_are_told(n_components, is_said):
    history = [{"epoch": e, "phase": "joint", "n_components": K} for e, K in enumerate((30, 16))]
    plot = components_plot(history, n_components)
    assert (f"16 → {n_components} components" in plot.caption) == is_said
    assert (f"ends with {n_components}" in plot.alt) == is_said


def test_up_to_two_dimensions_are_shown_as_they_are():
    embedding = np.random.default_rng(0).normal(size=(20, 2))
    assert np.array_equal(project(embedding).xy, embedding)
    one = project(embedding[:, :1])
    assert np.array_equal(one.xy[:, 0], embedding[:, 0])
    assert "height of a point is random" in one.note


def test_few_points_are_shown_by_principal_components():
    embedding = np.random.default_rng(0).normal(size=(9, 5))
    projection = project(embedding)
    expected = PCA(2).fit_transform(embedding)
    assert projection.method == "Principal components"
    np.testing.assert_allclose(np.abs(projection.xy), np.abs(expected), atol=1e-9)


def test_tsne_keeps_groups_apart_and_repeats():
    generator = np.random.default_rng(0)
    group = np.repeat([0, 1], 20)
    embedding = generator.normal(size=(40, 5)) + 30 * group[:, None]
    projection = project(embedding)
    assert projection.method == "t-SNE"
    centres = [projection.xy[group == k].mean(axis=0) for k in (0, 1)]
    nearest = np.linalg.norm(projection.xy[:, None] - centres, axis=-1).argmin(axis=1)
    assert np.array_equal(nearest, group)
    assert np.array_equal(projection.xy, project(embedding).xy)


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (10, 3), (30, 4), (30, 1), (30, 2)])
@pytest.mark.parametrize("is_constant", [True, False])
def test_any_embedding_can_be_shown(shape, is_constant):
    generator = np.random.default_rng(0)
    embedding = np.full(shape, 0.3) if is_constant else generator.normal(size=shape)
    projection = project(embedding.astype(np.float32))
    assert projection.xy.shape == (shape[0], 2)
    assert np.isfinite(projection.xy).all()


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
