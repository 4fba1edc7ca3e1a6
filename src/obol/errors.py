"""What a person is told when something does not work.

    ObolError                       exit 1
    ├── UsageError                  exit 2   the command line or a settings file is wrong
    │   └── SettingsError                    every problem of every source, at once
    ├── DependencyMissing           exit 3   a program that we call is not there
    ├── StoreInUse                           another process owns the store
    ├── StoreUnusable                        the store's directory cannot be used
    ├── PortTaken                            an address to listen on is held by somebody else
    ├── EngineNotRunning                     nothing answers on the control socket
    ├── EngineUnresponsive                   the engine runs, but does not answer as it should
    └── Interrupted                 exit 130

Each has parts: what failed, why, what to do next, and a page to read. Only `cli` prints them. This module imports
nothing of ours, so that everything may raise from it. Refusals to registry clients are another matter: `oci.errors`.
"""

from __future__ import annotations

from typing import ClassVar


class ObolError(Exception):
    """Something failed in a way that a person can understand and mend.

    `what` failed, `why`, and a `hint` at what to do next: each a sentence or two without a final newline.
    """

    exit_code: ClassVar[int] = 1
    page: ClassVar[str | None] = None
    """Where in the documentation the matter is explained."""

    def __init__(self, what: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what


class UsageError(ObolError):
    """The command line or a settings file says something that we cannot follow."""

    exit_code = 2
    page = "docs/cli.md"


class SettingsError(UsageError):
    """A setting is unknown or has a value that we cannot use; all such problems are told together."""

    page = "docs/settings.md"

    def __init__(self, problems: tuple[str, ...]) -> None:
        count = "a setting" if len(problems) == 1 else f"{len(problems)} settings"
        super().__init__(
            f"{count} cannot be used",
            why="; ".join(problems),
            hint="correct what is named above, or remove it to use the default",
        )
        self.problems = problems


class DependencyMissing(ObolError):
    """A program that we call is not installed, or is too old."""

    exit_code = 3


class StoreInUse(ObolError):
    """Another process owns the store: one process per store, or two would tread on each other's files."""


class StoreUnusable(ObolError):
    """The store's directory cannot be created, written or read, or is of a newer version than ours."""


class PortTaken(ObolError):
    """An address to listen on is held by somebody else."""


class EngineNotRunning(ObolError):
    """Nothing answers on the control socket."""


class EngineUnresponsive(ObolError):
    """The engine's process is there, but it does not answer, start or stop as it should."""


class Interrupted(ObolError):
    """The user stopped us."""

    exit_code = 130
