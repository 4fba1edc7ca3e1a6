"""The options of `obol cache …`, for verbs that have many or share them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any

import typer

from obol.config.sources import CacheFlags

Store = Annotated[
    str | None,
    typer.Option("--store", metavar="DIR", help="The directory of the content (default: builtin, in the cache root)."),
]


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """What `obol cache serve` and `obol cache start` are given."""

    store: Store = None
    upstream: Annotated[
        list[str] | None,
        typer.Option(
            "--upstream",
            metavar="HOST=URL",
            help="A registry to serve, and its address; may be repeated. The engine then serves only these "
            "(default: docker.io, ghcr.io and quay.io).",
        ),
    ] = None
    port: Annotated[
        list[str] | None,
        typer.Option(
            "--port",
            metavar="HOST=PORT",
            help="The port for a registry, 0 for any free one; may be repeated "
            "(default: 54100, 54101 and 54102 for the three).",
        ),
    ] = None
    bind: Annotated[
        list[str] | None,
        typer.Option(
            "--bind", metavar="ADDRESS", help="An address to listen on; may be repeated (default: 127.0.0.1)."
        ),
    ] = None
    tag_ttl: Annotated[
        str | None,
        typer.Option(
            "--tag-ttl", metavar="SECONDS", help="How long to trust a tag, such as 90, 5m or 1h (default: 60)."
        ),
    ] = None
    offline: Annotated[bool | None, typer.Option("--offline/--no-offline", help="Never ask an upstream.")] = None
    log_format: Annotated[
        str | None, typer.Option("--log-format", metavar="human|json", help="How to log (default: human).")
    ] = None
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="HOST",
            help="A private host that upstreams may redirect to; may be repeated.",
        ),
    ] = None
    server_name: Annotated[
        list[str] | None,
        typer.Option(
            "--server-name",
            metavar="NAME",
            help="A name by which clients call the cache, besides localhost and its addresses; may be repeated.",
        ),
    ] = None
    answer_memory: Annotated[
        str | None,
        typer.Option(
            "--answer-memory",
            metavar="SIZE",
            help="Memory for answers that clients have not read yet, for all clients together (default: 64MiB).",
        ),
    ] = None

    def flags(self) -> CacheFlags:
        """The same for the settings, which take tuples where typer gives lists."""
        given: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        return CacheFlags(**{name: value for name, value in given.items() if value is not None} | lists)


@dataclass(frozen=True, slots=True)
class WarmOptions:
    """What `obol cache warm` is given."""

    image: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE", help="References, such as alpine or ghcr.io/org/app:1.2.")
    ] = None
    platform: Annotated[
        list[str] | None,
        typer.Option(
            "--platform",
            metavar="OS/ARCH",
            help="A platform to fetch, such as linux/arm64; may be repeated (default: that of this machine).",
        ),
    ] = None
    all_platforms: Annotated[bool, typer.Option("--all-platforms", help="Fetch every platform that there is.")] = False
    file: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE", help="Read references from a file, one a line; - is standard input."),
    ] = None
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=32, metavar="N", help="How many images at a time.")
    ] = 3
    store: Store = None


class Client(StrEnum):
    """What can be pointed at the caches."""

    DOCKER = "docker"
    PODMAN = "podman"
    CONTAINERD = "containerd"
    BUILDKIT = "buildkit"
    SKOPEO = "skopeo"


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """What `obol cache config` is given besides the client."""

    write: Annotated[bool, typer.Option("--write", help="Write it, and keep a copy of what was there.")] = False
    undo: Annotated[bool, typer.Option("--undo", help="Put back what was there before --write.")] = False
    per_user: Annotated[
        bool | None,
        typer.Option(
            "--user/--system",
            help="Your own configuration (of rootless Docker, BuildKit or nerdctl, too), or the machine's (default: "
            "your own for podman and skopeo unless you are root, else the machine's).",
            show_default=False,
        ),
    ] = None
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="Another file than the usual one (docker, buildkit).")
    ] = None
    directory: Annotated[
        str | None,
        typer.Option(
            "--directory", metavar="DIR", help="Another directory than the usual one (podman, skopeo, containerd)."
        ),
    ] = None
    store: Store = None
