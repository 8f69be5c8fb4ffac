"""The verbs of ``infimix data``: ``list`` and ``get``."""

from typing import Annotated

import typer
from rich.table import Table

from infimix.cli.command import data_app, make_console


@data_app.command("list", epilog="Example: infimix data list")
def list_data() -> None:
    """List the named data sets."""
    from infimix.data import NAMED

    table = Table("name", "what", "shape", "licence")
    table.columns[0].no_wrap = True
    for entry in NAMED.values():
        table.add_row(entry.name, entry.description, entry.shape, entry.licence)
    make_console().print(table)


@data_app.command("get", epilog="Example: infimix data get mnist")
def get_data(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Download a named data set, check it, and say where its files are."""
    from infimix.data import fetch

    console = make_console()
    paths = fetch(name)
    if not paths:
        console.print(f"'{name}' comes with infimix and needs no file.")
    for path in paths:
        console.print(str(path), soft_wrap=True)
