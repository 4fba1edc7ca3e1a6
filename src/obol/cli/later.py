"""Modules that take long to load, and are loaded when something of them is first used.

Help, completion and pass-through read what commands there are, and run none of them. So a module of commands names what
it needs at its top, as any module does, and what is slow to load by `later`:

    if TYPE_CHECKING:
        from obol.cli.cache import warming
    else:
        warming = later("obol.cli.cache.warming")
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def later(name: str) -> Any:
    """Stand for a module."""
    return _Later(name)


class _Later:
    """Imports the module when something of it is asked for. Nothing can be set on it: tests patch the module itself."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._name), name)
