r"""Deletions: components whose rows the others explain about as well.

A merge puts all rows of one component into one other. Where several should share them no merge is
accepted, so each of a few components is taken away on trial, those first whose loss looks least,
and the rest swept: what counts is the bound that sweeps raise, of the coarsened posterior.
(Not log p(z, c), which with heavy tails says nothing of the precisions of the rows: it called the
loss of a true cluster a gain.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from infimix.mixture import ranks
from infimix.mixture.blocks import Blocks
from infimix.mixture.dp import DPMixture, features_of
from infimix.mixture.sweeps import MixtureFit, improve

TRIES = 3  # components that are taken away on trial before all are kept


def delete_while_better(
    fit: MixtureFit,
    blocks: Blocks,
    settle_on: Callable[[MixtureFit, Blocks], MixtureFit],
    *,
    max_sweeps: int,
    tol: float,
) -> None:
    """Take components away as long as what sweeps raise is then higher; in place.

    Parameters
    ----------
    fit : MixtureFit
        Settled on these blocks.
    blocks : re-iterable of Block
    settle_on : callable
        Sweeps and merges what is left after a deletion.
    max_sweeps : int
        Of a trial, at most.
    tol : float
        A gain of less, in nats a row, is none.
    """
    while (better := _one_less(fit, blocks, max_sweeps, tol)) is not None:
        fit.mixture = better.mixture
        settle_on(fit, blocks)


def losses_at_once(mixture: DPMixture, blocks: Blocks) -> Tensor:
    r"""What the coarsened bound loses if a component goes and nothing else moves, (K,) nats.

    :math:`-\zeta\sum_n \log(1 - r_{nk}) - KL(q(\mu_k, \Lambda_k)\|p)`, the sticks left out.
    """
    seen, q = mixture.zeta * mixture.sums, mixture.components
    expected = (seen * mixture.family.expected_natural(q)).sum(1)
    kl = expected - mixture.family.log_evidence(mixture.prior, seen)
    lost = torch.zeros_like(kl)
    for block in map(ranks.share, blocks):
        rho = mixture.log_joint(features_of(mixture, block)).double()  # (N, K)
        log_resp = rho.log_softmax(1)
        best = log_resp.argmax(1, keepdim=True)
        others = rho.scatter(1, best, -torch.inf).logsumexp(1, keepdim=True)
        log_rest = torch.log1p(-log_resp.exp().clamp_max(0.5))  # all but the best are below 1/2
        log_rest.scatter_(1, best, others - rho.logsumexp(1, keepdim=True))
        lost -= block.weights().to(lost) @ log_rest.to(lost)
    return mixture.zeta * ranks.total(lost) - kl


def _one_less(fit: MixtureFit, blocks: Blocks, max_sweeps: int, tol: float) -> MixtureFit | None:
    """The first of a few fits with one component less that is better, or none."""
    mixture = fit.mixture
    if mixture.n_components == 1:
        return None
    n_rows = mixture.counts.sum()
    to_beat = fit.climbed + tol * float(n_rows)
    for k in losses_at_once(mixture, blocks).argsort()[:TRIES].tolist():
        sums = torch.cat([mixture.sums[:k], mixture.sums[k + 1 :]])
        rest = mixture.with_statistics(sums * (n_rows / sums[:, 0].sum()))
        attempt = MixtureFit(rest, fit.reference, -torch.inf)
        improve(attempt, blocks, max_sweeps=max_sweeps, tol=tol, to_beat=to_beat)
        if attempt.climbed > to_beat:
            return attempt
    return None
