import os
from pathlib import Path

import pytest

from obol.machine.daemons import (
    Flag,
    Word,
    flags_of,
    init_words,
    running_commands,
    system_folders,
    unit_command,
    user_folders,
)

UNIT = "docker.service"
PLAIN = "[Unit]\nDescription=x\n[Service]\nType=notify\nExecStart=/usr/bin/dockerd -H fd://\n"


def put(path: Path, text: str) -> Path:
    """Let a file be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def words(root: Path) -> list[str]:
    """The command line of the unit on a machine below a directory."""
    return [word.text for word in unit_command(UNIT, system_folders(root), root)]


def test_unit(tmp_path: Path) -> None:
    """A unit is looked for where systemd looks; the first one found counts, and none says nothing."""
    assert words(tmp_path) == []
    put(tmp_path / "lib/systemd/system" / UNIT, PLAIN)
    assert words(tmp_path) == ["/usr/bin/dockerd", "-H", "fd://"]
    put(tmp_path / "etc/systemd/system" / UNIT, "[Service]\nExecStart=-@/opt/dockerd dockerd --debug\n")
    assert words(tmp_path) == ["/opt/dockerd", "dockerd", "--debug"]


@pytest.mark.parametrize("folder", ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system"])
def test_drop_in(folder: str, tmp_path: Path) -> None:
    """A drop-in that names another command replaces the former one, and is told as its source."""
    put(tmp_path / "usr/lib/systemd/system" / UNIT, PLAIN)
    drop_in = put(
        tmp_path / folder / f"{UNIT}.d/mirror.conf",
        "[Service]\nExecStart=\n"
        "ExecStart=/usr/bin/dockerd \\\n  # not this\n  --registry-mirror https://a \\\n  --debug\n",
    )

    found = unit_command(UNIT, system_folders(tmp_path), tmp_path)

    assert flags_of(found, "dockerd") == (
        Flag("registry-mirror", "https://a", str(drop_in)),
        Flag("debug", "", str(drop_in)),
    )


def test_order_of_drop_ins(tmp_path: Path) -> None:
    """Drop-ins go by their names, and one of the same name hides that of a later folder, be it by a link to nothing."""
    put(tmp_path / "usr/lib/systemd/system" / UNIT, PLAIN)
    put(tmp_path / f"usr/lib/systemd/system/{UNIT}.d/20.conf", "[Service]\nExecStart=\nExecStart=/a\n")
    put(tmp_path / f"etc/systemd/system/{UNIT}.d/10.conf", "[Service]\nExecStart=\nExecStart=/b\n")
    put(tmp_path / f"etc/systemd/system/{UNIT}.d/90.txt", "[Service]\nExecStart=\nExecStart=/c\n")
    assert words(tmp_path) == ["/a"]

    (tmp_path / f"etc/systemd/system/{UNIT}.d/20.conf").symlink_to("/dev/null")
    assert words(tmp_path) == ["/b"]


def test_masked(tmp_path: Path) -> None:
    """A unit that is a link to /dev/null starts nothing."""
    put(tmp_path / "usr/lib/systemd/system" / UNIT, PLAIN)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system" / UNIT).symlink_to("/dev/null")

    assert words(tmp_path) == []


def test_variables(tmp_path: Path) -> None:
    """Variables stand for what the unit and its files say, and the file is told as the source."""
    put(
        tmp_path / "lib/systemd/system" / UNIT,
        "[Service]\nEnvironment=A=lost\nEnvironment=\nEnvironment='A=one two' \"LEVEL=warn\" nonsense\n"
        "EnvironmentFile=/lost\nEnvironmentFile=\nEnvironmentFile=-/etc/default/docker\nEnvironmentFile=relative\n"
        "ExecStart=/usr/bin/dockerd $DOCKER_OPTS --log-level=${LEVEL} --x=${NONE}$$ $NONE $A 50%%\n",
    )
    file = put(
        tmp_path / "etc/default/docker",
        '# DOCKER_OPTS="--debug"\n\nexport DOCKER_OPTS="--registry-mirror=https://a \\\n --insecure-registry b"\n',
    )

    found = unit_command(UNIT, system_folders(tmp_path), tmp_path)

    assert [word.text for word in found] == [
        "/usr/bin/dockerd",
        "--registry-mirror=https://a",
        "--insecure-registry",
        "b",
        "--log-level=warn",
        "--x=$",
        "one",
        "two",
        "50%",
    ]
    assert found[1].source == str(file)


@pytest.mark.parametrize("name", ["/", "/a**b", "/etc/[", "/etc/**/x/../**"])
def test_odd_patterns(name: str, tmp_path: Path) -> None:
    """A pattern of files that nobody understands names none."""
    text = f"[Service]\nEnvironmentFile={name}\nExecStart=/usr/bin/dockerd\n"
    put(tmp_path / "lib/systemd/system" / UNIT, text)

    assert words(tmp_path) == ["/usr/bin/dockerd"]


def test_init_words(tmp_path: Path) -> None:
    """What an init script reads is taken whole, whatever its variables are called."""
    first = put(tmp_path / "docker", "DOCKER_OPTS='--registry-mirror=https://a'\nnonsense\nX=\"it's\"\n")

    assert init_words([first, tmp_path / "none"]) == (
        Word("--registry-mirror=https://a", str(first)),
        Word("it's", str(first)),
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dockerd --registry-mirror=https://a", [("registry-mirror", "https://a")]),
        ("dockerd --registry-mirror https://a", [("registry-mirror", "https://a")]),
        ("dockerd -H fd:// -D", [("H", "fd://"), ("D", "")]),
        ("dockerd -Hfd:// -l=warn", [("H", "fd://"), ("l", "warn")]),
        ("flock -n x dockerd --debug --config-file /x", [("debug", ""), ("config-file", "/x")]),
        ("/usr/bin/dockerd-rootless.sh --debug -", [("debug", "")]),
        ("start --debug", [("debug", "")]),
    ],
)
def test_flags_of(line: str, expected: list[tuple[str, str]]) -> None:
    """Options are read in all their spellings, and those of what starts the daemon are not its own."""
    found = flags_of([Word(word, "x") for word in line.split()], "dockerd")

    assert [(flag.name, flag.value) for flag in found] == expected


def test_flags_in_a_shell() -> None:
    """What a shell is told is a command line, too."""
    shell = [Word("/bin/sh", "x"), Word("-c", "x"), Word("exec dockerd --debug 'x", "x")]

    assert flags_of(shell, "dockerd") == (Flag("debug", "'x", "x"),)


def test_running_commands(tmp_path: Path) -> None:
    """A daemon that runs is found by its program, its user and its files."""

    def runs(number: int, *argv: str, mounts: str = "mnt:[1]") -> None:
        put(tmp_path / f"proc/{number}/cmdline", "".join(f"{word}\0" for word in argv))
        (tmp_path / f"proc/{number}/ns").mkdir()
        (tmp_path / f"proc/{number}/ns/mnt").symlink_to(mounts)

    uid = os.getuid()
    assert running_commands("dockerd", tmp_path, uid) == ()
    put(tmp_path / "proc/self/ns/x", "")
    (tmp_path / "proc/self/ns/mnt").symlink_to("mnt:[1]")
    runs(12, "/usr/bin/dockerd", "--debug")
    runs(9, "bash", "dockerd")
    runs(10)
    (tmp_path / "proc/11").mkdir()
    runs(13, "dockerd", mounts="mnt:[2]")

    found = running_commands("dockerd", tmp_path, uid)

    assert found[0] == (Word("/usr/bin/dockerd", "process 12"), Word("--debug", "process 12"))
    assert len(found) == (1 if uid == 0 else 2)
    assert running_commands("dockerd", tmp_path, uid + 1) == ()


def test_user_folders(tmp_path: Path) -> None:
    """A person's own units come before those of the machine for all."""
    found = user_folders(tmp_path, tmp_path / "config", tmp_path / "data")

    assert found[1] == tmp_path / "config/systemd/user"
    assert found.index(tmp_path / "etc/systemd/user") > found.index(tmp_path / "data/systemd/user")
