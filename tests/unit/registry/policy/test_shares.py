import pytest

from obol.registry.policy.shares import FEWEST, FIXED, MOST_CONNECTIONS, PER_CLIENT, PER_TRANSFER, divide


@pytest.mark.parametrize("files", [96, 128, 256, 1024, 4096, 65_536])
def test_all_together_fit(files: int) -> None:
    """What everybody may take at once is no more than there is."""
    shares = divide(files)

    assert FIXED + shares.connections * PER_CLIENT + 2 * shares.upstream * PER_TRANSFER <= files
    assert min(shares.connections, shares.upstream) >= FEWEST
    assert 1 <= shares.unattended <= shares.upstream


@pytest.mark.parametrize("files", [0, 20, 64])
def test_too_few(files: int) -> None:
    """With hardly any descriptors somebody is served all the same."""
    assert divide(files).connections >= FEWEST
    assert divide(files).upstream >= FEWEST


def test_memory_counts_too() -> None:
    """However many descriptors there are, connections are bounded."""
    assert divide(10**9).connections == MOST_CONNECTIONS
