"""Settings of the stack: whether it may use caches at all, of which engine, and which images stand in for its own.

Kept apart from the cache's: whether the caches are off is asked first, before any file is looked at, and that answer
must not depend on a mistake somewhere in `obol.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from obol.config.talk import ALLOWED, WORDS
from obol.config.values import shown
from obol.errors import SettingsError
from obol.oci.errors import OciError
from obol.oci.references import ImageReference

if TYPE_CHECKING:
    from pathlib import Path

    from obol.backends.base import BackendName
    from obol.caches.base import EngineName

DISABLE = "OBOL_DISABLE_REGISTRY_CACHE"
ENGINE = "OBOL_CACHE_ENGINE"
IMAGE = "OBOL_CACHE_IMAGE"
DEVELOPMENT = "OBOL_DEVELOPMENT"
BACKEND = "OBOL_BACKEND"
NONINTERACTIVE = "OBOL_NONINTERACTIVE"


def cache_disabled(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment turns the caches off. Raises SettingsError for a word that is neither yes nor no."""
    text = environ.get(DISABLE, "").strip().lower()
    if text not in WORDS:
        raise SettingsError((f"{DISABLE}={shown(text)}: {ALLOWED}",))
    return WORDS[text]


def cache_engine(environ: Mapping[str, str]) -> EngineName:
    """Tell which cache engine the environment asks for. Raises SettingsError for a word that is none of the three."""
    match environ.get(ENGINE, "").strip().lower():
        case "auto" | "":
            return "auto"
        case "builtin":
            return "builtin"
        case "containers":
            return "containers"
        case word:
            raise SettingsError((f"{ENGINE}={shown(word)}: must be auto, builtin or containers",))


def backend_wish(environ: Mapping[str, str]) -> BackendName | None:
    """Tell which backend the environment asks for. Raises SettingsError for a word that is none of them."""
    match environ.get(BACKEND, "").strip().lower():
        case "auto" | "":
            return None
        case "k3d":
            return "k3d"
        case "k3s":
            return "k3s"
        case "podman":
            return "podman"
        case "none":
            return "none"
        case word:
            raise SettingsError((f"{BACKEND}={shown(word)}: must be auto, k3d, k3s, podman or none",))


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


def development(environ: Mapping[str, str]) -> bool:
    """Tell whether this is development mode: the very word `true`, as for the directories."""
    return environ.get(DEVELOPMENT) == "true"


def may_ask(environ: Mapping[str, str]) -> bool:
    """Tell whether sudo may ask for a password: not with the very word `true`, as in the original system."""
    return environ.get(NONINTERACTIVE) != "true"


def image_overrides(path: Path) -> Mapping[str, ImageReference]:
    """Read `[stack.images]` of `obol.toml`: the name of a container of ours, and the image that it runs instead.

    Raises SettingsError with all problems. A file that is not there says nothing; `config.settings` tells what is wrong
    with its other tables. Whether there is a container of that name is not known here.
    """
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
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
