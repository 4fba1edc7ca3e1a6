"""What goes wrong with Docker, told apart by the words of its command line, which has one exit code for everything.

The wordings are those of Docker 20.10 to 29. Whether something is there or runs is never decided by them but by JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from obol.errors import DependencyMissing, ObolError, PortTaken
from obol.machine.commands import plain

_POINTER = re.compile(r"(?:See|Run) 'docker|Usage:")
_LAST = 3
"""Lines of a failed command that are told; the reason comes last, followed by pointers at --help at most."""


class DockerNotRunning(DependencyMissing):
    """Docker is installed, and its daemon does not answer."""


class DockerForbidden(DependencyMissing):
    """The daemon's socket is not ours to use."""


class DockerFailed(ObolError):
    """Docker has answered, and refused."""


class DockerAbsent(DockerFailed):
    """There is no such container, network or image."""


class DockerNameTaken(DockerFailed):
    """A container or network of that name is there already."""


class NoAddressPool(DockerFailed):
    """Docker has no address range left for one more network."""


_WORDINGS: tuple[tuple[type[ObolError], str], ...] = (
    (DockerForbidden, r"permission denied while trying to connect|dial unix \S+ connect: permission denied"),
    (DockerNotRunning, r"cannot connect to the docker daemon|is the docker daemon running|error during connect"),
    (DockerNotRunning, r"failed to connect to the docker api|docker desktop is (?:paused|unable to start)"),
    (NoAddressPool, r"non-overlapping ipv[46] address pool|predefined address pools have been fully subnetted"),
    # Of Docker Engine; of Docker Desktop, on Windows too; of rootless Docker, and of virtual machines with gvproxy.
    (
        PortTaken,
        r"port is already allocated|address already in use|ports are not available|failed to bind (?:host )?port",
    ),
    (PortTaken, r"only one usage of each socket address|cannot expose privileged port|proxy already running"),
    (DockerNameTaken, r"is already in use by container|network with name \S+ already exists"),
    (DockerAbsent, r"\bno such (?:object|container|network|image)\b|\bnot found\b"),
)
_CLASSES = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _WORDINGS)

_PORT_TAKEN = tuple(pattern for kind, pattern in _CLASSES if kind is PortTaken)
_PORT = re.compile(
    r"(?<![:.\d])(?:(?:\d{1,3}\.){3}\d{1,3}|\[[0-9a-f:.]*\]|::):(\d{1,5})\b|\bport (\d{1,5})\b(?!\.\d)", re.IGNORECASE
)
"""A port after an address of the host, as in 127.0.0.1:80, [::1]:80 or :::80, or after its word.

In 127.0.0.1:8080:172.18.0.3:80 the second address is that of a container.
"""

_TOLD: Mapping[type[ObolError], tuple[str, str]] = {
    DockerForbidden: (
        "Docker may not be used by this user",
        "let your user use Docker: `sudo usermod -aG docker $USER`, then log out and in again",
    ),
    DockerNotRunning: (
        "Docker is not running",
        "start it: `sudo systemctl start docker`, or open Docker Desktop; `docker info` tells when it answers",
    ),
    NoAddressPool: (
        "Docker has no address range left for another network",
        "remove networks that you do not need: `docker network prune`; or add to default-address-pools in daemon.json",
    ),
}
"""What failed, and what to do; for the others it is the command that failed, and the reason says the rest."""


def refused(what: str, said: str) -> ObolError:
    """Make an error of what a failed command wrote; `what` is the command without its arguments.

    DockerNotRunning, DockerForbidden, NoAddressPool, PortTaken, DockerNameTaken, DockerAbsent, or else DockerFailed.
    """
    said = plain(said)
    kind = next((kind for kind, pattern in _CLASSES if pattern.search(said)), DockerFailed)
    told, hint = _TOLD.get(kind, (f"`{what}` failed", ""))
    return kind(told, why=_reason(said), hint=hint)


def ports_named(said: str) -> frozenset[int]:
    """The ports of the host that cannot be had, by what a failed command wrote; none where it does not say which."""
    lines = [line for line in plain(said).splitlines() if any(pattern.search(line) for pattern in _PORT_TAKEN)]
    return frozenset(int(after or word) for line in lines for after, word in _PORT.findall(line)) - {0}


def _reason(said: str) -> str:
    lines = (line.strip().removeprefix("docker: ") for line in said.splitlines())
    told = [line.removeprefix("Error response from daemon: ") for line in lines if line and not _POINTER.match(line)]
    return "\n".join(told[-_LAST:])
