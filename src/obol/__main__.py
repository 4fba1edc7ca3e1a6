"""`python -m obol`, and the installed command `obol`."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Run the command line and leave with its exit code.

    `obol.cli.main` is imported here, not above, so that an interrupt while it loads ends as quietly as a later one.
    """
    try:
        code: int = importlib.import_module("obol.cli.main").run()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
