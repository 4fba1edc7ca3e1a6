"""Builds our wheel once, and installs it where nothing else is."""

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.packaging.dockerfile import ROOT

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@dataclass(frozen=True)
class Installed:
    """A virtual environment with our wheel in it, and no other package."""

    wheel: Path
    home: Path

    @property
    def program(self) -> Path:
        return self.home / "bin" / "obol"

    @cached_property
    def packages(self) -> Path:
        (found,) = self.home.glob("lib/python*/site-packages")
        return found


def build_wheel(workdir: Path) -> Path:
    """Build it as the Dockerfile does: with what is installed here, and without a network."""
    _run([*_PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(workdir), str(ROOT)])
    (wheel,) = workdir.glob("*.whl")
    return wheel


def install_wheel(wheel: Path, home: Path) -> Installed:
    """Install it into a new virtual environment."""
    _run([sys.executable, "-m", "venv", "--without-pip", str(home)])
    _run([*_PIP, "--python", str(home / "bin" / "python"), "install", "--no-deps", "--no-index", str(wheel)])
    return Installed(wheel, home)


def lend_dependencies(installed: Installed) -> None:
    """Let it see the packages of the environment that runs the tests, but not that environment's own copy of ours."""
    # A path in a .pth file is not searched for further .pth files, and ours is installed by one.
    (installed.packages / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")


def _run(argv: list[str]) -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
