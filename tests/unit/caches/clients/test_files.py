import os
from pathlib import Path

import pytest

from obol.caches.clients.files import ConfigHome, DockerMirror, MarkedBlock, WholeFile
from obol.errors import ObolError
from obol.machine.commands import User
from obol.rendering.mirrors import buildkitd_block
from obol.rendering.registries import Mirror


def test_directories(tmp_path: Path) -> None:
    """A person's directories are those that XDG's variables name, if these are absolute."""
    given = {"XDG_CONFIG_HOME": "/cfg", "XDG_DATA_HOME": "relative"}

    where = ConfigHome(tmp_path, per_user=True, environ=given)

    assert (str(where.config), where.data) == ("/cfg", tmp_path / ".local/share")
    assert str(where.etc) == "/etc"


def test_uid(tmp_path: Path) -> None:
    """Under sudo the person is whom sudo made root."""
    assert ConfigHome(tmp_path, per_user=True).uid == os.geteuid()
    assert ConfigHome(tmp_path, per_user=True, owner=User(4711, 1)).uid == 4711


MIRROR = "http://127.0.0.1:54100"
BLOCK = buildkitd_block([Mirror("docker.io", MIRROR)])


def test_docker_mirror() -> None:
    """Only the mirrors that came from us go, at whatever port they were."""
    edit = DockerMirror("/f", MIRROR)
    original = '{"registry-mirrors": ["http://theirs"]}'
    written = '{"registry-mirrors": ["http://127.0.0.1:40000", "http://theirs"]}'

    assert edit.applied(None) == '{\n  "registry-mirrors": ["http://127.0.0.1:54100"]\n}\n'
    assert edit.taken_out(written.replace("}", ', "debug": true}'), original, written) == (
        '{"registry-mirrors": ["http://theirs"], "debug": true}'
    )


def test_marked_block() -> None:
    """The block comes and goes."""
    edit = MarkedBlock("/f", BLOCK)

    assert edit.applied(None) == BLOCK
    assert edit.taken_out(f"a = 1\n\n{BLOCK}", None, "") == "a = 1\n"


@pytest.mark.parametrize(
    ("edit", "now"), [(DockerMirror("/f", MIRROR), "{"), (MarkedBlock("/f", BLOCK), f"=\n{BLOCK}")]
)
def test_spoilt(edit: DockerMirror | MarkedBlock, now: str) -> None:
    """A file that says nothing valid is refused in both directions, with the way out."""
    with pytest.raises(ObolError, match="/f cannot be changed: ") as applying:
        edit.applied(now)
    with pytest.raises(ObolError, match="/f cannot be changed: ") as taking_out:
        edit.taken_out(now, None, now)
    assert "by hand" in applying.value.hint
    assert "by hand" in taking_out.value.hint


def test_whole_file() -> None:
    """A file that is ours alone takes nobody's place, and does not go with somebody's changes."""
    edit = WholeFile("/f", "text\n")

    assert edit.applied(None) == edit.applied("text\n") == "text\n"
    with pytest.raises(ObolError, match="is there already"):
        edit.applied("theirs\n")
    with pytest.raises(ObolError, match="was changed after we wrote it"):
        edit.taken_out("changed\n", None, "text\n")


@pytest.mark.parametrize("edit", [DockerMirror("/f", "http://a:1"), MarkedBlock("/f", "x = 1\n")])
def test_nested_too_deeply(edit: DockerMirror | MarkedBlock) -> None:
    """A file in which everything is in something else is refused like any other that cannot be read."""
    with pytest.raises(ObolError, match="/f cannot be changed") as caught:
        edit.applied("a = " + "[" * 100_000 if isinstance(edit, MarkedBlock) else "[" * 100_000)

    assert "nested too deeply" in caught.value.why
