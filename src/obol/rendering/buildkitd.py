"""buildkitd.toml: where BuildKit looks for images, as a marked block at the end of a file that a person may write.

https://docs.docker.com/build/buildkit/toml-configuration/. The text around the block stays as it is, byte for byte,
with its comments; and goes on saying what it said, since TOML's tables may stand in any order.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obol.rendering.quoting import basic_string

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obol.rendering.registries import Mirror

BEGIN = "# >>> obol: `obol cache config buildkit --undo` removes this block >>>"
END = "# <<< obol <<<"


def buildkitd_block(mirrors: Iterable[Mirror]) -> str:
    """Render the block: each registry has its mirror asked first; BuildKit asks the registry itself after it."""
    lines = [BEGIN]
    plain = []
    for mirror in mirrors:
        url = urlsplit(mirror.endpoint)
        lines += [f"[registry.{basic_string(mirror.registry)}]", f"mirrors = [{basic_string(url.netloc)}]"]
        plain += [url.netloc] if url.scheme == "http" else []
    for place in dict.fromkeys(plain):
        lines += [f"[registry.{basic_string(place)}]", "http = true"]
    return "\n".join([*lines, END]) + "\n"


def with_block(text: str, block: str) -> str:
    """Append the block. Raises ValueError, which says why, for a file that is no TOML or says the same already."""
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte-order mark: save it without one")
    try:
        written = tomllib.loads(text)
    except ValueError as problem:
        raise ValueError(f"it is not valid TOML: {problem}") from problem
    # The line break before the block is ours, so that it can go with it, whether or not the text ended with one.
    joined = f"{text}\n{block}" if text else block
    try:
        tomllib.loads(joined)
    except ValueError as problem:
        registries = written.get("registry", {})
        theirs = [name for name in tomllib.loads(block)["registry"] if name in registries]
        why = f"it has [registry] settings for {', '.join(theirs)}" if theirs else str(problem)
        raise ValueError(why) from problem
    return joined


def without_block(text: str) -> str:
    """Take the block out again, and nothing else. Raises ValueError, which says why, where that cannot be done."""
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return text
    _block, end, after = rest.partition(END)
    after = after.removeprefix("\r").removeprefix("\n")
    if not end:
        raise ValueError("the end of our block is missing")
    if (line := _first_setting(after)) and not line.startswith("["):
        # It belongs to the last table of the block, and would move into another one.
        raise ValueError(f"a setting follows our block without a table of its own: {line}")
    left = before.removesuffix("\n")
    if after and left and not left.endswith("\n"):
        left += "\n"
    left += after
    try:
        tomllib.loads(left)
    except ValueError as problem:
        raise ValueError(f"without our block it is not valid TOML: {problem}") from problem
    return left


def _first_setting(text: str) -> str:
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")
