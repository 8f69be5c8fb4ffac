"""The command: exit codes, one-line errors, and files that agree with the library."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image

import infimix
from infimix.cli import app, main

RUN_LAYOUT = frozenset(
    ["config.json", "weights.safetensors", "metrics.json", "summary.npz", "report.html"]
)
VERBS = [
    "demo", "fit", "predict", "embed", "score", "sample", "report", "compare", "reproduce",
    "figures", "data list", "data get",
]  # fmt: skip
INTERRUPT_SECONDS = 120


def values_of(table: Path) -> np.ndarray:
    return pd.read_csv(table)[["length", "width"]].to_numpy()


def test_the_installed_command_is_main() -> None:
    (script,) = entry_points(group="console_scripts", name="infimix")
    assert script.load() is main


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example_that_parses(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--help"]) == 0
    help_text = " ".join(capsys.readouterr().out.split())
    example = help_text[help_text.index("Example: ") + len("Example: ") :]
    assert example.startswith(f"infimix {verb}")
    command = typer.main.get_command(app)
    words = shlex.split(example)[1:]
    for name in verb.split():
        command = command.commands[name]
        words.remove(name)
    command.make_context(verb, words)


def test_without_words_the_verbs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert [verb for verb in VERBS if verb.split()[0] not in listed] == []


@pytest.mark.parametrize("start", ["-m infimix", "-c 'from infimix.cli import main; main()'"])
def test_it_starts_as_a_module_too_and_says_its_version(start: str) -> None:
    words = [sys.executable, *shlex.split(start), "--version"]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    assert done.stdout == f"infimix {infimix.__version__}\n"


def test_a_module_hands_on_the_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infimix", "fitt"], capture_output=True, check=False, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("No such command 'fitt'.")


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from infimix.cli import main; main([]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_fit_writes_a_run_directory_and_says_what_it_found(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "run"
    words = ["fit", str(table), "--label", "kind", "--model", "dpgmm", "--out", str(out)]
    assert main(words) == 0
    assert {path.name for path in out.iterdir()} >= RUN_LAYOUT
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["sizes"] == [50, 50, 50]
    assert metrics["scores"]["train"]["ari"] == 1.0
    assert metrics["n_features"] == 2, "the label must not be a feature"
    printed = capsys.readouterr().out
    table_rows = [line.strip("│ ").split() for line in printed.splitlines() if "│" in line]
    assert [(row[0], row[-1]) for row in table_rows[:3]] == [("0", "50"), ("1", "50"), ("2", "50")]
    assert f"Report: {out / 'report.html'}" in printed
    assert "for these scores only" in printed


def test_demo_finds_the_digits_without_their_labels(tmp_path: Path) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    assert {path.name for path in (tmp_path / "demo").iterdir()} >= RUN_LAYOUT
    picture = np.asarray(Image.open(tmp_path / "demo" / "picture.png"))
    assert picture.shape[:2] == (480, 1040)
    colours = np.unique(picture[:, :580].reshape(-1, picture.shape[2]), axis=0)
    assert len(colours) > 100  # the map is drawn, not left white
    metrics = json.loads((tmp_path / "demo" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["n_rows"] == 1797
    assert metrics["scores"]["train"]["nmi"] >= 0.8


def test_quiet_prints_nothing(
    table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", str(table), "--label", "kind", "--model", "dpgmm", "--out", str(tmp_path / "r")]
    assert main([*words, "--quiet", "--covariance", "diag"]) == 0
    assert capfd.readouterr() == ("", "")
    assert infimix.load(tmp_path / "r").covariance_type == "diag"


def test_labels_do_not_change_the_fit(table: Path, table_run: Path, tmp_path: Path) -> None:
    unlabelled = tmp_path / "unlabelled.csv"
    pd.read_csv(table)[["length", "width"]].to_csv(unlabelled, index=False)
    out = tmp_path / "run"
    assert main(["fit", str(unlabelled), "--model", "dpgmm", "--out", str(out), "--quiet"]) == 0
    with_labels, without = (infimix.load(run).predict(values_of(table)) for run in (table_run, out))
    np.testing.assert_array_equal(with_labels, without)


def test_fit_says_how_it_reads_the_columns(image_fit: tuple[Path, str]) -> None:
    _, printed = image_fit
    first = printed.splitlines()[0]
    assert first.startswith("treating 64 columns in [0, 16] as real")
    assert first.endswith("likelihood normal")


def test_a_run_is_not_written_over(
    table: Path, table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("metrics.json", "weights.safetensors"):
        (run / name).write_bytes((table_run / name).read_bytes())
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "old").write_text("old")
    (run / "notes.txt").write_text("mine")
    words = ["fit", str(table), "--label", "kind", "--model", "dpgmm", "--out", str(run), "--quiet"]
    before = (run / "metrics.json").stat().st_mtime_ns
    assert main(words) == 2
    assert "--force" in capsys.readouterr().err
    assert (run / "metrics.json").stat().st_mtime_ns == before
    assert main([*words, "--force"]) == 0
    assert (run / "metrics.json").stat().st_mtime_ns > before
    assert not (run / "checkpoints" / "old").exists()
    assert (run / "notes.txt").read_text() == "mine"


def test_a_run_is_there_until_another_has_begun(
    table: Path, table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(table_run, run)
    before = {file.relative_to(run): file.read_bytes() for file in run.rglob("*") if file.is_file()}
    words = ["fit", str(table), "--label", "kind", "--out", str(run), "--force", "--latent", "0"]
    assert main(words) == 2
    assert "n_latent" in capsys.readouterr().err
    after = {file.relative_to(run): file.read_bytes() for file in run.rglob("*") if file.is_file()}
    assert after == before


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_predict_and_embed_write_what_the_library_gives(
    suffix: str, table: Path, table_run: Path, tmp_path: Path
) -> None:
    model, X = infimix.load(table_run), values_of(table)
    expected = {"predict": model.predict(X), "embed": model.transform(X)}
    for verb, values in expected.items():
        out = tmp_path / "new" / f"{verb}{suffix}"
        words = [verb, str(table_run), str(table), "--label", "kind", "--out", str(out)]
        assert main(words) == 0
        if suffix == ".npy":
            written = np.load(out)
        else:
            frame = pd.read_csv(out)
            names = ["component"] if verb == "predict" else ["z0", "z1", "z2"]
            assert list(frame.columns) == names
            written = frame.to_numpy().reshape(values.shape)
        np.testing.assert_allclose(written, values, rtol=1e-5)  # files are read as float32


def test_predict_cuts_the_tree(table: Path, table_run: Path, tmp_path: Path) -> None:
    model, out = infimix.load(table_run), tmp_path / "labels.npy"
    words = ["predict", str(table_run), str(table), "--label", "kind", "--out", str(out)]
    assert main([*words, "--components", "1"]) == 0
    assert not np.load(out).any()
    n_parts = len(model.component_of_part_)
    assert n_parts > 1
    assert main([*words, "--components", str(n_parts)]) == 0
    np.testing.assert_array_equal(np.load(out), model.cut(n_parts).predict(values_of(table)))


def test_a_model_without_a_tree_is_not_cut(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    words = ["fit", str(images), "--model", "gmvae", "--components", "2", "--latent", "2"]
    assert main([*words, "--max-epochs", "1", "--out", run, "--quiet"]) == 0
    assert main(["predict", run, str(images), "--components", "1", "--out", run + ".csv"]) == 2
    assert "GMVAE, whose components are no tree" in capsys.readouterr().err


def test_score_prints_mean_and_standard_error(
    table: Path, table_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(table_run), str(table), "--label", "kind"]) == 0
    printed = capsys.readouterr().out
    bound = infimix.load(table_run).score_samples(values_of(table))
    error = np.sqrt(np.mean((bound - np.mean(bound)) ** 2) / (len(bound)))
    assert f"{np.mean(bound):.4f} ± {error:.4f} nats per row" in printed
    assert "accuracy" in printed


def test_sample_from_one_component(table: Path, table_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.csv"
    words = ["sample", str(table_run), "-n", "7", "--component", "1", "--out", str(out)]
    assert main(words) == 0
    frame = pd.read_csv(out)
    assert list(frame.columns) == ["component", "length", "width"]
    assert list(frame["component"]) == [1] * 7
    found = infimix.load(table_run).predict(frame[["length", "width"]].to_numpy())
    assert list(found) == [1] * 7, "blobs 20 standard deviations apart cannot be confused"


def test_sample_draws_images(image_fit: tuple[Path, str], tmp_path: Path) -> None:
    run, _ = image_fit
    out = tmp_path / "new.png"
    assert main(["sample", str(run), "-n", "5", "--out", str(out)]) == 0
    with Image.open(out) as picture:
        assert picture.size == (3 * 8, 2 * 8)
        pixels = np.asarray(picture)
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert not pixels[8:, 16:].any(), "the sixth tile is empty"


def test_report_is_written_from_the_files_alone(
    table_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "metrics.json", "summary.npz"):
        (tmp_path / name).write_bytes((table_run / name).read_bytes())
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"Report: {tmp_path / 'report.html'}\n"
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_data_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    assert [name for name in infimix.data.NAMED if name not in listed] == []
    assert main(["data", "get", "digits"]) == 0
    assert "needs no file" in capsys.readouterr().out


WRONG = {
    "unknown verb": ("frobnicate", "frobnicate"),
    "unknown option": ("fit {table} --out {new} --frobnicate", "--frobnicate"),
    "missing option": ("fit {table}", "--out"),
    "wrong choice": ("fit {table} --out {new} --model gmm", "dpgmm"),
    "no such file": ("fit nothing.csv --out {new}", "nothing.csv"),
    "no such column": ("fit {table} --out {new} --label species", "species"),
    "text column": ("fit {table} --out {new} --model dpgmm", "kind"),
    "option of the other model": (
        "fit {table} --label kind --out {new} --model dpgmm --network conv",
        "--network",
    ),
    "a run that cannot go on": (
        "fit {table} --label kind --model dpgmm --out {table_run}",
        "holds a run already; replace it with --force",
    ),
    "no folder": ("fit {images} --out {table}/run", "is no folder that you may write to"),
    "resume and force": ("fit {table} --out {new} --resume --force", "give one of them"),
    "a run that is there": ("fit {table} --label kind --out {table_run}", "--force"),
    "not a run": ("predict {new} {table} --out {new}.csv", "{new}"),
    "unknown type to write": ("predict {table_run} {table} --out labels.xlsx", "labels.xlsx"),
    "more components than there are": (
        "predict {table_run} {table} --label kind --components 99 --out {new}.csv",
        "a whole number in 1..",
    ),
    "other columns": ("predict {table_run} {images} --out {new}.csv", "64"),
    "no such split": ("score {table_run} {table} --split test", "test"),
    "no such component": ("sample {table_run} --component 99 --out {new}.csv", "99"),
    "no images": ("sample {table_run} --out {new}.png", "not fitted on images"),
    "no run to report": ("report {new}", "{new}"),
    "no such set": ("data get nothing", "nothing"),
}


@pytest.fixture
def fill(table: Path, images: Path, table_run: Path, tmp_path: Path) -> Callable[[str], str]:
    paths = {"table": table, "images": images, "table_run": table_run, "new": tmp_path / "new"}
    return lambda text: text.format(**paths)


@pytest.mark.parametrize(("line", "fragment"), WRONG.values(), ids=WRONG.keys())
def test_user_errors_are_one_line_and_exit_code_2(
    line: str, fragment: str, fill: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(fill(line))) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert fill(fragment) in printed.err
    assert "Traceback" not in printed.err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "get", "nothing", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupted_fit_leaves_a_usable_run(images: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["fit", str(images), "--latent", "3", "--max-epochs", "100000", "--out", str(run)]
    code = (  # what runs in the background of a shell inherits deafness to SIGINT
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from infimix.cli import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + INTERRUPT_SECONDS
    history = run / "history.jsonl"
    while time.monotonic() < deadline and process.poll() is None:
        if history.is_file() and history.read_text(encoding="utf-8").count("\n") >= 2:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=INTERRUPT_SECONDS)
    assert process.returncode == 130, errors
    assert "--resume" in printed
    assert {path.name for path in run.iterdir()} >= RUN_LAYOUT | {"history.jsonl"}
    assert len(infimix.load(run).predict(np.load(images).reshape(200, 64))) == 200


def test_ctrl_c_before_the_first_epoch_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(infimix.data, "load", press)
    assert main(["fit", "digits", "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err == "Interrupted.\n"
    assert not (tmp_path / "run").exists()


def test_a_warning_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "equal.csv"
    pd.DataFrame({"a": [1.5] * 8, "b": [2.5] * 8}).to_csv(path, index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["fit", str(path), "--model", "dpgmm", "--out", str(tmp_path / "run")]) == 0
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if line.startswith("Warning: All 8 rows of X are equal")]
    assert not [line for line in errors if ".py" in line]


def test_tensorboard_gets_the_epochs_of_a_fit(
    images: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["fit", str(images), "--model", "gaussian", "--max-epochs", "1", "--latent", "2"]
    assert main([*words, "--tensorboard", "--out", str(out), "--quiet"]) == 0
    (events,) = (out / "tensorboard").iterdir()
    assert events.stat().st_size > 200
    words = ["fit", str(table), "--label", "kind", "--model", "dpgmm", "--tensorboard"]
    assert main([*words, "--out", str(tmp_path / "other")]) == 2
    assert "--tensorboard has no meaning with --model dpgmm" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
