"""Every package of src/obol has tests at the same place in tests/unit, and every folder there has its package.

The tests of `src/obol/oci` are in `tests/unit/oci`. How they are divided into modules is theirs to say: by what a
reader looks for, not by how the package is cut. Packages that hold values only are listed with their reason in
pyproject.toml, under `[tool.obol.tests-mirror.exempt]`; an exemption that is no longer needed is a problem too.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

SOURCES = Path("src/obol")
TESTS = Path("tests/unit")


def exemptions(root: Path) -> Mapping[str, str]:
    """The exempt packages, relative to src/obol, and why. Raises TypeError where the table holds anything but text."""
    with (root / "pyproject.toml").open("rb") as file:
        tools = tomllib.load(file).get("tool", {})
    table = tools.get("obol", {}).get("tests-mirror", {}).get("exempt", {})
    for reason in table.values():
        if not isinstance(reason, str):
            raise TypeError("an exemption is written as: path = 'reason'")
    return {str(path): reason for path, reason in table.items()}


def problems(root: Path) -> Iterator[str]:
    """Yield a line of text for each package without tests, folder of tests without package, and idle exemption."""
    packages = _folders(root / SOURCES, lambda name: not name.startswith("__"))
    tested = _folders(root / TESTS, lambda name: name.startswith("test_"))
    exempt = exemptions(root)
    for package in sorted(packages - tested - set(exempt)):
        yield f"{SOURCES / package} has no tests: {TESTS / package} has none"
    for folder in sorted(tested - packages):
        yield f"{TESTS / folder} has no subject: {SOURCES / folder} has no modules"
    for package in sorted(exempt):
        if package not in packages:
            yield f"{SOURCES / package} is exempt, but there is no such package"
        elif package in tested:
            yield f"{SOURCES / package} is exempt, but it has tests: {TESTS / package}"


def _folders(root: Path, counts: Callable[[str], bool]) -> set[str]:
    """The folders below `root`, relative to it, that hold a module whose name counts."""
    return {path.parent.relative_to(root).as_posix() for path in root.rglob("*.py") if counts(path.name)}


def main() -> int:
    """Print what does not match; 1 if anything does not."""
    found = list(problems(Path.cwd()))
    print("\n".join(found) or "every package has its tests")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
