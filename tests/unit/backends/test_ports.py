from obol.backends.ports import Program, no_caches


def test_program() -> None:
    """A program answers, is installed without answering, or is not there."""
    found = [Program("docker", version="27.0"), Program("docker", trouble="no daemon"), Program("docker")]

    assert [(one.installed, one.answers) for one in found] == [(True, True), (True, False), (False, False)]


async def test_caches_on_loopback_only() -> None:
    """Unless somebody says how, the caches answer on no other address."""
    assert await no_caches("10.89.1.1") is None
