"""A terminal of so many columns, for what a program shows only there."""

import contextlib
import fcntl
import os
import re
import struct
import termios
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Terminal:
    """Reads all that is written to `device`, a file descriptor for a child process."""

    columns: int
    device: int = -1
    _ours: int = -1
    _written: bytearray = field(default_factory=bytearray)
    _reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._ours, self.device = os.openpty()
        fcntl.ioctl(self.device, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self.columns, 0, 0))
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.device >= 0:
            os.close(self.device)
        os.close(self._ours)

    def text(self) -> str:
        """What was written so far, without what moves the cursor or changes colours."""
        return _CONTROLS.sub("", self._written.decode(errors="replace")).replace("\r\n", "\n")

    def lines(self) -> set[str]:
        return {line.rstrip() for line in re.split(r"[\r\n]", self.text())}

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(self._ours, 65536):
                self._written += piece
