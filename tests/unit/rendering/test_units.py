import os
import plistlib
import subprocess
from pathlib import Path

import pytest

from obol.rendering.units import LABEL, UserService, launchd_agent, systemd_unit

GOLDEN = Path(__file__).parents[2] / "golden/clients"
SERVICE = UserService(
    (
        "/usr/bin/python3",
        "-m",
        "obol",
        "cache",
        "serve",
        "--store=/home/me/my caches/50%/$HOME",
        "--port=ghcr.io=54101",
    ),
    {"OBOL_CONFIG_DIR": '/home/me/a "b"\\c', "OBOL_CACHE_TAG_TTL": "5m"},
    "/home/me/my caches/50%/engine.log",
)


def test_systemd_unit() -> None:
    """The unit runs the command, starts it again when it fails, and quotes what systemd would read otherwise."""
    assert systemd_unit(SERVICE) == (GOLDEN / "obol-cache.service").read_text()


@pytest.mark.tool("systemd-analyze")
def test_systemd_takes_it(tmp_path: Path) -> None:
    """The real systemd finds nothing wrong with the unit."""
    (tmp_path / "obol-cache.service").write_text(systemd_unit(SERVICE))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(tmp_path / "obol-cache.service")],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_launchd_agent() -> None:
    """The agent runs the same command at login and appends to the same log."""
    text = launchd_agent(SERVICE)

    assert text == (GOLDEN / "dev.obol.cache.plist").read_text()
    agent = plistlib.loads(text.encode())
    assert agent["Label"] == LABEL
    assert tuple(agent["ProgramArguments"]) == SERVICE.argv
    assert agent["StandardOutPath"] == agent["StandardErrorPath"] == SERVICE.log
