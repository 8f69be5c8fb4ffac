r"""Clefts: components whose own rows thin out within them.

What a row is worth falls with the number of all rows, so that small clusters of large data are put
together. Whether the rows of one component are one cluster or two does not depend on all others,
though. So in the end the rows of each component are data of their own: they are offered pieces as
in splits, each row worth what it is among these alone, and the component is parted where a valley
runs between pieces: deep enough to keep them apart when parts are joined to components.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from infimix.mixture import ranks
from infimix.mixture.blocks import Block
from infimix.mixture.dp import DPMixture, e_step
from infimix.mixture.families import NormalWishart
from infimix.mixture.moves import rows_worth
from infimix.mixture.splits import PIECES, most_probable, pieces_of, rows_of
from infimix.mixture.sweeps import MixtureFit
from infimix.mixture.valleys import VALLEY, groups_of, join_path, valley_falls

PEAK_ROWS = 10  # fewer have no valley of `VALLEY` nats around them, see `NO_PEAK_ROWS`


def part_at_valleys(fit: MixtureFit, sample: Block, max_components: int, seed: int) -> bool:
    """Part components at valleys until none has one, in place; whether any was parted.

    Parameters
    ----------
    fit : MixtureFit
        Settled; what is parted is yet to be swept.
    sample : Block
        Rows (M, L) that stand for all.
    max_components : int
        Where parting ends.
    seed : int
    """
    before, is_new = fit.mixture.n_components, [True] * fit.mixture.n_components
    while any(is_new):
        mixture, label = fit.mixture, most_probable(fit.mixture, sample)
        sums: list[Tensor] = []
        is_part: list[bool] = []
        for k in range(mixture.n_components):
            room = max_components - len(sums) - (mixture.n_components - k - 1)
            parts = mixture.sums[k, None]
            if is_new[k]:
                parts = _parts(mixture, fit.reference, k, room, sample, label == k, seed)
            sums += parts
            is_part += [len(parts) > 1] * len(parts)
        fit.mixture = mixture.with_statistics(ranks.same(torch.stack(sums)))
        is_new, seed = is_part, seed + 1
    return fit.mixture.n_components > before


def _parts(
    mixture: DPMixture,
    reference: NormalWishart,
    k: int,
    most: int,
    sample: Block,
    is_mine: Tensor,
    seed: int,
) -> Tensor:
    """Statistics (n, P) of the parts of component k between which there are valleys, or its own."""
    whole, n_rows = mixture.sums[k, None], int(is_mine.sum())
    if n_rows < 2 * PEAK_ROWS:
        return whole
    rows = rows_of(sample, is_mine, n_rows, seed)
    alone = replace(mixture, zeta=rows_worth(n_rows, 1))
    own = pieces_of(alone, reference, k, min(PIECES, most), rows, seed)
    if own is None:
        return whole
    own = _peaks(replace(own, zeta=1.0), rows)
    path = join_path(valley_falls(own, rows, far=math.inf), own.counts)
    groups = groups_of(path, own.counts, 1 + sum(join.depth >= VALLEY for join in path))
    parts = one_hot(groups).to(own.sums).mT @ own.sums
    return parts * (mixture.counts[k] / parts[:, 0].sum()) if len(parts) > 1 else whole


def _peaks(own: DPMixture, rows: Block) -> DPMixture:
    """Without the pieces of too few rows, each of which would bridge the valley that it lies in."""
    held = one_hot(most_probable(own, rows), own.n_components).sum(0)
    if bool((held >= PEAK_ROWS).all()):
        return own
    keep = (held >= PEAK_ROWS) | (held == held.max())
    own = own.with_statistics(own.sums[keep])
    return own.with_statistics(e_step(own, [rows]).sums)
