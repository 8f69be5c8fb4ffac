"""The verb that runs published experiments."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from infimix import papers
from infimix.cli import main
from infimix.estimators import GaussianVAE
from infimix.papers.experiments import Experiment, Reported, Row, Split
from infimix.papers.p2_figures import reconstructions


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """A table of two rows on a few binary rows."""
    X = (np.random.default_rng(0).uniform(size=(60, 6)) < 0.5).astype(np.uint8)
    row = Row(
        "narrow",
        lambda: Split(X[:40], X[40:50], X[50:]),
        lambda: GaussianVAE(1, hidden=(4,), max_epochs=2),
        {"score": Reported(-5.0, "page 3")},
    )
    experiment = Experiment(
        "P0/table", "A table", (row, replace(row, name="other")),
        lambda estimator, split, seed: {"score": estimator.score(split.test)},
    )  # fmt: skip
    monkeypatch.setattr(papers, "EXPERIMENTS", {"P0/table": experiment})
    return experiment


def reproduce(tmp_path: Path, *words: str) -> int:
    files = ["--results", str(tmp_path / "r.jsonl"), "--out", str(tmp_path / "runs")]
    return main(["reproduce", *words, *files])


def test_runs_are_kept_and_shown_beside_what_was_reported(
    experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce(tmp_path, "P0/table", "--only", "narrow", "--seeds", "2") == 0
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [(line["row"], line["seed"]) for line in lines] == [("narrow", 0), ("narrow", 1)]
    shown = capsys.readouterr().out
    assert "page 3" in shown
    assert "-5.00" in shown
    before = (tmp_path / "r.jsonl").read_bytes()
    assert reproduce(tmp_path, "P0/table", "--only", "narrow", "--seeds", "2", "--table") == 0
    assert reproduce(tmp_path, "P0/table", "--only", "narrow", "--seeds", "2", "--quiet") == 0
    assert (tmp_path / "r.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["P9/table1"], "There is no experiment 'P9/table1'; there are: P0/table."),
        (["P0/table", "--only", "x"], "No row of P0/table has 'x' in its name; its rows are:"),
    ],
)
def test_wrong_names_are_refused(
    experiment: Experiment,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert reproduce(tmp_path, *words) == 2
    assert message in capsys.readouterr().err


def test_figures_draws_what_is_finished_and_names_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    X = np.random.default_rng(0).uniform(size=(60, 16))
    row = Row(
        "VAE",
        lambda: Split(X[:40], X[40:50], X[40:]),
        lambda: GaussianVAE(1, hidden=(4,), max_epochs=1),
    )
    one = Experiment("P2/figure5", "", (row,), lambda *a: {}, reconstructions)
    two = replace(one, name="P2/figure4", rows=(row, replace(row, name="not run")))
    other = replace(one, name="P1/figure2")
    experiments = {each.name: each for each in (one, two, other)}
    monkeypatch.setattr(papers, "EXPERIMENTS", experiments)
    words = ["figures", "P2", "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    assert main(words) == 2
    said = capsys.readouterr()
    command = f"infimix reproduce P2/figure5 --only VAE --out {tmp_path / 'runs'}"
    assert said.out.splitlines()[0] == f"Not finished: VAE; {command}"
    assert "No run that a figure of P2 shows is finished" in said.err
    assert main([*command.split()[1:], "--results", str(tmp_path / "r"), "--quiet"]) == 0
    assert main(words) == 0
    drawn = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert drawn == ["P2-figure4.pdf", "P2-figure4.png", "P2-figure5.pdf", "P2-figure5.png"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(";")[0] for line in lines if "Not" in line] == ["Not finished: not run"]
    assert f"Drawn: {tmp_path / 'out' / 'P2-figure5.pdf'}" in lines
    assert (tmp_path / "runs" / "P2" / "P2-figure5.png").is_file(), "reproduce draws too"
