"""Progress where it is seen: a terminal, a plain log, a notebook."""

import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from sklearn.cluster import KMeans

from infimix.estimators import GaussianVAE, TwoStage
from infimix.training import Progress, TensorBoard

CODE = """
import numpy as np
from infimix import GaussianVAE
X = np.random.default_rng(0).normal(size=(40, 3))
model = GaussianVAE(2, hidden=(4,), max_epochs=3, random_state=0, verbose=1).fit(X)
"""


def record(epoch: int, **numbers: Any) -> dict[str, Any]:
    numbers = {"bound": -3.5, "valid_bound": None, "n_components": 4} | numbers
    return {"epoch": epoch, "phase": "joint", **numbers}


def test_a_plain_log_gets_one_line_an_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")  # lines are not broken, whatever the width
    with Progress(shown=True, n_steps=2) as progress:
        progress.show(record(0))
        progress.show(record(1, valid_bound=-2.25, n_components=None))
    assert capsys.readouterr().err.splitlines() == [
        "1/2  joint  bound -3.500 nats/row  K 4",
        "2/2  joint  bound -2.250 nats/row",
    ]


def test_nothing_is_shown_unasked(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(shown=False, n_steps=2) as progress:
        progress.show(record(0))
    assert capfd.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_that_is_written_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    with Progress(shown=True, n_steps=2) as progress:
        progress.show(record(0))
        progress.show(record(1))
    text = capsys.readouterr().err
    assert "2/2" in text
    assert "━" in text
    assert "\x1b[2K" in text, "the line is cleared before it is written again"


def test_a_notebook_gets_one_line_a_summary_and_a_picture(tmp_path: Path) -> None:
    cells = [CODE, "model", "from infimix import DPGaussianMixture\nDPGaussianMixture()",
             "ax = model.plot_history()"]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python"}
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    fitted, shown, unfitted, drawn = (cell.outputs for cell in notebook.cells)
    assert [output.output_type for output in fitted] == ["display_data"], "one line, no stderr"
    assert fitted[0].data["text/plain"].startswith("3/3  joint  bound -")
    html = shown[0].data["text/html"]
    assert "sk-top-container" in html
    assert "Fitted to 40 rows: bound" in html
    assert "sk-top-container" in unfitted[0].data["text/html"]
    assert "Fitted to" not in unfitted[0].data["text/html"]
    assert "image/png" in drawn[-1].data


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_reads_what_was_shown(tmp_path: Path) -> None:
    with TensorBoard(tmp_path) as board:
        board.show(record(0, reconstruction=-3.0))
        board.show(record(1, bound=-2.5, reconstruction=-2.0))
    assert scalars(tmp_path) == {
        "joint/bound": [(0, -3.5), (1, -2.5)],
        "joint/n_components": [(0, 4.0), (1, 4.0)],
        "joint/reconstruction": [(0, -3.0), (1, -2.0)],
    }


def test_a_second_run_hides_the_first(tmp_path: Path) -> None:
    for bound, n_epochs in ((-9.0, 3), (-1.0, 2)):
        with TensorBoard(tmp_path) as board:
            for epoch in range(n_epochs):
                board.show(record(epoch, bound=bound))
    assert scalars(tmp_path)["joint/bound"] == [(0, -1.0), (1, -1.0)]


def test_without_tensorboard_a_sentence_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with TensorBoard(None) as board:
        board.show(record(0))
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        TensorBoard(tmp_path)


def test_a_fit_logs_its_history(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = TwoStage(GaussianVAE(2, hidden=(4,), max_epochs=3), KMeans(2), random_state=0)
    history = model.fit(X, tensorboard_dir=tmp_path).history_
    logged = scalars(tmp_path)["joint/valid_bound"]
    assert logged == [(r["epoch"], pytest.approx(r["valid_bound"], rel=1e-6)) for r in history]
