"""Which manifests of an index are meant. Pure, but for the name of this machine.

An index may hold images for many platforms, attestations about them (platform `unknown/unknown`), and other indexes.
Variants are matched as containerd does: one that a processor can run stands in for a better one that is not there.
"""

from __future__ import annotations

import platform
import re
from typing import TYPE_CHECKING

from obol.errors import UsageError
from obol.oci.manifests import Platform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.oci.manifests import Descriptor

Selection = tuple[Platform, ...] | None
"""The platforms to pull; None for every one that there is."""

_WORD = r"[a-z0-9][a-z0-9_.-]{0,63}"
_PLATFORM = re.compile(rf"(?P<os>{_WORD})/(?P<architecture>{_WORD})(?:/(?P<variant>{_WORD}))?")
_VARIANT = re.compile(r"v(?P<number>[0-9]{1,3})")
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
_USUAL_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


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


def choose(children: Sequence[Descriptor], wanted: Platform) -> Descriptor | None:
    """The child for a platform, or None. A child that does not say its platform is taken if it is the only one."""
    images = [child for child in children if not child.is_attestation]
    ranked = [(rank, child) for child in images if (rank := _rank(child.platform, wanted)) is not None]
    if ranked:
        return min(ranked, key=lambda entry: entry[0])[1]
    return images[0] if len(images) == 1 and images[0].platform is None else None


def _rank(offered: Platform | None, wanted: Platform) -> int | None:
    """How far an offer is from what is wanted, 0 for exactly that; None where it does not run there."""
    if offered is None or (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    have, want = _variant(offered), _variant(wanted)
    if have == want:
        return 0
    had, needed = _VARIANT.fullmatch(have), _VARIANT.fullmatch(want)
    if had is None or needed is None:
        return None
    distance = int(needed["number"]) - int(had["number"])
    return distance if distance > 0 else None


def _variant(of: Platform) -> str:
    return of.variant or _USUAL_VARIANTS.get(of.architecture, "")
