import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from plotly.offline import get_plotlyjs

from infimix.report import write_report

EVIL = "<script>alert('x')</script><b onclick=\"y\">&amp;"
VOID = {"br", "hr", "img", "link", "meta", "path"}


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


def page_of(run_dir):
    return Page(write_report(run_dir).read_text(encoding="utf-8"))


def picture_of(attributes):
    head, _, body = attributes["src"].partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


@pytest.fixture
def image_run(make_run):
    """Run directory whose rows are images of 2 by 3 pixels."""
    x = np.linspace(0, 16, 2 * 6).reshape(2, 6)
    arrays = {"image_shape": np.array([2, 3]), "x": x, "reconstruction": x[::-1]}
    return make_run(n_features=6, arrays=arrays)


def test_the_first_screen_answers_how_many_and_how_big(make_run):
    page = page_of(make_run(n_components=4, n_rows=1234, n_latent=2, sizes=[700, 500, 30, 4]))
    assert page.text.count("4 groups in 1,234 rows of digits") == 1
    assert "Largest group 700 component 0, 56.7 % of the rows" in page.text
    assert "Smallest group 4 component 3, 0.3 % of the rows" in page.text
    assert "3 hold over 1 % of the rows" in page.text
    assert "Bound −19.75 nats per row" in page.text
    assert "Time of the fit 1 min 15 s" in page.text


def test_one_file_that_loads_nothing_and_is_small(image_run):
    report = write_report(image_run)
    assert report == image_run / "report.html"
    assert report.stat().st_size < 8_000_000
    text = report.read_text(encoding="utf-8")
    assert text.count(get_plotlyjs()) == 1
    page = Page(text)
    assert not page.all("link") or {a["href"] for a in page.all("link")} == {"data:,"}
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "url(" not in text.replace(get_plotlyjs(), "")
    policy = next(a["content"] for a in page.all("meta") if "content" in a and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_every_figure_and_picture_has_words(image_run):
    page = page_of(image_run)
    places = [a for a in page.all("div") if a.get("class", "").startswith("plot")]
    assert {a["id"] for a in places} == {"map", "sizes", "bound-0", "bound-1", "n-components"}
    assert all(a["role"] == "img" and a["aria-label"] for a in places)
    assert page.all("img")
    assert all(a["alt"] for a in page.all("img"))
    assert all(a.get("aria-hidden") == "true" for a in page.all("svg"))
    assert sorted(page.plots) == sorted(a["id"] for a in places)


def test_words_from_the_data_are_shown_and_never_run(make_run):
    arrays = {
        "feature_names": np.array([EVIL, "b", "c", "d"]),
        "label": np.zeros(30, dtype=int),
        "label_names": np.array([EVIL]),
    }
    harmless = page_of(make_run())
    evil_metrics = {"data": EVIL, "kind_sentence": EVIL, "scores": {EVIL: {"nmi": 0.5}}}
    run_dir = make_run(arrays=arrays, **evil_metrics)
    (run_dir / "config.json").write_text(json.dumps({"params": {EVIL: EVIL}, EVIL: [EVIL]}))
    history = {"epoch": 0, "phase": EVIL, "bound": -1.0, "n_components": 2}
    (run_dir / "history.jsonl").write_text(json.dumps(history))
    page = page_of(run_dir)
    assert len(page.all("script")) == len(harmless.all("script")) - 1  # one phase less
    assert not page.all("b") or all("onclick" not in a for a in page.all("b"))
    assert page.text.count(EVIL) > 8
    hover = page.plots["map"]["data"][0]["customdata"][0][2]
    assert hover.startswith("&lt;script&gt;")  # plotly reads mark-up in its texts
    assert not any("<" in script for script in page.scripts[: len(page.plots)])


def test_table_of_components_is_sorted_by_size(make_run):
    page = page_of(make_run(sizes=[5, 20, 5], weights=[0.1, 0.7, 0.2]))
    table = page.text.split("Share Weight")[1]
    assert table.split()[:12] == "1 20 66.7 % 0.7000 0 5 16.7 % 0.1000 2 5".split()


def test_phases_have_curves_of_their_own_scale(make_run):
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


def test_pictures_hold_the_pixels_of_the_rows(image_run):
    page = page_of(image_run)
    pairs = [picture_of(a) for a in page.all("img") if "reconstruction" in a["alt"]]
    assert len(pairs) == 2
    x = np.linspace(0, 255, 12).round().astype(np.uint8).reshape(2, 2, 3)
    assert np.array_equal(pairs[0][:2, :, 0], x[0])
    assert np.array_equal(pairs[0][-2:, :, 0], x[1])
    strips = [picture_of(a) for a in page.all("img") if a["alt"].startswith("10 samples")]
    assert [strip.shape[:2] for strip in strips] == [(2, 10 * 3 + 9)] * 3


def test_colour_images_are_shown_in_colour(make_run):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, size=(1, 12)).astype(float)
    x[0, :2] = 0, 255
    arrays = {"image_shape": np.array([2, 2, 3]), "x": x, "reconstruction": x}
    page = page_of(make_run(n_features=12, arrays=arrays))
    pair = next(picture_of(a) for a in page.all("img") if "reconstruction" in a["alt"])
    assert np.array_equal(pair[:2, :, :3], x.reshape(2, 2, 3).astype(np.uint8))


def test_large_images_are_made_smaller_and_the_page_says_so(make_run):
    arrays = {"image_shape": np.array([64, 64, 3])}
    run_dir = make_run(n_components=30, n_rows=60, n_features=64 * 64 * 3, arrays=arrays)
    assert write_report(run_dir).stat().st_size < 8_000_000
    assert "of 64 × 64 pixels to keep this page small" in page_of(run_dir).text


def test_features_that_differ_most_come_with_their_effect(make_run):
    mean = np.array([[1.0, 10.0, 5.0, 0.0], [1.0, 30.0, 5.5, 0.0], [1.0, 20.0, 6.0, 0.0]])
    arrays = {
        "component_mean": mean,
        "feature_names": np.array(["flat", "large", "small", "zero"]),
        "feature_scale": np.array([0.0, 5.0, 2.0, 1.0]),
    }
    page = page_of(make_run(arrays=arrays, sizes=[10, 10, 20]))
    # Component 0 of sizes 10, 10, 20: overall means 20 and 5.625.
    assert "large 10 20 −2.00 small 5 5.625 −0.31" in page.text
    assert "large 30 20 +2.00" in page.text
    assert "2 1 20 6 0 0 1 10 5 0" in page.text  # table of all means


def test_the_table_of_means_keeps_the_features_that_differ_for_most_rows(make_run):
    mean = np.zeros((3, 20))
    mean[0, 8:] = 1.0  # twelve features that part two large components
    mean[2, :8] = 2.0  # eight that only one row has
    arrays = {"component_mean": mean, "feature_scale": np.ones(20)}
    page = page_of(make_run(n_features=20, arrays=arrays, sizes=[50, 49, 1]))
    shown = " ".join(f"feature {d}" for d in range(8, 20))
    assert "The 12 of 20 features that differ most" in page.text
    assert f"Component {shown} 0 1 1" in page.text


def test_scores_say_that_labels_were_not_used_to_fit(make_run):
    scores = {
        "train": {"accuracy": 0.5, "nmi": 0.25, "n_components_used": 3},
        "test": {"accuracy": 0.75, "nmi": -0.125, "n_components_used": 2},
    }
    text = page_of(make_run(scores=scores)).text
    assert "Score train test Accuracy, one to one 0.500 0.750 NMI 0.250 −0.125" in text
    assert "Components used 3 2" in text
    assert "Labels were used for these scores only" in text
    assert "Agreement with the labels" not in page_of(make_run()).text


def test_configuration_is_shown_down_to_its_leaves(make_run):
    text = page_of(make_run()).text
    assert "n_latent 3 likelihood auto device null network.hidden [5, 5]" in text
    assert "infimix_version 0.1.0" in text


@pytest.mark.parametrize("n_components", [1, 60])
@pytest.mark.parametrize("is_image", [True, False], ids=["images", "table"])
def test_any_number_of_components(make_run, n_components, is_image):
    arrays = {"image_shape": np.array([2, 2])} if is_image else {}
    page = page_of(make_run(n_components=n_components, n_rows=120, arrays=arrays))
    assert len(page.plots["map"]["data"]) == n_components
    shown = n_components if is_image or n_components > 1 else 0  # nothing to compare one with
    assert sum(f"Component {k} " in page.text for k in range(n_components)) == shown
    assert (f"{n_components} groups in" in page.text) == (n_components > 1)


@pytest.mark.parametrize("is_image", [True, False], ids=["images", "table"])
def test_a_model_without_clusters_shows_none(make_run, is_image):
    arrays = {"image_shape": np.array([2, 2])} if is_image else {}
    page = page_of(
        make_run(n_components=1, arrays=arrays, estimator="GaussianVAE", finds_clusters=False)
    )
    text = page.text.split("Configuration and versions")[0]
    assert "GaussianVAE of 30 rows of digits" in text
    for word in ("1 group", "Component", "What is in them"):
        assert word not in text, word
    assert ("What it draws Left: the mean. Right: new images." in text) == is_image
    assert set(page.plots) == {"map", "bound-0", "bound-1"}


def test_components_of_posteriors_are_no_groups(make_run):
    page = page_of(make_run(n_components=3, estimator="DLGMM", finds_clusters=False))
    text = page.text.split("Configuration and versions")[0]
    assert "DLGMM of 30 rows of digits" in text
    assert "Components 3 of each row's posterior" in text
    assert "these are its components, not groups of rows" in text
    assert "Largest group" not in text
    assert "sizes" in page.plots
    assert "n-components" not in page.plots


def test_log_likelihood_and_neighbours_are_shown(make_run):
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
    assert "Log-likelihood" not in page_of(make_run()).text


@pytest.mark.parametrize("file", ["history.jsonl", "summary.npz"])
def test_what_an_optional_file_would_show_is_left_out(make_run, file):
    run_dir = make_run()
    (run_dir / file).unlink()
    page = page_of(run_dir)
    assert f"has no {file}, so" in page.text
    kept = {"sizes", "map"} if file == "history.jsonl" else {"sizes", "bound-0", "bound-1"}
    assert kept <= set(page.plots)
    assert ("map" in page.plots) == (file == "history.jsonl")
    assert "n-components" not in page.plots or file == "summary.npz"


@pytest.mark.parametrize("file", ["config.json", "metrics.json"])
def test_a_required_file_that_is_missing_is_named(make_run, file):
    run_dir = make_run()
    (run_dir / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"^A report needs {file} but .*{file} does not"):
        write_report(run_dir)


def test_a_directory_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no directory"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("config.json", b"{", "Expecting property name"),
        ("config.json", b"[]", "must hold a JSON object, not list"),
        ("metrics.json", b"\xff\xfe{}", "codec can't decode"),
        ("metrics.json", b"{}", "'data' is missing"),
        ("history.jsonl", b'{"epoch": 0, "phase": "joint"}\n{"epo', "line 2"),
        ("history.jsonl", b"3\n", "line 1"),
        ("summary.npz", b"PK\x03\x04 cut off", "cut off"),
        ("summary.npz", b"", "cut off"),
    ],
)
def test_a_damaged_file_is_named(make_run, file, content, why):
    run_dir = make_run()
    (run_dir / file).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{file} is damaged \(.*{why}.*; fit again"):
        write_report(run_dir)
    assert not (run_dir / "report.html").exists()


def test_arrays_whose_bytes_have_changed_are_named(make_run):
    run_dir = make_run()
    content = bytearray((run_dir / "summary.npz").read_bytes())
    content[300] ^= 255  # inside the first array
    (run_dir / "summary.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"summary.npz is damaged \(Bad CRC-32"):
        write_report(run_dir)


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"samples": None}, "the array 'samples' is missing"),
        ({"confidence": np.zeros(7)}, "'confidence' and 'row' have different lengths"),
        ({"label": np.zeros(7)}, "'label' and 'row' have different lengths"),
        ({"component_mean": np.zeros((2, 4))}, "'component_mean' has 2 of 3 components"),
        ({"component": np.full(30, 3)}, "a row's component is not below 3"),
        ({"image_shape": np.array([5, 5])}, "no images of shape"),
    ],
)
def test_arrays_that_do_not_fit_together_are_named(make_run, arrays, why):
    with pytest.raises(ValueError, match=rf"summary.npz is damaged \(.*{why}"):
        write_report(make_run(arrays=arrays))


def test_weights_and_sizes_must_be_those_of_the_components(make_run):
    with pytest.raises(ValueError, match="2 weights for 3 components"):
        write_report(make_run(weights=[0.5, 0.5]))
