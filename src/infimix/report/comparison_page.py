"""A comparison of runs as one page that loads nothing from anywhere."""

import os
from pathlib import Path
from urllib.parse import quote

from infimix.report.comparison import NOTHING, Column, Comparison
from infimix.report.formats import duration, score, template
from infimix.training import write_atomically


def write_comparison(comparison: Comparison, out: str | os.PathLike[str]) -> Path:
    """Write a comparison as a page.

    Parameters
    ----------
    comparison : Comparison
    out : path
        File to write; one that is there is replaced. The page links to the reports of the runs by
        where they lie from it.

    Returns
    -------
    Path
        The page: one file, without scripts, that needs no network.
    """
    out = Path(out)
    filters = {"cell": cell_text, "best": best_of, "score": score}
    links = [_link(run.path / "report.html", out) for run in comparison.runs]
    page = template("comparison.html.j2", filters).render(comparison=comparison, links=links)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, page.encode())
    return out


def cell_text(value: float | None, column: str) -> str:
    """Number of a column as text."""
    if value is None:
        return NOTHING
    return duration(value) if column == "time" else score(value)


def best_of(column: Column) -> list[int]:
    """Places of the best values, if a column has a best and more than one value."""
    known = [value for value in column.values if value is not None]
    if not column.is_best_high or len(known) < 2:
        return []
    return [i for i, value in enumerate(column.values) if value == max(known)]


def _link(report: Path, page: Path) -> str:
    """Way from the page to a report; nothing where there is none."""
    if not report.is_file():
        return ""
    return quote(os.path.relpath(report, page.parent).replace(os.sep, "/"))
