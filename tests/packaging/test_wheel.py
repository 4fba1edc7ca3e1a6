"""The wheel by itself: what is in it, and that it runs."""

import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

import obol
from tests.packaging.dockerfile import ROOT
from tests.packaging.wheel import Installed, build_wheel, install_wheel, lend_dependencies

pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own that borrows only its dependencies."""
    workdir = tmp_path_factory.mktemp("wheel")
    found = install_wheel(build_wheel(workdir), workdir / "venv")
    lend_dependencies(found)
    return found


def test_content(installed: Installed) -> None:
    """Everything of src/obol is in it, the files that are not Python too, and nothing else but what describes it."""
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())
    source = ROOT / "src"
    ours = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}

    described = {name for name in names if ".dist-info/" in name}
    assert names - described == {name for name in ours if "__pycache__" not in name}
    assert {"obol/py.typed", "obol/workloads/k3s-images.txt", "obol/workloads/manifests/litellm.yaml"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in described)


def test_runs(installed: Installed, tmp_path: Path) -> None:
    """The installed command is the wheel's own code, and tells its version."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    where = subprocess.run(
        [installed.home / "bin" / "python", "-c", "import obol; print(obol.__file__)"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    told = subprocess.run(
        [installed.program, "--version"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert where.stdout.strip() == str(installed.packages / "obol" / "__init__.py")
    assert told.stdout == f"obol {obol.__version__}\n"


def test_data_is_found(installed: Installed, tmp_path: Path) -> None:
    """What is read from the package's own files is read from the installed ones."""
    code = (
        "from obol.workloads.sources import packaged; from obol.workloads.k3s import builtin_images\n"
        "print(len(packaged()), len(builtin_images()) > 3)"
    )
    done = subprocess.run(
        [installed.home / "bin" / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout == "2 True\n"


def test_version() -> None:
    """The version that the command tells is the one that is published."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert project["version"] == obol.__version__
