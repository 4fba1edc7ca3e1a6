"""What obol says to a person when something does not work.

    ObolError                       exit 1
    ├── UsageError                  exit 2   the command line or a settings file is wrong
    │   └── SettingsError                    every problem of every source, at once
    ├── DependencyMissing           exit 3   a program that we call is not there
    ├── StoreInUse                           another process owns the store
    ├── StoreUnusable                        the store's directory cannot be used
    ├── PortTaken                            an address to listen on is held by somebody else
    ├── NotThere                    exit 4   what the command is about is not there
    │   └── EngineNotRunning                 nothing answers on the control socket
    ├── EngineUnresponsive                   the engine runs, but does not answer as it should
    └── Interrupted                 exit 130

Each has parts: what failed, why, and what to do next. Only `cli` prints them. This module imports
nothing of ours, so that everything may raise from it. Refusals to registry clients are another matter: `oci.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar


class ObolError(Exception):
    """Something failed in a way that a person can understand and mend.

    `what` failed, `why`, and a `hint` at what to do next: each a sentence or two without a final newline.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "failed"
    """The class, for programs: errors of other modules are told as the one of this module that they derive from."""

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint
        self.notes: tuple[str, ...] = ()
        """What the command said to the person before it failed, a sentence each."""

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what


class UsageError(ObolError):
    """The command line or a settings file is wrong."""

    exit_code = 2
    code = "usage"


class SettingsError(UsageError):
    """A setting is unknown, or its value cannot be used; the error names all such settings at once."""

    code = "settings"

    def __init__(self, problems: tuple[str, ...]) -> None:
        count = "a setting" if len(problems) == 1 else f"{len(problems)} settings"
        super().__init__(
            f"{count} cannot be used",
            why="; ".join(problems),
            hint="correct what is named above, or remove it to use the default",
        )
        self.problems = problems


class DependencyMissing(ObolError):
    """A program that obol calls is not installed, or is too old."""

    exit_code = 3
    code = "dependency-missing"


class StoreInUse(ObolError):
    """Another process uses the store; only one may, or two would overwrite each other's files."""

    code = "store-in-use"


class StoreUnusable(ObolError):
    """obol cannot create, write or read the store, or a newer version of obol wrote it."""

    code = "store-unusable"


class PortTaken(ObolError):
    """Another program holds an address to listen on."""

    code = "port-taken"


class NotThere(ObolError):
    """What the command is about is not there: no stack, no cluster, nothing to undo."""

    exit_code = 4
    code = "not-there"


class EngineNotRunning(NotThere):
    """The cache engine does not run: nothing answers on its control socket."""

    code = "engine-not-running"


class EngineUnresponsive(ObolError):
    """The engine's process is there, but it does not answer, start or stop as it should."""

    code = "engine-unresponsive"


class Interrupted(ObolError):
    """The user stopped the command."""

    exit_code = 130
    code = "interrupted"


@contextmanager
def noted(notes: Sequence[str]) -> Iterator[None]:
    """Have whatever fails in the block tell these notes, too: who waits for its result would never hear of them."""
    try:
        yield
    except ObolError as problem:
        problem.notes = tuple(dict.fromkeys((*notes, *problem.notes)))
        raise
