"""The ``infimix`` command: argv to exit code.

Each verb is a few calls into the library, imported when the verb runs, so that ``--help`` does not
wait for torch. What the user got wrong is said in one line on stderr.
"""

import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from infimix.data import Dataset

USER_ERROR = 2
INTERRUPTED = 130  # as shells report a program ended by Ctrl-C

# Besides what numpy, scikit-learn and infimix.errors derive from these, usage errors of typer.
USER_ERRORS = (ValueError, TypeError, OSError, ArithmeticError, typer.TyperException)

app = typer.Typer(
    name="infimix",
    help="Find the groups in data without being told how many.",
    epilog="Example: infimix demo. Add --debug to any command to see where an error came from.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Named data sets: list them, download one.")
app.add_typer(data_app, name="data")

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A named set (infimix data list), a file .npy, .npz, .csv, .parquet or IDX, "
        "or a folder of images.",
    ),
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run directory, written by infimix fit.")
]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Where a file has labels: a column, an array of an .npz, a file, or folder. "
        "They are kept out of the data and used for scores only. A run remembers the column.",
    ),
]
Split = Annotated[
    Literal["train", "valid", "test"], typer.Option(help="Part of a named set to read.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a run that is there already.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors only.")]


@app.command(epilog="Example: infimix demo")
def demo(
    out: Annotated[Path, typer.Option(help="Run directory to write.")] = Path("runs/demo"),
    resume: Resume = False,
    force: Force = False,
) -> int:
    """Cluster handwritten digits with the defaults and write a report; needs no network."""
    return fit("digits", out, resume=resume, force=force)


@app.command(epilog="Example: infimix fit mnist --out runs/mnist")
def fit(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run directory to write.")],
    model: Annotated[
        Literal["infinite", "dpgmm"],
        typer.Option(help="Autoencoder with an infinite mixture, or the mixture alone."),
    ] = "infinite",
    label: Label = None,
    kind: Annotated[
        Literal["auto", "binary", "unit", "levels", "real", "counts"],
        typer.Option(help="Kind of the columns; auto looks at them."),
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same result.")] = 0,
    max_components: Annotated[
        int | None, typer.Option(help="Most components to start from.")
    ] = None,
    max_epochs: Annotated[int | None, typer.Option(help="Most epochs after the warm-up.")] = None,
    latent: Annotated[int | None, typer.Option(help="Dimension of the latent space.")] = None,
    network: Annotated[
        Literal["mlp", "conv"] | None, typer.Option(help="conv is for images.")
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where to compute.")
    ] = None,
    resume: Resume = False,
    force: Force = False,
    quiet: Quiet = False,
) -> int:
    """Fit a model to data, say what was found, and write a run directory with its report."""
    from infimix.data import check_finite, detect_kind, summarise_columns
    from infimix.distributions.likelihoods import LIKELIHOOD_OF_KIND
    from infimix.evaluation import summarise
    from infimix.report import write_report
    from infimix.report.run_directory import remove_run

    console = _console(quiet=quiet)
    _check_run_is_free(out, resume=resume, force=force)
    dataset, test = _load_with_test(data, label)
    asked = {
        "--kind": ("likelihood", None if kind == "auto" else LIKELIHOOD_OF_KIND[kind]),
        "--max-components": ("max_components", max_components),
        "--max-epochs": ("max_epochs", max_epochs),
        "--latent": ("n_latent", latent),
        "--network": ("network", network),
        "--device": ("device", device),
        "--resume": ("resume", resume or None),
    }
    estimator = _estimator(model, asked)
    given = {
        "random_state": seed,
        "verbose": 0 if quiet else 1,
        "run_dir": str(out),
        "image_shape": dataset.image_shape,
    }
    parameters = estimator.get_params()
    estimator.set_params(**{name: value for name, value in given.items() if name in parameters})
    check_finite(dataset.X)
    if "likelihood" in parameters:
        found = detect_kind(summarise_columns(dataset.X), kind)
        likelihood = LIKELIHOOD_OF_KIND[found.name].replace("_", " ")
        console.print(f"{found.sentence}, likelihood {likelihood}", soft_wrap=True)
    if force:
        remove_run(out)

    start = time.perf_counter()
    estimator.fit(dataset.X)
    seconds = time.perf_counter() - start

    estimator.save(out)
    metrics = summarise(estimator, dataset, out, test=test, seconds=seconds)
    report = write_report(out)
    _say_what_was_found(console, metrics)
    console.print(f"Report: {report}", soft_wrap=True)
    if getattr(estimator, "interrupted_", False):
        console.print(
            f"Interrupted: {out} holds the model as far as it got. "
            "The same command with --resume continues it.",
            soft_wrap=True,
        )
        return INTERRUPTED
    return 0


@app.command(epilog="Example: infimix predict runs/mnist new.npy --out labels.csv")
def predict(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write, .csv or .npy.")],
    label: Label = None,
    split: Split = "train",
) -> None:
    """Write the component of each row."""
    from infimix.data.write import TABLE_TYPES, check_type, write_table

    check_type(out, TABLE_TYPES)
    model, dataset = _load_both(run, data, label, split)
    write_table(out, model.predict(dataset.X), ["component"])


@app.command(epilog="Example: infimix embed runs/mnist new.npy --out embedding.npy")
def embed(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write, .csv or .npy.")],
    label: Label = None,
    split: Split = "train",
) -> None:
    """Write the embedding of each row: latent means, or distances to components for dpgmm."""
    from infimix.data.write import TABLE_TYPES, check_type, write_table

    check_type(out, TABLE_TYPES)
    model, dataset = _load_both(run, data, label, split)
    embedding = model.transform(dataset.X)  # (N, L)
    write_table(out, embedding, [f"z{i}" for i in range(embedding.shape[1])])


@app.command(epilog="Example: infimix score runs/mnist mnist --split test")
def score(run: Run, data: Data, label: Label = None, split: Split = "train") -> None:
    """Print the bound of the log-likelihood, and clustering scores if there are labels."""
    from infimix.evaluation import score_clustering

    model, dataset = _load_both(run, data, label, split)
    bound = np.asarray(model.score_samples(dataset.X), dtype=np.float64)  # (N,) nats
    error = bound.std() / np.sqrt(len(bound))
    console = _console()
    console.print(
        f"{dataset.name} ({dataset.split}, {len(bound)} rows): log-likelihood bound "
        f"{bound.mean():.4f} ± {error:.4f} nats per row (standard error)",
        soft_wrap=True,
    )
    if dataset.y is not None:
        scores = score_clustering(dataset.y, model.predict(dataset.X)).as_dict()
        _print_scores(console, {dataset.split: scores})


@app.command(epilog="Example: infimix sample runs/mnist -n 16 --component 3 --out new.png")
def sample(
    run: Run,
    out: Annotated[Path, typer.Option(help="File to write, .npy, .csv, or .png for images.")],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of rows to draw.")] = 16,
    component: Annotated[
        int | None, typer.Option(min=0, help="Component to draw from; all if left out.")
    ] = None,
) -> None:
    """Draw new rows from the model, or from one of its components."""
    from infimix.data.write import TABLE_TYPES, check_type, write_images, write_table
    from infimix.estimators import load

    check_type(out, (*TABLE_TYPES, ".png"))
    _, summary = _facts(run)
    if out.suffix == ".png" and "image_shape" not in summary:
        raise ValueError(f"{run} was not fitted on images, so {out} cannot be drawn; use .npy.")
    X, drawn_from = load(run).sample(n, component=component)  # (n, D), (n,)
    if out.suffix == ".png":
        write_images(out, X, summary["image_shape"])
    else:
        names = summary.get("feature_names", [f"x{i}" for i in range(X.shape[1])])
        write_table(out, X, names, component=drawn_from)


@app.command(epilog="Example: infimix report runs/mnist")
def report(run: Run) -> None:
    """Write report.html of a run directory again, from the files that are in it."""
    from infimix.report import write_report

    _console().print(f"Report: {write_report(run)}", soft_wrap=True)


@data_app.command("list", epilog="Example: infimix data list")
def list_data() -> None:
    """List the named data sets."""
    from infimix.data import NAMED

    table = Table("name", "what", "shape", "licence")
    table.columns[0].no_wrap = True
    for entry in NAMED.values():
        table.add_row(entry.name, entry.description, entry.shape, entry.licence)
    _console().print(table)


@data_app.command("get", epilog="Example: infimix data get mnist")
def get_data(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Download a named data set, check it, and say where its files are."""
    from infimix.data import fetch

    console = _console()
    paths = fetch(name)
    if not paths:
        console.print(f"'{name}' comes with infimix and needs no file.")
    for path in paths:
        console.print(str(path), soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Words after ``infimix``; those of the process by default.

    Returns
    -------
    int
        0; 2 after an error of the user, said in one line on stderr; 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.showwarning = _say_warning
            return app(words or ["--help"], prog_name="infimix", standalone_mode=False) or 0
    except USER_ERRORS as error:
        if debug:
            traceback.print_exc()
        is_usage = isinstance(error, typer.TyperException)
        message = error.format_message() if is_usage else str(error)
        sys.stderr.write(" ".join(message.split()) + "\n")
        return USER_ERROR


def _say_warning(message: Warning | str, *_: Any) -> None:
    """One line on stderr, without the place in the code."""
    sys.stderr.write(f"Warning: {' '.join(str(message).split())}\n")


def _console(*, quiet: bool = False) -> Console:
    """Return standard output; brackets in names and sentences are text, not markup."""
    return Console(quiet=quiet, markup=False, highlight=False)


def _check_run_is_free(out: Path, *, resume: bool, force: bool) -> None:
    """Refuse to write over a run that nobody said to continue or to replace."""
    from infimix.report.run_directory import RUN_FILES

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
            f"{out} holds a run already; continue it with --resume, replace it with --force, or "
            "name another folder with --out."
        )


def _load_with_test(data: str, label: str | None) -> "tuple[Dataset, Dataset | None]":
    """Rows to fit on, and the test rows of a named set that has some."""
    from infimix.data import NAMED, load

    has_test = data in NAMED and "test" in NAMED[data].splits
    return load(data, label=label), load(data, split="test") if has_test else None


def _load_both(run: Path, data: str, label: str | None, split: str) -> "tuple[Any, Dataset]":
    """Fitted estimator of a run, and rows for it: labels and order of the columns as in the fit."""
    from infimix.data import has_column
    from infimix.data import load as load_data
    from infimix.estimators import load

    model, (metrics, summary) = load(run), _facts(run)
    if label is None and (known := metrics.get("label")) and has_column(data, known):
        label = known
    dataset = load_data(data, split=split, label=label)
    names = getattr(model, "feature_names_in_", summary.get("feature_names"))
    return model, dataset if names is None else dataset.with_columns(names.tolist())


def _estimator(model: str, asked: dict[str, tuple[str, Any]]) -> Any:
    """Unfitted estimator with the parameters of the options that were given."""
    from infimix.estimators import ESTIMATORS

    estimator = ESTIMATORS[model]()
    parameters = estimator.get_params()
    given = {option: pair for option, pair in asked.items() if pair[1] is not None}
    for option, (name, _) in given.items():
        if name not in parameters:
            raise ValueError(f"{option} has no meaning with --model {model}; leave it out.")
    return estimator.set_params(**dict(given.values()))


def _say_what_was_found(console: Console, metrics: dict[str, Any]) -> None:
    """Components with weight and size, the bound, and scores if there were labels."""
    table = Table("component", "weight", "size")
    for column in table.columns:
        column.justify = "right"
    for k, (weight, size) in enumerate(zip(metrics["weights"], metrics["sizes"], strict=True)):
        table.add_row(str(k), f"{weight:.4f}", str(size))
    console.print(table)
    console.print(
        f"{metrics['n_components']} components in {metrics['n_rows']} rows; bound "
        f"{metrics['lower_bound']:.4f} nats per row; {metrics['seconds']:.1f} s",
        soft_wrap=True,
    )
    if "scores" in metrics:
        _print_scores(console, metrics["scores"])


def _print_scores(console: Console, scores: dict[str, dict[str, float]]) -> None:
    """One row a score, one column a split."""
    table = Table("score", *scores)
    for name in next(iter(scores.values())):
        table.add_row(name, *(f"{of_split[name]:.4g}" for of_split in scores.values()))
    console.print(table)
    console.print("The labels were used for these scores only, not for the fit.")


def _facts(run: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Metrics and arrays that a fit by the command has left; none for a bare saved model."""
    from infimix.report.run_directory import read_run_directory

    if not (run / "summary.npz").is_file():
        return {}, {}
    found = read_run_directory(run)
    return found.metrics, found.summary
