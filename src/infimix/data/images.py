"""A folder of images, all of one size, as rows of bytes."""

from pathlib import Path

import numpy as np

from infimix.data.arrays import read_labels
from infimix.data.dataset import Rows, encode_labels
from infimix.errors import DataFileError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_GREY_MODES = ("1", "L", "LA")
_COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")


def read_images(folder: Path, label: str | None) -> Rows:
    """Read every image below `folder`, in the alphabetical order of its path.

    Pixels are uint8. If one image has colour all are read as RGB, else all as grey. With
    ``label="folder"`` the first folder below `folder` is the label of the images in it; any other
    `label` names a file of labels in the same order.

    Raises
    ------
    ValueError
        If there are no images, if they differ in size, if one cannot be read (`DataFileError`), or
        if one has more than eight bits a channel.
    """
    paths = sorted(
        (p for p in folder.rglob("*") if _is_image(p.relative_to(folder)) and p.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
    if not paths:
        raise ValueError(
            f"The folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}); "
            "give a folder of images or the path of a data file."
        )
    size, mode = _common_form(paths)
    width, height = size
    shape = (height, width) if mode == "L" else (height, width, 3)
    X = np.empty((len(paths), int(np.prod(shape))), dtype=np.uint8)
    for row, path in enumerate(paths):
        X[row] = _pixels(path, mode).reshape(-1)
    if label == "folder":
        y, label_names = _folder_labels(paths, folder)
    else:
        y, label_names = read_labels(label, folder, len(paths))
    return Rows(X, y, label_names, image_shape=shape)


def _is_image(path: Path) -> bool:
    """Whether a path below the folder is an image that is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(p.startswith(".") for p in path.parts)


def _common_form(paths: list[Path]) -> tuple[tuple[int, int], str]:
    """Return the (width, height) of all images, and "L" if all are grey, else "RGB"."""
    from PIL import Image, UnidentifiedImageError

    size: tuple[int, int] | None = None
    has_colour = False
    for path in paths:
        try:
            with Image.open(path) as image:
                form, mode = image.size, image.mode
        except (UnidentifiedImageError, OSError) as error:
            raise _damaged(path, error) from error
        if mode not in _GREY_MODES + _COLOUR_MODES:
            raise ValueError(
                f"{path} has pixels of mode {mode}, and infimix reads eight bits a channel; "
                "convert it to 8-bit grey or RGB."
            )
        size = size or form
        if form != size:
            raise ValueError(
                f"All images must have one size: {paths[0]} is {size[0]} x {size[1]} pixels and "
                f"{path} is {form[0]} x {form[1]}; resize them or move one out of the folder."
            )
        has_colour = has_colour or mode in _COLOUR_MODES
    assert size is not None  # there is at least one path
    return size, "RGB" if has_colour else "L"


def _pixels(path: Path, mode: str) -> np.ndarray:
    """Return one image as uint8 of shape (H, W) or (H, W, 3)."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode), dtype=np.uint8)
    except (OSError, SyntaxError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataFileError:
    """Sentence for an image that cannot be opened or decoded."""
    return DataFileError(
        f"The image {path} cannot be read ({error}); repair it or move it out of the folder."
    )


def _folder_labels(paths: list[Path], folder: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Label every image by the first folder below `folder`."""
    parts = [path.relative_to(folder).parts for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if len(part) == 1:
            raise ValueError(
                f"label='folder' needs every image in a folder of its class, and {path} lies "
                f"directly in {folder}; move it into a folder or leave the label out."
            )
    return encode_labels([part[0] for part in parts], str(folder))
