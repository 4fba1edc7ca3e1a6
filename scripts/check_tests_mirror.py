"""Every module of src/obol has its test module, and every unit test module has its subject.

`src/obol/oci/ranges.py` is tested by `tests/unit/oci/test_ranges.py`. So a reader finds the tests without searching,
and a module without any is noticed. `__init__.py` holds only a docstring, and `__main__.py` may go untested. Other
exemptions are listed with their reason in pyproject.toml, under `[tool.obol.tests-mirror.exempt]`; one that is no
longer needed is a problem too.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCES = PurePosixPath("src/obol")
TESTS = PurePosixPath("tests/unit")


def mirror_of(module: PurePosixPath) -> PurePosixPath:
    """Where the tests of a module (both relative to the checkout) belong."""
    return TESTS / module.relative_to(SOURCES).with_name(f"test_{module.name}")


def source_of(test: PurePosixPath) -> PurePosixPath:
    """Which module a test module is about: the inverse of `mirror_of`."""
    return SOURCES / test.relative_to(TESTS).with_name(test.name.removeprefix("test_"))


def exemptions(root: Path) -> Mapping[str, str]:
    """The exempt modules, relative to src/obol, and why. Raises TypeError where the table holds anything but text."""
    with (root / "pyproject.toml").open("rb") as file:
        tools = tomllib.load(file).get("tool", {})
    table = tools.get("obol", {}).get("tests-mirror", {}).get("exempt", {})
    for reason in table.values():
        if not isinstance(reason, str):
            raise TypeError("an exemption is written as: path = 'reason'")
    return {str(path): reason for path, reason in table.items()}


def problems(root: Path) -> Iterator[str]:
    """Yield a line of text for each module without tests, test module without subject, and idle exemption."""
    modules = _listing(root, SOURCES, "*.py")
    tests = _listing(root, TESTS, "test_*.py")
    exempt = {SOURCES / path for path in exemptions(root)}
    for module in sorted(modules - exempt):
        if module.name not in {"__init__.py", "__main__.py"} and mirror_of(module) not in tests:
            yield f"{module} has no tests: {mirror_of(module)} is missing"
    for test in sorted(tests):
        if source_of(test) not in modules:
            yield f"{test} has no subject: {source_of(test)} is missing"
    for module in sorted(exempt):
        if module not in modules:
            yield f"{module} is exempt, but there is no such module"
        elif mirror_of(module) in tests:
            yield f"{module} is exempt, but it has tests: {mirror_of(module)}"


def _listing(root: Path, folder: PurePosixPath, pattern: str) -> set[PurePosixPath]:
    return {PurePosixPath(path.relative_to(root).as_posix()) for path in (root / folder).rglob(pattern)}


def main() -> int:
    """Print what does not match; 1 if anything does not."""
    found = list(problems(Path.cwd()))
    print("\n".join(found) or "every module has its test module")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
