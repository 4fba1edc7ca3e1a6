"""The container image without a registry to pull a base from: this machine's Python, what it is linked to, our wheel.

What the Dockerfile says of how containers run is taken from there, and its directory with another owner too.
"""

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from tests.clients.images import BUSYBOX
from tests.packaging.dockerfile import DOCKERFILE, ROOT, owned_directories
from tests.packaging.wheel import Installed, build_wheel, install_wheel

HOME = Path("/opt/obol")
"""Where the Dockerfile has its virtual environment."""
PROGRAMS = ("cat", "find", "sh", "sleep", "wget")
_EMPTY = ("dev", "etc", "proc", "run", "sys", "var/lib")
_LEFT_OUT = re.compile(r"site-packages|dist-packages|tests?|idlelib|tkinter|ensurepip|lib2to3|turtledemo|config-.*")


def write_root(archive: Path, workdir: Path) -> None:
    """Write the whole file system as a tar."""
    installed = install_wheel(build_wheel(workdir), workdir / "venv")
    with tarfile.open(archive, "w") as tar:
        root = _Root(tar)
        library, environment = [*_library()], dict(_environment(installed))
        for path in (_base(), *library, *_linked([_base(), *library, *environment])):
            root.add(path, path)
        for path, kept in environment.items():
            root.add(path, kept)
        root.text(HOME / "pyvenv.cfg", f"home = {_base().parent}\ninclude-system-site-packages = false\n")
        root.text(HOME / "bin/obol", _script(installed), mode=0o755)
        root.link(HOME / "bin/python", str(_base()))
        root.add(BUSYBOX, Path("/bin/busybox"))
        for name in PROGRAMS:
            root.link(Path("/bin") / name, "busybox")
        for name in _EMPTY:
            root.directory(Path("/") / name)
        root.directory(Path("/tmp"), mode=0o1777)
        for own in owned_directories(DOCKERFILE.read_text(encoding="utf-8")):
            root.directory(Path(own.path), uid=own.uid, gid=own.gid)


class _Root:
    """A tar in which every directory is there before what is in it, and open to everybody."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._there: set[Path] = {Path("/")}

    def directory(self, path: Path, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        if path in self._there:
            return
        self.directory(path.parent)
        entry = self._entry(path, mode)
        entry.type, entry.uid, entry.gid = tarfile.DIRTYPE, uid, gid
        self._tar.addfile(entry)

    def add(self, source: Path, path: Path) -> None:
        if path in self._there:
            return
        self.directory(path.parent)
        status = source.stat()
        entry = self._entry(path, 0o755 if os.access(source, os.X_OK) else 0o644)
        # Compiled code is used where it is as old as its source.
        entry.size, entry.mtime = status.st_size, int(status.st_mtime)
        with source.open("rb") as file:
            self._tar.addfile(entry, file)

    def text(self, path: Path, text: str, *, mode: int = 0o644) -> None:
        self.directory(path.parent)
        entry = self._entry(path, mode)
        entry.size = len(text.encode())
        self._tar.addfile(entry, io.BytesIO(text.encode()))

    def link(self, path: Path, target: str) -> None:
        self.directory(path.parent)
        entry = self._entry(path, 0o777)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._tar.addfile(entry)

    def _entry(self, path: Path, mode: int) -> tarfile.TarInfo:
        self._there.add(path)
        entry = tarfile.TarInfo(str(path.relative_to("/")))
        entry.mode = mode
        return entry


def _base() -> Path:
    """The interpreter itself, not the environment's link to it."""
    return Path(sys.base_prefix) / "bin" / f"python{sysconfig.get_python_version()}"


def _library() -> Iterator[Path]:
    """The standard library, without what nobody runs."""
    library = Path(sysconfig.get_path("stdlib"))
    for parent, directories, names in os.walk(library):
        directories[:] = [name for name in directories if not _LEFT_OUT.fullmatch(name)]
        yield from (Path(parent) / name for name in names if ".opt-" not in name)


def _linked(files: Sequence[Path]) -> Iterator[Path]:
    """The libraries that programs and modules are linked to."""
    linked = [str(path) for path in files if path.suffix in {".so", _base().suffix}]
    said = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=False).stdout
    yield from map(Path, sorted(set(re.findall(r"(/\S+) \(0x", said))))


def _environment(installed: Installed) -> Iterator[tuple[Path, Path]]:
    """What is in the virtual environment: our wheel, and the packages of the lock as they are installed here."""
    packages = HOME / installed.packages.relative_to(installed.home)
    for path in filter(Path.is_file, installed.packages.rglob("*")):
        yield path, packages / path.relative_to(installed.packages)
    for name in _locked():
        for file in metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            if ".." not in file.parts and path.is_file():  # their commands are not needed
                yield path, packages / path.relative_to(_site())


def _locked() -> Iterator[str]:
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if (found := re.match(r"(?P<name>[\w.-]+)==[^;]*$", line)) is not None:
            yield found["name"]


def _script(installed: Installed) -> str:
    """The command, as installed, for where the environment is in the image."""
    _, _, rest = installed.program.read_text(encoding="utf-8").partition("\n")
    return f"#!{HOME}/bin/python\n{rest}"


def _site() -> Path:
    return Path(sysconfig.get_path("purelib"))
