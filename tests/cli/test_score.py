"""Log-likelihood and nearest neighbours by the command, and models without clusters."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import infimix
from infimix.cli import main
from infimix.estimators import ESTIMATORS
from infimix.evaluation import estimate_likelihood, neighbour_errors

N_TRAIN, N_TEST = 150, 60


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of digits: train.npz, test.npz with some of the classes, grey.npy."""
    folder = tmp_path_factory.mktemp("digits")
    X, y = load_digits(return_X_y=True)
    names = np.array(["c", "b", "a", "d", "e", "f", "g", "h", "i", "j"])[y]
    np.savez(folder / "train.npz", X=X[:N_TRAIN], y=names[:N_TRAIN])
    kept = np.flatnonzero(y[N_TRAIN:] != 2)[:N_TEST] + N_TRAIN  # codes of labels shift
    np.savez(folder / "test.npz", X=X[kept], y=names[kept])
    np.save(folder / "grey.npy", X[:20] / 16 + 0.001)
    return folder


def fit(digits: Path, out: Path, *words: str) -> Path:
    line = ["fit", str(digits / "train.npz"), "--label", "y", "--out", str(out), "--quiet"]
    assert main([*line, *words]) == 0
    return out


@pytest.fixture(scope="module")
def gaussian(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of a GaussianVAE; read only."""
    out = tmp_path_factory.mktemp("runs") / "gaussian"
    return fit(digits, out, "--model", "gaussian", "--max-epochs", "20", "--latent", "3")


def test_log_likelihood_and_neighbours_are_printed_kept_and_reported(
    digits: Path, gaussian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(gaussian, run)
    train, test = (np.load(digits / f"{name}.npz") for name in ("train", "test"))
    words = ["score", str(run), str(digits / "test.npz"), "--label", "y"]
    words += ["--importance-samples", "60", "--neighbours", str(digits / "train.npz")]
    assert main(words) == 0
    printed, progress = capsys.readouterr()
    model = infimix.load(run)
    likelihood = estimate_likelihood(model, test["X"].astype("f4"), 60, at=(1, 50))
    errors = neighbour_errors(model, train["X"], train["y"], test["X"], test["y"])
    table = [line.strip("│ ").replace("│", " ").split() for line in printed.splitlines()]
    assert [row[0] for row in table if len(row) == 6 and row[0].isdigit()] == ["1", "50", "60"]
    assert f"{likelihood.log_likelihood:.4f}" in printed
    assert f"{likelihood.monte_carlo_error:.4f}" in printed
    assert ["5", f"{errors.means[5]:.2f}", f"{errors.samples[5]:.2f}"] in table
    assert "1/1  importance sampling" in progress
    assert "accuracy" not in printed, "one component is no clustering"
    kept = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert kept["log_likelihood"]["test"] == likelihood.as_dict()
    assert kept["neighbour_errors"]["test"] == errors.as_dict()
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    assert f"{likelihood.log_likelihood:.4f}".replace("-", "−") in page
    assert f'<td class="n">{errors.samples[10]:.2f}</td>' in page


def test_what_was_kept_is_replaced_and_nothing_else(
    digits: Path, gaussian: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(gaussian, run)
    before = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    for n, data in ((2, "test"), (3, "train"), (4, "test")):
        words = [str(run), str(digits / f"{data}.npz"), "--label", "y", "--quiet"]
        assert main(["score", *words, "--importance-samples", str(n)]) == 0
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    found = metrics.pop("log_likelihood")
    assert {rows: estimate["n_samples"] for rows, estimate in found.items()} == {
        "test": 4,
        "train": 3,
    }
    assert metrics == before


def test_a_plain_score_keeps_nothing(digits: Path, gaussian: Path) -> None:
    before = (gaussian / "metrics.json").read_bytes()
    assert main(["score", str(gaussian), str(digits / "test.npz"), "--label", "y"]) == 0
    assert (gaussian / "metrics.json").read_bytes() == before


def test_a_saved_model_is_scored_without_metrics(
    digits: Path, gaussian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    infimix.load(gaussian).save(tmp_path / "bare")
    words = ["score", str(tmp_path / "bare"), str(digits / "test.npz"), "--label", "y"]
    assert main([*words, "--importance-samples", "2"]) == 0
    assert "Kept in" not in capsys.readouterr().out
    assert not (tmp_path / "bare" / "metrics.json").exists()


def test_the_named_set_of_the_fit_is_scored_if_none_is_given(
    digits: Path, gaussian: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(gaussian, run)
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    del metrics["label"]
    (run / "metrics.json").write_text(json.dumps(metrics | {"data": "digits"}))
    assert main(["score", str(run)]) == 0
    assert capsys.readouterr().out.startswith("digits (train, 1797 rows)")


@pytest.mark.parametrize(
    ("words", "estimator", "n_components"),
    [
        ("--model dlgmm --components 2", "DLGMM", 2),
        ("--model dldpmm --max-components 4", "DLDPMM", 4),
        ("--model stick-breaking", "StickBreakingVAE", 1),
    ],
)
def test_models_without_clusters_are_fitted(
    digits: Path, tmp_path: Path, words: str, estimator: str, n_components: int
) -> None:
    run = fit(digits, tmp_path / "run", *words.split(), "--max-epochs", "1", "--latent", "3")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["estimator"] == estimator
    assert metrics["n_components"] == n_components
    assert not metrics["finds_clusters"]
    assert ("scores" in metrics) == (n_components > 1)


def test_help_names_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in ESTIMATORS if name not in shown] == []


WRONG = {
    "no model": ("fit {digits}/grey.npy --out {new} --model gmm", "infinite, dpgmm, gaussian"),
    "components": (
        "fit {digits}/grey.npy --out {new} --model dpgmm --components 3",
        "--components has no meaning with --model dpgmm",
    ),
    "covariance": (
        "fit {digits}/grey.npy --out {new} --covariance diag",
        "--covariance has no meaning with --model infinite",
    ),
    "moved rows": (
        "fit {digits}/grey.npy --out {new} --augmentation affine",
        "--augmentation is for images",
    ),
    "no components": (
        "fit {digits}/grey.npy --out {new} --model dlgmm --components 0",
        "'n_components' parameter of DLGMM",
    ),
    "no samples": (
        "score {run} {digits}/test.npz --label y --importance-samples 0",
        "--importance-samples",
    ),
    "mixture alone": (
        "score {table_run} {table} --importance-samples 10",
        "DPGaussianMixture has none",
    ),
    "grey": (
        "score {run} {digits}/grey.npy --importance-samples 10",
        "X is not of the kind of",
    ),
    "no rows": ("score {run}", "say which rows to score"),
    "no labels": (
        "score {run} {digits}/grey.npy --neighbours {digits}/train.npz",
        "needs labels and train (train) has none",
    ),
    "its own neighbour": (
        "score {run} {digits}/train.npz --label y --neighbours {digits}/train.npz",
        "are the same (train, train)",
    ),
}


@pytest.mark.parametrize(("line", "fragment"), WRONG.values(), ids=WRONG.keys())
def test_user_errors_are_one_line_and_exit_code_2(
    line: str,
    fragment: str,
    digits: Path,
    gaussian: Path,
    table: Path,
    table_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = {"digits": digits, "run": gaussian, "table": table, "table_run": table_run}
    before = (gaussian / "metrics.json").read_bytes()
    assert main(shlex.split(line.format(**paths, new=tmp_path / "new"))) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert fragment in printed.err
    assert (gaussian / "metrics.json").read_bytes() == before
