"""Which Host headers are ours.

Listening on loopback is no defence against a web page: its name may be made to resolve to 127.0.0.1 (DNS rebinding),
and the browser then sends that name as Host. So a request must name a host that only somebody who means us would name.

A container is called by names and addresses that it cannot know: those that Docker gives it on each network. There
every address is ours, and every name that public DNS cannot have. A web page has neither: its own name is public.
"""

from __future__ import annotations

import ipaddress
import re

ALWAYS = frozenset({"localhost", "host.docker.internal", "host.k3d.internal", "host.containers.internal"})
"""Loopback, and the names under which containers know the machine that they run on; no public name can be one."""
REMEMBERED = 1000
LOCAL_SUFFIXES = (".local", ".internal", ".home.arpa", ".test")
"""Never delegated in public DNS: RFC 6761, 6762 and 8375, and ICANN's resolution on .internal."""

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::[0-9]{1,5})?")


class Hosts:
    """The set of our names and addresses; it may grow while we run.

    With `local` every address is ours, and every name that can only be one of a private network.
    """

    def __init__(self, names: tuple[str, ...], *, local: bool = False) -> None:
        self._local = local
        self._names = ALWAYS | {name.lower().rstrip(".") for name in names}
        self._addresses: set[str] = set()
        self._known: dict[str, bool] = {}

    def listen(self, address: str) -> None:
        """We listen on this address, too."""
        self._addresses.add(ipaddress.ip_address(address).compressed)
        self._known.clear()

    def ours(self, header: str | None) -> bool:
        """Whether a Host header (None: there is none) names us."""
        if header is None:
            return False
        known = self._known.get(header)
        if known is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            known = self._known[header] = self._look(header)
        return known

    def _look(self, header: str) -> bool:
        found = _HOST.fullmatch(header)
        if found is None:
            return False
        host = found["host"].lower().removesuffix(".")
        if host in self._names or host.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            return self._local and ("." not in host or host.endswith(LOCAL_SUFFIXES))
        return self._local or address.is_loopback or address.compressed in self._addresses
