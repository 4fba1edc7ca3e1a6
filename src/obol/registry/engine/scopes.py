"""The scopes of one engine: which upstream a request is for.

The port that a request came in by decides. A client may say by `?ns=` which registry it means: that is a key to compare
with, never a place to connect to, and a client that means another registry than the port's has been set up wrongly.
It is refused, because one registry's image under another's name is the worst that a cache can give.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from obol.oci.errors import NAME_UNKNOWN, OciError
from obol.oci.references import canonical_repository
from obol.registry.engine.accounts import Counters
from obol.registry.store.ports import RepositoryKey

if TYPE_CHECKING:
    from obol.oci.references import Repository
    from obol.registry.upstream.ports import Upstream

LONGEST_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Scope:
    """One upstream and everything that is kept apart under its name."""

    registry: str
    upstream: Upstream
    counters: Counters = field(default_factory=Counters)

    def key(self, repository: Repository) -> RepositoryKey:
        """The key of a repository; on Docker Hub `alpine` and `library/alpine` are one."""
        if "/" not in repository:
            repository = canonical_repository(self.registry, repository)
        return RepositoryKey(self.registry, repository)


class Scopes:
    """A closed world of upstreams by normalised registry name."""

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self._by_name = {scope.registry: scope for scope in scopes}

    def __iter__(self) -> Iterator[Scope]:
        return iter(self._by_name.values())

    def get(self, registry: str) -> Scope | None:
        """The scope of a registry, if it is served."""
        return self._by_name.get(registry)

    def find(self, ns: str | None, listener: str) -> Scope:
        """The scope of a listener's registry. Raises OciError (NAME_UNKNOWN) where `ns` names another one."""
        scope = self._by_name.get(listener)
        if scope is None or (ns is not None and ns != listener):
            named = "" if ns is None else f": give {_shown(ns)} a port of its own with --upstream and --port"
            raise OciError(NAME_UNKNOWN, f"this port serves {listener} and no other registry{named}")
        return scope


def _shown(ns: str) -> str:
    return ns if len(ns) <= LONGEST_SHOWN and ns.isprintable() and ns.isascii() else "that registry"
