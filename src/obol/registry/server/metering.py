"""Who was given what, for the accounts that are open. Where none is, an answer pays for one look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.registry.engine.accounts import Ends

if TYPE_CHECKING:
    import asyncio

    from obol.oci.references import Digest
    from obol.registry.engine.accounts import Accounts, Meter


def meter_of(
    accounts: Accounts, transport: asyncio.BaseTransport | None, registry: str, digest: Digest | None
) -> Meter | None:
    """The meter of an answer that begins now; None where nobody wants to know."""
    if not accounts or transport is None or digest is None:
        return None
    ends = ends_of(transport)
    return None if ends is None else accounts.meter(ends, registry, digest)


def ends_of(transport: asyncio.BaseTransport) -> Ends | None:
    """The two ends of a TCP connection."""
    own, peer = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if not isinstance(own, tuple) or not isinstance(peer, tuple):
        return None
    return Ends(str(own[0]), int(own[1]), str(peer[0]))
