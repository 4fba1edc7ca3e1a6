from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from obol.caches.docker.firewall import Firewall, active_firewall, opening

if TYPE_CHECKING:
    from pathlib import Path


def test_ufw(tmp_path: Path) -> None:
    """Whether ufw is on stands in its settings."""
    (tmp_path / "etc" / "ufw").mkdir(parents=True)
    settings = tmp_path / "etc" / "ufw" / "ufw.conf"

    settings.write_text("# ENABLED=yes\nENABLED=no\n")
    assert active_firewall(tmp_path) == ""
    settings.write_text("# a comment\nENABLED=yes\nLOGLEVEL=low\n")
    assert active_firewall(tmp_path) == "ufw"


def test_firewalld(tmp_path: Path) -> None:
    """For firewalld it is enough that its process runs."""
    for number, name in ((1, "systemd"), (77, "firewalld")):
        (tmp_path / "proc" / str(number)).mkdir(parents=True)
        (tmp_path / "proc" / str(number) / "comm").write_text(f"{name}\n")
    (tmp_path / "proc" / "5").mkdir()
    (tmp_path / "proc" / "5" / "comm").mkdir()  # cannot be read

    assert active_firewall(tmp_path) == "firewalld"


def test_this_machine() -> None:
    """Asking this machine needs no rights."""
    assert active_firewall() in {"ufw", "firewalld", ""}


@pytest.mark.parametrize(
    ("firewall", "ports", "command"),
    [
        ("ufw", (54100, 54101, 54102), "sudo ufw allow in on br-1 to any port 54100:54102 proto tcp"),
        ("ufw", (54102, 40009, 54101), "sudo ufw allow in on br-1 to any port 40009,54101:54102 proto tcp"),
        (
            "firewalld",
            (54100, 54101, 40009),
            "sudo firewall-cmd --zone=docker --add-port=40009/tcp --add-port=54100-54101/tcp",
        ),
        ("", (54100,), "sudo iptables -I INPUT -i br-1 -p tcp -m multiport --dports 54100 -j ACCEPT"),
    ],
)
def test_opening(firewall: Firewall, ports: tuple[int, ...], command: str) -> None:
    """The command opens these ports for containers, in the words of the firewall."""
    assert opening(firewall, "br-1", ports) == command
