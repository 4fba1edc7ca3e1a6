"""The spaces of one engine: which upstream a request is for.

The port that a request came in by decides. A client may say by `?ns=` which registry it means: that is a key to compare
with, never a place to connect to, and a client that means another registry than the port's has been set up wrongly.
It is refused, because one registry's image under another's name is the worst that a cache can give.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obol.oci.errors import NAME_UNKNOWN, OciError
from obol.oci.registries import canonical_repository
from obol.registry.engine.counters import Counters
from obol.registry.store.ports import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obol.oci.references import Repository
    from obol.registry.upstream.ports import Upstream

LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Space:
    """One upstream and everything that is kept apart under its name."""

    registry: str
    upstream: Upstream
    counters: Counters = field(default_factory=Counters)

    def place(self, repository: Repository) -> Place:
        """Where the names of a repository live; on Docker Hub `alpine` and `library/alpine` are one."""
        return Place(self.registry, canonical_repository(self.registry, repository))


class Spaces:
    """A closed world of upstreams by normalised registry name."""

    def __init__(self, spaces: tuple[Space, ...]) -> None:
        self._by_name = {space.registry: space for space in spaces}

    def __iter__(self) -> Iterator[Space]:
        return iter(self._by_name.values())

    def get(self, registry: str) -> Space | None:
        """The space of a registry, if it is served."""
        return self._by_name.get(registry)

    def find(self, ns: str | None, listener: str) -> Space:
        """The space of a listener's registry. Raises OciError (NAME_UNKNOWN) where `ns` names another one."""
        space = self._by_name.get(listener)
        if space is None or (ns is not None and ns != listener):
            named = "" if ns is None else f": give {_shown(ns)} a port of its own with --upstream and --port"
            raise OciError(NAME_UNKNOWN, f"this port serves {listener} and no other registry{named}")
        return space


def _shown(ns: str) -> str:
    return ns if len(ns) <= LONGEST_SHOWN and ns.isprintable() and ns.isascii() else "that registry"
