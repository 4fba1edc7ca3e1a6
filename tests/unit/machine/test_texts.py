import io
import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obol.machine.texts import in_shell, json_bytes, lenient, shown


def test_shown(tmp_path: Path) -> None:
    """A path prints whatever its bytes are, on one line."""
    assert shown(tmp_path) == str(tmp_path)
    assert shown(os.fsdecode(b"/a\xff/\n\x1b")) == "/a\\xff/\\n\\x1b"
    assert shown(b"/\xff\xc3\xa4") == "/\\xff\u00e4"
    assert shown(7) == "7"


@given(st.binary(max_size=20))
def test_shown_is_text(path: bytes) -> None:
    """Whatever the bytes of a path are, what is shown prints, and is UTF-8."""
    text = shown(path)

    assert text.isprintable()
    assert text.encode().decode() == text


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(str.isprintable))
def test_in_shell(text: str) -> None:
    """A word comes back as it is from a shell."""
    assert shlex.split(in_shell(text)) == [text]


@pytest.mark.tool("bash")
@pytest.mark.parametrize("path", [b"/h\xf6me/it's", b"/a\nb\\x\x1b", b"/a b"])
def test_in_bash(path: bytes) -> None:
    """Bytes that are not UTF-8 and control characters come back from bash."""
    said = subprocess.run(["bash", "-c", f"printf %s {in_shell(path)}"], capture_output=True, check=True)

    assert said.stdout == path


def test_lenient() -> None:
    """A stream writes as escapes what it cannot write; one that is no stream of bytes stays as it is."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")

    lenient([stream, io.StringIO()])
    stream.write("\u00e4\udcff")
    stream.flush()

    assert raw.getvalue() == b"\\xe4\\udcff"


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
