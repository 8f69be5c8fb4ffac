from itertools import combinations

import numpy as np
import pytest

from infimix.plots import COLOURS, MARKERS, sign_of

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


def nearest(colours, kind="none"):
    """Distance of the two colours that look most alike."""
    seen = [lab(COLOUR_BLINDNESS[kind] @ linear_rgb(colour)) for colour in colours]
    return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))


def test_24_components_have_colours_that_look_different():
    colours = [sign_of(k).colour for k in range(24)]
    assert nearest(colours) > 20  # the three palettes of 24 and more in plotly: 24 to 26


@pytest.mark.parametrize("kind", COLOUR_BLINDNESS)
def test_colours_of_one_shape_stay_apart_for_colour_blind_eyes(kind):
    signs = [sign_of(k) for k in range(28)]
    for shape in {sign.symbol for sign in signs}:
        colours = [sign.colour for sign in signs if sign.symbol == shape]
        assert len(colours) == 7
        assert nearest(colours, kind) > 15


@pytest.mark.parametrize("paper", ["#ffffff", "#1c2024"])
def test_colours_can_be_seen_on_light_and_dark_paper(paper):
    assert min(contrast(colour, paper) for colour in COLOURS) > 2


def test_thirty_groups_have_thirty_signs_and_no_shape_has_two_colours_alike():
    signs = {sign_of(k)[:2] for k in range(30)}
    assert len(signs) == 30


def test_more_than_a_hundred_components_look_different():
    assert len({sign_of(k) for k in range(168)}) == 168
    assert sign_of(0) == sign_of(168)


def test_every_shape_has_its_marker_of_matplotlib():
    assert len(set(MARKERS.values())) == len(MARKERS)
    assert {sign_of(k).marker for k in range(56)} == set(MARKERS.values())
