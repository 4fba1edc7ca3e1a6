"""The firewall that may keep nodes from the host, and the command that lets them in.

A packet from a container to an address of the host itself passes the host's INPUT rules, which Docker leaves alone.
Whether a firewall is in the way is found out by trying; this only puts a name to it, without being root.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Firewall = Literal["ufw", "firewalld", ""]


def active_firewall(root: Path = Path("/")) -> Firewall:
    """Name the firewall that is switched on; "" where none of those we know is, or it cannot be told."""
    try:
        settings = (root / "etc/ufw/ufw.conf").read_text(errors="replace")
    except OSError:
        settings = ""
    if any(line.strip().lower() == "enabled=yes" for line in settings.splitlines()):
        return "ufw"
    return "firewalld" if "firewalld" in _programs(root / "proc") else ""


def opening(firewall: Firewall, bridge: str, ports: Sequence[int]) -> str:
    """The command that lets containers on `bridge` reach these ports of the host, and nobody else."""
    match firewall:
        case "ufw":
            return f"sudo ufw allow in on {bridge} to any port {_joined(ports, ':')} proto tcp"
        case "firewalld":
            # Docker puts its bridges into a zone of its own.
            wanted = _joined(ports, "-").split(",")
            return f"sudo firewall-cmd --zone=docker {' '.join(f'--add-port={span}/tcp' for span in wanted)}"
        case _:
            match = f"-m multiport --dports {_joined(ports, ':')}"
            return f"sudo iptables -I INPUT -i {bridge} -p tcp {match} -j ACCEPT"


def _joined(ports: Sequence[int], between: str) -> str:
    """Write ports that follow each other as a range: 54100:54102,54110."""
    spans: list[tuple[int, int]] = []
    for port in sorted(set(ports)):
        if spans and spans[-1][1] == port - 1:
            spans[-1] = (spans[-1][0], port)
        else:
            spans.append((port, port))
    return ",".join(str(first) if first == last else f"{first}{between}{last}" for first, last in spans)


def _programs(proc: Path) -> frozenset[str]:
    names = set()
    for path in proc.glob("[0-9]*/comm"):
        try:
            names.add(path.read_text(errors="replace").strip())
        except OSError:  # it has ended
            continue
    return frozenset(names)
