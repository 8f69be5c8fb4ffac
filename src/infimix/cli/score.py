"""The verb that scores a fitted model: ``score``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from infimix.cli.command import Label, Quiet, Run, Split, app, make_console
from infimix.cli.runs import facts_of, load_both, rows_for
from infimix.cli.tables import print_likelihood, print_neighbours, print_scores

if TYPE_CHECKING:
    from infimix.data import Dataset
    from infimix.evaluation import LikelihoodEstimate, NeighbourErrors

TOLD_AT = (1, 50, 100, 1000)  # samples that papers report, beside those that were asked for


@app.command(
    epilog="Example: infimix score runs/mnist mnist --split test --neighbours mnist",
)
def score(
    run: Run,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Rows to score; the named set of the fit if none."),
    ] = None,
    label: Label = None,
    split: Split = "train",
    importance_samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Estimate the log-likelihood from N samples a row, 1000 say; kept in the run.",
        ),
    ] = None,
    neighbours: Annotated[
        str | None,
        typer.Option(
            metavar="TRAIN",
            help="Classify the rows by their nearest neighbours in the latent space among the "
            "labelled rows TRAIN, those of the fit; kept in the run.",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Print the bound of the log-likelihood, and clustering scores if there are labels."""
    from infimix.evaluation import record_score, score_clustering

    model, dataset = load_both(run, _data_of(run) if data is None else data, label, split)
    found: dict[str, Any] = {}
    if neighbours is not None:
        train = rows_for(model, run, neighbours, label, "train")
        found["neighbour_errors"] = _neighbour_errors(model, train, dataset)
    if importance_samples is not None:
        found["log_likelihood"] = _likelihood(model, dataset, importance_samples, shown=not quiet)
    bound = np.asarray(model.score_samples(dataset.X), dtype=np.float64)  # (N,) nats
    error = bound.std() / np.sqrt(len(bound))

    console = make_console(quiet=quiet)
    console.print(
        f"{dataset.name} ({dataset.split}, {len(bound)} rows): log-likelihood bound "
        f"{bound.mean():.4f} ± {error:.4f} nats per row (standard error)",
        soft_wrap=True,
    )
    if "log_likelihood" in found:
        print_likelihood(console, found["log_likelihood"])
    if "neighbour_errors" in found:
        print_neighbours(console, found["neighbour_errors"])
    if dataset.y is not None and (model.finds_clusters or model.n_components_ > 1):
        scores = score_clustering(dataset.y, model.predict(dataset.X)).as_dict()
        print_scores(console, {dataset.split: scores})
    if found and (run / "metrics.json").is_file():
        for name, result in found.items():
            record_score(run, name, _name_of(dataset), result.as_dict())
        console.print(
            f"Kept in {run / 'metrics.json'}; infimix report {run} shows it.", soft_wrap=True
        )


def _data_of(run: Path) -> str:
    """Name of the set that a run was fitted on; that of a file does not say where the file is."""
    from infimix.data import NAMED

    name = facts_of(run)[0].get("data")
    if name not in NAMED:
        raise ValueError(
            f"{run} was not fitted on a named set, so say which rows to score: "
            f"infimix score {run} DATA."
        )
    return str(name)


def _name_of(dataset: "Dataset") -> str:
    """Set and split of named rows; a file is one whole."""
    from infimix.data import NAMED

    return f"{dataset.name} {dataset.split}" if dataset.name in NAMED else dataset.name


def _likelihood(
    model: Any, dataset: "Dataset", n_samples: int, *, shown: bool
) -> "LikelihoodEstimate":
    """Estimate from all samples, and from the first of them."""
    from infimix.evaluation import estimate_likelihood

    at = [n for n in TOLD_AT if n < n_samples]
    return estimate_likelihood(model, dataset.X, n_samples, at=at, verbose=int(shown))


def _neighbour_errors(model: Any, train: "Dataset", test: "Dataset") -> "NeighbourErrors":
    """Errors on rows that are not those of the fit."""
    from infimix.evaluation import neighbour_errors

    if (train.source, train.name, train.split) == (test.source, test.name, test.split):
        raise ValueError(
            f"The rows to score and those of --neighbours are the same ({test.name}, "
            f"{test.split}), so that each would be its own neighbour; score other rows, those of "
            "--split test say."
        )
    for dataset in (train, test):
        if dataset.y is None:
            raise ValueError(
                f"--neighbours needs labels and {dataset.name} ({dataset.split}) has none; say "
                "where they are with --label."
            )
    return neighbour_errors(model, train.X, _classes(train), test.X, _classes(test))


def _classes(dataset: "Dataset") -> np.ndarray:
    """Labels by their names: the codes of two files need not agree."""
    y = np.asarray(dataset.y)
    return y if dataset.label_names is None else np.asarray(dataset.label_names)[y]
