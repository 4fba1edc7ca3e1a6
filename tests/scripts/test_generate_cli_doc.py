from scripts.generate_cli_doc import commands, help_of, render


def test_every_command_has_its_help() -> None:
    """The page shows what each command's --help says, wrapped for a terminal of 80 columns."""
    page = render()

    for words in commands():
        assert f" {' '.join(('obol', *words))}\n" in page
        assert help_of(words) in page
    assert max(len(line) for line in help_of(("cache", "serve")).splitlines()) <= 80


def test_groups_come_before_their_members() -> None:
    """The order is that of the command tree."""
    found = list(commands())

    assert found[0] == ()
    assert found.index(("cache",)) < found.index(("cache", "serve"))
