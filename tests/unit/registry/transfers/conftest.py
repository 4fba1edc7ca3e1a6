from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from obol.registry.transfers.transfer import TransferEnvironment
from tests.fakes.clock import FakeClock
from tests.fakes.store import MemoryStore
from tests.unit.registry.world import FILL, LIMITS


@pytest.fixture
def environment() -> Iterator[TransferEnvironment]:
    """What transfers share, with a tail of ten bytes that is withheld."""
    store = MemoryStore()
    settings = replace(FILL, withhold=10)
    with ThreadPoolExecutor(1) as threads:
        yield TransferEnvironment(store.partials, store.content, settings, LIMITS, FakeClock(), threads)
