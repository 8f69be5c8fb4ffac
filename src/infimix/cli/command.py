"""The application that the verbs are added to, the options they share, and how it is run."""

import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from infimix import __version__

USER_ERROR = 2
INTERRUPTED = 130  # as shells report a program ended by Ctrl-C

# Besides what numpy, scikit-learn and infimix.errors derive from these, usage errors of typer and
# extras that are not installed.
USER_ERRORS = (
    ValueError,
    TypeError,
    OSError,
    ArithmeticError,
    ModuleNotFoundError,
    typer.TyperException,
)

app = typer.Typer(
    name="infimix",
    help="Find the groups in data without being told how many.",
    epilog="Example: infimix demo. Add --debug to any command to see where an error came from.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Named data sets: list them, download one.")
app.add_typer(data_app, name="data")


def _say_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"infimix {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options of the application itself."""


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
            code = app(words or ["--help"], prog_name="infimix", standalone_mode=False) or 0
        if code == INTERRUPTED:
            sys.stderr.write("Interrupted.\n")
        return int(code)
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


def make_console(*, quiet: bool = False) -> Console:
    """Return standard output; brackets in names and sentences are text, not markup."""
    return Console(quiet=quiet, markup=False, highlight=False)
