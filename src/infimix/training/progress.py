"""Progress of long work: a bar in a terminal, a changing line in a notebook, else one an epoch."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, Self, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

NOTEBOOK_SECONDS = 0.1  # between two changes of the line


@final
class Progress:
    """Shows epochs as they end; nothing if `shown` is false.

    Parameters
    ----------
    shown : bool
        Whether to show anything.
    n_steps : int or None
        Epochs at most; None if that is not known.
    """

    def __init__(self, *, shown: bool, n_steps: int | None) -> None:
        self.console = Console(stderr=True)
        self.is_bar = shown and self.console.is_terminal
        self.is_line = shown and self.console.is_jupyter
        self.is_lines = shown and not self.is_bar and not self.is_line
        self.n_steps = n_steps
        columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24)]
        ends = [MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
        self.bar = Bar(*columns, *ends, console=self.console, disable=not self.is_bar)
        self.task = self.bar.add_task("starting", total=n_steps)
        self.line = _NotebookLine()

    def __enter__(self) -> Self:
        """Start the bar."""
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the bar, also after an error."""
        self.bar.stop()
        self.line.write(self.line.text)

    def show(self, record: dict[str, Any]) -> None:
        """Show one epoch's record: phase, bound and number of components."""
        bound = record["bound"] if record["valid_bound"] is None else record["valid_bound"]
        K = "" if record["n_components"] is None else f"  K {record['n_components']}"
        text = f"{record['phase']}  bound {bound:.3f} nats/row{K}"
        done = record["epoch"] + 1
        of = "" if self.n_steps is None else f"/{self.n_steps}"
        self.bar.update(self.task, completed=done, description=text)
        if self.is_line:
            left = self.bar.tasks[0].time_remaining
            until = "" if left is None else f"  {timedelta(seconds=round(left))} left"
            self.line.show(f"{done}{of}  {text}{until}")
        if self.is_lines:
            self.console.print(f"{done}{of}  {text}", highlight=False, soft_wrap=True)


class _NotebookLine:
    """A line of output that is written over; the notebook keeps its last state only.

    By IPython's own display, because rich's bar needs ipywidgets there and else shows nothing.
    """

    def __init__(self) -> None:
        self.text = ""
        self._handle: Any = None
        self._written_at, self._written = 0.0, ""

    def show(self, text: str) -> None:
        """Change the line, unless it has just changed."""
        self.text = text
        if time.monotonic() - self._written_at >= NOTEBOOK_SECONDS:
            self.write(text)

    def write(self, text: str) -> None:
        """Change the line; nothing if it says that already."""
        if text == self._written:
            return
        from IPython.display import display  # there, as this is a notebook

        self._written_at, self._written = time.monotonic(), text
        bundle = {"text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)
