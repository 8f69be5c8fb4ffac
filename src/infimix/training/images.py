r"""Small moves of images, and which rows are near where such moves do not count.

Images of one thing that is turned or shifted lie on a curved surface, far apart in their pixels.
With :math:`T_x` the tangents of that surface at x, the two-sided tangent distance (Simard, LeCun,
Denker 1993) is

.. math:: d^2(x, y) = \min_{a, b} |x + T_x a - y - T_y b|^2 .
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

TURN, ZOOM, SHEAR, SHIFT = 0.35, 0.15, 0.2, 0.07  # radians, shares of the size
MOST = (TURN, ZOOM, SHEAR, SHIFT, SHIFT)
STEP = 0.4  # of the most, each way, that tangents are taken over
RIDGE = 0.01  # tangents of x and y may be the same; of those of an image, this share of the usual
PAIRS = 50_000  # looked at together


@final
class Affine:
    """Turns, zooms, shears and shifts of images, flattened with channels last.

    Parameters
    ----------
    image_shape : tuple (H, W) or (H, W, C)
    """

    def __init__(self, image_shape: tuple[int, ...]) -> None:
        self.shape = (*image_shape, 1)[:3]

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Move each image (B, D) at random, generator on the CPU."""
        share = 2 * torch.rand(len(MOST), len(x), generator=generator) - 1
        return self._move(x, share * torch.tensor(MOST)[:, None])

    def steps(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Images (B, D) moved a little one way, and back, by each kind of move in turn."""
        for i, most in enumerate(MOST):
            step = torch.zeros(len(MOST), len(x))
            step[i] = STEP * most
            yield self._move(x, step), self._move(x, -step)

    def _move(self, x: Tensor, by: Tensor) -> Tensor:
        """Images (B, D) turned, zoomed, sheared and shifted right and down `by` (5, B)."""
        n, (height, width, n_channels) = len(x), self.shape
        turn, zoom, shear, right, down = by.to(x)
        cos, sin = turn.cos() * (1 + zoom), turn.sin() * (1 + zoom)
        # Coordinates run from -1 to 1: a share of the size is twice that.
        first = torch.stack([cos, shear - sin, 2 * right], 1)
        second = torch.stack([sin, cos, 2 * down], 1)
        image = x.reshape(n, height, width, n_channels).movedim(3, 1)
        grid = affine_grid(torch.stack([first, second], 1), list(image.shape), align_corners=False)
        moved = grid_sample(image, grid, padding_mode="border", align_corners=False)
        return moved.movedim(1, 3).reshape(n, -1)


def nearest_but_for_moves(z: Tensor, tangents: Tensor, near: Tensor, k: int) -> Tensor:
    """The k nearest of some rows by tangent distance, nearest first.

    Parameters
    ----------
    z : Tensor of shape (N, d)
        Rows.
    tangents : Tensor of shape (N, d, m)
        Of each row; they need not be independent.
    near : Tensor of shape (n, C)
        Rows that come into question for each of the first n.
    k : int
        At most C.

    Returns
    -------
    Tensor of shape (n, k)
        Some of `near`.
    """
    basis = _orthonormal(tangents)
    n_rows = max(1, PAIRS // near.shape[1])  # at a time
    found = []
    for start in range(0, len(near), n_rows):
        some = near[start : start + n_rows]  # (n, C)
        here = slice(start, start + len(some))
        mine = basis[here, None].expand(-1, some.shape[1], -1, -1)
        between = z[some] - z[here, None]  # (n, C, d)
        moves = torch.cat([mine, basis[some]], 3)  # (n, C, d, 2m)
        along = (moves.mT @ between[..., None])[..., 0]  # (n, C, 2m)
        gram = moves.mT @ moves + RIDGE * torch.eye(along.shape[-1])
        bridged = (along * torch.linalg.solve(gram, along)).sum(2)
        square = between.square().sum(2) - bridged
        found.append(some.gather(1, square.topk(k, largest=False).indices))
    return torch.cat(found)


def _orthonormal(tangents: Tensor) -> Tensor:
    """Orthonormal tangents (N, d, m); those that are little beside the usual ones are shortened."""
    value, vector = torch.linalg.eigh(tangents.mT @ tangents)  # (N, m), (N, m, m)
    floor = RIDGE * value.mean().clamp_min(torch.finfo(value.dtype).tiny)
    scaled: Tensor = tangents @ (vector / (value.clamp_min(0) + floor).sqrt()[:, None])
    return scaled
