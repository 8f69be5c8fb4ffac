r"""How many components? Merges decided on the statistics alone.

Components are judged by the evidence of a partition with everything integrated out, sticks,
means and precisions:

.. math:: \log p(z, c) = \sum_k \log p(z_{c=k}) + \log\alpha^K \prod_k \Gamma(n_k) + const .

Unlike the bound it holds the rows to one component each, so overlapping pieces of one cluster do
not pay (integrated completed likelihood: Biernacki, Celeux, Govaert 2000).

Real clusters are not Gaussian, and with enough rows every evidence prefers more components without
end. So :math:`\zeta S` stands for S: the rows are worth :math:`\zeta N = 80 N^{1/4}` of them
(Miller and Dunson 2019 coarsen so; the root is ours: what more rows show of clusters grows,
what they show of departures from the Gaussian should not decide), and for more than thirty
components in proportion more, since each of them has to be seen.
A component whose rows are together worth less than one keeps the weight of one: Gamma grows without
end towards 0, which would pay for splinters of a row or two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from infimix.mixture.dp import DPMixture

ROWS_PER_ROOT = 80.0
FEW_COMPONENTS = 30

Parted = Callable[[int, int], bool]  # of two components
Parting = Callable[[DPMixture], Parted]


class Merge(NamedTuple):
    """One step of a merge path: `child` went into `parent`, `gain` in nats of log p(z, c)."""

    n_components: int  # after the merge
    parent: int
    child: int
    gain: float


def rows_worth(n_rows: float, n_components: int) -> float:
    r""":math:`\zeta = \min(1, 80 N^{-3/4} \max(1, K / 30))`: what a row is worth."""
    worth = ROWS_PER_ROOT * math.pow(max(n_rows, 1.0), -3 / 4)
    return min(1.0, worth * max(1.0, n_components / FEW_COMPONENTS))


def coarsen(mixture: DPMixture, caution: float = 1.0) -> DPMixture:
    """Mixture whose rows are worth `caution` times what `rows_worth` says."""
    zeta = caution * rows_worth(float(mixture.counts.sum()), mixture.n_components)
    return replace(mixture, zeta=min(1.0, zeta))


def log_partition_evidence(mixture: DPMixture) -> Tensor:
    r""":math:`\log p(z, c)` of the statistics, each row worth :math:`\zeta`; () in nats."""
    stats = mixture.zeta * mixture.sums
    sizes = mixture.law.log_labels(len(stats)) + mixture.law.log_rows(stats[:, 0].sum())
    return _log_evidence_and_size(mixture, stats).sum() + sizes


def merge_gains(mixture: DPMixture) -> Tensor:
    """Change of log p(z, c) if j and k were one: (K, K) in nats, -inf on and below the diagonal."""
    return _evidence_gains(mixture) + _label_gain(mixture)


def merge(mixture: DPMixture, parent: int, child: int) -> DPMixture:
    """Put `child` into `parent`; statistics add up, the rest of the order is kept."""
    sums = mixture.sums.clone()
    sums[parent] += sums[child]
    keep = [k for k in range(len(sums)) if k != child]
    return mixture.with_statistics(sums[keep])


def merge_while_better(
    mixture: DPMixture, caution: float | None = None, parting: Parting | None = None
) -> tuple[DPMixture, list[Merge]]:
    """Merge the best pair as long as the coarsened log p(z, c) rises.

    What a row is worth stays as it is, or follows `coarsen` if `caution` is given, whenever no
    merge is better. Pairs that `parting` keeps apart are not merged, nor is what was merged from
    them.
    """
    path: list[Merge] = []
    held = [[k] for k in range(mixture.n_components)]  # of the components that there were at first
    parted = None if parting is None else cache(partial(parting, mixture))

    def is_apart(parent: int, child: int) -> bool:
        return parted is not None and any(parted()(j, k) for j in held[parent] for k in held[child])

    while True:
        n_before = mixture.n_components
        gains = _evidence_gains(mixture)
        while True:
            parent, child, gain = _best_pair(gains, _label_gain(mixture), is_apart)
            if gain <= 0:
                break
            mixture = merge(mixture, parent, child)
            held[parent] += held.pop(child)
            keep = torch.arange(len(gains)) != child
            gains = gains[keep][:, keep]
            _weigh_merges(gains, mixture, [parent])
            path.append(Merge(mixture.n_components, parent, child, gain))
        if caution is None or mixture.n_components == n_before:
            return mixture, path
        mixture = coarsen(mixture, caution)


def _best_pair(gains: Tensor, label_gain: float, is_apart: Parted) -> tuple[int, int, float]:
    """Pair of the highest gain among those that may be merged, which may not be positive.

    Pairs that may not, as `is_apart` says, lose their gain in place.
    """
    while True:
        parent, child = divmod(int(gains.argmax()), len(gains))
        gain = float(gains[parent, child]) + label_gain
        if gain <= 0 or not is_apart(parent, child):
            return parent, child, gain
        gains[parent, child] = -torch.inf


def _evidence_gains(mixture: DPMixture) -> Tensor:
    """`merge_gains` but for `_label_gain`."""
    K = mixture.n_components
    gains = mixture.sums.new_full((K, K), -torch.inf)
    _weigh_merges(gains, mixture, range(K))
    return gains


def _weigh_merges(gains: Tensor, mixture: DPMixture, components: Iterable[int]) -> None:
    """Write the gains of merges of each of these components with any other, in place."""
    stats = mixture.zeta * mixture.sums
    alone = _log_evidence_and_size(mixture, stats)
    for j in components:
        gain = _log_evidence_and_size(mixture, stats[j] + stats) - alone[j] - alone
        gains[:j, j], gains[j, j + 1 :] = gain[:j], gain[j + 1 :]


def _label_gain(mixture: DPMixture) -> float:
    """What one component less is worth, whatever its rows, nats."""
    K, labels = mixture.n_components, mixture.law.log_labels
    return labels(K - 1) - labels(K)


def _log_evidence_and_size(mixture: DPMixture, stats: Tensor) -> Tensor:
    """What a component of these coarsened statistics adds to log p(z, c): (K, P) -> (K,) nats."""
    evidence = mixture.family.log_evidence(mixture.prior, stats)
    return evidence + mixture.law.log_size(stats[:, 0].clamp_min(1.0))
