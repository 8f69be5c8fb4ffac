"""The verb that sets runs side by side: ``compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from infimix.cli.command import app, make_console

if TYPE_CHECKING:
    from infimix.report import Comparison


@app.command(epilog="Example: infimix compare runs/a runs/b --out comparison.html")
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run directories, two or more; what is no finished run is named and left out.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Page to write.")] = Path("comparison.html"),
) -> None:
    """Compare runs: bounds, scores, agreement of their clusters, settings that differ."""
    from infimix.report import compare as compare_runs
    from infimix.report import write_comparison

    console = make_console()
    comparison = compare_runs(runs)
    page = write_comparison(comparison, out)
    _print_comparison(console, comparison)
    console.print(f"Comparison: {page}", soft_wrap=True)


def _print_comparison(console: Console, comparison: "Comparison") -> None:
    """What the page says, as tables."""
    from infimix.report import cell_text

    for text in comparison.left_out:
        console.print(f"Left out: {text}", soft_wrap=True)
    if len(comparison.groups) > 1:
        console.print(
            f"The runs are on {len(comparison.groups)} different data sets; they are compared "
            "within a data set only.",
            soft_wrap=True,
        )
    for group in comparison.groups:
        table = Table("run", "directory", "model, likelihood", title=group.title)
        for column in group.columns:
            table.add_column(column.name, justify="right")
        for i, n in enumerate(group.runs):
            cells = [cell_text(column.values[i], column.name) for column in group.columns]
            table.add_row(str(n), str(comparison.runs[n - 1].path), comparison.model(n), *cells)
        console.print(table)
        for note in group.notes:
            console.print(note, soft_wrap=True)
        if group.ari:
            agreement = Table(
                "run",
                *map(str, group.clustered),
                title="ARI / NMI of clusters",
            )
            for n, ari, nmi in zip(group.clustered, group.ari, group.nmi, strict=True):
                pairs = zip(ari, nmi, strict=True)
                agreement.add_row(str(n), *(f"{a:.3f} / {b:.3f}" for a, b in pairs))
            console.print(agreement)
    numbers = (f"run {n}" for n in range(1, len(comparison.runs) + 1))
    settings = Table(title="Settings that differ")
    settings.add_column("setting", no_wrap=True)
    for number in numbers:
        settings.add_column(number, overflow="fold")
    for name, texts in comparison.settings:
        settings.add_row(name, *texts)
    if comparison.settings:
        console.print(settings)
    else:
        console.print("No setting differs.")
