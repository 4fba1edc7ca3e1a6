"""Settings of the builtin cache engine: defaults, then `obol.toml`, then the environment, then flags.

Upstreams named in `[cache.upstreams]` of `obol.toml` add to or replace the three defaults. Upstreams named by flags, or
else by the environment, are a choice: only these are served. Ports are laid over each other registry by registry.

Every problem of every source is told at once, in the words of the source that it came from. This module imports
pydantic, which is slow: import it where settings are loaded, not at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from obol.config import background, values
from obol.config.paths import Directories, Invocation, expand, locate
from obol.config.sources import CacheFlags, Key, Layer, environment_layer, file_layer, flags_layer
from obol.config.stack import cache_engine
from obol.errors import SettingsError
from obol.registry.control.api import Listener
from obol.registry.settings import ANSWER_MEMORY, DEFAULT_PORTS, DEFAULT_UPSTREAMS, EngineSettings, UpstreamSettings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from obol.config.stack import EngineName

LogFormat = Literal["human", "json"]

_Registry = Annotated[str, BeforeValidator(values.registry)]
_Origin = Annotated[str, BeforeValidator(values.origin)]
_Port = Annotated[int, BeforeValidator(values.port)]
_Directory = Annotated[str, BeforeValidator(values.directory)]
_Host = Annotated[str, BeforeValidator(values.host)]

_ALLOWED = {
    "offline": "true or false",
    "log_format": "human or json",
    "bind": "a list of IP addresses",
    "allow_host": "a list of host names or IP addresses",
    "server_name": "a list of host names or IP addresses",
    "ca-file": "the path of a file",
    "upstreams": "a URL, or a table with url and, if need be, ca-file and proxy",
}


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What `cache serve` runs with."""

    engine: EngineSettings
    log_format: LogFormat
    warnings: tuple[str, ...]
    """What is allowed, and yet worth a word."""


class _UpstreamTable(BaseModel):
    """One entry of `[cache.upstreams]`."""

    model_config = ConfigDict(extra="forbid")

    url: _Origin
    ca_file: str | None = Field(default=None, alias="ca-file")
    proxy: _Origin | None = None


def _as_table(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class _Options(BaseSettings):
    """The options of `cache serve`, whichever source they come from."""

    model_config = SettingsConfigDict(extra="forbid")

    store: _Directory | None = None
    upstream: dict[_Registry, _Origin] | None = None
    upstreams: dict[_Registry, Annotated[_UpstreamTable, BeforeValidator(_as_table)]] = {}
    port: dict[_Registry, _Port] = {}
    bind: tuple[Annotated[str, BeforeValidator(values.address)], ...] = ("127.0.0.1",)
    tag_ttl: Annotated[float, BeforeValidator(values.seconds)] = 60.0
    offline: bool = False
    log_format: LogFormat = "human"
    allow_host: tuple[_Host, ...] = ()
    server_name: tuple[_Host, ...] = ()
    answer_memory: Annotated[int, BeforeValidator(values.size)] = ANSWER_MEMORY


class _LayerSource(PydanticBaseSettingsSource):
    """A layer, as pydantic-settings wants to be given it."""

    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Give one field's value; required by the base class."""
        del field
        return self._layer.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Give all values."""
        return dict(self._layer.values)


def load_cache_settings(flags: CacheFlags, around: Invocation, directories: Directories) -> CacheSettings:
    """Read all sources and judge them; raises SettingsError with every problem found."""
    said_by_flags, said_by_environment = flags_layer(flags), environment_layer(around.environ)
    if "upstream" in said_by_flags.values:
        said_by_environment = said_by_environment.without("upstream")
    layers = (said_by_flags, said_by_environment, file_layer(directories.settings_file))
    problems = [problem for layer in layers for problem in layer.problems]
    try:
        options = _merged(layers)
    except ValidationError as refused:
        raise SettingsError((*problems, *_explain(refused, layers))) from None
    upstreams = _upstreams(options, directories.config)
    listeners = _listeners(options, upstreams)
    problems += _contradictions(options, upstreams, listeners)
    if problems or not upstreams:
        raise SettingsError(tuple(problems) or ("no upstream is given",))
    engine = EngineSettings(
        store=expand(options.store, around) if options.store else directories.builtin_store,
        upstreams=upstreams,
        listeners=listeners,
        tag_ttl=options.tag_ttl,
        offline=options.offline,
        allowed_hosts=options.allow_host,
        server_names=options.server_name,
        answer_memory=options.answer_memory,
    )
    return CacheSettings(engine, options.log_format, _warnings(options))


def _merged(layers: Sequence[Layer]) -> _Options:
    class Sourced(_Options):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del init_settings, env_settings, dotenv_settings, file_secret_settings  # our layers replace them
            return tuple(_LayerSource(settings_cls, layer) for layer in layers)

    return Sourced()


def _upstreams(options: _Options, config: Path) -> tuple[UpstreamSettings, ...]:
    if options.upstream is not None:
        return tuple(UpstreamSettings(name, url) for name, url in options.upstream.items())
    found = {upstream.registry: upstream for upstream in DEFAULT_UPSTREAMS}
    for name, table in options.upstreams.items():
        ca_file = config / Path(table.ca_file).expanduser() if table.ca_file else None
        found[name] = UpstreamSettings(name, table.url, ca_file, table.proxy)
    return tuple(found.values())


def _listeners(options: _Options, upstreams: Sequence[UpstreamSettings]) -> tuple[Listener, ...]:
    ports = {**DEFAULT_PORTS, **options.port}
    return tuple(
        Listener(upstream.registry, address, ports.get(upstream.registry, 0))
        for upstream in upstreams
        for address in dict.fromkeys(options.bind)
    )


def _contradictions(
    options: _Options, upstreams: Sequence[UpstreamSettings], listeners: Sequence[Listener]
) -> list[str]:
    served = {upstream.registry for upstream in upstreams}
    # A port for an upstream that a flag left out today is no mistake; one for an unknown registry is.
    known = served | set(DEFAULT_PORTS) | set(options.upstreams)
    problems = [
        f"port of {name}: there is no such upstream (there are {', '.join(sorted(served))})"
        for name in options.port
        if name not in known
    ]
    takers: dict[int, set[str]] = {}
    for listener in listeners:
        takers.setdefault(listener.port, set()).add(listener.registry)
    problems += [
        f"port {port} is given to {' and '.join(sorted(names))}: each needs its own"
        for port, names in takers.items()
        if port and len(names) > 1
    ]
    problems += [
        f"ca-file of {upstream.registry}: there is no file {upstream.ca_file}"
        for upstream in upstreams
        if upstream.ca_file and not upstream.ca_file.is_file()
    ]
    return problems


def _warnings(options: _Options) -> tuple[str, ...]:
    return tuple(
        f"listening on {address}: everyone who can reach this machine can pull through the cache"
        for address in dict.fromkeys(options.bind)
        if ip_address(address).is_unspecified
    )


def _explain(refused: ValidationError, layers: Sequence[Layer]) -> list[str]:
    """Tell each refusal in the words of the source that the value came from: the first that has it."""
    told = []
    for error in refused.errors(include_url=False):
        layer = next((layer for layer in layers if _has(layer.values, error["loc"][:2])), None)
        if layer is None:
            raise refused  # a default of ours: a mistake in this file, not in theirs
        told.append(_explain_one(error, layer))
    return told


def _explain_one(error: ErrorDetails, layer: Layer) -> str:
    key: Key = error["loc"]
    if key[-1] == "[key]" or error["type"] == "missing":
        key = key[:2]
    cause = error.get("ctx", {}).get("error")
    where = layer.spell(key, _at(layer.values, key))
    if error["type"] == "extra_forbidden":
        return f"{where}: there is no such setting (there are url, ca-file and proxy)"
    if isinstance(cause, values.BadValueError):
        return f"{where}: must be {cause}"
    name = key[-1] if key[-1] in _ALLOWED else key[0]
    return f"{where}: must be {_ALLOWED[str(name)]}"


def _has(said: Mapping[str, object], key: Key) -> bool:
    within = said.get(str(key[0]))
    return within is not None and (len(key) < 2 or not isinstance(within, Mapping) or key[1] in within)


def _at(said: Mapping[str, object], key: Key) -> object:
    """Walk into what a source says, as far as it goes: a URL may stand in place of its table."""
    found: object = said
    for part in key:
        match found, part:
            case Mapping(), str() if part in found:
                found = found[part]
            case ((list() | tuple()), int()):
                found = found[part]
            case _:
                break
    return found


def load_cache_plans(
    around: Invocation, warn: Callable[[str], None], engine: EngineName | None = None
) -> background.CachePlans:
    """Plan the builtin engine as `obol cache start` without options does, and the containers. Raises SettingsError.

    `engine` is the person's wish, which the environment has where it is None.
    """
    flags, directories = CacheFlags(), locate(around)
    asked = engine or cache_engine(around.environ)
    settings = load_cache_settings(flags, around, directories)
    for warning in settings.warnings:
        warn(f"warning: {warning}")
    return background.cache_plans(settings, flags, around, directories, asked)
