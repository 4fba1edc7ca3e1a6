"""Write the JSON Schemas into the package, from the types that commands write.

They are generated so that they can't drift; `scripts.check_docs` compares them with what the types say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from obol.cli.results.verbs import RESULTS
from scripts.shapes import SCHEMAS, path_of, text_of

FILES: Mapping[Path, Callable[[], str]] = {path_of(verb): partial(text_of, verb) for verb in RESULTS}


def main() -> int:
    """Write them; those of verbs that are gone go."""
    SCHEMAS.mkdir(exist_ok=True)
    for path in SCHEMAS.glob("*.json"):
        if path not in FILES:
            path.unlink()
    for path, render in FILES.items():
        path.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
