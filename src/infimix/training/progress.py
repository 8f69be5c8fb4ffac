"""Progress of long work: a bar in a terminal, one line an epoch anywhere else."""

from __future__ import annotations

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
        self.is_lines = shown and not self.console.is_terminal
        self.n_steps = n_steps
        columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24)]
        ends = [MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
        self.bar = Bar(*columns, *ends, console=self.console, disable=not self.is_bar)
        self.task = self.bar.add_task("starting", total=n_steps)

    def __enter__(self) -> Self:
        """Start the bar."""
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the bar, also after an error."""
        self.bar.stop()

    def show(self, record: dict[str, Any]) -> None:
        """Show one epoch's record: phase, bound and number of components."""
        bound = record["bound"] if record["valid_bound"] is None else record["valid_bound"]
        K = "" if record["n_components"] is None else f"  K {record['n_components']}"
        text = f"{record['phase']}  bound {bound:.3f} nats/row{K}"
        self.bar.update(self.task, completed=record["epoch"] + 1, description=text)
        if self.is_lines:
            of = "" if self.n_steps is None else f"/{self.n_steps}"
            self.console.print(f"{record['epoch'] + 1}{of}  {text}", highlight=False)
