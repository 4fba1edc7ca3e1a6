import json
import os
import re
from pathlib import Path

import pytest

from obol.errors import ObolError
from obol.stack import home as home_module
from obol.stack.home import (
    FIRST,
    LAST_UP,
    LOCK,
    LONGEST,
    SECOND,
    UNFINISHED,
    WORKLOADS,
    WRITTEN,
    Home,
    Identity,
    LastUp,
    NameLost,
    at_work,
    claim,
    is_ours,
    remove,
    remove_empty,
    two_words,
)
from obol.stack.plan import Gain
from obol.workloads.sources import ManifestFile, packaged

WHO = Identity("brave-otter", "k3d")
OWN = (ManifestFile("litellm.yaml", "a: 1\n"), ManifestFile("prometheus.yaml", "b: 1\n"))
NEWER = (ManifestFile("litellm.yaml", "a: 2\n"), OWN[1])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A configuration directory that is not there yet."""
    return Home(tmp_path / "config")


def test_nothing_is_no_stack(home: Home) -> None:
    """Before init there is no identity, no last up, and nothing to remove; afterwards all of ours goes."""
    assert home.identity() is None
    assert home.last_up() is None
    assert home.remove() == ()
    assert not home.config.exists()

    home.establish(WHO)
    home.refresh(OWN)
    assert home.remove() == ()
    assert not home.config.exists()


def test_identity_is_kept(home: Home) -> None:
    """Who we are is read back; a stack of which only the id is known runs on k3d."""
    home.establish(WHO)
    assert home.identity() == WHO

    (home.config / ".stack-backend").unlink()

    assert home.identity() == Identity("brave-otter", "k3d")


def test_manifests_are_refreshed_unless_changed(home: Home) -> None:
    """A newer version replaces what it wrote itself, and leaves what the person changed."""
    assert home.refresh(OWN) == ()
    workloads = home.config / "workloads"
    assert home.refresh(NEWER) == ()
    assert (workloads / "litellm.yaml").read_text() == "a: 2\n"

    (workloads / "litellm.yaml").write_text("mine: 1\n")
    (workloads / "prometheus.yaml").unlink()

    assert home.refresh(OWN) == ("litellm.yaml",)
    assert (workloads / "litellm.yaml").read_text() == "mine: 1\n"
    assert (workloads / "prometheus.yaml").read_text() == "b: 1\n"


def test_a_manifest_of_an_interrupted_start_is_ours(home: Home) -> None:
    """One that was written, and not yet noted, is not taken for changed by the person."""
    home.refresh(packaged())
    (home.config / WORKLOADS / WRITTEN).unlink()

    assert home.refresh(packaged()) == ()
    assert home.remove() == ()


def test_last_up_is_kept(home: Home) -> None:
    """How the last up went is read back; a damaged record is no record, nor is one of a moment that there is not."""
    last = LastUp(1.5, 60.0, ("docker.io/library/alpine:3",), Gain(100, 0, 7.5, {"docker.io": (100, 0)}))
    home.establish(WHO)
    home.record(last)
    assert home.last_up() == last

    untrue = {"at": 1.5, "seconds": 60.0, "images": [], "bytes_from_cache": 9, "saved_seconds": 9.0}
    (home.config / LAST_UP).write_text(json.dumps(untrue))  # of a version that counted what others were given, too
    assert home.last_up() == LastUp(1.5, 60.0, ())

    for text in ("{", '{"at":1e300,"seconds":1,"images":[]}', '{"at":-1,"seconds":1,"images":[]}'):
        (home.config / LAST_UP).write_text(text)
        assert home.last_up() is None


def test_an_up_that_has_not_come_to_its_end(home: Home) -> None:
    """When an up began is known until it is recorded, or the stack is removed; a damaged note of it is none."""
    home.establish(WHO)
    assert home.unfinished() is None

    home.begin(7.5)
    assert home.unfinished() == 7.5
    home.record(LastUp(8.5, 1.0, ()))
    assert home.unfinished() is None

    for text in ("{", "1e300", "-1"):
        (home.config / UNFINISHED).write_text(text)
        assert home.unfinished() is None
    home.remove()
    assert not (home.config / UNFINISHED).exists()


def test_remove_takes_only_what_is_ours(home: Home) -> None:
    """Removing leaves obol.toml, foreign files and changed manifests, and names the last."""
    home.establish(WHO)
    home.refresh(OWN)
    workloads = home.config / "workloads"
    (home.config / "obol.toml").write_text("[cache]\n")
    (workloads / "own.yaml").write_text("x: 1\n")
    (workloads / "litellm.yaml").write_text("mine: 1\n")

    assert home.remove() == (workloads / "litellm.yaml",)

    left = sorted(path.name for path in home.config.rglob("*") if path.is_file())
    assert left == ["litellm.yaml", "obol.toml", "own.yaml"]
    assert home.identity() is None


def test_what_is_empty(tmp_path: Path) -> None:
    """Directories with nothing in them go, one after the other; one with something in it stays, and no error."""
    (tmp_path / "outer/inner").mkdir(parents=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("")

    remove_empty(tmp_path / "outer/inner", tmp_path / "outer", tmp_path / "full", tmp_path / "nowhere")

    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        (".stack-id", "", "is empty"),
        (".stack-id", " \n", "is empty"),
        (".stack-id", "Rubbish!", "says 'Rubbish!', which is no name of a stack"),
        (".stack-id", "two\nlines", "which is no name"),
        (".stack-id", "\x00\x00", "which is no name"),
        (".stack-id", "-calm", "which is no name"),
        (".stack-id", "a" * 22, "which is no name"),
        (".stack-id", "x" * 4000, "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx', which"),
        (".stack-backend", "", "is empty"),
        (".stack-backend", "vms", "says 'vms', which is no backend"),
    ],
)
def test_a_name_that_is_none(home: Home, file: str, text: str, why: str) -> None:
    """A file that does not tell who we are is an error with the way out, never a stack without a name."""
    home.establish(WHO)
    (home.config / file).write_text(text)

    with pytest.raises(NameLost) as told:
        home.identity()

    assert why in told.value.why
    assert str(home.config / file) in told.value.hint
    assert "obol stack init --force" in told.value.hint
    assert told.value.backend == ("k3d" if file == ".stack-id" else None)


@pytest.mark.parametrize("file", [".stack-id", ".stack-backend"])
def test_a_name_that_is_no_file(home: Home, file: str) -> None:
    """A directory in the place of the file is said, with what to remove before."""
    home.establish(WHO)
    (home.config / file).unlink()
    (home.config / file).mkdir()

    with pytest.raises(NameLost, match="it is a directory") as told:
        home.identity()

    assert told.value.hint.startswith(f"`rm -r {home.config / file}`; then put")


def test_a_name_that_may_not_be_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not ours to read does not pass for one that is not there."""
    home.establish(WHO)

    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(home_module, "read", forbidden)

    with pytest.raises(NameLost, match="Permission denied") as told:
        home.identity()

    assert told.value.hint.startswith("see who owns it; ")


def test_a_directory_of_ours(tmp_path: Path) -> None:
    """One that was made for a stack is that stack's, and no other's; one with something in it stays the person's."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/thesis").write_text("")
    claim(tmp_path / "theirs", tmp_path / "config")
    claim(tmp_path / "data", tmp_path / "config")
    claim(tmp_path / "data", tmp_path / "other")

    assert is_ours(tmp_path / "data", tmp_path / "config")
    assert not is_ours(tmp_path / "data", tmp_path / "other")
    assert not is_ours(tmp_path / "theirs", tmp_path / "config")


def test_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes with all that is in it; where it cannot, the way out is told."""
    claim(tmp_path / "data", tmp_path)
    remove(tmp_path / "data")
    remove(tmp_path / "data")
    assert not (tmp_path / "data").exists()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(ObolError) as caught:
        remove(tmp_path)
    assert "sudo rm" in caught.value.hint


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    """A directory that cannot be made is told of with a way out, be it for data or for the lock."""
    (tmp_path / "file").write_text("")

    with pytest.raises(ObolError, match="cannot be used"):
        claim(tmp_path / "file/data", tmp_path)
    with pytest.raises(ObolError) as caught, at_work(tmp_path / "file/config"):
        raise AssertionError
    assert "sudo" in caught.value.hint


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    """A directory whose name no format of a cluster can hold is refused, with the variable that names another one."""
    odd = tmp_path / os.fsdecode(b"h\xf6me")

    for data, config, variable in ((odd, tmp_path, "OBOL_DATA_DIR"), (tmp_path, odd, "OBOL_CONFIG_DIR")):
        with pytest.raises(ObolError, match=r"h\\xf6me cannot be used") as caught:
            claim(data, config)
        assert variable in caught.value.hint


def test_one_at_a_time(tmp_path: Path) -> None:
    """Nobody else gets in while somebody is at work, and everybody does afterwards."""
    with at_work(tmp_path / "config"):
        with pytest.raises(ObolError, match="another"), at_work(tmp_path / "config"):
            raise AssertionError
        with at_work(tmp_path / "other"):
            pass

    with at_work(tmp_path / "config"):
        pass


def test_nothing_is_left_where_there_is_no_stack(tmp_path: Path) -> None:
    """The directory was made for the lock alone; a stack, or a file of the person's, keeps it."""
    with at_work(tmp_path / "config"):
        pass
    assert not (tmp_path / "config").exists()

    with at_work(tmp_path / "config"):
        Home(tmp_path / "config").establish(Identity("brave-otter", "podman"))
    assert (tmp_path / "config" / LOCK).exists()

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/obol.toml").write_text("")
    with at_work(tmp_path / "mine"):
        pass
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["obol.toml"]


def test_a_lock_that_is_no_file(tmp_path: Path) -> None:
    """A named pipe in the place of the lock is told of, and nobody waits at it."""
    os.mkfifo(tmp_path / LOCK)

    with pytest.raises(ObolError, match="a named pipe"), at_work(tmp_path):
        raise AssertionError


def test_every_name_fits_a_cluster() -> None:
    """The longest pair is short enough for k3d, and every word is plain; chance points at the words of a name."""
    longest = len(max(FIRST, key=len)) + 1 + len(max(SECOND, key=len))

    assert longest <= LONGEST
    assert all(re.fullmatch("[a-z]+", word) for word in (*FIRST, *SECOND))
    assert len(set(FIRST)) == len(FIRST)
    assert len(set(SECOND)) == len(SECOND)
    assert two_words(lambda below: below - 1) == f"{FIRST[-1]}-{SECOND[-1]}"
