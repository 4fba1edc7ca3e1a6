"""`obol registry`: what our container image runs, in place of the image `registry` and by that one's own settings.

It is not for people and hidden from help. Its arguments are what people have behind that image's name: nothing, the
path of a settings file, `serve` and such a path, or all of that after `registry`. `health` is the image's own check.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from obol.cli.later import later
from obol.cli.parser import Verbs
from obol.cli.verb import verb
from obol.config.paths import Invocation, locate
from obol.errors import EngineUnresponsive, UsageError

if TYPE_CHECKING:
    import asyncio

    from obol.cli import serving
    from obol.config import registryenv, settings
    from obol.config.registryenv import RegistryOptions
    from obol.machine import privileges, probe
else:
    asyncio = later("asyncio")
    serving = later("obol.cli.serving")
    registryenv, settings = later("obol.config.registryenv"), later("obol.config.settings")
    privileges, probe = later("obol.machine.privileges"), later("obol.machine.probe")

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
    loaded = settings.load_cache_settings(options.flags, around, locate(around))
    privileges.become_owner(options.store, options.directory)
    engine = options.applied(loaded.engine)
    # The warnings of the settings are of listening on all addresses, which are those of the container.
    raise typer.Exit(serving.serve(engine, loaded.log_format, options.notes, log_level=options.log_level))


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
    found = file or next((path for path in registryenv.FILES if path.is_file()), None)
    return registryenv.registry_options(around.environ, registryenv.read_file(found) if found else {})


def _check_health(options: RegistryOptions) -> None:
    """Ask the engine in this container. Raises EngineUnresponsive."""
    address = "127.0.0.1" if ip_address(options.address).is_unspecified else options.address
    if asyncio.run(probe.status_of(address, options.port, "/healthz")) != 200:
        raise EngineUnresponsive(f"the engine does not answer on port {options.port}")
