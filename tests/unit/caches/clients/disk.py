"""Files of container clients, as tests let them be there."""

from pathlib import Path


def put(path: Path, text: str = "") -> Path:
    """Let a file be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
