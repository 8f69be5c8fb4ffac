r"""How many components? Merges decided on the statistics alone.

Components are judged by the evidence of a partition with everything integrated out, sticks,
means and precisions:

.. math:: \log p(z, c) = \sum_k \log p(z_{c=k}) + \log\alpha^K \prod_k \Gamma(n_k) + const .

Unlike the bound it holds the rows to one component each, so overlapping pieces of one cluster do
not pay (integrated completed likelihood: Biernacki, Celeux, Govaert 2000).

Real clusters are not Gaussian, and with enough rows every evidence prefers more components without
end. So the rows are made worth less, :math:`\zeta S` for S (Miller and Dunson 2019), in
proportion to what is being estimated: `ROWS_PER_STATISTIC` rows for each of the K P statistics.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from infimix.mixture.dp import DPMixture

ROWS_PER_STATISTIC = 2.0


class Merge(NamedTuple):
    """One step of a merge path: `child` went into `parent`, `gain` in nats of log p(z, c)."""

    n_components: int  # after the merge
    parent: int
    child: int
    gain: float


def rows_worth(n_rows: float, n_components: int, n_statistics: int) -> float:
    r""":math:`\zeta = \min(1, 2 K P / N)`: what a row is worth as evidence for structure."""
    return min(1.0, ROWS_PER_STATISTIC * n_components * n_statistics / max(n_rows, 1.0))


def log_partition_evidence(mixture: DPMixture) -> Tensor:
    r""":math:`\log p(z, c)` of the statistics, each row worth :math:`\zeta`; () in nats."""
    stats = mixture.zeta * mixture.sums
    n = stats[:, 0]
    evidence = mixture.family.log_evidence(mixture.prior, stats) + torch.lgamma(n)
    total = torch.lgamma(mixture.alpha) - torch.lgamma(mixture.alpha + n.sum())
    return evidence.sum() + mixture.n_components * torch.log(mixture.alpha) + total


def merge_gains(mixture: DPMixture) -> Tensor:
    """Change of log p(z, c) if j and k were one: (K, K) in nats, -inf on and below the diagonal."""
    stats = mixture.zeta * mixture.sums
    j, k = torch.triu_indices(len(stats), len(stats), 1)

    def term(sums: Tensor) -> Tensor:
        return mixture.family.log_evidence(mixture.prior, sums) + torch.lgamma(sums[:, 0])

    alone = term(stats)
    gains = stats.new_full((len(stats), len(stats)), -torch.inf)
    gains[j, k] = term(stats[j] + stats[k]) - alone[j] - alone[k] - torch.log(mixture.alpha)
    return gains


def merge(mixture: DPMixture, parent: int, child: int) -> DPMixture:
    """Put `child` into `parent`; statistics add up, the rest of the order is kept."""
    sums = mixture.sums.clone()
    sums[parent] += sums[child]
    keep = [k for k in range(len(sums)) if k != child]
    return mixture.with_statistics(sums[keep])


def merge_while_better(mixture: DPMixture) -> tuple[DPMixture, list[Merge]]:
    """Merge the best pair as long as the coarsened log p(z, c) rises."""
    path: list[Merge] = []
    n_rows = float(mixture.counts.sum())
    while mixture.n_components > 1:
        K = mixture.n_components
        mixture = mixture.with_rows_worth(rows_worth(n_rows, K, mixture.family.n_statistics))
        gains = merge_gains(mixture)
        parent, child = divmod(int(gains.argmax()), K)
        gain = float(gains[parent, child])
        if gain <= 0:
            break
        mixture = merge(mixture, parent, child)
        path.append(Merge(K - 1, parent, child, gain))
    return mixture, path
