import json

import numpy as np
import pytest

from infimix.report.calibration import calibrate
from infimix.report.figures import (
    bound_plots,
    calibration_plot,
    components_plot,
    last_terms,
    terms_plot,
    tree_plot,
)
from infimix.report.groups import groups_of_run


@pytest.mark.parametrize(("n_components", "is_said"), [(8, True), (16, False)])
def test_components_merged_after_the_last_epoch_are_told(n_components, is_said):
    history = [{"epoch": e, "phase": "joint", "n_components": K} for e, K in enumerate((30, 16))]
    plot = components_plot(history, n_components)
    assert (f"16 → {n_components} components" in plot.caption) == is_said
    assert (f"ends with {n_components}" in plot.alt) == is_said


def test_parts_that_are_joined_are_told():
    history = [{"epoch": e, "phase": "mixture", "n_components": 7} for e in range(2)]
    assert (
        "no deep valley between them are joined: 7 → 3 groups"
        in components_plot(history, 3).caption
    )


def groups_for(path, component):
    """Groups of a tree whose leaves are of these components, a row in each."""
    n = len(component)
    return groups_of_run(
        {
            "leaf_component": np.array(component),
            "leaf_size": np.ones(n, dtype=int),
            "leaf_weight": np.full(n, 1 / n),
            "merge_path": path,
            "leaf": np.arange(n),
            "near": np.arange(n)[:, None],
            "near_resp": np.ones((n, 1)),
        }
    )


def test_tree_joins_leaves_at_the_depths_of_their_valleys():
    """Leaves 2 and 3 join, then 0 and 1; then all. Four leaves in two components before."""
    path = np.array([[3, 2, 3, 0.4], [2, 0, 1, 0.9], [1, 2, 0, 7.5]])
    plot = tree_plot(path, groups_for(path, [0, 0, 1, 1]), 2)
    drawn = json.loads(plot.json)
    *joins, leaves = drawn["data"]
    assert sorted(max(join["y"]) for join in joins) == [0.4, 0.9, 7.5]
    assert sorted(leaves["customdata"]) == [0, 1, 2, 3]
    assert sorted(leaves["text"]) == ["0.1", "0.2", "1.1", "1.2"]
    for join in joins[:2]:  # each over the two leaves of one component
        ends = [leaves["text"][leaves["x"].index(x)] for x in (join["x"][0], join["x"][3])]
        assert ends[0][0] == ends[1][0]
    assert "inside a group of the fit is 0.9 nats" in plot.caption
    assert "between two is 7.5 nats" in plot.caption
    assert "4 groups to 2 components" in plot.alt


def test_one_leaf_has_no_tree():
    path = np.zeros((0, 4))
    assert tree_plot(path, groups_for(path, [0]), 1) is None


def test_terms_are_those_after_the_warm_up():
    warm = {"epoch": 0, "phase": "warm-up", "reconstruction": -9.0, "entropy": 1.0}
    joint = [
        {"epoch": e, "phase": "joint", "reconstruction": -3.0 - e, "kl_mixture": 0.5}
        for e in (1, 2)
    ]
    plot = terms_plot([warm, *joint])
    drawn = json.loads(plot.json)["data"]
    assert [(trace["x"], trace["y"]) for trace in drawn] == [
        ([1, 2], [-4.0, -5.0]),
        ([1, 2], [0.5, 0.5]),
    ]
    assert [value for _, value in last_terms([warm, *joint])] == [-5.0, 0.5]
    assert terms_plot([{"epoch": 0, "phase": "mixture", "bound": -1.0}]) is None


def test_a_calibrated_fit_lies_on_the_diagonal():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.5, 1.0, 50_000)
    right = generator.uniform(size=50_000) < confidence
    found = calibrate(
        {
            "confidence": confidence,
            "agreement": confidence,
            "component": np.zeros(50_000, dtype=int),
            "label": (~right).astype(int),
            "leaf_component": np.array([0]),
            "confusion": np.array([[right.sum()], [(~right).sum()]]),
        }
    )
    assert found.agreement_error == pytest.approx(0.0, abs=1e-12)
    assert found.label_error < 0.01
    assert [each.n_rows for each in found.bins] == np.histogram(
        confidence, [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0]
    )[0].tolist()
    drawn = json.loads(calibration_plot(found).json)["data"]
    assert [trace["name"] for trace in drawn] == [
        "as sure as right",
        "neighbours agree",
        "label is the group's",
    ]
    np.testing.assert_allclose(drawn[2]["y"], drawn[2]["x"], atol=0.02)


def test_training_without_a_warm_up_has_no_mixture_to_speak_of():
    entry = {"phase": "joint", "n_components": 1, "bound": -2.0, "valid_bound": None}
    (plot,) = bound_plots([entry | {"epoch": epoch} for epoch in range(3)])
    assert (plot.title, plot.caption) == ("Bound: training", "Higher is better.")
