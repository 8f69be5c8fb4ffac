"""What is drawn: artists and their values, and pictures that are not blank."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from infimix.plots import (
    draw_curve,
    draw_images,
    draw_map,
    draw_profiles,
    draw_tree,
    new_axes,
    sign_of,
)


@pytest.fixture
def ax():
    return Figure(figsize=(4, 3)).add_subplot()


def pixels_of(ax):
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_axes_that_were_given_are_drawn_on(ax):
    assert new_axes(ax) is ax


def test_a_map_has_a_cloud_and_a_name_for_each_group(ax):
    xy = np.array([[0.0, 0.0], [0.1, 0.0], [0.0, 0.2], [5.0, 5.0]])
    assert draw_map(ax, xy, np.array([7, 7, 7, 2])) is ax
    two, seven = ax.collections
    np.testing.assert_array_equal(two.get_offsets(), xy[3:])
    np.testing.assert_array_equal(seven.get_offsets(), xy[:3])
    assert to_hex(seven.get_facecolor()[0]).upper() == sign_of(7).colour
    assert len(two.get_paths()[0]) != len(seven.get_paths()[0]), "another shape"
    assert {text.get_text(): text.get_position() for text in ax.texts} == {
        "2": (5.0, 5.0),
        "7": (0.0, 0.0),  # of the middle point, so that the name lies on its own group
    }


def test_one_group_has_no_name_and_names_replace_numbers(ax):
    draw_map(ax, np.zeros((3, 2)), np.zeros(3, dtype=int))
    assert not ax.texts
    draw_map(ax, np.eye(2), np.array([0, 1]), ["left", "right"])
    assert [text.get_text() for text in ax.texts] == ["left", "right"]


def test_images_stand_in_rows_with_gaps(ax):
    images = np.arange(6.0).reshape(2, 3, 1).repeat(4, axis=2)  # one grey each
    draw_images(ax, images, (2, 2), 0, 5)
    (canvas,) = ax.images
    drawn = canvas.get_array()
    assert drawn.shape == (2 * 3 - 1, 3 * 3 - 1, 4)
    corners = drawn[::3, ::3]
    np.testing.assert_allclose(corners[..., 0], images[..., 0] / 5)
    assert (corners[..., 3] == 1).all()
    assert (drawn[2] == 0).all(), "the gap is transparent"
    assert ax.get_yticks().tolist() == [0.5, 3.5]
    seen = pixels_of(ax)
    assert len(np.unique(seen.reshape(-1, 3), axis=0)) >= 6


def test_images_in_colour_keep_their_colours_and_lose_their_alpha(ax):
    image = np.array([[[1.0, 0.5, 0.0, 0.2]]])  # one pixel
    draw_images(ax, image, (1, 1, 4))
    np.testing.assert_allclose(ax.images[0].get_array()[0, 0], [1, 0.5, 0, 1])


def test_a_constant_image_is_drawn(ax):
    draw_images(ax, np.full((1, 1, 4), 3.0), (2, 2), 3.0, 3.0)
    assert (ax.images[0].get_array()[..., :3] == 0).all()


def test_curves_have_the_colours_of_components(ax):
    draw_curve(ax, [1, 2, 3], [5.0, 6.0, 7.0], "a", 0)
    draw_curve(ax, [4], [5.0], "b", 1, is_dashed=True)
    a, b = ax.lines
    assert a.get_ydata().tolist() == [5.0, 6.0, 7.0]
    assert (a.get_color(), b.get_color()) == (sign_of(0).colour, sign_of(1).colour)
    assert (a.get_marker(), b.get_marker(), b.get_linestyle()) == ("", "o", "--")
    assert pixels_of(ax).std() > 0


@pytest.mark.parametrize(
    ("component_of_part", "cut_between"),
    [([0, 1, 0], (0.5, 8.0)), ([0, 1, 2], (0.0, 0.5)), ([0, 0, 0], None)],
)
def test_the_tree_is_cut_into_its_components(ax, component_of_part, cut_between):
    draw_tree(ax, [(2, 0, 2, 0.5), (1, 0, 1, 8.0)], component_of_part)
    brackets = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert sorted(max(line.get_ydata()) for line in brackets) == [0.5, 8.0]
    cuts = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert len(cuts) == (cut_between is not None)
    assert all(cut_between[0] < cut < cut_between[1] for cut in cuts)
    assert ax.get_yscale() == "log"
    labels = [int(label.get_text()) for label in ax.get_xticklabels()]
    assert sorted(labels) == sorted(component_of_part)
    colours = [to_hex(dot.get_facecolor()[0]).upper() for dot in ax.collections]
    assert colours == [sign_of(k).colour for k in labels]


def test_profiles_are_a_picture_with_a_scale(ax):
    effect = np.array([[1.0, -2.5], [0.0, 2.0]])
    draw_profiles(ax, effect, ["width", "height"])
    np.testing.assert_array_equal(ax.images[0].get_array(), effect)
    assert ax.images[0].get_clim() == (-2.0, 2.0)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["width", "height"]
    assert len(ax.figure.axes) == 2
