"""A folder of images."""

import numpy as np
import pytest
from PIL import Image

from infimix.data import load
from infimix.errors import DataFileError


@pytest.fixture
def grey(tmp_path):
    """Six grey images of 3 x 4 pixels in two folders; returns the folder and the pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, size=(6, 3, 4), dtype=np.uint8)
    folder = tmp_path / "images"
    for row, image in enumerate(pixels):
        path = folder / ("cats" if row < 4 else "dogs") / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    return folder, pixels


def test_grey_images_in_sorted_order(grey):
    folder, pixels = grey
    rows = load(folder)
    np.testing.assert_array_equal(rows.X, pixels.reshape(6, 12))
    assert (rows.image_shape, rows.X.dtype, rows.name) == ((3, 4), np.uint8, "images")
    assert rows.y is None


def test_folders_are_labels_where_asked(grey):
    folder, _ = grey
    rows = load(folder, label="folder")
    assert (rows.y.tolist(), rows.label_names) == ([0, 0, 0, 0, 1, 1], ("cats", "dogs"))
    np.save(folder / "y.npy", np.array([3, 3, 3, 1, 1, 1]))
    assert load(folder, label="y.npy").y.tolist() == [1, 1, 1, 0, 0, 0]
    Image.new("L", (4, 3)).save(folder / "loose.png")
    with pytest.raises(ValueError, match=r"loose\.png lies directly in"):
        load(folder, label="folder")
    with pytest.raises(ValueError, match=r"has 6 labels, and .* has 7 rows"):
        load(folder, label="y.npy")


def test_one_colour_image_makes_all_of_them_colour(grey):
    folder, pixels = grey
    colour = np.random.default_rng(1).integers(0, 256, size=(3, 4, 3), dtype=np.uint8)
    Image.fromarray(colour).save(folder / "dogs" / "9.png")
    rows = load(folder)
    assert rows.image_shape == (3, 4, 3)
    np.testing.assert_array_equal(rows.X[6].reshape(3, 4, 3), colour)
    np.testing.assert_array_equal(rows.X[0].reshape(3, 4, 3), np.repeat(pixels[0][..., None], 3, 2))


def test_images_that_are_no_data(grey):
    folder, _ = grey
    Image.new("L", (5, 3)).save(folder / "dogs" / "wide.png")
    with pytest.raises(ValueError, match=r"0\.png is 4 x 3 pixels and .*wide\.png is 5 x 3"):
        load(folder)
    Image.fromarray(np.zeros((3, 4), dtype=np.uint16)).save(folder / "dogs" / "wide.png")
    with pytest.raises(ValueError, match="eight bits a channel"):
        load(folder)
    (folder / "dogs" / "wide.png").write_bytes(b"no image")
    with pytest.raises(DataFileError, match=r"wide\.png cannot be read"):
        load(folder)
    (folder / "dogs" / "wide.png").write_bytes((folder / "dogs" / "5.png").read_bytes()[:-30])
    with pytest.raises(DataFileError, match=r"wide\.png cannot be read"):
        load(folder)


def test_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match="holds no images"):
        load(tmp_path)
