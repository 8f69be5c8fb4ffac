"""The verbs that fit: ``demo`` and ``fit``."""

import json
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from infimix.cli.command import (
    INTERRUPTED,
    Data,
    Force,
    Label,
    Quiet,
    Resume,
    app,
    make_console,
)
from infimix.cli.tables import print_fit

if TYPE_CHECKING:
    from infimix.data import Dataset


@app.command(epilog="Example: infimix demo")
def demo(
    out: Annotated[Path, typer.Option(help="Run directory to write.")] = Path("runs/demo"),
    resume: Resume = False,
    force: Force = False,
) -> int:
    """Cluster handwritten digits with the defaults; a report and a picture; needs no network."""
    code = fit("digits", out, resume=resume, force=force)
    if code == 0:
        _draw(out)
    return code


@app.command(epilog="Example: infimix fit mnist --out runs/mnist")
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run directory to write.")],
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="infinite: autoencoder with an infinite mixture; dpgmm: that mixture alone; "
            "two-stage: autoencoder, then dpgmm; gmvae: autoencoder with --components in its "
            "prior; alternating: the same, its mixture fitted apart; without clusters gaussian, "
            "stick-breaking, dlgmm and dldpmm: autoencoders whose codes are normal, stick-breaking "
            "weights, or have a mixture as posterior.",
        ),
    ] = "infinite",
    label: Label = None,
    kind: Annotated[
        Literal["auto", "binary", "unit", "levels", "real", "counts"],
        typer.Option(help="Kind of the columns; auto looks at them."),
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same result.")] = 0,
    components: Annotated[
        int | None, typer.Option(help="Components, where their number is given.")
    ] = None,
    max_components: Annotated[
        int | None, typer.Option(help="Most components to start from.")
    ] = None,
    max_epochs: Annotated[
        int | None, typer.Option(help="Most epochs after the warm-up and before any fine-tuning.")
    ] = None,
    latent: Annotated[int | None, typer.Option(help="Dimension of the latent space.")] = None,
    covariance: Annotated[
        Literal["full", "diag", "spherical"] | None,
        typer.Option(help="Of the components of dpgmm; diag and spherical are for many columns."),
    ] = None,
    network: Annotated[
        Literal["mlp", "conv"] | None, typer.Option(help="conv is for images.")
    ] = None,
    augmentation: Annotated[
        Literal["affine"] | None,
        typer.Option(help="affine: images may turn, zoom, shear and shift a little."),
    ] = None,
    neighbors: Annotated[
        int | None,
        typer.Option(help="Near rows that may be encoded in place of a row; 0: the row itself."),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to compute.")
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Log every epoch for TensorBoard, into the run directory; tensorboard --logdir "
            "OUT shows it.",
        ),
    ] = False,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> int:
    """Fit a model to data, say what was found, and write a run directory with its report."""
    from infimix.data import check_finite, detect_kind, summarise_columns
    from infimix.distributions.likelihoods import LIKELIHOOD_OF_KIND
    from infimix.evaluation import summarise
    from infimix.report import write_report
    from infimix.report.run_directory import replacing_run

    console = make_console(quiet=quiet)
    asked = {
        "--kind": ("likelihood", None if kind == "auto" else LIKELIHOOD_OF_KIND[kind]),
        "--components": ("n_components", components),
        "--max-components": ("max_components", max_components),
        "--max-epochs": ("max_epochs", max_epochs),
        "--latent": ("n_latent", latent),
        "--covariance": ("covariance_type", covariance),
        "--network": ("network", network),
        "--augmentation": ("augmentation", augmentation),
        "--neighbors": ("n_neighbors", neighbors),
        "--device": ("device", device),
        "--resume": ("resume", resume or None),
    }
    estimator = _estimator(model, asked)
    options = _fit_options(estimator, model, out if tensorboard else None)
    _check_run_is_free(out, resume=resume, force=force, resumes="resume" in estimator.get_params())
    dataset, test = _load_with_test(data, label)
    given = {
        "random_state": seed,
        "verbose": 0 if quiet else 1,
        "run_dir": str(out),
        "image_shape": dataset.image_shape,
    }
    parameters = estimator.get_params()
    estimator.set_params(**{name: value for name, value in given.items() if name in parameters})
    check_finite(dataset.X, dataset.feature_names)
    if dataset.image_shape is None and (network == "conv" or augmentation):
        option = "--augmentation" if augmentation else "--network conv"
        raise ValueError(f"{option} is for images, and the rows of {data} are none; leave it out.")
    if "likelihood" in parameters:
        found = detect_kind(summarise_columns(dataset.X), kind)
        likelihood = LIKELIHOOD_OF_KIND[found.name].replace("_", " ")
        console.print(f"{found.sentence}, likelihood {likelihood}", soft_wrap=True)
    start = time.perf_counter() - (_seconds_before(out) if resume else 0.0)
    with replacing_run(out) if force else nullcontext():
        estimator.fit(dataset.X, **options)
        seconds = time.perf_counter() - start
        estimator.save(out)
    metrics = summarise(estimator, dataset, out, test=test, seconds=seconds)
    report = write_report(out)
    print_fit(console, metrics)
    console.print(f"Report: {report}", soft_wrap=True)
    if getattr(estimator, "interrupted_", False):
        console.print(
            f"{out} holds the model as far as it got; the same command with --resume continues it.",
            soft_wrap=True,
        )
        return INTERRUPTED
    return 0


def _draw(run: Path) -> None:
    """Write ``picture.png``: the map of digits, and samples of each component."""
    from matplotlib.figure import Figure

    from infimix.data import load
    from infimix.estimators import load as load_run

    model, digits = load_run(run), load("digits")
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    model.plot_latent(digits.X, ax=left)
    model.plot_components(image_shape=digits.image_shape, ax=right)
    figure.savefig(run / "picture.png", dpi=80)


def _fit_options(estimator: Any, model: str, log_in: Path | None) -> dict[str, Any]:
    """What `fit` is told besides the rows."""
    from sklearn.utils.validation import has_fit_parameter

    if log_in is None:
        return {}
    if not has_fit_parameter(estimator, "tensorboard_dir"):
        raise ValueError(f"--tensorboard has no meaning with --model {model}; leave it out.")
    return {"tensorboard_dir": log_in / "tensorboard"}


def _check_run_is_free(out: Path, *, resume: bool, force: bool, resumes: bool) -> None:
    """Refuse to write over a run that nobody said to continue or to replace."""
    from infimix.report.run_directory import RUN_FILES

    nearest = next(folder for folder in (out, *out.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise ValueError(
            f"--out {out} cannot be written: {nearest} is no folder that you may write to; name "
            "another."
        )

    is_there = any((out / name).exists() for name in RUN_FILES)
    if resume and force:
        raise ValueError("--resume continues a run and --force replaces it; give one of them.")
    if resume and is_there and not any((out / "checkpoints").glob("*.safetensors")):
        raise FileNotFoundError(
            f"{out} holds a run but no checkpoint to continue from; replace it with --force, or "
            "name another folder with --out."
        )
    if not resume and not force and is_there:
        raise FileExistsError(
            f"{out} holds a run already; {'continue it with --resume, ' if resumes else ''}"
            "replace it with --force, or name another folder with --out."
        )


def _seconds_before(out: Path) -> float:
    """Seconds that the run to go on with has taken, as far as its files say."""
    file = out / "metrics.json"
    return float(json.loads(file.read_text(encoding="utf-8"))["seconds"]) if file.exists() else 0.0


def _load_with_test(data: str, label: str | None) -> "tuple[Dataset, Dataset | None]":
    """Rows to fit on, and the test rows of a named set that has some."""
    from infimix.data import NAMED, load

    has_test = data in NAMED and "test" in NAMED[data].splits
    return load(data, label=label), load(data, split="test") if has_test else None


def _estimator(model: str, asked: dict[str, tuple[str, Any]]) -> Any:
    """Unfitted estimator with the parameters of the options that were given."""
    from infimix.estimators import ESTIMATORS

    if model not in ESTIMATORS:
        raise ValueError(f"--model must be one of {', '.join(ESTIMATORS)}; got '{model}'.")
    estimator = ESTIMATORS[model]()
    parameters = estimator.get_params()
    given = {option: pair for option, pair in asked.items() if pair[1] is not None}
    for option, (name, _) in given.items():
        if name not in parameters:
            raise ValueError(f"{option} has no meaning with --model {model}; leave it out.")
    return estimator.set_params(**dict(given.values()))
