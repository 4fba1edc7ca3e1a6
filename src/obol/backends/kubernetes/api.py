"""Asking the API of a cluster whether it is up."""

from __future__ import annotations

import base64
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from obol.errors import ObolError
from obol.machine.polling import Polling
from obol.machine.probe import status_of

if TYPE_CHECKING:
    from obol.machine.clock import Clock

PAUSE = 2.0
UP_WITHIN = 120.0
"""Seconds: between two questions, and for all of them."""

_UP = frozenset({200, 401})
"""A cluster that wants to know first who is asking is up too."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API of a cluster is."""

    server: str
    """Its URL."""
    authority: str = ""
    """The certificate of those who vouch for it, in PEM; "" for none."""

    @classmethod
    def of(cls, kubeconfig: str) -> Access:
        """Read it from a kubeconfig with one cluster. Raises ObolError, without a word of what stands there."""
        try:
            cluster = yaml.safe_load(kubeconfig)["clusters"][0]["cluster"]
            authority = base64.b64decode(cluster.get("certificate-authority-data", "")).decode("ascii")
            return cls(str(cluster["server"]), authority)
        except (yaml.YAMLError, LookupError, TypeError, AttributeError, ValueError):
            raise ObolError("the kubeconfig of the cluster cannot be read", why="it names no cluster") from None


ApiProbe = Callable[[Access], Awaitable[int | None]]
"""Asks the API of a cluster for its version; see `api_status`."""


async def api_status(access: Access) -> int | None:
    """The status of its answer; None where it does not answer, or where the authority does not vouch for it."""
    with contextlib.suppress(OSError, ValueError):  # a certificate or a port that is none
        server = urlsplit(access.server)
        tls = _trusting(access.authority)
        return await status_of(server.hostname or "", server.port or 0, "/version", tls=tls)
    return None


LOOK_IN_DOCKER = "see `docker ps -a` and `docker logs` of the server"


async def wait_for_api(access: Access, clock: Clock, probe: ApiProbe, *, look: str = LOOK_IN_DOCKER) -> None:
    """Wait until the API of a cluster answers. Raises ObolError where it has not within UP_WITHIN seconds.

    `look` says where a person finds out why.
    """
    status = await last_status(lambda: probe(access), _UP, clock)
    if status not in _UP:
        said = f"it says {status}" if status else "nothing answers"
        raise ObolError(
            f"the cluster's API is not up after {UP_WITHIN:.0f} seconds",
            why=f"{said} on {access.server}",
            hint=f"{look}; then run `obol stack up` again",
        )


async def last_status(ask: Callable[[], Awaitable[int | None]], wanted: frozenset[int], clock: Clock) -> int | None:
    """Ask until one of the wanted answers comes, for UP_WITHIN seconds; the last answer, whichever it is."""
    status = None
    async for _ in Polling(clock, every=PAUSE, within=UP_WITHIN):
        if (status := await ask()) in wanted:
            break
    return status


def _trusting(authority: str) -> ssl.SSLContext:
    """The authority is one cluster's own: a server that it vouches for is that cluster, under any name."""
    context = ssl.create_default_context(cadata=authority or None)
    context.check_hostname = False
    # Python 3.13 and later set it: k3s' certificates may lack what it asks for. Who vouches is looked at all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not authority:
        context.verify_mode = ssl.CERT_NONE
    return context
