"""The report in a real browser: opened from disk, the network off, by mouse and by keyboard."""

import json
import os
import shutil
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright
from plotly.offline import get_plotlyjs
from sklearn.datasets import load_digits, make_blobs

from infimix import DPGaussianMixture
from infimix.data import Dataset
from infimix.evaluation import summarise
from infimix.report import write_report

EVIL = "<img src=x onerror=window.evil=1><script>window.evil=1</script>\"'&amp;"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
SECONDS, MEGABYTES = 3.0, 15.0
PATIENCE = 120_000  # ms that a busy machine may take for one thing
BUSY = 2.0  # times what a page of plotly alone takes: the limit on a machine that is busy


@pytest.fixture(scope="session")
def chromium():
    """Debian's chromium, driven by playwright; must be there in CI."""
    found = shutil.which("chromium")
    if found is None:
        message = "chromium is not installed (Debian's package chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        # Tests in containers run as root, for whom chromium has no sandbox.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Return a function that opens a file; what the page complains of fails the test."""
    complaints, contexts = [], []

    def visit(path, size=WIDE, scheme="light"):
        context = chromium.new_context(viewport=size, color_scheme=scheme, offline=True)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        listen(page, complaints)
        open_file(page, path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def opened(chromium, table_report):
    """The report of the table in a window, and what it complains of."""
    context = chromium.new_context(viewport=WIDE, offline=True)
    context.set_default_timeout(PATIENCE)
    page, complaints = context.new_page(), []
    listen(page, complaints)
    open_file(page, table_report)
    yield page, complaints
    context.close()


@pytest.fixture
def table(opened):
    """The same window as it was when it was opened; complaints fail the test."""
    page, complaints = opened
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('as-fitted').click(); scrollTo(0, 0)")
    page.locator("#colour").select_option("group")
    yield page
    assert complaints == []


def listen(page, complaints):
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url[:200]))
    page.on(
        "console",
        lambda said: said.type in ("error", "warning") and complaints.append(said.text),
    )


def open_file(page, path):
    page.goto(path.absolute().as_uri())
    page.wait_for_selector("html[data-ready]", state="attached")


def fitted_run(folder: Path, dataset: Dataset, **parameters) -> Path:
    """Run directory of a real fit with its report."""
    estimator = DPGaussianMixture(random_state=0, **parameters).fit(dataset.X)
    estimator.save(folder)
    summarise(estimator, dataset, folder, seconds=1.0)
    return write_report(folder)


@pytest.fixture(scope="session")
def table_report(tmp_path_factory):
    """Four blobs in two columns whose names are hostile, as are those of file and labels."""
    centres = [[0, 0], [6, 0], [0, 30], [40, 40]]  # the first two are near each other
    X, y = make_blobs(400, centers=centres, cluster_std=1.0, random_state=0)
    names = ("a", "b", "c", EVIL)
    dataset = Dataset(
        X, y, label_names=names, feature_names=("width", EVIL), name=EVIL, label="<b>kind</b>"
    )
    return fitted_run(tmp_path_factory.mktemp("run"), dataset, max_components=4)


@pytest.fixture(scope="session")
def image_report(tmp_path_factory):
    """Handwritten digits, few enough for a quick fit."""
    digits = load_digits()
    dataset = Dataset(digits.data[:300], digits.target[:300], image_shape=(8, 8), name="digits")
    options = {"covariance_type": "diag", "max_components": 12, "n_init": 1}
    return fitted_run(tmp_path_factory.mktemp("run"), dataset, **options)


def data_of(page):
    return json.loads(page.locator("#data").text_content())


def stand(page, selector):
    """Numbers of the groups whose elements are shown."""
    found = page.locator(f"{selector}[data-group]:not([hidden])")
    return {int(number) for number in found.evaluate_all("all => all.map(e => e.dataset.group)")}


def groups_at(data, n):
    return {g for g, group in enumerate(data["groups"]) if group["fewest"] <= n <= group["most"]}


def marker(page, name):
    return page.evaluate(f"document.getElementById('map').data[0].marker.{name}")


def point(page, place):
    """Where a row is on the screen."""
    return page.evaluate(
        """i => { const map = document.getElementById('map'), box = map.getBoundingClientRect(),
        {xaxis, yaxis} = map._fullLayout, trace = map.data[0];
        return [box.x + xaxis._offset + xaxis.l2p(trace.x[i]),
                box.y + yaxis._offset + yaxis.l2p(trace.y[i])]; }""",
        place,
    )


def test_it_opens_from_disk_without_a_network_and_draws_every_figure(table):
    page = table
    assert page.evaluate("document.getElementById('map').data[0].x.length") == 400
    for name in ("tree", "calibration", "bound-0", "n-components"):
        page.locator(f"#{name}").scroll_into_view_if_needed()
        page.locator(f"#{name} .main-svg").first.wait_for()


def test_words_of_the_data_are_shown_and_never_run(table):
    page = table
    page.mouse.move(*point(page, 0))
    tip = page.locator("#tip")
    expect(tip).to_contain_text(EVIL)
    page.locator("#colour").select_option("label")
    expect(page.locator("#legend")).to_contain_text(EVIL)
    written = page.locator("#map .annotation-text")
    assert EVIL.split("&amp;")[0] in " ".join(written.all_text_contents())
    page.locator("article:not([hidden]) summary").first.click()
    for place in ("h1", "#h-means + p + .card", "article:not([hidden])", "#h-odd + p + .card"):
        assert EVIL in page.locator(place).first.text_content(), place
    assert "<b>kind</b>" in page.locator("#colour").text_content()
    assert page.evaluate("window.evil") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("main script:not([type='application/json'])").count() == 0


def test_a_row_is_shown_where_the_mouse_points(table, visit, image_report):
    page = table
    rows = data_of(page)["rows"]
    xy = np.column_stack([rows["x"], rows["y"]])
    apart = np.sort(np.linalg.norm(xy[:, None] - xy, axis=-1), axis=1)[:, 1]
    place = int(apart.argmax())  # no other row is near it
    page.mouse.move(*point(page, place))
    tip = page.locator("#tip")
    expect(tip).to_be_visible()
    expect(tip.locator("b")).to_have_text(f"Row {rows['row'][place]}")
    expect(tip).to_contain_text("width")
    expect(page.locator("#ring")).to_be_visible()
    page.mouse.move(5, 5)
    expect(tip).to_be_hidden()
    page = visit(image_report)
    page.mouse.move(*point(page, 3))
    picture = page.locator("#tip .tile")
    expect(picture).to_be_visible()
    row = int(page.locator("#tip b").text_content().removeprefix("Row "))
    assert picture.get_attribute("aria-label") == f"Picture of row {row}"
    # The right part of the right picture: the pixels on the screen are those of the digit.
    shot = picture.evaluate(
        """tile => new Promise(done => { const style = getComputedStyle(tile), image = new Image();
        image.onload = () => { const canvas = document.createElement('canvas');
          canvas.width = image.width; canvas.height = image.height;
          const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);
          const [x, y] = style.backgroundPosition.split(' ').map(parseFloat);
          const left = x / 100 * (image.width - 8), top = y / 100 * (image.height - 8);
          const seen = pen.getImageData(Math.round(left), Math.round(top), 8, 8).data;
          done([...seen].filter((_, i) => i % 4 == 0)); };
        image.src = style.backgroundImage.slice(5, -2); })"""
    )
    expected = load_digits().data[row] * 255 / 16
    assert np.abs(np.array(shot) - expected).max() <= 1


def test_all_follows_the_group_that_is_chosen(table):
    page = table
    data = data_of(page)
    chosen = data["groups"][2]
    page.locator("[data-pick='2']").click()
    expect(page.locator("#said")).to_have_text(f"Chosen: group {chosen['name']}, 100 rows")
    faded = np.array(marker(page, "opacity")) < 0.5
    assert np.array_equal(~faded, np.array(data["rows"]["leaf"]) == 2)
    assert stand(page, "article") == {2}
    assert page.locator("[data-pick='2']").get_attribute("aria-pressed") == "true"
    page.locator("#tree").scroll_into_view_if_needed()
    page.wait_for_function("document.getElementById('tree').data")
    bright = page.evaluate("document.getElementById('tree').data.at(-1).marker.opacity")
    assert sorted(bright) == [0.2, 0.2, 0.2, 1]
    page.locator("#all").click()
    assert min(marker(page, "opacity")) > 0.5
    assert len(stand(page, "article")) == data["nComponents"]
    page.mouse.click(*point(page, data["rows"]["leaf"].index(3)))  # a row chooses its group
    assert stand(page, "article") == {3}


def test_all_follows_the_slider(table):
    page = table
    data = data_of(page)
    assert data["nComponents"] == 4
    slider = page.locator("#cut")
    for n in (1, 2, 3, 4):
        slider.fill(str(n))
        expect(page.locator("#n")).to_have_text(str(n))
        for element in ("article", "tr", "th", "td"):
            assert stand(page, element) in (groups_at(data, n), set()), element
        colours = {
            group["colour"] for g, group in enumerate(data["groups"]) if g in groups_at(data, n)
        }
        assert set(marker(page, "color")) == colours
    slider.fill("3")
    (joined,) = (
        data["groups"][g] for g in groups_at(data, 3) if len(data["groups"][g]["leaves"]) > 1
    )
    xy, leaf = np.array([data["rows"]["x"], data["rows"]["y"]]), np.array(data["rows"]["leaf"])
    centres = [xy[:, leaf == k].mean(axis=1) for k in range(4)]
    near = min(combinations(range(4), 2), key=lambda p: np.hypot(*centres[p[0]] - centres[p[1]]))
    assert tuple(joined["leaves"]) == near  # the two blobs that are near each other
    page.locator("#as-fitted").click()
    expect(page.locator("#n")).to_have_text("4")
    expect(page.locator("#as-fitted")).to_be_disabled()


def test_colours_follow_label_and_confidence(table):
    page = table
    data = data_of(page)
    page.locator("#colour").select_option("label")
    expected = [data["labels"][y]["colour"] for y in data["rows"]["label"]]
    assert marker(page, "color") == expected
    page.locator("#colour").select_option("confidence")
    sure = np.array(data["rows"]["resp"])[:, 0] > 0.9999
    colours = np.array(marker(page, "color"))
    assert set(colours[sure]) == {"rgb(0,114,178)"}


def test_everything_is_reached_and_done_by_keyboard(visit, table_report):
    page = visit(table_report)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.dataset.pick || ''")
        )
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"the focus on {reached[-1]} cannot be seen"
    assert {"cut", "colour", "map", "0", "1", "2", "3"} <= set(reached)
    page.focus("#cut")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#n")).to_have_text("3")
    page.focus("#as-fitted")
    page.keyboard.press("Enter")
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    tip = page.locator("#tip")
    expect(tip).to_be_visible()
    seen = {tip.text_content()}
    places = []
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowRight"):
        page.keyboard.press(key)
        seen.add(tip.text_content())
        places.append(page.locator("#ring").evaluate("ring => [ring.offsetLeft, ring.offsetTop]"))
    assert len(seen) > 3
    assert places[1][1] >= places[0][1]  # down is down
    page.keyboard.press("Enter")
    assert len(stand(page, "article")) == 1
    page.keyboard.press("Escape")
    assert len(stand(page, "article")) == 4
    expect(tip).to_be_hidden()


def test_a_typical_row_is_found_on_the_map(visit, image_report):
    page = visit(image_report)
    tile = page.locator("article:not([hidden]) button.tile").first
    row = tile.get_attribute("aria-label").split(":")[0]
    tile.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#tip")).to_contain_text(row)
    expect(page.locator("#tip")).to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_nothing_is_wider_than_the_window_and_all_can_be_read(visit, table_report, size, scheme):
    page = visit(table_report, size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    ink, quiet, card = page.evaluate(
        "['--ink', '--quiet', '--card'].map("
        "name => getComputedStyle(document.documentElement).getPropertyValue(name))"
    )
    is_dark = luminance(card) < luminance(ink)
    assert is_dark == (scheme == "dark")
    for text in (ink, quiet):
        low, high = sorted([luminance(text), luminance(card)])
        assert (high + 0.05) / (low + 0.05) > 4.5  # WCAG 2, level AA


def luminance(colour):
    value = np.array([int(colour.strip()[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_a_hundred_thousand_rows_open_at_once(visit, tmp_path):
    X, y = make_blobs(100_000, centers=30, n_features=2, center_box=(-60, 60), random_state=0)
    dataset = Dataset(X.astype(np.float32), y, name="many")
    options = {"covariance_type": "spherical", "max_components": 30, "n_init": 1, "tol": 0.01}
    report = fitted_run(tmp_path, dataset, **options)
    assert report.stat().st_size < MEGABYTES * 1e6
    alone = tmp_path / "alone.html"
    alone.write_text(
        f"<!doctype html><link rel=icon href=data:,><script>{get_plotlyjs()}</script>"
        "<script>document.documentElement.dataset.ready = 1</script>"
    )
    usual = seconds_to_open(visit, alone)
    took = min(seconds_to_open(visit, report) for _ in range(2))
    assert took < max(SECONDS, BUSY * usual), f"{took:.1f} s, plotly alone {usual:.1f} s"
    page = visit(report)
    assert "of 100,000 rows, drawn at random so that the page stays light" in page.text_content(
        "#map-help"
    )
    start = time.perf_counter()
    page.locator("#cut").fill("5")
    expect(page.locator("#n")).to_have_text("5")
    assert time.perf_counter() - start < max(1.0, usual)


def seconds_to_open(visit, path):
    start = time.perf_counter()
    visit(path)
    return time.perf_counter() - start
