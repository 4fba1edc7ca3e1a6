"""Manifests as text with a name: those that come with the product, and those that a person brings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from obol.errors import UsageError

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""What counts as a manifest in a directory, as for `kubectl apply -f DIR`, unless it is hidden; JSON is YAML too."""


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """One file."""

    name: str
    """What to call it in messages: its path, or the bare file name of one of ours."""
    text: str


def packaged() -> tuple[ManifestFile, ...]:
    """The manifests of the stack's own workloads, by name."""
    folder = resources.files("obol.workloads") / "manifests"
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return tuple(ManifestFile(file.name, file.read_text(encoding="utf-8")) for file in files)


def brought(paths: Iterable[Path]) -> tuple[ManifestFile, ...]:
    """The manifests in these files, and in these directories (not those below them).

    Raises UsageError for a path that cannot be read, and for a directory without a manifest.
    """
    found: list[ManifestFile] = []
    for path in paths:
        files = _within(path) if path.is_dir() else [path]
        found += [ManifestFile(str(file), _read(file)) for file in files]
    return tuple(found)


def _within(directory: Path) -> list[Path]:
    try:
        files = sorted(file for file in directory.iterdir() if _is_manifest(file))
    except OSError as problem:
        raise _unreadable(directory, problem.strerror or str(problem)) from problem
    if not files:
        raise _unreadable(directory, f"it has no files that end in {', '.join(sorted(SUFFIXES))}")
    return files


def _is_manifest(file: Path) -> bool:
    # Hidden files are notes of ours or of an editor.
    return file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise _unreadable(path, problem.strerror or str(problem)) from problem
    except UnicodeDecodeError as problem:
        raise _unreadable(path, f"it is not text in UTF-8 (byte {problem.start})") from problem


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"the manifest {path} cannot be read", why=why, hint="-f takes a YAML file, or a directory with such files"
    )
