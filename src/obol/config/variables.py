"""Variables that begin like ours and that nobody reads: mostly a typing error, which costs an afternoon."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from obol.config.quoting import shown
from obol.config.sources import OPTIONS, OTHERS_VARIABLES
from obol.config.sources import PREFIX as CACHE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PREFIX = "OBOL_"
_OURS = frozenset(
    {
        *(f"{CACHE}{name.upper()}" for name in OPTIONS),
        *OTHERS_VARIABLES,
        "OBOL_BACKEND",
        "OBOL_CONFIG_DIR",
        "OBOL_DATA_DIR",
        "OBOL_DEVELOPMENT",
        "OBOL_DISABLE_REGISTRY_CACHE",
        "OBOL_NONINTERACTIVE",
        "OBOL_OUTPUT",
        "OBOL_QUIET",
        "OBOL_REGISTRY_CACHE_DIR",
        "OBOL_STATE_DIR",
        "OBOL_VERBOSE",
    }
)
_OF_OTHERS = frozenset(
    {
        "OBOL_BIN_DIR",
        "OBOL_DISABLE_LOCAL_MODEL_DISCOVERY",
        "OBOL_FORCE_REBUILD_LOCAL_DEV_IMAGES",
        "OBOL_HERMES_IMAGE",
        "OBOL_NO_BROWSER",
        "OBOL_RELEASE",
        "OBOL_REQUIRE_TOOLS",
        "OBOL_REUSE_LOCAL_DEV_IMAGES",
    }
)
"""Of the original system and its installer, and of our own tests."""


def unread(environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that nobody reads. Values are never shown: they may be secret."""
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in _OURS | _OF_OTHERS or not environ[name]:
            continue
        prefix = CACHE if name.startswith(CACHE) else _PREFIX
        known = {other.removeprefix(prefix): other for other in _OURS if other.startswith(prefix)}
        close = get_close_matches(name.removeprefix(prefix), known, n=1)
        meant = f"; did you mean {known[close[0]]}?" if close else ""
        yield f"warning: the variable {shown(name)} has no effect{meant}"
