"""What the benchmarks share: finished runs as JSON lines, and tables of them as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

Line = dict[str, Any]


def read(path: Path) -> list[Line]:
    """Lines of the runs that have finished; none if there is no file yet."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def append(path: Path, *lines: Line) -> None:
    """Keep finished runs."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def markdown(head: Iterable[str], rows: Iterable[Iterable[Any]], *, n_text: int = 1) -> str:
    """A table; the first `n_text` columns are text, the others numbers, set to the right."""
    head = list(head)
    rule = ["---"] * n_text + ["--:"] * (len(head) - n_text)
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in (head, rule, *rows))


def mean_and_sd(values: Iterable[float], digits: int = 4) -> str:
    """As text; of one value there is no deviation."""
    each = np.array(list(values))
    sd = f" ± {each.std(ddof=1):.{digits}f}" if len(each) > 1 else ""
    return f"{each.mean():.{digits}f}{sd}"
