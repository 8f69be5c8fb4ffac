import base64
import io

import numpy as np
from PIL import Image

from infimix.report import write_report


def picture_of(attributes):
    head, _, body = attributes["src"].partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def test_pictures_hold_the_pixels_of_the_rows(image_run, page_of):
    page = page_of(image_run)
    pairs = [picture_of(a) for a in page.all("img") if "reconstruction" in a["alt"]]
    assert len(pairs) == 2
    x = np.linspace(0, 255, 12).round().astype(np.uint8).reshape(2, 2, 3)
    assert np.array_equal(pairs[0][:2, :, 0], x[0])
    assert np.array_equal(pairs[0][-2:, :, 0], x[1])
    strips = [picture_of(a) for a in page.all("img") if a["alt"].startswith("10 samples")]
    assert [strip.shape[:2] for strip in strips] == [(2, 10 * 3 + 9)] * 5  # groups of all cuts


def test_rows_are_parts_of_one_picture(image_run):
    report = write_report(image_run).read_text(encoding="utf-8")
    head = "background-image: url(data:image/png;base64,"
    encoded = report.split(head)[1].split(")")[0]
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    stored = np.load(image_run / "summary.npz")["picture"]
    assert whole.shape == (5 * 2, 6 * 3)  # 30 rows in 5 lines of 6
    for place in (0, 7, 29):
        line, column = divmod(place, 6)
        part = whole[2 * line : 2 * line + 2, 3 * column : 3 * column + 3]
        assert np.array_equal(part, stored[place])


def test_colour_images_are_shown_in_colour(make_run, page_of):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, size=(1, 12)).astype(float)
    arrays = {
        "image_shape": np.array([2, 2, 3]),
        "picture": generator.integers(256, size=(30, 2, 2, 3)).astype(np.uint8),
        "range": np.array([0.0, 255.0]),
        "x": x,
        "reconstruction": x,
    }
    page = page_of(make_run(n_features=12, is_image=True, arrays=arrays))
    pair = next(picture_of(a) for a in page.all("img") if "reconstruction" in a["alt"])
    assert np.array_equal(pair[:2, :, :3], x.reshape(2, 2, 3).astype(np.uint8))


def test_large_images_are_made_smaller_and_the_page_says_so(make_run, page_of):
    arrays = {
        "image_shape": np.array([64, 64, 3]),
        "picture": np.zeros((60, 8, 8, 3), dtype=np.uint8),
    }
    run_dir = make_run(
        n_components=30, n_rows=60, n_features=64 * 64 * 3, is_image=True, arrays=arrays
    )
    assert write_report(run_dir).stat().st_size < 8_000_000
    assert "smaller than the 64 × 64 pixels of the rows" in page_of(run_dir).text
