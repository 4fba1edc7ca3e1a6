"""The demo's slow link, which the fakes use too."""

from obol.demo.origin import FIRST_PIECE, PIECE, LinkConnection, SlowLink

__all__ = ["FIRST_PIECE", "PIECE", "LinkConnection", "SlowLink"]
