"""What users take away: tables and sheets of images, read back by other means."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infimix.data.write import check_type, write_images, write_table


def test_csv_holds_names_values_and_the_component_first(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    write_table(path, np.array([[0.5, 2.0], [1.5, 4.0]]), ["a", "a"], component=np.array([3, 0]))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["component", "a", "a"], ["3", "0.5", "2.0"], ["0", "1.5", "4.0"]]


def test_npy_holds_the_values_alone(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(3, 2)
    write_table(tmp_path / "a.npy", values, ["a", "b"], component=np.zeros(3))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    write_table(tmp_path / "b.npy", values[:, 0], ["a"])
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), values[:, 0])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 1), (2, 3, 3), (2, 3, 4)])
def test_every_image_stands_in_its_tile(shape: tuple[int, ...], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, size=(5, *shape))
    images[0].flat[:2] = [0, 255]  # so that values are drawn as they are
    write_images(tmp_path / "new" / "a.png", images.reshape(5, -1).astype(np.float32), shape)
    with Image.open(tmp_path / "new" / "a.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape[:2] == (2 * 2, 3 * 3)
    for i in range(5):
        line, column = divmod(i, 3)
        tile = sheet[2 * line : 2 * line + 2, 3 * column : 3 * column + 3]
        np.testing.assert_array_equal(tile, images[i].reshape(tile.shape))
    assert not sheet[2:, 6:].any()


def test_images_without_contrast_are_black(tmp_path: Path) -> None:
    write_images(tmp_path / "a.png", np.full((1, 4), 7.0), (2, 2))
    with Image.open(tmp_path / "a.png") as picture:
        assert not np.asarray(picture).any()


def test_unknown_types_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"xlsx' must end in \.csv or \.npy"):
        write_table(tmp_path / "new" / "a.xlsx", np.zeros((1, 1)), ["a"])
    with pytest.raises(ValueError, match=r"must end in \.png"):
        write_images(tmp_path / "new" / "a.jpg", np.zeros((1, 4)), (2, 2))
    assert not (tmp_path / "new").exists()
    check_type(Path("a.csv"), [".csv"])
