"""What a scenario found, as values: lines of a table, some of which have a bound that holds or does not."""

from dataclasses import dataclass

MIB = 1024 * 1024
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Figure:
    """One line; `bound` is empty for what is only told."""

    what: str
    value: str
    bound: str = ""
    holds: bool = True


def told(what: str, value: object) -> Figure:
    """A figure without a bound."""
    return Figure(what, str(value))


def exactly(what: str, value: int, wanted: int) -> Figure:
    """A count that must be just that."""
    return Figure(what, str(value), str(wanted), value == wanted)


def none_of(what: str, value: int) -> Figure:
    """A count that must be 0."""
    return exactly(what, value, 0)


def at_most(what: str, value: float, most: float, unit: str = "") -> Figure:
    """A number that must not be larger than `most`."""
    suffix = f" {unit}" if unit else ""
    return Figure(what, f"{_short(value)}{suffix}", f"≤ {_short(most)}{suffix}", value <= most)


def size(count: float) -> str:
    """Bytes for people."""
    return f"{count / GIB:.2f} GiB" if count >= GIB else f"{count / MIB:.1f} MiB"


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.2f}"
