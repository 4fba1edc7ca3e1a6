"""What a path may lead to that is no plain file."""

import os
import socket
import stat
from pathlib import Path

import pytest

KINDS = ("device", "pipe", "link to a device", "socket", "directory", "circle", "huge", "not text")


def put_odd(kind: str, path: Path, elsewhere: Path) -> None:
    """Let something be at a path that is no plain file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match kind:
        case "device":
            if os.geteuid() != 0:
                pytest.skip("only root makes devices")
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        case "pipe":
            os.mkfifo(path)
        case "link to a device":
            path.symlink_to("/dev/null")
        case "socket":
            bound = socket.socket(socket.AF_UNIX)
            bound.bind(str(path))
            bound.close()
        case "directory":
            path.mkdir()
        case "circle":
            path.symlink_to(elsewhere / "other")
            (elsewhere / "other").symlink_to(path)
        case "huge":
            with path.open("wb") as file:
                file.truncate(17 * 1024**2)
        case "not text":
            path.write_bytes(b"\xff\xfe")
