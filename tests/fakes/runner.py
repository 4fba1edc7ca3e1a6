"""A `Runner` that runs nothing: it answers from a script and remembers what it was asked."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from obol.errors import DependencyMissing
from obol.machine.commands import Completed


@dataclass(frozen=True, slots=True)
class Ran:
    """One call."""

    argv: tuple[str, ...]
    stdin: str
    env: Mapping[str, str] | None
    timeout: float | None


@dataclass
class FakeRunner:
    """Answers by the longest beginning of the command line that was scripted; anything else exits with 0 silently."""

    ran: list[Ran] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    """Programs that are not installed."""
    _scripts: dict[tuple[str, ...], deque[Completed]] = field(default_factory=dict)

    def script(self, *argv: str, code: int = 0, stdout: str = "", stderr: str = "") -> None:
        """Answer so to command lines that begin with `argv`; said again, the next time. The last one stays."""
        self._scripts.setdefault(argv, deque()).append(Completed(code, stdout, stderr))

    @property
    def lines(self) -> list[str]:
        """The command lines that were run, joined by blanks."""
        return [" ".join(ran.argv) for ran in self.ran]

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of the port
    ) -> Completed:
        """Remember the call and answer from the script."""
        if argv[0] in self.missing:
            raise DependencyMissing(f"`{argv[0]}` cannot be run", hint=f"install {argv[0]}")
        self.ran.append(Ran(tuple(argv), stdin, env, timeout))
        matching = [beginning for beginning in self._scripts if tuple(argv[: len(beginning)]) == beginning]
        if not matching:
            return self._unscripted(tuple(argv), stdin)
        answers = self._scripts[max(matching, key=len)]
        return answers.popleft() if len(answers) > 1 else answers[0]

    def _unscripted(self, argv: tuple[str, ...], stdin: str) -> Completed:
        return Completed(0, "", "")
