"""The key of the stack's gateway: made once, kept in a file that only its owner may read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from obol.machine.files import PRIVATE_FILE, Folder, failing_as, write_all

FILE = "litellm-master-key"
NAMESPACE, SECRET, ENTRY = "llm", "litellm-keys", "master-key"
"""Where the workload looks for it."""


def master_key(config: Path) -> str:
    """Read the key, or make one if there is none. Raises ObolError.

    Two commands at the same time get the same key: the one whose file was there first wins. LiteLLM wants keys to begin
    with `sk-`.
    """
    failed = f"the key of the gateway cannot be kept in {config / FILE}"
    with failing_as(failed, "look at the permissions of that directory"):
        config.mkdir(mode=0o755, parents=True, exist_ok=True)
        with Folder.at(config) as folder:
            return _kept(folder) or _made(folder, config)


def _kept(folder: Folder) -> str:
    if (descriptor := folder.open(FILE)) is None:
        return ""
    with os.fdopen(descriptor, encoding="utf-8") as file:
        key = file.read().strip()
        if key:
            os.fchmod(file.fileno(), PRIVATE_FILE)
            return key
    folder.unlink(FILE)  # a command was stopped between making the file and writing to it
    return ""


def _made(folder: Folder, config: Path) -> str:
    key = f"sk-{secrets.token_urlsafe(32)}"
    temporary = f"{FILE}.{secrets.token_hex(8)}"
    descriptor = folder.create(temporary, PRIVATE_FILE)
    try:
        write_all(descriptor, f"{key}\n".encode())
        os.fsync(descriptor)
        os.link(config / temporary, config / FILE, follow_symlinks=False)
    except FileExistsError:
        if kept := _kept(folder):
            return kept
        raise
    finally:
        os.close(descriptor)
        folder.unlink(temporary)
    folder.sync()
    return key
