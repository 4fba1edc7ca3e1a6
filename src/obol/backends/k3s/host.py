"""What a k3s on this machine takes of the machine itself: a bridge, ports, mounts, a directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from obol.errors import DependencyMissing, ObolError
from obol.rendering.k3s import API, BRIDGE, KUBELET, NETWORK, SERVICES

if TYPE_CHECKING:
    from obol.machine.commands import Runner
    from obol.machine.ports import Holder
    from obol.machine.privileges import AsRoot

QUICK = 60.0
REMOVE_WITHIN = 900.0
"""Seconds: for one call, and for a disk to forget all images."""

_MENDING = "look at what `ip link` says"


class K3sHost:
    """This machine, for one k3s."""

    def __init__(self, runner: Runner, root: AsRoot) -> None:
        self._runner = runner
        self._root = root

    async def check(self) -> None:
        """Look whether bridges can be made. Raises DependencyMissing."""
        await self._has_bridge()

    async def bridge(self) -> None:
        """Have the bridge, with its address. Raises ObolError."""
        failed = "the network bridge of k3s cannot be made"
        if not await self._has_bridge():
            await self._root.must(failed, ["ip", "link", "add", "name", BRIDGE, "type", "bridge"], hint=_MENDING)
        await self._root.must(failed, ["ip", "address", "replace", NETWORK, "dev", BRIDGE], hint=_MENDING)
        await self._root.must(failed, ["ip", "link", "set", "dev", BRIDGE, "up"], hint=_MENDING)
        # Without a network there is no way to the address of a Service, not even for the kernel to find another one.
        await self._root.must(failed, ["ip", "route", "replace", SERVICES, "dev", BRIDGE], hint=_MENDING)

    async def remove_bridge(self) -> None:
        """Remove the bridge; none there is fine. Raises ObolError."""
        if await self._has_bridge():
            failed = "the network bridge of k3s cannot be removed"
            await self._root.must(failed, ["ip", "link", "delete", "dev", BRIDGE], hint=_MENDING)

    async def remove(self, data: str, mounted: Callable[[str], tuple[str, ...]]) -> None:
        """Remove a data directory, and what is mounted of it. Raises ObolError."""
        if targets := mounted(data):
            await self._root.run(["umount", *targets])
        failed = f"the data of k3s in {data} cannot be removed"
        hint = f"see `mount | grep {data}`, then run `obol stack purge` again"
        await self._root.must(failed, ["rm", "-rf", "--one-file-system", "--", data], hint=hint, within=REMOVE_WITHIN)

    async def _has_bridge(self) -> bool:
        try:
            return (await self._runner.run(["ip", "link", "show", "dev", BRIDGE], timeout=QUICK)).code == 0
        except DependencyMissing as problem:
            hint = "install iproute2"
            raise DependencyMissing("k3s needs `ip`, which is not installed", why=problem.why, hint=hint) from problem


def other_kubernetes(listens: Callable[[int], bool], holder: Callable[[int], Holder | None]) -> str:
    """Who has a port that every Kubernetes node wants; "" where it is free."""
    for port in (API, KUBELET):
        if listens(port):
            found = holder(port)
            return f"port {port} is taken{f' by {found}' if found else ''}"
    return ""


def refuse_beside_another(who: str) -> None:
    """Raise ObolError where there is another Kubernetes: two on one machine would break each other's network."""
    if who:
        raise ObolError(
            "another Kubernetes runs on this machine",
            why=who,
            hint="stop it (a k3s that was installed as a service: `sudo systemctl stop k3s`), or use "
            "`--backend k3d`, whose cluster is in Docker; obol leaves the other one alone",
        )


def refuse_foreign(data: Path) -> None:
    """Raise ObolError where the data directory has something in it that was not made for this stack."""
    try:
        empty = not any(data.iterdir())
    except FileNotFoundError:
        return
    except OSError:  # only root may look: it is a k3s's
        empty = False
    if not empty:
        raise ObolError(
            f"{data} has something in it that was not made by this stack",
            why="it may be the data of another k3s",
            hint="set OBOL_DATA_DIR to another directory, or move that one away",
        )
