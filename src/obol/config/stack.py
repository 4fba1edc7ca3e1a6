"""Settings of the stack: whether it may use caches at all, of which engine, and which images stand in for its own.

Kept apart from the cache's: whether the caches are off is asked first, before any file is looked at, and that answer
must not depend on a mistake somewhere in `obol.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from obol.backends.ports import BACKENDS
from obol.config.preferences import ALLOWED, NONINTERACTIVE, WORDS, shown
from obol.errors import SettingsError
from obol.machine.regular import read_text
from obol.oci.errors import OciError
from obol.oci.references import ImageReference

if TYPE_CHECKING:
    from obol.backends.ports import BackendName

T = TypeVar("T")

EngineName = Literal["auto", "builtin", "containers"]
"""Which caches are wanted; auto: the builtin engine, or containers where nodes cannot reach it."""

DISABLE = "OBOL_DISABLE_REGISTRY_CACHE"
ENGINE = "OBOL_CACHE_ENGINE"
IMAGE = "OBOL_CACHE_IMAGE"
BACKEND = "OBOL_BACKEND"

ENGINES: Mapping[str, EngineName] = {"auto": "auto", "builtin": "builtin", "containers": "containers"}
"""By the word of a person."""


def cache_disabled(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment turns the caches off. Raises SettingsError for a word that is neither yes nor no."""
    text = environ.get(DISABLE, "").strip().lower()
    if text not in WORDS:
        raise SettingsError((f"{DISABLE}={shown(text)}: {ALLOWED}",))
    return WORDS[text]


def cache_engine(environ: Mapping[str, str]) -> EngineName:
    """Tell which cache engine the environment asks for. Raises SettingsError for a word that is none of the three."""
    return _meant(environ, ENGINE, ENGINES)


def backend_wish(environ: Mapping[str, str]) -> BackendName | None:
    """Tell which backend the environment asks for. Raises SettingsError for a word that is none of them."""
    return _meant(environ, BACKEND, {"auto": None, **{row.name: row.name for row in BACKENDS.values()}})


def cache_image(environ: Mapping[str, str]) -> str | None:
    """Tell which image the cache containers are to run, if not ours. Raises SettingsError where it is no reference."""
    text = environ.get(IMAGE, "").strip()
    if not text:
        return None
    try:
        ImageReference.parse(text)
    except OciError as problem:
        raise SettingsError((f"{IMAGE}={shown(text)}: must be an image reference, such as registry:3",)) from problem
    return text


def may_ask(environ: Mapping[str, str]) -> bool:
    """Tell whether sudo may ask for a password: not with the very word `true`, as in the original system."""
    return environ.get(NONINTERACTIVE) != "true"


def image_overrides(path: Path) -> Mapping[str, ImageReference]:
    """Read `[stack.images]` of `obol.toml`: the name of a container of ours, and the image that it runs instead.

    Raises SettingsError with all problems. A file that is not there says nothing; `config.settings` tells what is wrong
    with its other tables. Whether there is a container of that name is not known here.
    """
    try:
        written = tomllib.loads(read_text(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise SettingsError((f"{path}: cannot be read: {why}",)) from problem
    stack = written.get("stack", {})
    if not isinstance(stack, Mapping):
        raise SettingsError((f"{path}: stack: must be a table, [stack]",))
    problems = [f"{path}: stack.{shown(key)}: there is no such setting" for key in stack if key != "images"]
    images = stack.get("images", {})
    found: dict[str, ImageReference] = {}
    if not isinstance(images, Mapping):
        problems.append(f"{path}: stack.images: must be a table, [stack.images]")
        images = {}
    for name, text in images.items():
        try:
            found[name] = ImageReference.parse(text if isinstance(text, str) else "")
        except OciError:
            problems.append(
                f"{path}: stack.images.{shown(name)} = {shown(text)}: must be an image reference, such as "
                "ghcr.io/owner/name:tag"
            )
    if problems:
        raise SettingsError(tuple(problems))
    return found


def _meant(environ: Mapping[str, str], variable: str, words: Mapping[str, T]) -> T:
    """Tell what the word of a variable stands for; saying nothing is `auto`."""
    word = environ.get(variable, "").strip().lower() or "auto"
    if word not in words:
        *first, last = words
        raise SettingsError((f"{variable}={shown(word)}: must be {', '.join(first)} or {last}",))
    return words[word]
