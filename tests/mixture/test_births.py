"""Births: components for rows that none explains, and none for rows that are explained."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from infimix.mixture import (
    Block,
    DPMixture,
    Family,
    MixtureFit,
    StickBreaking,
    badly_explained,
    create_while_better,
    e_step,
    most_probable,
    settle,
)

PACE = {"max_sweeps": 100, "tol": 1e-7}
DIRECTIONS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
N_FAR = 30  # rows of the cluster that the mixture does not know


@pytest.fixture(params=[math.inf, 5.0], ids=["normal", "heavy"])
def fit(family: Family, request: pytest.FixtureRequest) -> tuple[MixtureFit, Block]:
    """Four clusters known, and between them the rows of a fifth that all four share."""
    rng = np.random.default_rng(0)
    label = np.arange(1200) % 4
    known = rng.normal(size=(1200, 3)) + 6 * DIRECTIONS[label]
    rows = torch.from_numpy(np.concatenate([known, 0.3 * rng.normal(size=(N_FAR, 3))]))
    reference = family.weak_prior(rows.mean(0), torch.cov(rows.mT), 0.05)
    resp = torch.eye(4, dtype=torch.float64)[np.concatenate([label, np.arange(N_FAR) % 4])]
    sums = resp.mT @ family.features(rows)
    mixture = DPMixture(family, reference, StickBreaking(1.0), sums, dof=request.param)
    return settle(MixtureFit(mixture, reference, -math.inf), [Block(rows)], **PACE), Block(rows)


def create(fit: MixtureFit, sample: Block, max_components: int = 20) -> None:
    settle_on = partial(settle, **PACE)
    create_while_better(fit, sample, settle_on, max_components=max_components, seed=0, **PACE)


def climbed(fit: MixtureFit, sample: Block) -> float:
    """The coarsened bound in nats of whole rows, from its definition."""
    mixture = fit.mixture
    bound = float(mixture.bound(e_step(mixture, [sample])))
    return bound - (1 / mixture.zeta - 1) * float(mixture.kl)


def test_rows_between_components_become_one(fit: tuple[MixtureFit, Block]) -> None:
    mine, sample = fit
    assert mine.mixture.n_components == 4
    before = climbed(mine, sample)
    create(mine, sample)
    assert mine.mixture.n_components == 5
    assert climbed(mine, sample) > before
    label = most_probable(mine.mixture, sample).numpy()
    assert len(set(label[-N_FAR:])) == 1
    assert np.isin(label[:-N_FAR], label[-1]).sum() <= 2
    assert float(mine.mixture.counts.sum()) == pytest.approx(len(label))


def test_explained_rows_bear_nothing(fit: tuple[MixtureFit, Block]) -> None:
    mine, sample = fit
    create(mine, sample)
    again = mine.mixture
    create(mine, sample)
    assert mine.mixture is again


def test_no_birth_beyond_the_most_components(fit: tuple[MixtureFit, Block]) -> None:
    mine, sample = fit
    before = mine.mixture
    create(mine, sample, max_components=4)
    assert mine.mixture is before


def test_badly_explained_rows_are_the_farthest(fit: tuple[MixtureFit, Block]) -> None:
    mine, sample = fit
    numbered = Block(sample.z, None, torch.arange(len(sample.z)).double())
    far = badly_explained(mine, numbered)
    label = most_probable(mine.mixture, sample).numpy()
    q = mine.mixture.components
    cov = mine.mixture.family.covariance(q)
    full = (cov if cov.ndim == 3 else torch.diag_embed(cov)).numpy()[label]
    delta = sample.z.numpy() - q.m.numpy()[label]
    distance = np.einsum("ni,nij,nj->n", delta, np.linalg.inv(full), delta)
    expected = np.sort(np.argsort(-distance)[: int(0.05 * len(distance))])
    np.testing.assert_array_equal(np.sort(far.weights().numpy().astype(int)), expected)


def test_births_that_merges_undo_come_to_an_end(fit: tuple[MixtureFit, Block]) -> None:
    mine, sample = fit
    before = mine.mixture

    def undo(born: MixtureFit, blocks: list[Block]) -> MixtureFit:
        born.mixture = before
        return born

    create_while_better(mine, sample, undo, max_components=20, seed=0, **PACE)
    assert mine.mixture is before
