from __future__ import annotations

import json
import os
from dataclasses import dataclass

import pytest

from obol.machine.jsontext import json_bytes
from obol.machine.texts import shown


@dataclass(frozen=True)
class Value:
    """With paths in all places."""

    path: str
    inner: dict[str, tuple[str, ...]]
    number: int = 1


@pytest.mark.parametrize("path", ["/plain", os.fsdecode(b"/h\xf6me"), "\ud800"])
def test_json_bytes(path: str) -> None:
    """JSON is JSON for everybody, whatever a path in it is."""
    told = json.loads(json_bytes(Value(path, {path: (path, "x")})).decode("utf-8"))

    assert told["number"] == 1
    assert told["inner"] == {told["path"]: [told["path"], "x"]}
    assert told["path"] == shown(path)
