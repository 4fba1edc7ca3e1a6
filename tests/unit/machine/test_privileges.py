from __future__ import annotations

import pytest

from obol.errors import DependencyMissing, ObolError
from obol.machine.privileges import PATIENCE, QUICK, AsRoot
from tests.fakes.runner import FakeRunner


async def test_root() -> None:
    """Root needs nobody's leave, and has its environment."""
    runner = FakeRunner()

    await AsRoot(runner, 0).run(["kill", "7"], env={"A": "b"})

    assert runner.lines == ["kill 7"]
    assert (runner.ran[0].env, runner.ran[0].timeout) == ({"A": "b"}, QUICK)


async def test_sudo_without_a_password() -> None:
    """Who may use sudo freely is not asked, and sudo is tried once."""
    runner = FakeRunner()
    root = AsRoot(runner, 1000)

    await root.run(["kill", "7"])
    await root.must("no", ["kill", "8"])

    assert runner.lines == ["sudo -n true", "sudo -n kill 7", "sudo -n kill 8"]


async def test_sudo_asks() -> None:
    """Otherwise sudo asks for the password, and gives a person time to find it."""
    runner = FakeRunner()
    runner.script("sudo", "-n", "true", code=1, stderr="sudo: a password is required")

    await AsRoot(runner, 1000).authorise()

    assert runner.lines == ["sudo -n true", "sudo -v"]
    assert runner.ran[1].timeout == PATIENCE


async def test_nobody_is_there_to_ask() -> None:
    """Where nobody may be asked, that is told, and what to do."""
    runner = FakeRunner()
    runner.script("sudo", "-n", "true", code=1, stderr="sudo: a password is required\n")

    with pytest.raises(ObolError, match=r"OBOL_NONINTERACTIVE=true forbids to ask .* a password is required") as caught:
        await AsRoot(runner, 1000, interactive=False).run(["kill", "7"])

    assert "sudo -v" in caught.value.hint
    assert runner.lines == ["sudo -n true"]


async def test_refused() -> None:
    """A person who may not use sudo is told in its words, or in ours where it says nothing."""
    runner = FakeRunner()
    runner.script("sudo", "-n", "true", code=1)
    runner.script("sudo", "-v", code=1, stderr="me is not in the sudoers file.\n")
    runner.script("sudo", "-v", code=1)
    root = AsRoot(runner, 1000)

    with pytest.raises(ObolError, match="sudo does not allow it: me is not in the sudoers file"):
        await root.authorise()
    with pytest.raises(ObolError, match="sudo said no"):
        await root.authorise()


async def test_no_sudo() -> None:
    """Without sudo it takes root itself."""
    with pytest.raises(DependencyMissing, match="there is no sudo") as caught:
        await AsRoot(FakeRunner(missing={"sudo"}), 1000).authorise()

    assert "run obol as root" in caught.value.hint


@pytest.mark.parametrize(("stderr", "why"), [("a\nrm: cannot\n", "rm: cannot"), ("", "`rm` ended with 2")])
async def test_must(stderr: str, why: str) -> None:
    """What has to work and does not is told with its last word."""
    runner = FakeRunner()
    runner.script("rm", code=2, stderr=stderr)

    with pytest.raises(ObolError) as caught:
        await AsRoot(runner, 0).must("it stays", ["rm", "x"], hint="look")

    assert (caught.value.what, caught.value.why, caught.value.hint) == ("it stays", why, "look")
