"""The home directory that commit 993f789 left, unpacked for a test (README.md says how it was made)."""

import hashlib
import tarfile
from pathlib import Path

from tests.fakes.content import FakeImage, blob, make_image

ARCHIVE = Path(__file__).with_name("home.tar.gz")
HOME = "/home/of-the-person"
"""Stands in the archive for the home directory."""
STORE = ".local/state/obol/registry-cache/builtin"
CONFIG = ".config/obol"
RECORDS = ".local/state/obol/clients"
PLATFORMS = ("linux/amd64", "linux/arm64")
APP = make_image(3000, 1000, seed=1, platforms=PLATFORMS)
LEFT, LEFT_DATA = blob(9000, "left")
"""A layer of which half was there when the engine was stopped."""
DAEMON = '{"debug": true}\n'
"""What the person's Docker had been told before."""
CLIENTS = {
    "docker": ("--file", f"{HOME}/docker/daemon.json"),
    "buildkit": ("--file", f"{HOME}/buildkit/buildkitd.toml"),
    "podman": ("--directory", f"{HOME}/containers"),
    "containerd": ("--directory", f"{HOME}/certs.d"),
}
"""Container clients that were set up, and by which options."""


def stack_images(references: list[str]) -> dict[str, FakeImage]:
    """An image for each of the stack's references."""
    return {name: make_image(700, seed=2 + number, platforms=PLATFORMS) for number, name in enumerate(references)}


def unpack(to: Path) -> Path:
    """The home directory as if it had been at `to` when it was written to."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(to, filter="tar")
    move(to, HOME, str(to))
    return to


def move(home: Path, before: str, after: str) -> None:
    """Name the home directory otherwise in all text files; records of originals are named after what they are of."""
    for path in (found for found in home.rglob("*") if found.is_file() and STORE not in str(found.relative_to(home))):
        text = path.read_text().replace(before, after)
        path.write_text(text)
        if path.parent == home / RECORDS:
            name = next(line for line in text.split('"') if line.startswith(after))
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            path.rename(path.with_name(f"{Path(name).name}-{digest}.json"))
