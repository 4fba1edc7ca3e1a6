"""Files in which the container clients of this machine look for mirrors; all are TOML.

registries.conf and its drop-ins are for podman, skopeo and buildah: containers-registries.conf(5).

hosts.toml is for containerd, in a directory named like the registry:
https://github.com/containerd/containerd/blob/main/docs/hosts.md. The registry itself is the server, which is asked when
no host serves, so that a cache which is not there costs no image.

buildkitd.toml is for BuildKit: https://docs.docker.com/build/buildkit/toml-configuration/. A person may write that
file, so ours is a marked block at its end. The text around the block stays as it is, byte for byte, with its comments;
and it goes on saying what it said, since TOML's tables may stand in any order.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obol.rendering.quoting import basic_string

if TYPE_CHECKING:
    from obol.rendering.registries import Mirror
_SERVERS = {"docker.io": "registry-1.docker.io"}
"""Where a registry is that does not answer at the name of its images."""
BEGIN = "# >>> obol: `obol cache config buildkit --undo` removes this block >>>"
END = "# <<< obol <<<"


def registries_conf(mirrors: Iterable[Mirror]) -> str:
    """Render the file: each registry has its mirror asked first, and itself after it.

    containers-registries.conf(5). A JSON string is a basic string of TOML.
    """
    lines = ["# Written by obol at each `obol stack up`.", "unqualified-search-registries = []"]
    return "\n".join([*lines, *_tables(mirrors)]) + "\n"


def registries_drop_in(mirrors: Iterable[Mirror]) -> str:
    """Render a file for registries.conf.d, which says nothing but the mirrors.

    containers-registries.conf.d(5): the [[registry]] tables of all files add up; one of the same name replaces those of
    earlier files.
    """
    opening = "# Written by `obol cache config podman --write`; --undo removes it."
    return "\n".join([opening, *_tables(mirrors)]) + "\n"


def registries_configured(text: str, *, drop_in: bool = False) -> frozenset[str]:
    """The names for which a file has a [[registry]] table, or is of the first version and has settings for.

    Raises ValueError for a file that podman does not read: that is no TOML, or mixes the versions.
    """
    written = tomllib.loads(text)
    tables, first = written.get("registry", []), written.get("registries", {})
    if first and drop_in:
        raise ValueError("it is in version 1 of the format, which podman refuses in registries.conf.d")
    if first and (tables or "unqualified-search-registries" in written):
        raise ValueError("it mixes the versions 1 and 2 of the format, which podman refuses")
    if first:
        return _first_version(first)
    if not isinstance(tables, list):
        return frozenset()
    named = (table.get("prefix") or table.get("location") for table in tables if isinstance(table, dict))
    return frozenset(name for name in named if isinstance(name, str))


def _first_version(written: object) -> frozenset[str]:
    """The registries that [registries.insecure] and [registries.block] name; a search list says nothing of them."""
    tables = [written.get(name) for name in ("insecure", "block")] if isinstance(written, dict) else []
    lists = [table.get("registries") for table in tables if isinstance(table, dict)]
    return frozenset(name for names in lists if isinstance(names, list) for name in names if isinstance(name, str))


def _tables(mirrors: Iterable[Mirror]) -> list[str]:
    """A table for each registry, with its mirrors in their order."""
    by_registry: dict[str, list[str]] = {}
    for mirror in mirrors:
        url = urlsplit(mirror.endpoint)
        location = basic_string(url.netloc + url.path.rstrip("/"))
        insecure = str(url.scheme == "http").lower()
        own = by_registry.setdefault(basic_string(mirror.registry), [])
        own += ["[[registry.mirror]]", f"location = {location}", f"insecure = {insecure}"]
    lines = []
    for name, own in by_registry.items():
        lines += ["", "[[registry]]", f"prefix = {name}", f"location = {name}", *own]
    return lines


@dataclass(frozen=True, slots=True)
class Trust:
    """Files that containerd takes for the registry itself where there is no hosts.toml, by their paths."""

    authorities: tuple[str, ...] = ()
    clients: tuple[tuple[str, str], ...] = ()
    """Each a certificate and its key."""


def hosts_toml(mirror: Mirror, trust: Trust | None = None) -> str:
    """Render the file of one registry. Raises ValueError where TOML cannot hold a path."""
    lines = [
        "# Written by `obol cache config containerd --write`; --undo removes it.",
        f"server = {basic_string(f'https://{_SERVERS.get(mirror.registry, mirror.registry)}')}",
    ]
    if trust is not None and trust.authorities:
        lines.append(f"ca = [{', '.join(map(basic_string, trust.authorities))}]")
    if trust is not None and trust.clients:
        pairs = (f"[{basic_string(certificate)}, {basic_string(key)}]" for certificate, key in trust.clients)
        lines.append(f"client = [{', '.join(pairs)}]")
    lines += ["", f"[host.{basic_string(mirror.endpoint)}]", 'capabilities = ["pull", "resolve"]']
    return "\n".join(lines) + "\n"


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
