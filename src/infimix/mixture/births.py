r"""Births: new components where rows are badly explained.

Splits ask each component whether its rows are several clusters. A few rows far out, whichever
component holds them, say little there. So the rows farthest from the component that holds them are
gathered from all components, k-means finds pieces among them, and the whole mixture is swept with
the pieces as components in addition. What is left after merges by log p(z, c) is accepted if the
bound that sweeps raise, of the coarsened posterior, is higher: the judge of deletions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import one_hot

from infimix.mixture.blocks import Block, Blocks
from infimix.mixture.moves import merge_while_better
from infimix.mixture.splits import LEAST_ROWS, PIECES, k_means, most_probable
from infimix.mixture.sweeps import MixtureFit, improve

FAR = 0.05  # share of the rows that births look at


def create_while_better(
    fit: MixtureFit,
    sample: Block,
    settle_on: Callable[[MixtureFit, Blocks], MixtureFit],
    *,
    max_components: int,
    max_sweeps: int,
    tol: float,
    seed: int,
) -> None:
    """Add components while what sweeps raise is higher with them; in place.

    Parameters
    ----------
    fit : MixtureFit
        Settled on the sample.
    sample : Block
        Rows (M, L) that stand for all.
    settle_on : callable
        Sweeps and merges what a birth leaves.
    max_components : int
        No birth goes beyond.
    max_sweeps : int
        Of a trial, at most.
    tol : float
        A gain of less, in nats a row, is none.
    seed : int
    """
    blocks = list(sample.cut())
    while (more := _some_more(fit, sample, max_components, max_sweeps, tol, seed)) is not None:
        before, fit.mixture = fit.mixture.n_components, more.mixture
        settle_on(fit, blocks)
        if fit.mixture.n_components <= before:
            break  # log p(z, c), which judges merges, would undo the next birth as well


def _some_more(
    fit: MixtureFit, sample: Block, max_components: int, max_sweeps: int, tol: float, seed: int
) -> MixtureFit | None:
    """The fit with more components if that is better, or none."""
    mixture, blocks = fit.mixture, list(sample.cut())
    far = badly_explained(fit, sample)
    n_pieces = min(PIECES, max_components - mixture.n_components, len(far.z) // LEAST_ROWS)
    if n_pieces < 1:
        return None
    z, weight = far.z.double(), far.weights()
    cov = mixture.family.covariance(fit.reference)
    sd = (cov.diagonal() if cov.ndim == 2 else cov).sqrt()
    label = k_means((z.cpu() / sd).numpy(), n_pieces, seed, weight.cpu().numpy())
    resp = one_hot(label, n_pieces).to(weight) * weight[:, None]
    var = None if far.var is None else far.var.double()
    pieces = (resp.mT @ mixture.family.features(z, var)).to(mixture.sums)
    born = mixture.with_statistics(torch.cat([mixture.sums, pieces]))
    attempt = MixtureFit(born, fit.reference, -torch.inf)
    to_beat = fit.climbed + tol * float(mixture.counts.sum())
    improve(attempt, blocks, max_sweeps=max_sweeps, tol=tol, to_beat=to_beat)
    attempt.mixture, merges = merge_while_better(attempt.mixture)
    if attempt.mixture.n_components <= mixture.n_components:
        return None
    if merges:
        improve(attempt, blocks, max_sweeps=max_sweeps, tol=tol, to_beat=to_beat)
    return attempt if attempt.climbed > to_beat else None


def badly_explained(fit: MixtureFit, sample: Block) -> Block:
    """The rows farthest, in standard deviations, from the component that holds them."""
    label = most_probable(fit.mixture, sample).to(sample.z.device)
    parts = [fit.mixture.mahalanobis(part.z.double()) for part in sample.cut()]
    distance = torch.cat(parts).gather(1, label[:, None])[:, 0]
    return sample.take(distance.argsort(descending=True)[: int(FAR * len(distance))])
