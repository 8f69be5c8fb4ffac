"""Images that are moved, and neighbours but for moves, against least squares."""

import numpy as np
import pytest
import torch
from numpy.linalg import lstsq, norm
from sklearn.datasets import load_digits

from infimix.training import Affine, HeldRows, nearest
from infimix.training.images import nearest_but_for_moves


@pytest.mark.parametrize("shape", [(28, 28), (12, 20, 3)])
def test_images_move_a_little(shape: tuple[int, ...]) -> None:
    height, width = shape[:2]
    image = np.zeros((height, width, *shape[2:]), np.float32)
    image[height // 2 - 2 : height // 2 + 2, width // 2 - 2 : width // 2 + 2] = 1
    x = torch.from_numpy(image.reshape(1, -1)).expand(300, -1)
    moved = Affine(shape)(x, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape
    assert ((moved >= 0) & (moved <= 1)).all()
    mass = moved.reshape(300, height, width, -1).numpy()
    along = [mass.sum((2, 3)), mass.sum((1, 3))]  # over columns, over rows
    for share, n in zip(along, (height, width), strict=True):
        centre = share @ np.arange(n) / share.sum(1) - (n - 1) / 2
        assert abs(centre.mean()) < 0.15  # no direction is favoured
        assert 0.02 * n < centre.std() < 0.06 * n  # uniform up to 7 % of the side: 4 %
    if len(shape) == 3:  # channels move together
        np.testing.assert_allclose(mass[..., 0], mass[..., 2], atol=1e-6)


def test_a_border_goes_on_where_an_image_leaves() -> None:
    moved = Affine((8, 8))(torch.full((20, 64), 0.3), torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved, torch.full((20, 64), 0.3))


def test_steps_are_derivatives_of_a_smooth_image() -> None:
    """A wide bump off the centre: turns, zooms, shears and shifts by their vector fields."""
    across, down = np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41))  # of pixel centres
    image = np.exp(-((across - 0.2) ** 2 + 2 * (down + 0.1) ** 2 + across * down) / 0.08)
    d_down, d_across = np.gradient(image)
    fields = [
        across * d_down - down * d_across,
        across * d_across + down * d_down,
        down * d_across,
        d_across,
        d_down,
    ]
    x = torch.from_numpy(image.reshape(1, -1).astype(np.float32))
    for (there, back), field in zip(Affine((41, 41)).steps(x), fields, strict=True):
        step = (there - back).numpy().ravel()
        cosine = step @ field.ravel() / norm(step) / norm(field)
        assert abs(cosine) > 0.98


def tangent_distances(z: np.ndarray, tangents: np.ndarray, i: int) -> np.ndarray:
    """Of row i to all: least squares over the moves of both."""
    return np.array(
        [
            norm(r - T @ lstsq(T, r, rcond=None)[0])
            for r, T in (
                (z[i] - z[j], np.hstack([tangents[i], tangents[j]])) for j in range(len(z))
            )
        ]
    )


@pytest.mark.parametrize("scale", [1.0, 100.0], ids=["small", "large"])
def test_the_nearest_but_for_moves_are_those_by_least_squares(
    scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infimix.training.images.RIDGE", 1e-10)
    rng = np.random.default_rng(0)
    tangents = scale * (rng.normal(size=(30, 3)) + 0.3 * rng.normal(size=(60, 30, 3)))
    z = scale * rng.normal(size=(60, 30)) + (tangents @ rng.normal(size=(60, 3, 1)))[..., 0]
    others = np.array([np.delete(np.arange(60), i) for i in range(60)])
    t = torch.from_numpy
    found = nearest_but_for_moves(t(z), t(tangents), t(others), 5).numpy()
    plain = 0
    for i in range(60):
        distance = tangent_distances(z, tangents, i)[others[i]]
        assert found[i].tolist() == others[i][distance.argsort()[:5]].tolist()
        plain += len(set(found[i]) & set(norm(z - z[i], axis=1).argsort()[1:6]))
    assert plain < 200  # of 300: it is another order


def test_where_nothing_changes_with_a_move_distances_are_the_plain_ones() -> None:
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 6)))
    near = (z[:, None] - z).norm(dim=2).argsort(1)[:, 1:]
    shuffled = near[:, torch.randperm(19, generator=torch.Generator().manual_seed(0))]
    assert torch.equal(
        nearest_but_for_moves(z, torch.zeros(20, 6, 2).double(), shuffled, 4), near[:, :4]
    )


def test_moves_that_are_the_same_twice_are_counted_once() -> None:
    rng = np.random.default_rng(0)
    z, tangents = rng.normal(size=(30, 8)), rng.normal(size=(30, 8, 2))
    others = torch.from_numpy(np.array([np.delete(np.arange(30), i) for i in range(30)]))
    once = nearest_but_for_moves(torch.from_numpy(z), torch.from_numpy(tangents), others, 3)
    doubled = torch.from_numpy(np.concatenate([tangents, tangents], 2))
    twice = nearest_but_for_moves(torch.from_numpy(z), doubled, others, 3)
    assert (once == twice).double().mean() > 0.95


def test_moved_copies_of_an_image_are_its_neighbours() -> None:
    images = torch.from_numpy(load_digits().data[:300].astype(np.float32) / 16)
    warp, generator = Affine((8, 8)), torch.Generator().manual_seed(0)
    rows = torch.cat([images] + [warp(images, generator) for _ in range(3)])

    def share_of_copies(warp: Affine | None) -> float:
        near = nearest(HeldRows(rows), torch.arange(1200), lambda x: x, 3, 0, warp)
        assert near is not None
        own = torch.arange(1200)[:, None] % 300
        return float((near.position % 300 == own).double().mean())

    assert share_of_copies(warp) > 0.05 + share_of_copies(None)
