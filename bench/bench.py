"""What every row is given: the origin, the content, the scale, and a way to run peers side by side."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.measures import Series
from bench.peers import Site, available, fresh

if TYPE_CHECKING:
    from bench.clients import Address, Client
    from bench.content import Blob, Content, Scale
    from bench.origin import OriginProcess
    from bench.peers import Name, Running


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmark."""

    folder: Path
    origin: OriginProcess
    content: Content
    scale: Scale

    def site(self, *, registries: tuple[str, ...] = ("docker.io",), pinned_to: int | None = None) -> Site:
        """A folder of its own for a peer."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return Site(folder, self.origin.port, self.content, registries, pinned_to)

    @contextmanager
    def together(self, names: Sequence[Name]) -> Iterator[dict[Name, Running]]:
        """Run peers over empty stores at the same time; those that are not installed are left out."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(fresh(name, self.site())) for name in names if available(name)}

    def interleaved(
        self, names: Sequence[Name], measure: Callable[[Name], tuple[float, ...]], runs: int | None = None
    ) -> tuple[tuple[Series, ...], ...]:
        """Measure each peer once, then each again, as often as the scale says; series for each number measured."""
        there = [name for name in names if available(name)]
        found: dict[Name, list[tuple[float, ...]]] = {name: [] for name in there}
        for _ in range(runs or self.scale.runs):
            for name in there:
                found[name].append(measure(name))
        columns = {name: tuple(zip(*values, strict=True)) for name, values in found.items()}
        width = len(columns[there[0]])
        return tuple(tuple(Series(name, columns[name][at]) for name in there) for at in range(width))


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def know(client: Client, address: Address, blob: Blob) -> None:
    """Ask for the manifests that name a blob, as every client does first, and over the same connection."""
    index = json.loads(client.read(address.manifest(blob.repository, "1")))
    client.read(address.manifest(blob.repository, index["manifests"][0]["digest"]))
