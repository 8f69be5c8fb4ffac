"""By the checksum in metrics.json two runs know that they are of the same rows."""

import zlib

import numpy as np
import pytest
from scipy.sparse import csr_array

from infimix.data import Dataset
from infimix.estimators import DPGaussianMixture
from infimix.evaluation import summarise

ROWS = np.random.default_rng(0).poisson(3.0, size=(1500, 2)).astype(np.float32)


@pytest.fixture
def checksum(tmp_path):
    def of(X):
        model = DPGaussianMixture(max_components=1, n_init=1, random_state=0).fit(X)
        return summarise(model, Dataset(X, name="counts"), tmp_path)["checksum"]

    return of


def test_it_is_of_the_rows_whatever_holds_them(checksum):
    expected = f"{zlib.crc32(ROWS.tobytes()):08x}"
    for X in (ROWS, ROWS.astype(np.float64), ROWS.astype(np.uint8), csr_array(ROWS)):
        assert checksum(X) == expected


def test_other_rows_and_another_order_have_another(checksum):
    other = ROWS.copy()
    other[1400, 1] += 1
    assert len({checksum(ROWS), checksum(ROWS[::-1]), checksum(other)}) == 3
