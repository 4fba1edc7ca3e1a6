from obol.config.sources import OPTIONS, PREFIX
from scripts.generate_settings_doc import render, rows


def test_every_setting_has_a_row_with_its_meaning() -> None:
    """Each option of `cache serve` is there under its three names, and its meaning is not empty."""
    found = list(rows())

    assert len(found) == len(OPTIONS)
    for name, row in zip(OPTIONS, found, strict=True):
        assert f"`--{name.replace('_', '-')}`" in row
        assert f"`{PREFIX}{name.upper()}`" in row
        assert not row.endswith("|  |")


def test_directories_are_named() -> None:
    """The variables that move our directories are on the page."""
    page = render()

    for variable in ("OBOL_CONFIG_DIR", "OBOL_DATA_DIR", "OBOL_STATE_DIR", "OBOL_REGISTRY_CACHE_DIR"):
        assert variable in page
