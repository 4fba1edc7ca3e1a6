"""What the latest cold `up` of this machine took, kept in the store: it outlives a stack, and goes with the caches."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from obol.machine.regular import read, write_atomically
from obol.stack.plan import ColdUp, cold_up, held_against

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from obol.backends.ports import BackendName
    from obol.stack.plan import Gain

COLD_UPS = "cold-ups.json"


def weigh(store: Path, backend: BackendName, gained: Gain, seconds: float) -> Gain:
    """Hold an estimate against the latest cold `up` on this backend; where this `up` was cold, it is kept as that.

    A record that cannot be read or written is no reason to fail: then the estimate is all there is.
    """
    path = store / COLD_UPS
    records = _read(path)
    before = records.get(backend)
    if (latest := cold_up(gained, seconds, before)) is not None and latest != before:
        with contextlib.suppress(OSError):
            write_atomically(path, msgspec.json.encode({**records, backend: latest}))
    return held_against(gained, seconds, before)


def _read(path: Path) -> Mapping[str, ColdUp]:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        records = msgspec.json.decode(read(path), type=dict[str, ColdUp])
        return {backend: one for backend, one in records.items() if one.seconds > 0 and one.size > 0}
    return {}
