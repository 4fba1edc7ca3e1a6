"""The settings of the container image `registry`, as ours: for those who put our image in its place.

That image (distribution, https://distribution.github.io/distribution/about/configuration/) reads a file of YAML, and
variables that are named like the file's keys: `proxy.remoteurl` is `REGISTRY_PROXY_REMOTEURL`, and the variable wins.
Here both become one table of such names. What would be missed if we ignored it is refused: who asked for a password or
for TLS must not get a registry without. What has no meaning here is told once, by name; values are not shown, because
they may be secrets.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import yaml

from obol.config import values
from obol.config.preferences import shown
from obol.config.sources import CacheFlags, environment_layer
from obol.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from obol.registry.settings import EngineSettings

T = TypeVar("T")

PREFIX = "REGISTRY_"
FILES = (Path("/etc/docker/registry/config.yml"), Path("/etc/distribution/config.yml"))
"""Where versions 2 and 3 of the image have their settings. In ours they are there if a person mounts them."""
DIRECTORY = "/var/lib/registry"
OURS = "obol"
"""Our store within the directory, beside what the image `registry` has put there: neither touches the other's."""
UPSTREAM = "OBOL_CACHE_UPSTREAM"

_USED = frozenset(
    {
        "PROXY_REMOTEURL",
        "PROXY_TTL",
        "HTTP_ADDR",
        "HTTP_HOST",
        "STORAGE_FILESYSTEM_ROOTDIRECTORY",
        "LOG_LEVEL",
        "LOG_FORMATTER",
    }
)
_CREDENTIALS = ("PROXY_USERNAME", "PROXY_PASSWORD", "PROXY_EXEC")
_AS_EVER = (
    "VERSION",
    "HEALTH",
    "HTTP_DRAINTIMEOUT",
    "HTTP_HEADERS",
    "HTTP_SECRET",
    "LOG_ACCESSLOG",
    "LOG_FIELDS",
    "STORAGE_CACHE",
    "STORAGE_DELETE",
    "STORAGE_FILESYSTEM",
    "STORAGE_MAINTENANCE",
    "STORAGE_REDIRECT",
    "STORAGE_TAG",
)
"""Found in nearly every file; nothing is missed where they do nothing."""
_REFUSED = {
    "AUTH": "clients cannot be asked for a password: without this setting everybody who reaches the port may pull",
    "HTTP_TLS": "only plain HTTP is spoken: put a proxy that speaks TLS in front",
    "STORAGE": "content is kept in a directory, and nowhere else",
}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "warning": logging.WARNING}
_LEVELS |= {"error": logging.ERROR, "fatal": logging.CRITICAL, "panic": logging.CRITICAL}


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """What a container is to do."""

    flags: CacheFlags
    """The same as options of `cache serve`."""
    directory: Path
    """Where a volume is mounted; the store is in it."""
    address: str
    port: int
    log_level: int
    """As in `logging`."""
    names: tuple[str, ...]
    """More names that clients call us by."""
    proxy: str | None
    """The way to the upstream: http://host:port."""
    notes: tuple[str, ...]
    """What is not as it would be with the image `registry`, a sentence each."""

    @property
    def store(self) -> Path:
        """Where our content is."""
        return self.directory / OURS

    def applied(self, engine: EngineSettings) -> EngineSettings:
        """Add to what the flags have become what no flag can say."""
        return replace(
            engine,
            upstreams=tuple(replace(one, proxy=one.proxy or self.proxy) for one in engine.upstreams),
            server_names=(*engine.server_names, *self.names),
            local_names=True,
        )


def read_file(path: Path) -> Mapping[str, str]:
    """Read a file of settings into a table of the variables' names. Raises SettingsError."""
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise SettingsError((f"{path}: cannot be read: {problem.strerror}",)) from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise SettingsError((f"{path}: is not YAML",)) from problem
    if not isinstance(written, dict):
        raise SettingsError((f"{path}: must be a table, with proxy and so on",))
    return dict(_flat(written, PREFIX.removesuffix("_")))


def registry_options(environ: Mapping[str, str], file: Mapping[str, str]) -> RegistryOptions:
    """Join what the file and the environment say.

    Raises SettingsError for what cannot be followed, UsageError where there is nothing to be a cache of.
    """
    said = {name.removeprefix(PREFIX): text for name, text in file.items() if text}
    said |= {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX) and text}
    problems = [*_refused(said)]
    url = _judged(problems, said, "PROXY_REMOTEURL", "", lambda text: text and values.origin(text))
    address, port = _judged(problems, said, "HTTP_ADDR", ":5000", _listening)
    level = _judged(problems, said, "LOG_LEVEL", "info", _level)
    name = _judged(problems, said, "HTTP_HOST", "", _named)
    if problems:
        raise SettingsError(tuple(problems))
    registry, url = _upstream(environ, url)
    directory = Path(said.get("STORAGE_FILESYSTEM_ROOTDIRECTORY", DIRECTORY))
    flags = CacheFlags(
        store=str(directory / OURS),
        upstream=(f"{registry}={url}",),
        port=(f"{registry}={port}",),
        bind=(address,),
        log_format="json" if said.get("LOG_FORMATTER") in {"json", "logstash"} else None,
    )
    proxy, trouble = _proxy(environ, url)
    notes = (*_notes(said), *trouble)
    return RegistryOptions(flags, directory, address, port, level, (name,) if name else (), proxy, notes)


def _flat(written: Mapping[object, object], before: str) -> Iterator[tuple[str, str]]:
    for key, value in written.items():
        name = f"{before}_{str(key).upper()}"
        match value:
            case dict():
                yield from _flat(value, name)
            case None:
                yield name, ""
            case _:
                yield name, str(value)


def _refused(said: Mapping[str, str]) -> Iterator[str]:
    told = set()
    for name, text in said.items():
        kind = _kind(name)
        if kind is None or kind in told or (name, text) == ("STORAGE", "filesystem"):
            continue
        told.add(kind)
        yield f"{PREFIX}{name}: {_REFUSED[kind]}"


def _kind(name: str) -> str | None:
    """Which of the refused kinds a setting is of."""
    if name in _USED or any(_within(name, harmless) for harmless in _AS_EVER):
        return None
    return next((kind for kind in _REFUSED if _within(name, kind)), None)


def _within(name: str, kind: str) -> bool:
    return name == kind or name.startswith(f"{kind}_")


def _judged(problems: list[str], said: Mapping[str, str], name: str, otherwise: str, read: Callable[[str], T]) -> T:
    """Read a setting; where it cannot be read, say so and go on with what holds `otherwise`."""
    text = said.get(name, otherwise)
    try:
        return read(text)
    except values.BadValueError as allowed:
        problems.append(f"{PREFIX}{name}={shown(text)}: must be {allowed}")
        return read(otherwise)


def _upstream(environ: Mapping[str, str], url: str) -> tuple[str, str]:
    """The registry's name, and where it is. A mirror has another address than the registry that it stands for."""
    if text := environ.get(UPSTREAM):
        given = environment_layer({UPSTREAM: text})
        pairs = given.values.get("upstream")
        if given.problems or not isinstance(pairs, dict) or len(pairs) != 1:
            raise SettingsError(given.problems or (f"{UPSTREAM}: must be one HOST=URL in a container",))
        ((registry, url),) = pairs.items()
        return registry, url
    if not url:
        raise UsageError(
            "this image is a cache only: nothing can be pushed to it",
            why=f"{PREFIX}PROXY_REMOTEURL does not say what it is to be a cache of",
            hint=f"set {PREFIX}PROXY_REMOTEURL, such as https://registry-1.docker.io, or use the image registry:3",
        )
    return values.registry(urlsplit(url).netloc), url


def _listening(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    try:
        number = values.port(port)
        # A container's own network: how far the port reaches is decided where it is published.
        address = {"": "0.0.0.0", "localhost": "127.0.0.1"}.get(host) or values.address(host.strip("[]"))
    except values.BadValueError:
        number = 0
    if not colon or not number:
        raise values.BadValueError("an IP address, or none, and a port, such as :5000")
    return address, number


def _level(text: str) -> int:
    if (level := _LEVELS.get(text.lower())) is None:
        raise values.BadValueError("error, warn, info or debug")
    return level


def _named(text: str) -> str:
    """The host of a URL, or of host[:port]; "" of nothing."""
    if not text:
        return ""
    try:
        name = urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        name = None
    return values.host(name)


def _proxy(environ: Mapping[str, str], url: str) -> tuple[str | None, tuple[str, ...]]:
    """The proxy that the environment names for a URL, and what is to be said of it."""
    parts = urlsplit(url)
    names = (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper())
    variable = next((name for name in names if environ.get(name)), "")
    spared = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if not variable or _spared(parts.hostname or "", spared):
        return None, ()
    text = environ[variable]
    try:
        return values.origin(text if "//" in text else f"http://{text}"), ()
    except values.BadValueError as allowed:
        return None, (f"{variable}: must be {allowed}; {parts.hostname} is asked directly",)


def _spared(host: str, hosts: str) -> bool:
    """Whether a host, or a domain that it is in, is in the list of those that no proxy is asked for."""
    for entry in hosts.lower().split(","):
        name = entry.strip().removeprefix("*").lstrip(".").partition(":")[0]
        if entry.strip() == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False


def _notes(said: Mapping[str, str]) -> Iterator[str]:
    secrets = sorted(name for name in said if any(_within(name, kind) for kind in _CREDENTIALS))
    if secrets:
        yield (
            f"{_listed(secrets)}: credentials are not used yet: only what everybody may pull can be pulled, "
            "and Docker Hub counts the pulls of this address"
        )
    if not re.fullmatch(r"0[a-z]*|-.*", said.get("PROXY_TTL", "0")):
        yield f"{PREFIX}PROXY_TTL: nothing expires here; content stays until it is removed"
    known = (*_USED, *_AS_EVER, *_CREDENTIALS, "STORAGE")
    if unknown := sorted(name for name in said if not any(_within(name, kind) for kind in known)):
        yield f"{_listed(unknown)}: without a meaning here, ignored"


def _listed(names: list[str]) -> str:
    return ", ".join(shown(f"{PREFIX}{name}") for name in names)
