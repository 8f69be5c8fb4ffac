"""Published experiments: every number has a source, every row runs, and runs are not repeated."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from infimix.estimators import DLGMM, GaussianVAE, load
from infimix.papers import EXPERIMENTS, draw, read, run, table
from infimix.papers.experiments import Experiment, Reported, Row, Split

D = 16
QUICK = {"max_epochs": 2, "warm_up_epochs": 2, "hidden": (8,), "likelihood": "bernoulli"}
QUICK |= {"reg_covar": 1.0}  # few rows


def small() -> Split:
    """Binary rows (60, 16) of two kinds, with labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=120)
    share = np.where(y[:, None] == 1, np.linspace(0.1, 0.9, D), np.linspace(0.9, 0.1, D))
    X = (rng.uniform(size=share.shape) < share).astype(np.uint8)
    return Split(X[:60], X[60:80], X[80:], y[:60], y[60:80], y[80:])


def quick(experiment: Experiment) -> Experiment:
    """The same experiment on small rows, few epochs, narrow networks."""

    def row(of: Row) -> Row:
        def make() -> Any:
            estimator = of.make()
            parameters = estimator.get_params()
            return estimator.set_params(**{k: v for k, v in QUICK.items() if k in parameters})

        first = None if of.stage_one is None else row(of.stage_one)
        return replace(of, data=small, make=make, stage_one=first)

    # Of the four sizes of Table 2 one.
    is_table = experiment.name == "P2/table2"
    rows = [each for each in experiment.rows if not is_table or "L = 8" in each.name]
    return replace(experiment, rows=tuple(row(each) for each in rows))


@pytest.fixture(params=EXPERIMENTS, ids=lambda name: name)
def experiment(request: pytest.FixtureRequest) -> Experiment:
    return quick(EXPERIMENTS[request.param])


def lines_of(experiment: Experiment, folder: Path, **kwargs: Any) -> Iterator[dict[str, Any]]:
    files = {"results": folder / "results.jsonl", "run_dir": folder / "runs"}
    return run(experiment, seeds=[0], device="cpu", **files, **kwargs)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_published_number_has_a_source_and_is_measured(name: str) -> None:
    rows = EXPERIMENTS[name].rows
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        for reported in row.reported.values():
            assert len(reported.source) > 20
            assert np.isfinite(reported.value)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_training_is_that_of_the_paper(name: str) -> None:
    for row in EXPERIMENTS[name].rows:
        parameters = (row.stage_one or row).make().get_params()
        if "warm_up_epochs" in parameters:
            continue  # our own model, by its defaults
        plan = [parameters[name] for name in ("batch_size", "learning_rate", "patience")]
        assert plan == ([100, 3e-4, 30] if name.startswith("P1") else [256, 1e-3, 100])


def test_table_2_is_whole() -> None:
    """Seven methods at four sizes, two numbers each; one autoencoder of a size serves all."""
    rows = [row for row in EXPERIMENTS["P2/table2"].rows if row.reported]
    assert len(rows) == 28
    assert all(set(row.reported) == {"CS", "NMI"} for row in rows)
    best = max(rows, key=lambda row: row.reported["NMI"].value)
    assert best.name == "VAE+GMM, L = 16"
    firsts = {id(row.stage_one) for row in EXPERIMENTS["P2/table2"].rows if "VAE+" in row.name}
    assert len(firsts) == 8


def test_names_of_models_say_what_they_are() -> None:
    """K x (H d - L s) in a name are the estimator's own."""
    for row in EXPERIMENTS["P1/figure3b"].rows:
        parameters = row.make().get_params()
        assert f"{parameters['hidden'][0]}d" in row.name
        latent = parameters["n_latent"]
        for width in latent if isinstance(latent, tuple) else [latent]:
            assert f"-{width}s" in row.name
        K = parameters.get("n_components") or parameters.get("max_components")
        assert K is None or f"{K}x(" in row.name
        assert ("as printed" in row.name) == (parameters.get("entropy") == "printed")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_row_runs_once_and_is_read_back(experiment: Experiment, tmp_path: Path) -> None:
    found = list(lines_of(experiment, tmp_path))
    assert [line["row"] for line in found] == [row.name for row in experiment.rows]
    assert read(tmp_path / "results.jsonl", experiment) == found
    for line, row in zip(found, experiment.rows, strict=True):
        assert line["epochs"] == (5 if "Infinite" in row.name else 2)
        assert all(np.isfinite(value) for value in line.values() if isinstance(value, float))
        assert set(row.reported) <= set(line)
    assert not list(lines_of(experiment, tmp_path))
    more = run(
        experiment, seeds=[1], only=experiment.rows[-1].name, device="cpu",
        results=tmp_path / "results.jsonl", run_dir=tmp_path / "runs",
    )  # fmt: skip
    assert [line["seed"] for line in more] == [1]


def test_a_finished_fit_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = quick(EXPERIMENTS["P1/figure3b"])
    experiment = replace(experiment, rows=experiment.rows[:1])
    (first,) = lines_of(experiment, tmp_path)
    (tmp_path / "results.jsonl").unlink()

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it was fitted again")

    monkeypatch.setattr(GaussianVAE, "fit", refuse)
    (again,) = lines_of(experiment, tmp_path)
    assert again == first


def test_the_table_has_means_spreads_and_gaps() -> None:
    row = Row("model", small, DLGMM, {"score": Reported(-3.0, "a paper")})
    experiment = Experiment("P0/table", "", (row, replace(row, name="not run")), lambda *a: {})
    lines = [{"row": "model", "seed": s, "score": v, "epochs": 3} for s, v in enumerate((-1.0, -2))]
    lines[1]["score"] = -2.0
    (cells,) = table(experiment, lines)
    assert cells == ("model", "score", "-1.500 ± 0.707 (2)", "-3.00", "+1.500", "a paper")
    (cells,) = table(experiment, lines[:1])
    assert cells[2] == "-1.000 (1)"


def figure_of(experiment: Experiment, folder: Path) -> Figure:
    """Figure from runs in a folder, before it is a file."""
    fits = [load(folder / name) for name in names_of_runs(experiment, folder)]
    assert experiment.draw is not None
    return experiment.draw(fits, small())


def names_of_runs(experiment: Experiment, folder: Path) -> list[Path]:
    """Finished runs in the order of the rows."""
    slugs = [re.sub(r"[^a-z0-9]+", "-", row.name.lower()).strip("-") for row in experiment.rows]
    paths = [Path(experiment.name.split("/")[0]) / slug / "seed-0" for slug in slugs]
    return [path for path in paths if (folder / path / "config.json").is_file()]


def check_files(files: list[Path], stem: Path) -> None:
    """A .png that is not blank and a .pdf."""
    assert files == [stem.with_suffix(".png"), stem.with_suffix(".pdf")]
    with Image.open(files[0]) as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape[1] == 1500
    assert np.ptp(pixels) == 255
    assert (pixels < 250).mean() > 0.005
    assert files[1].read_bytes().startswith(b"%PDF-")


def test_figure_2_has_samples_and_both_maps(tmp_path: Path) -> None:
    experiment, runs = quick(EXPERIMENTS["P1/figure2"]), tmp_path / "runs"
    assert draw(experiment, 0, runs, tmp_path).files == []  # nothing is fitted yet
    assert draw(experiment, 0, runs, tmp_path).unfinished == list(experiment.rows)
    list(lines_of(experiment, tmp_path))
    check_files(draw(experiment, 0, runs, tmp_path).files, tmp_path / "P1-figure2")
    figure = figure_of(experiment, runs)
    assert [ax.get_title() for ax in figure.axes] == [
        "(a) samples of component 1 of 5",
        "(b) samples of component 5 of 5",
        "(c) codes of the GaussianVAE, t-SNE, by digit",
        "(d) codes of the DLGMM, t-SNE, by digit",
    ]
    assert [len(ax.images) for ax in figure.axes] == [1, 1, 0, 0]
    for ax in figure.axes[2:]:
        assert [len(dots.get_offsets()) for dots in ax.collections] == np.bincount(
            small().y_test
        ).tolist()


PICTURES = {  # titles of panels; images, curves and clouds of points in each, None for any
    "P2/figure3": (["− bound, nats a row", "accuracy", "NMI"], (0, 4, 0)),
    "P2/figure4": (["GMVAE, L = 64, soft"], (1, 0, 0)),
    "P2/figure5": (["GaussianVAE, L = 64"], (1, 0, 0)),
    "P2/figure6": (
        ["GaussianVAE, L = 64, by digit", "KMeans, by component", "GaussianMixture, by component",
         "BayesianGaussianMixture, by component"],
        (0, 0, None),
    ),
    "P2/figure7": (
        ["GMVAE, L = 64, soft, by digit", "GMVAE, L = 64, soft, by component",
         "BayesianGaussianMixture, by component"],
        (0, 0, None),
    ),
    "P2/figure8": (["GMVAE, L = 64, soft"], (1, 0, 0)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", list(PICTURES))
def test_figures_of_paper_2(tmp_path: Path, name: str) -> None:
    experiment, runs = quick(EXPERIMENTS[name]), tmp_path / "runs"
    list(lines_of(experiment, tmp_path))
    files = draw(experiment, 0, runs, tmp_path / "out").files
    check_files(files, tmp_path / "out" / name.replace("/", "-"))
    figure = figure_of(experiment, runs)
    titles, (n_images, n_curves, n_clouds) = PICTURES[name]
    assert [ax.get_title() for ax in figure.axes] == titles
    for ax in figure.axes:
        assert (len(ax.images), len(ax.lines)) == (n_images, n_curves)
        n_points = sum(len(cloud.get_offsets()) for cloud in ax.collections)
        assert n_points == (len(small().test) if n_clouds is None else 0)
    if name == "P2/figure3":
        history = load(runs / names_of_runs(experiment, runs)[0]).history_
        shown = [ax.lines[0].get_ydata().tolist() for ax in figure.axes]
        assert shown[0] == [-record["valid_bound"] for record in history]
        assert shown[2] == [record["NMI"] for record in history]
        moves = abs(history[1]["NMI"] - history[0]["NMI"])
        legend = figure.legends[0].get_texts()[0].get_text()
        assert legend == f"AlternatingDPVAE, L = 64, soft: NMI moves {moves:.3f}"


def test_what_is_finished_is_drawn_without_the_rest(tmp_path: Path) -> None:
    experiment, runs = quick(EXPERIMENTS["P2/figure6"]), tmp_path / "runs"
    list(lines_of(experiment, tmp_path, only="K-Means"))
    (runs / "P2" / "vae-l-64" / "seed-0" / "config.json").unlink()
    drawn = draw(experiment, 0, runs, tmp_path)
    check_files(drawn.files, tmp_path / "P2-figure6")
    assert [row.name for row in drawn.unfinished] == [
        "VAE, L = 64", "VAE+GMM, L = 64", "VAE+DP-GMM, L = 64",
    ]  # fmt: skip
    titles = [ax.get_title() for ax in figure_of(experiment, runs).axes]
    assert titles == ["GaussianVAE, L = 64, by digit", "KMeans, by component"]


def test_experiments_without_a_figure_have_none(tmp_path: Path) -> None:
    assert draw(EXPERIMENTS["P1/figure3b"], 0, tmp_path, tmp_path) == ([], [])
