"""``python -m infimix``: the command, where scripts are not on the path."""

import sys

from infimix.cli import main

sys.exit(main())
