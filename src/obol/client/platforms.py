"""Platforms as people write them, and that of this machine. `oci.manifests.choose` finds the image for one."""

from __future__ import annotations

import platform
import re

from obol.errors import UsageError
from obol.oci.manifests import Platform

Selection = tuple[Platform, ...] | None
"""The platforms to pull; None for every one that there is."""

_WORD = r"[a-z0-9][a-z0-9_.-]{0,63}"
_PLATFORM = re.compile(rf"(?P<os>{_WORD})/(?P<architecture>{_WORD})(?:/(?P<variant>{_WORD}))?")
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armv8l": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "i386": "386",
    "i686": "386",
}


def parse_platform(text: str) -> Platform:
    """Read `os/architecture` or `os/architecture/variant`. Raises UsageError."""
    match = _PLATFORM.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(
            f"{text!r} is not a platform",
            why="a platform is os/architecture, perhaps with a variant",
            hint="write it as in linux/amd64, linux/arm64 or linux/arm/v7",
        )
    architecture = _ARCHITECTURES.get(match["architecture"], match["architecture"])
    return Platform(match["os"], architecture, match["variant"] or "")


def this_machine(machine: str | None = None) -> Platform:
    """What containers run on here: always Linux, in a virtual machine where need be; `machine` as uname says it."""
    name = (platform.machine() if machine is None else machine).lower()
    return Platform("linux", _ARCHITECTURES.get(name, name))
