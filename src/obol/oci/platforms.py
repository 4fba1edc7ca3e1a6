"""Which image of an index is for a platform.

An index may hold images for many platforms, attestations about them (platform `unknown/unknown`), and other indexes.
Variants are matched as containerd does: one that a processor can run stands in for a better one that is not there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.oci.manifests import Descriptor, Platform

_VARIANT = re.compile(r"v(?P<number>[0-9]{1,3})")
_USUAL_VARIANTS = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


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
