from __future__ import annotations

import pytest

from obol.machine.addresses import bracketed, is_ours


@pytest.mark.parametrize(("address", "ours"), [("127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False)])
def test_is_ours(address: str, ours: bool) -> None:
    """Loopback is an address of this machine; those that are set apart for documents are nobody's."""
    assert is_ours(address) is ours


def test_bracketed() -> None:
    """An address of IPv6 stands between brackets where a port follows it; another one does not."""
    assert (bracketed("::1"), bracketed("127.0.0.1")) == ("[::1]", "127.0.0.1")
