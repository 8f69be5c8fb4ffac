"""The verbs that run published experiments and draw them: ``reproduce`` and ``figures``."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from infimix.cli.command import Quiet, app, make_console


@app.command(epilog="Example: infimix reproduce P1/figure3b --only Gauss --seeds 3")
def reproduce(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="P1/figure2, P1/figure3a, P1/figure3b, P2/table2, P2/figure3 ... P2/figure8.",
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each row, from seed 0 on.")] = 1,
    only: Annotated[str, typer.Option(metavar="TEXT", help="Rows whose name has this in it.")] = "",
    results: Annotated[
        Path, typer.Option(help="File that each finished run is a line of; none is run again.")
    ] = Path("runs/reproduced.jsonl"),
    out: Annotated[
        Path, typer.Option(help="Folder of the run directories; a broken fit goes on there.")
    ] = Path("runs"),
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where.")] = "auto",
    table: Annotated[
        bool, typer.Option("--table", help="Print what the results have, and run nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run a figure or table of a paper, and print what was obtained beside what was reported."""
    from infimix import papers

    if name not in papers.EXPERIMENTS:
        raise ValueError(
            f"There is no experiment '{name}'; there are: {', '.join(papers.EXPERIMENTS)}."
        )
    experiment = papers.EXPERIMENTS[name]
    if not any(only in row.name for row in experiment.rows):
        rows = "; ".join(row.name for row in experiment.rows)
        raise ValueError(f"No row of {name} has '{only}' in its name; its rows are: {rows}.")
    console = make_console(quiet=quiet)
    if not table:
        for line in papers.run(
            experiment,
            seeds=range(seeds),
            results=results,
            run_dir=out,
            only=only,
            device=device,
            verbose=0 if quiet else 1,
        ):
            console.print(f"{line['row']}, seed {line['seed']}: done", soft_wrap=True)
        for file in papers.draw(experiment, 0, out, out / name.split("/")[0]).files:
            console.print(f"Drawn in {file}", soft_wrap=True)
    shown, sources = Table(title=experiment.title), dict[str, int]()
    for head in ("model", "measure", "obtained ± sd (seeds)", "reported", "gap"):
        shown.add_column(head)
    for *cells, reported, gap, source in papers.table(experiment, papers.read(results, experiment)):
        number = f" [{sources.setdefault(source, len(sources) + 1)}]" if source else ""
        shown.add_row(*cells, reported + number, gap)
    console.print(shown)
    for source, number in sources.items():
        console.print(f"[{number}] {source}", soft_wrap=True)


@app.command(epilog="Example: infimix figures P2 --out figures")
def figures(
    paper: Annotated[Literal["P1", "P2"], typer.Argument(metavar="PAPER", help="P1 or P2.")],
    out: Annotated[Path, typer.Option(help="Folder that gets a .png and a .pdf of each figure.")],
    runs: Annotated[
        Path, typer.Option(help="Folder of the run directories of infimix reproduce.")
    ] = Path("runs"),
) -> None:
    """Draw the figures of a paper from the runs that are finished, and name those that are not."""
    from infimix import papers

    console, n_drawn, named = make_console(), 0, set[str]()
    for experiment in papers.EXPERIMENTS.values():
        if not experiment.name.startswith(f"{paper}/"):
            continue
        drawn = papers.draw(experiment, 0, runs, out)
        for file in drawn.files:
            console.print(f"Drawn: {file}", soft_wrap=True)
        n_drawn += len(drawn.files)
        for row in drawn.unfinished:
            if row.name not in named:
                words = ["infimix", "reproduce", experiment.name, "--only", row.name]
                words += ["--out", str(runs)] if runs != Path("runs") else []
                console.print(f"Not finished: {row.name}; {shlex.join(words)}", soft_wrap=True)
            named.add(row.name)
    if not n_drawn:
        raise FileNotFoundError(
            f"No run that a figure of {paper} shows is finished in {runs}; run one of the commands "
            "above, or name another folder with --runs."
        )
