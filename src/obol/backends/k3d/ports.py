"""Who holds a port of this machine, by what Docker publishes and what the kernel lets us see."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from obol.errors import ObolError

if TYPE_CHECKING:
    from obol.backends.publishing import Ports
    from obol.machine.docker import Docker


async def holder_of(docker: Docker, ports: Ports, port: int) -> str:
    """Name who holds a port; "" for nobody we could name. Docker's own proxy, which shows to root only, is no name."""
    with contextlib.suppress(ObolError):
        if found := await docker.publishing(port):
            return f"the container {found[0].name}"
    holder = ports.holder(port)
    return str(holder) if holder else ""
