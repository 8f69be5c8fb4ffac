r"""Closeness of codes: what draws near rows together while the unified model warms up.

For the means :math:`m_n` of the codes of rows, and :math:`m'_n` of the codes of their views, it is

.. math:: -\log(1 + |m_n - m'_n|^2)
          - \frac{5}{B - 1} \sum_{j \ne n} \log\big(1 + |m_n - m'_j|^{-2}\big),

the log-odds loss of UMAP with the kernel of t-SNE, negatives from the batch, by a network (McInnes,
Healy, Melville 2018; Sainburg, McInnes, Gentner 2021). It is no part of the bound, which is climbed
afterwards from where this leads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

N_NEGATIVES = 5.0  # weight of all other rows together
LEAST_SQUARE = 1e-3  # squared distances below no longer push
SHARE = 10.0  # of closeness in what moves a code, times that of the reconstruction


def closeness(mean: Tensor, view: Tensor) -> Tensor:
    """How close codes (B, L) are to those of their views, and how far from all others, (B,)."""
    square = (mean[:, None] - view).square().sum(2)  # (B, B)
    near = square.diagonal().log1p()
    far = square.clamp_min(LEAST_SQUARE).reciprocal().log1p()
    others = far.sum(1) - far.diagonal()
    return -near - N_NEGATIVES / max(1, len(mean) - 1) * others


class Balance(torch.autograd.Function):
    """Two copies of codes (B, L): gradients of the second are brought to `SHARE` times the first's.

    So it does not matter on which scale a reconstruction is measured, or of how many features.
    """

    @staticmethod
    def forward(ctx: Any, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Copy twice."""
        return mean.clone(), mean.clone()

    @staticmethod
    def backward(ctx: Any, first: Tensor, second: Tensor) -> Any:
        """Add the gradients, the second scaled."""
        direction = second / second.norm().clamp_min(torch.finfo(second.dtype).tiny)
        return first + SHARE * first.norm() * direction
