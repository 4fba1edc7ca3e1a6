"""The three places that settings come from besides our defaults: flags, environment, `obol.toml`.

Each becomes a `Layer`: values under the same names and shapes, and the way to spell a setting back to the person who
wrote it there. Reading a layer never fails: what cannot be understood becomes one of its problems.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from obol.config.paths import expand
from obol.config.preferences import shown
from obol.config.values import BadValueError, registry
from obol.errors import SettingsError
from obol.machine.regular import read_text

if TYPE_CHECKING:
    from obol.config.paths import Directories, Invocation

PREFIX = "OBOL_CACHE_"
OTHERS_VARIABLES = frozenset({"OBOL_CACHE_ENGINE", "OBOL_CACHE_IMAGE"})
"""Variables that begin like ours and belong to the stack."""
OTHERS_TABLES = frozenset({"stack"})
"""Tables of `obol.toml` that are read by others: see `config.stack`."""

_PAIRS = {"upstream": "HOST=URL", "port": "HOST=PORT"}
_LISTS = ("bind", "allow_host", "server_name")
_TABLES = {"upstreams": "upstreams", "ports": "port"}
"""The tables within [cache] of `obol.toml`, and what their values are called here."""

Key = tuple[str | int, ...]
Spell = Callable[[Key, object], str]
_OBOL = "OBOL_"
_OF_OTHERS = frozenset(
    {
        "OBOL_BIN_DIR",
        "OBOL_DISABLE_LOCAL_MODEL_DISCOVERY",
        "OBOL_FORCE_REBUILD_LOCAL_DEV_IMAGES",
        "OBOL_HERMES_IMAGE",
        "OBOL_NO_BROWSER",
        "OBOL_RELEASE",
        "OBOL_REQUIRE_TOOLS",
        "OBOL_REUSE_LOCAL_DEV_IMAGES",
        "OBOL_TEST_PATIENCE",
    }
)
"""Of the original system and its installer, and of our own tests."""


@dataclass(frozen=True, slots=True)
class CacheFlags:
    """The options of `cache serve`, as written; None and () where not given."""

    store: str | None = None
    upstream: tuple[str, ...] = ()
    port: tuple[str, ...] = ()
    bind: tuple[str, ...] = ()
    tag_ttl: str | None = None
    offline: bool | None = None
    log_format: str | None = None
    allow_host: tuple[str, ...] = ()
    server_name: tuple[str, ...] = ()
    answer_memory: str | None = None

    def argv(self) -> tuple[str, ...]:
        """The same options as arguments of a command line."""
        found: list[str] = []
        for name in OPTIONS:
            option, value = f"--{_kebab(name)}", getattr(self, name)
            match value:
                case None:
                    continue
                case bool():
                    found.append(option if value else f"--no-{_kebab(name)}")
                case tuple():
                    found += [f"{option}={item}" for item in value]
                case _:
                    found.append(f"{option}={value}")
        return tuple(found)


OPTIONS = tuple(field.name for field in fields(CacheFlags))


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says."""

    values: Mapping[str, object]
    problems: tuple[str, ...]
    spell: Spell
    """How this source writes a setting, for messages: (name, and the key within it), value."""
    complete: bool = True
    """False where the source could not be read at all."""

    def without(self, name: str) -> Layer:
        """The same, silent about one setting."""
        return replace(self, values={key: value for key, value in self.values.items() if key != name})


def flags_layer(flags: CacheFlags) -> Layer:
    """What the command line says."""
    given = {name: value for name in OPTIONS if (value := getattr(flags, name)) is not None and value != ()}
    return _written(given, {name: f"--{_kebab(name)} " for name in OPTIONS}, ())


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """What the environment says; an empty variable says nothing."""
    given: dict[str, object] = {}
    problems = []
    known = {PREFIX + name.upper(): name for name in OPTIONS}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in OTHERS_VARIABLES or not text:
            continue
        if (name := known.get(variable)) is None:
            problems.append(f"{shown(variable)}: there is no such setting{_meant(variable, known, PREFIX)}")
        elif name in _PAIRS or name in _LISTS:
            given[name] = tuple(item for part in text.split(",") if (item := part.strip()))
        else:
            given[name] = text
    return _written(given, {name: f"{variable}=" for variable, name in known.items()}, problems)


def file_layer(path: Path) -> Layer:
    """What `obol.toml` says; a file that is not there says nothing."""

    def spell(key: Key, value: object) -> str:
        outer = {inner: table for table, inner in _TABLES.items()}
        parts = (outer.get(str(key[0]), _kebab(str(key[0]))), *(part for part in key[1:] if isinstance(part, str)))
        return f"{path}: {_dotted('cache', *parts)} = {shown(value)}"

    try:
        written = tomllib.loads(read_text(path))
    except FileNotFoundError:
        return Layer({}, (), spell)
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else str(problem)
        return Layer({}, (f"{path}: cannot be read: {why}",), spell, complete=False)
    known = {"cache", *OTHERS_TABLES}
    problems = [f"{path}: [{_dotted(name)}]: there is no such table" for name in written if name not in known]
    cache = written.get("cache", {})
    values: dict[str, object] = {}
    if isinstance(cache, dict):
        values, more = _from_table(cache)
        if isinstance(store := values.get("store"), str) and store and not store.startswith("~"):
            values["store"] = str(path.parent / store)
        problems += [f"{path}: {problem}" for problem in more]
    else:
        problems.append(f"{path}: cache: must be a table, [cache]")
    return Layer(values, tuple(problems), spell)


def store_directory(store: str | None, around: Invocation, directories: Directories) -> Path:
    """Find the store without judging the other settings, for commands that only talk to a running engine.

    So an engine can be stopped while `obol.toml` has a mistake, unless it cannot be read at all: SettingsError.
    """
    layers = (flags_layer(CacheFlags(store)), environment_layer(around.environ), file_layer(directories.settings_file))
    for layer in layers:
        if not layer.complete:
            raise SettingsError(layer.problems)
        if isinstance(found := layer.values.get("store"), str) and found:
            return expand(found, around)
    return directories.builtin_store


def _from_table(cache: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    plain = {_kebab(name): name for name in OPTIONS if name not in _PAIRS}
    values: dict[str, object] = {}
    problems: list[str] = []
    for key, value in cache.items():
        if key in _TABLES:
            if not isinstance(value, dict):
                problems.append(f"cache.{key}: must be a table, [cache.{key}]")
                continue
            values[_TABLES[key]], twice = _by_registry(value.items())
            problems += [f"{_dotted('cache', key, host)}: given twice" for host in twice]
        elif (name := plain.get(key)) is None:
            problems.append(f"{_dotted('cache', key)}: there is no such setting{_meant(key, [*plain, *_TABLES])}")
        else:
            values[name] = [value] if name in _LISTS and isinstance(value, str) else value
    return values, problems


def _written(given: Mapping[str, object], openings: Mapping[str, str], problems: Iterable[str]) -> Layer:
    """Make a layer of flags or variables, where a pair is written as one item: HOST=WHAT."""
    values, found = dict(given), list(problems)
    for name, form in _PAIRS.items():
        items = values.get(name)
        if not isinstance(items, tuple):
            continue
        found += [f"{openings[name]}{shown(item)}: must be {form}" for item in items if "=" not in item]
        split = (item.partition("=") for item in items if "=" in item)
        values[name], twice = _by_registry((host.strip(), what.strip()) for host, _, what in split)
        found += [f"{openings[name]}{shown(host)}=…: given twice" for host in twice]

    def spell(key: Key, value: object) -> str:
        within = key[1] if len(key) > 1 else None
        return openings[str(key[0])] + shown(f"{within}={value}" if isinstance(within, str) else value)

    return Layer(values, tuple(found), spell)


def _by_registry(pairs: Iterable[tuple[str, object]]) -> tuple[dict[str, object], list[str]]:
    """Key by the registry's normalised name, so that sources can be laid over each other; tell which came twice."""
    values: dict[str, object] = {}
    twice = []
    for host, what in pairs:
        try:
            name = registry(host)
        except BadValueError:
            name = host  # refused where every value is judged
        if name in values:
            twice.append(name)
        values[name] = what
    return values, twice


def _dotted(*parts: str) -> str:
    return ".".join(part if part.replace("-", "").isalnum() else f'"{shown(part)}"' for part in parts)


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _meant(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Guess what was meant; the prefix that all have in common would make everything look alike."""
    close = get_close_matches(name.removeprefix(prefix), [other.removeprefix(prefix) for other in known], n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


_OURS = frozenset(
    {
        *(f"{PREFIX}{name.upper()}" for name in OPTIONS),
        *OTHERS_VARIABLES,
        "OBOL_BACKEND",
        "OBOL_CONFIG_DIR",
        "OBOL_DATA_DIR",
        "OBOL_DEVELOPMENT",
        "OBOL_DISABLE_REGISTRY_CACHE",
        "OBOL_NONINTERACTIVE",
        "OBOL_OUTPUT",
        "OBOL_QUIET",
        "OBOL_REGISTRY_CACHE_DIR",
        "OBOL_STATE_DIR",
        "OBOL_VERBOSE",
    }
)


def unread(environ: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that begins like ours and has no effect: mostly a typing error.

    Values are never shown: they may be secret.
    """
    for name in sorted(environ):
        if not name.startswith(_OBOL) or name in _OURS | _OF_OTHERS or not environ[name]:
            continue
        prefix = PREFIX if name.startswith(PREFIX) else _OBOL
        known = {other.removeprefix(prefix): other for other in _OURS if other.startswith(prefix)}
        close = get_close_matches(name.removeprefix(prefix), known, n=1)
        meant = f"; did you mean {known[close[0]]}?" if close else ""
        yield f"warning: the variable {shown(name)} has no effect{meant}"
