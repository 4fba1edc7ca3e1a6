"""The configuration of an image, as far as a pull needs it: what it runs on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from obol.oci.manifests import Platform

if TYPE_CHECKING:
    from obol.client.ports import Sink
    from obol.oci.manifests import Descriptor


class _Config(msgspec.Struct, frozen=True):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None


@dataclass
class Kept:
    """A `Sink` that keeps the bytes of one small blob, and hands them on to another sink if there is one."""

    beyond: Sink | None
    data: bytearray = field(default_factory=bytearray)

    async def write(self, blob: Descriptor, offset: int, data: bytes) -> None:
        """Keep, and hand on."""
        self.data += data
        if self.beyond is not None:
            await self.beyond.write(blob, offset, data)


def platform_of(config: bytes) -> Platform | None:
    """What a configuration says; None where it is that of something else than an image."""
    try:
        read = msgspec.json.decode(config, type=_Config)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    if not read.os or not read.architecture:
        return None
    return Platform(read.os, read.architecture, read.variant or "")
