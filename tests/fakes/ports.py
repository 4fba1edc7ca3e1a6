"""Ports of a machine that does not exist."""

from dataclasses import dataclass, field

from obol.machine.ports import Holder


@dataclass
class FakePorts:
    """Some are taken, and some are free."""

    taken: set[tuple[str, int]] = field(default_factory=set)
    next_free: list[int] = field(default_factory=lambda: [40000, 40001, 40002])
    holders: dict[int, Holder] = field(default_factory=dict)

    def is_free(self, address: str, port: int) -> bool:
        return (address, port) not in self.taken

    def pick_free(self, addresses: tuple[str, ...]) -> int:
        if not self.next_free:
            raise OSError(98, "all taken")
        return self.next_free.pop(0)

    def holder(self, port: int) -> Holder | None:
        return self.holders.get(port)
