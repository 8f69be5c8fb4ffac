"""The ``infimix`` command: argv to exit code.

Each verb is a few calls into the library, imported when the verb runs, so that ``--help`` does not
wait for torch. What the user got wrong is said in one line on stderr.
"""

from infimix.cli import (  # each adds its verbs to the application
    compare,
    data,
    fit,
    reproduce,
    score,
    use,
)
from infimix.cli.command import app, main

__all__ = ["app", "compare", "data", "fit", "main", "reproduce", "score", "use"]
