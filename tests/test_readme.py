"""Every Python block of the README and of docs/ runs, and every command they show is one."""

import doctest
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from infimix.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    return [source for name, source in BLOCK.findall(text) if name == language]


def run_blocks(text: str, name: str) -> None:
    """Run Python blocks in order in one namespace; those with >>> are held to their output."""
    namespace: dict[str, object] = {"__name__": name}
    for n, source in enumerate(blocks(text, "python"), start=1):
        title = f"{name}, block {n}"
        if ">>> " not in source:
            exec(compile(source, title, "exec"), namespace)
            continue
        test = doctest.DocTestParser().get_doctest(source, namespace, title, None, 0)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
        report: list[str] = []
        runner.run(test, out=report.append, clear_globs=False)
        namespace.update(test.globs)
        assert not runner.failures, "".join(report)


def shown_commands() -> Iterator[str]:
    """Each line of a bash block that calls the command."""
    for page in PAGES:
        for block in blocks(page.read_text(encoding="utf-8"), "bash"):
            for line in block.splitlines():
                if line.startswith("infimix "):
                    yield line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two epochs where none are given, to be quick: the demo's test has the fit at length."""
    for phase in ("_warm_up", "_epochs"):
        monkeypatch.setattr(f"infimix.estimators.build.{phase}", lambda *_: 2)
    monkeypatch.chdir(tmp_path)
    run_blocks(page.read_text(encoding="utf-8"), page.name)


@pytest.mark.parametrize("line", list(shown_commands()))
def test_commands_parse(line: str) -> None:
    command, words = typer.main.get_command(app), shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(line, words)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("x = 1\nassert x == 2", AssertionError),
        (">>> 1 + 1\n3", AssertionError),
        ("1 /", SyntaxError),
    ],
)
def test_wrong_blocks_are_found(source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        run_blocks(f"```python\nx = 0\n```\n\n```python\n{source}\n```\n", "page")


def test_blocks_share_names_and_other_languages_are_left_alone() -> None:
    run_blocks("```python\nx = 2\n```\n```text\n1 /\n```\n```python\n>>> x\n2\n```\n", "page")
