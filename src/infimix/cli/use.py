"""The verbs that use a fitted model: ``predict``, ``embed``, ``sample`` and ``report``."""

from pathlib import Path
from typing import Annotated

import typer

from infimix.cli.command import Data, Label, Run, Split, app, make_console
from infimix.cli.runs import facts_of, load_both


@app.command(epilog="Example: infimix predict runs/mnist new.npy --out labels.csv")
def predict(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write, .csv or .npy.")],
    label: Label = None,
    split: Split = "train",
    components: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Cut the tree of components at so many, as the slider of the report does; the "
            "number that was found if left out.",
        ),
    ] = None,
) -> None:
    """Write the component of each row."""
    from infimix.data.write import TABLE_TYPES, check_type, write_table

    check_type(out, TABLE_TYPES)
    model, dataset = load_both(run, data, label, split)
    if components is not None:
        if not hasattr(model, "cut"):
            raise ValueError(
                f"{run} holds a {type(model).__name__}, whose components are no tree that could be "
                f"cut at {components}; leave --components out."
            )
        model = model.cut(components)
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
    model, dataset = load_both(run, data, label, split)
    embedding = model.transform(dataset.X)  # (N, L)
    write_table(out, embedding, [f"z{i}" for i in range(embedding.shape[1])])


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
    _, summary = facts_of(run)
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

    make_console().print(f"Report: {write_report(run)}", soft_wrap=True)
