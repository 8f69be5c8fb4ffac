"""Files and fits that the tests of the command share; read only."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits, make_blobs

from infimix.cli import main


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three separated blobs as a .csv with a column of labels."""
    X, y = make_blobs(150, centers=[[0, 0], [20, 0], [0, 20]], random_state=0)
    path = tmp_path_factory.mktemp("data") / "flowers.csv"
    frame = pd.DataFrame({"length": X[:, 0], "kind": [f"kind {c}" for c in y], "width": X[:, 1]})
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few digits as images, without labels."""
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, load_digits().images[:200].astype(np.uint8))
    return path


@pytest.fixture(scope="session")
def table_run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of the mixture alone on the table; read only."""
    out = tmp_path_factory.mktemp("runs") / "table"
    words = ["fit", str(table), "--label", "kind", "--model", "dpgmm", "--out", str(out)]
    assert main([*words, "--quiet"]) == 0
    return out


@pytest.fixture(scope="session")
def image_fit(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run directory of the autoencoder on the images, and what the fit printed; read only."""
    out = tmp_path_factory.mktemp("runs") / "images"
    words = ["fit", str(images), "--max-epochs", "1", "--latent", "3", "--kind", "real"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main([*words, "--out", str(out)]) == 0
    return out, printed.getvalue()
