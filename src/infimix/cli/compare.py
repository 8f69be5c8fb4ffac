"""The verb that sets runs side by side: ``compare``."""

from collections.abc import Iterable
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
        console.print()
        console.print(group.title, soft_wrap=True)
        for n in group.runs:
            path, model = comparison.runs[n - 1].path, comparison.model(n)
            console.print(f"run {n}: {path}, {model}", soft_wrap=True)
        for note in group.notes:
            console.print(note, soft_wrap=True)
        numbers = [
            (column.name, [cell_text(value, column.name) for value in column.values])
            for column in group.columns
        ]
        console.print(_table("", group.runs, numbers))
        if group.ari:
            pairs = [
                (f"run {n}", [f"{a:.3f} / {b:.3f}" for a, b in zip(ari, nmi, strict=True)])
                for n, ari, nmi in zip(group.clustered, group.ari, group.nmi, strict=True)
            ]
            console.print(_table("ARI / NMI", group.clustered, pairs))
    console.print()
    if comparison.settings:
        every = range(1, len(comparison.runs) + 1)
        console.print(_table("setting that differs", every, comparison.settings))
    else:
        console.print("No setting differs.")


def _table(head: str, runs: Iterable[int], rows: Iterable[tuple[str, list[str]]]) -> Table:
    """A column for each run; where there is little room texts go on below, and none is cut."""
    table = Table()
    table.add_column(head, overflow="fold")
    for n in runs:
        table.add_column(f"run {n}", justify="right", overflow="fold")
    for name, texts in rows:
        table.add_row(name, *texts)
    return table
