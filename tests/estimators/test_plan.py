"""How long a fit trains where no epochs are given."""

import pytest

from infimix import InfiniteMixtureVAE
from infimix.estimators.build import train_config


@pytest.mark.parametrize(
    ("n_train", "warm_up", "joint"),
    [
        (100, 300, 300),  # no more epochs than that
        (1618, 116, 116),  # 13 batches, 1500 steps
        (4500, 100, 42),  # 36 batches
        (9900, 65, 20),  # 78 batches, 5000 steps
        (54_000, 25, 20),
    ],
)
def test_few_rows_have_more_epochs(n_train: int, warm_up: int, joint: int) -> None:
    config = train_config(InfiniteMixtureVAE(), n_train, seed=0)
    assert (config.warm_up_epochs, config.max_epochs) == (warm_up, joint)
