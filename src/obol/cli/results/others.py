"""What the other verbs write as JSON, and what a failure is written as."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SwappedResult:
    """`dev push`."""

    namespace: str
    """The namespace of the Deployment."""
    deployment: str
    """The name of the Deployment."""
    container: str
    """The container of it."""
    image: str
    """What it runs now, by its name in the registry that was pushed into."""
    before: str
    """What it ran until then; the same as `image` where nothing had to be done."""
    released: str
    """What `dev reset` goes back to."""
    layers_pushed: int
    """Layers that the registry did not have."""
    layers_present: int
    """Those that the registry had already."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True, slots=True)
class RestoredContainer:
    """One container of `dev reset`."""

    namespace: str
    """The namespace of the Deployment."""
    deployment: str
    """The name of the Deployment."""
    container: str
    """The container of it."""
    image: str
    """What it runs now."""
    before: str
    """What it ran until then; the same as `image` where it had been put back by other means."""


@dataclass(frozen=True, slots=True)
class RestoredResult:
    """`dev reset`."""

    containers: tuple[RestoredContainer, ...]
    """Those that were put back."""
    seconds: float
    """How long it took."""


@dataclass(frozen=True, slots=True)
class EngineVersion:
    """The cache engine that runs."""

    version: str
    """That of the obol that it runs."""
    pid: int
    """The number of its process."""


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    """A program that the stack could run on."""

    name: str
    """The program."""
    version: str | None
    """Null where it is not installed, or does not answer."""
    trouble: str
    """Why it does not work although it is installed; "" otherwise."""


@dataclass(frozen=True, slots=True)
class VersionResult:
    """`version`."""

    version: str
    """That of obol."""
    commit: str | None
    """Of the source, where that is known."""
    python: str
    """The version of Python."""
    platform: str
    """As in linux/x86_64."""
    engine: EngineVersion | None
    """Null where no cache engine runs."""
    runtimes: tuple[RuntimeVersion, ...]
    """The programs that the stack could run on."""


@dataclass(frozen=True, slots=True)
class SchemaListResult:
    """`schema` without a verb."""

    verbs: tuple[str, ...]
    """The verbs that have a schema; `error` stands for what a failure writes."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed, why, and what to do next."""

    code: str
    """The class of the error, for programs."""
    what: str
    """What failed."""
    why: str
    """The cause, as far as it is known; "" where it is not."""
    hint: str
    """What to do next; "" where that is not known."""
    problems: tuple[str, ...]
    """Every mistake in the settings, one by one; empty for other errors."""
    exit_code: int
    """What the command exits with."""
    notes: tuple[str, ...] = ()
    """What else the command said to people before it failed, a sentence each."""


@dataclass(frozen=True, slots=True)
class ErrorResult:
    """What a command that fails writes to standard error."""

    error: Failure
    """The error."""
