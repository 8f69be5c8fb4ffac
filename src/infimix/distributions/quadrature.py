r"""Gauss-Legendre quadrature on tensors, for expectations that have no closed form.

Those of sticks :math:`v = 1 / (1 + e^{-w})` need E[v] and
:math:`E[\log(1 + e^w)] = E[\max(w, 0)] + E[\log(1 + e^{-|w|})]`. The first part has a closed form;
what is left falls as :math:`e^{-|w|}` and is integrated on each side of 0, see `Stretch`.
"""

from functools import cache
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor


def legendre(n_nodes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss-Legendre quadrature on [0, 1], each (n_nodes,).

    Parameters
    ----------
    n_nodes : int
        Polynomials up to degree 2 n_nodes - 1 are integrated exactly.
    like : Tensor
        Its type and device are those of the result, which is made once and kept.

    Examples
    --------
    >>> x, w = legendre(8, torch.tensor(0.0))
    >>> (w * x**3).sum()
    tensor(0.2500)
    """
    return _legendre(n_nodes, like.dtype, like.device)


@final
class Stretch(NamedTuple):
    """A stretch of logits w of one sign, as nodes.

    Attributes
    ----------
    size : Tensor of shape (..., n_nodes)
        Sizes |w|.
    mass : Tensor of shape (..., n_nodes)
        Probabilities of the nodes: weight times density.
    """

    size: Tensor
    mass: Tensor

    def softplus(self) -> Tensor:
        """E[log(1 + e^-|w|); w in this stretch], (...)."""
        return (self.mass * torch.log1p(torch.exp(-self.size))).sum(-1)

    def logistic(self) -> Tensor:
        """E[1 / (1 + e^|w|); w in this stretch], (...)."""
        return (self.mass * torch.sigmoid(-self.size)).sum(-1)


@cache
def _legendre(n_nodes: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights, each (n_nodes,); what inference mode makes could not be used outside."""
    x, w = np.polynomial.legendre.leggauss(n_nodes)
    with torch.inference_mode(False):
        return (
            torch.tensor((x + 1) / 2, dtype=dtype, device=device),
            torch.tensor(w / 2, dtype=dtype, device=device),
        )
