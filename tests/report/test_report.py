import json

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from infimix.report import write_report

EVIL = "<script>alert('x')</script><b onclick=\"y\">&amp;"


def shown(page, tag):
    """Elements of the cut of the fit, of those that follow the cut."""
    found = [a for a in page.all(tag) if "data-fewest" in a]
    return [a for a in found if "hidden" not in a]


def test_the_first_screen_answers_how_many_how_sure_and_how_big(make_run, page_of):
    page = page_of(make_run(n_components=4, n_rows=1234, sizes=[700, 500, 30, 4]))
    assert page.text.count("4 groups in 1,234 rows of digits") == 1
    assert "How many groups 4 3 hold over 1 % of the rows" in page.text
    # Confidences rise evenly from 0.55 to 1: two ninths are 0.9 or more.
    assert "How sure 22.3 % of rows belong to their group with 90 % or more" in page.text
    assert "Nearest groups 0 and 1 valley between them: 1 nats" in page.text
    assert "How big 4 to 700 rows; the largest group is 56.7 % of all" in page.text
    assert "Bound −19.75 nats per row; fitted in 1 min 15 s" in page.text


def test_one_file_that_loads_nothing_and_is_small(image_run, page_of):
    page, report = page_of(image_run), write_report(image_run)
    assert report == image_run / "report.html"
    assert report.stat().st_size < 15_000_000
    text = report.read_text(encoding="utf-8")
    assert text.count(get_plotlyjs()) == 1
    assert not page.all("link") or {a["href"] for a in page.all("link")} == {"data:,"}
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:")
    own = text.replace(get_plotlyjs(), "")
    assert own.count("url(") == own.count("url(data:image/png;base64,") == 1
    policy = next(a["content"] for a in page.all("meta") if "content" in a and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_every_figure_and_picture_has_words(image_run, page_of):
    page = page_of(image_run)
    places = [a for a in page.all("div") if a.get("class", "").startswith("plot")]
    assert {a["id"] for a in places} == {
        "tree",
        "calibration",
        "terms",
        "bound-0",
        "bound-1",
        "n-components",
    }
    assert all(a["role"] == "img" and a["aria-label"] for a in places)
    (the_map,) = (a for a in page.all("div") if a.get("id") == "map")
    assert the_map["aria-label"] == "Map of 30 rows"
    assert the_map["tabindex"] == "0"
    assert "By keyboard: arrow keys" in page.text
    assert page.all("img")
    assert all(a["alt"] for a in page.all("img"))
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg"))
    tiles = [a for a in page.all("button") if a.get("class") == "tile"]
    assert tiles
    assert all(a["aria-label"].startswith("Row ") for a in tiles)
    assert sorted(page.plots) == sorted(a["id"] for a in places)


def test_words_from_the_data_are_shown_and_never_run(make_run, page_of):
    arrays = {
        "feature_names": np.array([EVIL, "b", "c", "d"]),
        "label": np.zeros(30, dtype=int),
        "label_names": np.array([EVIL]),
        "confusion": np.full((1, 3), 10),
    }
    harmless = page_of(make_run())
    evil_metrics = {"data": EVIL, "kind_sentence": EVIL, "scores": {EVIL: {"nmi": 0.5}}}
    run_dir = make_run(arrays=arrays, **evil_metrics)
    (run_dir / "config.json").write_text(json.dumps({"params": {EVIL: EVIL}, EVIL: [EVIL]}))
    history = {"epoch": 0, "phase": EVIL, "bound": -1.0, "n_components": 2}
    (run_dir / "history.jsonl").write_text(json.dumps(history))
    page = page_of(run_dir)
    assert len(page.all("script")) == len(harmless.all("script")) - 2  # no terms, one phase less
    assert not page.all("b") or all("onclick" not in a for a in page.all("b"))
    assert page.text.count(EVIL) > 8
    assert page.data["labels"][0]["name"] == EVIL
    assert EVIL in page.data["features"]
    assert not any("<" in script for script in page.scripts[: len(page.plots)])
    assert "<" not in page.scripts[[a.get("id") for a in page.all("script")].index("data")]


def test_groups_are_sorted_by_size(make_run, page_of):
    page = page_of(make_run(arrays={"leaf_size": np.array([5, 20, 6])}, sizes=[5, 20, 6]))
    assert [a["data-group"] for a in shown(page, "article")] == ["1", "2", "0"]
    assert [a["data-group"] for a in shown(page, "tr")][:3] == ["1", "2", "0"]
    assert "Group What Rows Weight Sure" in page.text
    assert "20 64.5 % 0.333" in page.text


def test_there_is_a_card_for_every_group_of_every_cut(make_run, page_of):
    page = page_of(make_run(n_components=2, parts=2))  # leaves 0.1, 1.1, 0.2, 1.2
    cards = page.all("article")
    assert len(cards) == 7
    for n in range(1, 5):
        own = [a for a in cards if int(a["data-fewest"]) <= n <= int(a["data-most"])]
        assert len(own) == n
    assert len(shown(page, "article")) == 2
    (slider,) = page.all("input")
    assert (slider["min"], slider["max"], slider["value"]) == ("1", "4", "2")


def test_phases_have_curves_of_their_own_scale(make_run, page_of):
    page = page_of(make_run())
    plots = page.plots
    warm_up, joint = plots["bound-0"]["data"], plots["bound-1"]["data"]
    assert [trace["name"] for trace in joint] == ["train", "validation"]
    assert (joint[0]["x"], joint[0]["y"]) == ([2, 3], [-20.25, -19.75])
    assert joint[1]["y"] == [-21.25, -20.5]
    assert (warm_up[1]["x"], warm_up[1]["y"]) == ([1], [-201.0])  # none was measured at epoch 0
    number = plots["n-components"]
    assert (number["data"][0]["x"], number["data"][0]["y"]) == ([2, 3], [9, 4])
    assert page.text.count("merging as far as the evidence asks: 4 → 3 components.") == 1
    shaded = number["layout"]["shapes"][0]
    assert (shaded["x0"], shaded["x1"]) == (-0.5, 1.5)


def test_features_that_differ_most_come_with_their_effect(make_run, page_of):
    arrays = {
        "leaf_mean": np.array(
            [[1.0, 10.0, 5.0, 0.0], [1.0, 30.0, 5.5, 0.0], [1.0, 20.0, 6.0, 0.0]]
        ),
        "leaf_scale": np.array([[0.0, 3.0, 1.0, 0.0]] * 3),
        "leaf_size": np.array([10, 10, 20]),
        "feature_names": np.array(["flat", "large", "small", "zero"]),
    }
    page = page_of(make_run(arrays=arrays, sizes=[10, 10, 20]))
    # The others of group 0: mean 700 / 30, variance 9 + 200 / 9; its own variance 9.
    d = (10 - 70 / 3) / np.sqrt((9 + 9 + 200 / 9) / 2)
    assert f"large 10 23.33 −{-d:.2f}" in page.text
    assert "low large, low small" in page.text
    assert "Group 2 20 rows (50.0 %)" in page.text


@pytest.mark.parametrize(("shift", "words"), [(0.4, "like the others"), (0.6, "low feature 1")])
def test_small_effects_are_not_put_in_words(make_run, page_of, shift, words):
    mean = np.zeros((2, 4))
    mean[1, 1] = shift
    arrays = {"leaf_mean": mean, "leaf_scale": np.ones((2, 4)), "leaf_size": np.array([10, 10])}
    text = page_of(make_run(n_components=2, arrays=arrays, sizes=[10, 10])).text
    assert words in text
    assert ("like the others" in text) == (shift < 0.5)


def test_the_table_of_means_keeps_the_features_that_differ_for_most_rows(make_run, page_of):
    mean = np.zeros((3, 20))
    mean[0, 8:] = 1.0  # twelve features that part two large components
    mean[2, :8] = 2.0  # eight that only one row has
    arrays = {"leaf_mean": mean, "leaf_size": np.array([50, 49, 1])}
    page = page_of(make_run(n_features=20, arrays=arrays, sizes=[50, 49, 1]))
    columns = " ".join(f"feature {d}" for d in range(8, 20))
    assert "The 12 of 20 features that differ most" in page.text
    assert f"Group {columns}" in page.text


def test_confusion_follows_the_cut_and_is_of_all_rows(make_run, page_of):
    arrays = {
        "label": np.arange(30) % 2,
        "label_names": np.array(["setosa", "other"]),
        "confusion": np.array([[9, 0, 2, 0], [1, 10, 0, 8]]),
    }
    page = page_of(make_run(n_components=2, parts=2, arrays=arrays, label="species"))
    assert "Confusion matrix: rows of each label in each group" in page.text
    # Leaves 0, 2 are component 0, leaves 1, 3 component 1; but the chain joins 0 and 1 first.
    row = page.text.split("setosa ")[-1].split("other")[0].split()
    assert row[-1] == "11"
    assert sorted(map(int, row[:-1])) == sorted([9, 0, 2, 0, 9, 11, 11])
    assert "species" in page.text


def test_calibration_is_a_table_of_what_was_counted(make_run, page_of):
    confidence = np.repeat([0.55, 0.97], 15)
    arrays = {
        "confidence": confidence,
        "agreement": np.repeat([0.5, 0.9], 15),
        "label": np.r_[np.zeros(20, dtype=int), np.ones(10, dtype=int)],
        "confusion": np.array([[7, 7, 6], [3, 3, 4]]),  # label 0 is the most frequent of each
    }
    page = page_of(make_run(arrays=arrays))
    assert "0.5 to 0.6 15 0.550 0.500 1.000" in page.text
    assert "0.95 to 0.99 15 0.970 0.900 0.333" in page.text
    assert f"{(0.05 + 0.07) / 2:.3f} for the neighbours" in page.text
    assert f"{(0.45 + 0.97 - 1 / 3) / 2:.3f} for the labels" in page.text
    without = page_of(make_run(arrays={"confidence": confidence}))
    assert "for the labels" not in without.text


def test_rows_that_fit_nowhere_are_listed(make_run, page_of):
    page = page_of(make_run())
    assert "Rows that fit nowhere" in page.text
    assert "29 −29 2 1.00" in page.text  # row, nats, component, confidence


def test_terms_of_the_bound_are_a_table(make_run, page_of):
    text = page_of(make_run()).text
    assert "Reconstruction: E log p(x | z) −18.0000 Entropy of q(z | x) 2.0000" in text
    assert "KL of weights and mixture, subtracted 0.2500" in text


def test_scores_say_that_labels_were_not_used_to_fit(make_run, page_of):
    scores = {
        "train": {"accuracy": 0.5, "nmi": 0.25, "n_components_used": 3},
        "test": {"accuracy": 0.75, "nmi": -0.125, "n_components_used": 2},
    }
    text = page_of(make_run(scores=scores)).text
    assert "Score train test Accuracy, one to one 0.500 0.750 NMI 0.250 −0.125" in text
    assert "Components used 3 2" in text
    assert "Labels were used for this section only" in text
    assert "Agreement with the labels" not in page_of(make_run()).text


def test_configuration_is_shown_down_to_its_leaves(make_run, page_of):
    text = page_of(make_run()).text
    assert "n_latent 3 likelihood auto device null network.hidden [5, 5]" in text
    assert "infimix_version 0.1.0" in text
    assert "Versions of the fit torch 2.13.0" in text


@pytest.mark.parametrize("n_components", [1, 60])
@pytest.mark.parametrize("is_image", [True, False], ids=["images", "table"])
def test_any_number_of_components(make_run, n_components, is_image, page_of):
    page = page_of(make_run(n_components=n_components, n_rows=120, is_image=is_image))
    assert len(page.data["groups"]) == 2 * n_components - 1
    assert all(f"Group {k} " in page.text for k in range(n_components))
    assert (f"{n_components} groups in" in page.text) == (n_components > 1)
    assert bool(page.all("input")) == ("tree" in page.plots) == (n_components > 1)


@pytest.mark.parametrize("is_image", [True, False], ids=["images", "table"])
def test_a_model_without_clusters_shows_none(make_run, is_image, page_of):
    page = page_of(
        make_run(n_components=1, is_image=is_image, estimator="GaussianVAE", finds_clusters=False)
    )
    text = page.text.split("Configuration and versions")[0]
    assert "GaussianVAE of 30 rows of digits" in text
    for word in ("1 group", "Component", "What is in them", "As sure as"):
        assert word not in text, word
    assert "What it draws" in text
    assert set(page.plots) == {"terms", "bound-0", "bound-1"}


def test_components_of_posteriors_are_no_groups(make_run, page_of):
    arrays = {"merge_path": np.zeros((0, 4)), "typical": np.full((3, 2), -1)}
    arrays["borderline"] = arrays["typical"]
    page = page_of(make_run(n_components=3, estimator="DLGMM", finds_clusters=False, arrays=arrays))
    text = page.text.split("Configuration and versions")[0]
    assert "DLGMM of 30 rows of digits" in text
    assert "Components 3 of each row's posterior" in text
    assert "these are its components, not groups of rows" in text
    assert "How big" not in text
    assert len(shown(page, "article")) == 3
    assert not {"n-components", "tree"} & set(page.plots)


def test_log_likelihood_and_neighbours_are_shown(make_run, page_of):
    estimate = {"log_likelihood": -97.25, "standard_error": 0.5, "monte_carlo_error": 0.0625}
    estimate |= {"n_rows": 100, "n_samples": 1000, "ess_mean": 20.25, "ess_min": 1.5}
    one = estimate | {"n_samples": 1, "monte_carlo_error": None, "log_likelihood": -100.0, "at": {}}
    errors = {"means": {"3": 4.5, "10": 5.0}, "samples": None, "n_train": 50, "n_test": 100}
    page = page_of(
        make_run(
            log_likelihood={"mnist test": estimate | {"at": {"1": one}}},
            neighbour_errors={
                "mnist test": errors,
                "other": errors | {"samples": {"3": 20.0, "10": 15.125}},
            },
        )
    )
    row = "mnist test, 100 rows {} −{} 0.5000 {} 20.2 1.5"
    assert row.format("1", "100.0000", "–") in page.text
    assert row.format("1,000", "97.2500", "0.0625") in page.text
    assert "mnist test, 100 rows 3 4.50 – mnist test, 100 rows 10 5.00 –" in page.text
    assert "other, 100 rows 10 5.00 15.12" in page.text
    assert "Effective, mean" not in page_of(make_run()).text


@pytest.mark.parametrize("file", ["history.jsonl", "summary.npz"])
def test_what_an_optional_file_would_show_is_left_out(make_run, file, page_of):
    run_dir = make_run()
    (run_dir / file).unlink()
    page = page_of(run_dir)
    assert f"has no {file}, so" in page.text
    curves = {"terms", "bound-0", "bound-1", "n-components"}
    kept = {"tree", "calibration"} if file == "history.jsonl" else curves
    assert set(page.plots) == kept
    assert any(a.get("id") == "map" for a in page.all("div")) == (file == "history.jsonl")
