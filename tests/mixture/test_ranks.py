"""The same fit in this process, and in three processes under torchrun."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from infimix import DPGaussianMixture

SCRIPT = """
import sys
import numpy as np
import torch.distributed as dist
from infimix import DPGaussianMixture

dist.init_process_group("gloo")
X = np.load(sys.argv[1], mmap_mode="r")
model = DPGaussianMixture(random_state=0, n_init=1).fit(X)
out = f"{sys.argv[2]}/{dist.get_world_size()}-{dist.get_rank()}.npz"
np.savez(out, labels=model.labels_, bound=model.lower_bound_, means=model.means_)
dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """What each process of each run found, by "processes-rank"; "1-0" is without torchrun."""
    folder = tmp_path_factory.mktemp("ranks")
    rng = np.random.default_rng(0)
    y = rng.integers(6, size=20_501)  # more than a sample, and not a multiple of anything
    X = rng.standard_t(5, size=(len(y), 4)) + 12 * rng.normal(size=(6, 4))[y]
    np.save(folder / "rows.npy", X)
    (folder / "fit.py").write_text(SCRIPT, encoding="utf-8")
    model = DPGaussianMixture(random_state=0, n_init=1).fit(X)
    found = {"labels": model.labels_, "bound": model.lower_bound_, "means": model.means_}
    np.savez(folder / "1-0.npz", **found)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    words = [*command, folder / "fit.py", folder / "rows.npy", folder]
    subprocess.run(
        [sys.executable, *map(str, words)],
        check=True,
        capture_output=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return {path.stem: dict(np.load(path)) for path in Path(folder).glob("*-*.npz")}


def test_all_processes_end_with_one_mixture(fits: dict[str, dict[str, np.ndarray]]) -> None:
    assert sorted(fits) == ["1-0", "3-0", "3-1", "3-2"]
    for name, found in fits.items():
        first = fits[f"{name[0]}-0"]
        np.testing.assert_array_equal(found["labels"], first["labels"])
        assert found["bound"] == first["bound"]


def test_several_processes_find_what_one_does(fits: dict[str, dict[str, np.ndarray]]) -> None:
    one, several = fits["1-0"], fits["3-0"]
    np.testing.assert_array_equal(several["labels"], one["labels"])
    assert several["bound"] == pytest.approx(one["bound"], rel=1e-9)
    np.testing.assert_allclose(several["means"], one["means"], rtol=1e-6, atol=1e-6)
