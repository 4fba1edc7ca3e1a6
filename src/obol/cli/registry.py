"""`obol registry`: what our container image runs, in place of the image `registry` and by that one's own settings.

It is not for people and hidden from help. Its arguments are what people have behind that image's name: nothing, the
path of a settings file, `serve` and such a path, or all of that after `registry`. `health` is the image's own check.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.cache.log import warn_in_log
from obol.cli.terminal.usage import Verbs
from obol.cli.verb import verb
from obol.config.paths import Invocation, locate
from obol.errors import EngineUnresponsive, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from obol.config.registryenv import RegistryOptions

app = Verbs()

HEALTH = "health"

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[serve] [FILE]")]


@verb(app, hidden=True)
def registry(arguments: Arguments = None) -> None:
    """Serve one registry by the settings of the container image `registry`, REGISTRY_PROXY_REMOTEURL and others."""
    around = Invocation.of_process()
    verb, file = _understood(arguments or ())
    options = _options(around, file)
    if verb == HEALTH:
        _check_health(options)
        return
    from obol.config.settings import load_cache_settings
    from obol.machine.privileges import become_owner
    from obol.wiring.engine import serve

    settings = load_cache_settings(options.flags, around, locate(around))
    # Its warnings are of listening on all addresses, which are those of the container.
    for note in options.notes:
        warn_in_log(note, settings.log_format)
    become_owner(options.store, options.directory)
    engine = options.applied(settings.engine)
    raise typer.Exit(serve(engine, log_format=settings.log_format, log_level=options.log_level))


def _understood(arguments: Sequence[str]) -> tuple[str, Path | None]:
    words = list(arguments)
    if words[:1] == ["registry"]:
        del words[0]
    match words:
        case [] | ["serve"]:
            return "serve", None
        case ["health"]:
            return HEALTH, None
        case [file] | ["serve", file] if file.endswith((".yml", ".yaml")):
            return "serve", Path(file)
    raise UsageError(
        f"this image cannot do `{' '.join(words)}`",
        why="it is a cache in place of the image `registry`, and serves",
        hint="say nothing after the name of the image, or the path of a settings file that ends in .yml",
    )


def _options(around: Invocation, file: Path | None) -> RegistryOptions:
    from obol.config.registryenv import FILES, read_file, registry_options

    found = file or next((path for path in FILES if path.is_file()), None)
    return registry_options(around.environ, read_file(found) if found else {})


def _check_health(options: RegistryOptions) -> None:
    """Ask the engine in this container. Raises EngineUnresponsive."""
    import asyncio

    from obol.machine.probe import status_of

    address = "127.0.0.1" if ip_address(options.address).is_unspecified else options.address
    if asyncio.run(status_of(address, options.port, "/healthz")) != 200:
        raise EngineUnresponsive(f"the engine does not answer on port {options.port}")
