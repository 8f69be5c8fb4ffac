"""The verb that sets runs side by side, on runs of the command itself."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from infimix import load
from infimix.cli import main


@pytest.fixture(scope="module")
def other_run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows from another kind of file, another model."""
    folder = tmp_path_factory.mktemp("other")
    pd.read_csv(table)[["length", "width"]].to_parquet(folder / "same.parquet")
    out = folder / "run"
    words = ["fit", str(folder / "same.parquet"), "--model", "gmvae", "--components", "3"]
    assert main([*words, "--max-epochs", "1", "--out", str(out), "--quiet"]) == 0
    return out


def test_runs_of_the_same_rows_are_compared(
    table_run: Path, other_run: Path, image_fit: tuple[Path, str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "240")
    page = tmp_path / "page.html"
    runs = [str(table_run), str(image_fit[0]), str(other_run)]
    assert main(["compare", *runs, "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "on 2 different data sets" in printed
    assert "flowers = same: 150 rows, 2 features" in printed
    assert f"run 3: {other_run}, GMVAE, normal" in printed
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    assert ["K", "3", "3"] in rows
    ari = adjusted_rand_score(load(table_run).labels_, load(other_run).labels_)
    assert next(row[2] for row in rows if row[:1] == ["run 1"]).startswith(f"{ari:.3f} / ")
    assert ["estimator", "DPGaussianMixture", "InfiniteMixtureVAE", "GMVAE"] in rows
    assert f"Comparison: {page}" in printed
    text = page.read_text(encoding="utf-8")
    assert "flowers = same: 150 rows, 2 features" in text
    assert "images: 200 rows, 64 features" in text


def test_what_cannot_be_compared_is_said_in_one_sentence(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    half = tmp_path / "half"
    shutil.copytree(table_run, half)
    (half / "metrics.json").unlink()
    assert main(["compare", str(table_run), str(half), "--out", str(tmp_path / "page")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"got one, {table_run}" in error
    assert f"{half} has no metrics.json: its fit is not finished" in error
    assert main(["compare", str(tmp_path / "nowhere")]) == 2
    assert "There is no" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()
