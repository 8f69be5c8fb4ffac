"""A run directory used again: resumed, and on files whose columns are not quite its own."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import infimix
from infimix.cli import main


def values_of(table: Path) -> np.ndarray:
    return pd.read_csv(table)[["length", "width"]].to_numpy()


def test_a_finished_run_is_resumed_without_training_and_with_its_own_parameters_only(
    images: Path,
    image_fit: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(image_fit[0], run)
    history, model = (run / "history.jsonl").read_bytes(), infimix.load(run)
    before = json.loads((run / "metrics.json").read_text())["seconds"]
    words = ["fit", str(images), "--latent", "3", "--kind", "real", "--out", str(run), "--resume"]
    assert main([*words, "--max-epochs", "2"]) == 2
    assert "max_epochs=1 and this fit has max_epochs=2" in capsys.readouterr().err
    assert main([*words, "--max-epochs", "1", "--quiet"]) == 0
    # The history has the seconds of each epoch: none was run again.
    assert (run / "history.jsonl").read_bytes() == history
    assert json.loads((run / "metrics.json").read_text())["seconds"] > before
    np.testing.assert_array_equal(infimix.load(run).labels_, model.labels_)
    np.testing.assert_allclose(infimix.load(run).means_, model.means_, rtol=1e-3, atol=1e-3)


def test_a_run_without_a_checkpoint_is_not_replaced_by_resuming(
    table: Path, table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(table_run, run)
    before = (run / "weights.safetensors").stat().st_mtime_ns
    assert main(["fit", str(table), "--label", "kind", "--out", str(run), "--resume"]) == 2
    error = capsys.readouterr().err
    assert "no checkpoint to continue from; replace it with --force" in error
    assert (run / "weights.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_in_another_order_are_found_by_their_names(
    suffix: str, table: Path, table_run: Path, tmp_path: Path
) -> None:
    other, out = tmp_path / f"other{suffix}", tmp_path / "component.npy"
    frame = pd.read_csv(table)[["width", "kind", "length"]]
    frame.to_csv(other, index=False) if suffix == ".csv" else frame.to_parquet(other)
    assert main(["predict", str(table_run), str(other), "--out", str(out)]) == 0
    np.testing.assert_array_equal(np.load(out), infimix.load(table_run).predict(values_of(table)))


@pytest.mark.parametrize("verb", ["predict", "embed", "score"])
def test_other_columns_are_an_error_that_names_them(
    verb: str, table: Path, table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, out = tmp_path / "other.csv", ["--out", str(tmp_path / "out.npy")]
    pd.read_csv(table).rename(columns={"width": "depth"}).to_csv(other, index=False)
    assert main([verb, str(table_run), str(other), *(out if verb != "score" else [])]) == 2
    assert "lacks 'width' and has 'depth' besides" in capsys.readouterr().err
    assert not (tmp_path / "out.npy").exists()


def test_columns_without_names_go_by_their_place(
    table: Path, table_run: Path, tmp_path: Path
) -> None:
    rows, out = tmp_path / "rows.npy", tmp_path / "component.npy"
    np.save(rows, values_of(table))
    assert main(["predict", str(table_run), str(rows), "--out", str(out)]) == 0
    np.testing.assert_array_equal(np.load(out), infimix.load(table_run).predict(values_of(table)))


def test_the_label_of_the_fit_is_remembered(
    table: Path, table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(table_run), str(table), "--label", "kind"]) == 0
    told = capsys.readouterr().out
    assert main(["score", str(table_run), str(table)]) == 0
    assert capsys.readouterr().out == told
    assert "accuracy" in told
    unlabelled = tmp_path / "flowers.csv"
    pd.read_csv(table).drop(columns="kind").to_csv(unlabelled, index=False)
    assert main(["score", str(table_run), str(unlabelled)]) == 0
    assert "accuracy" not in capsys.readouterr().out
