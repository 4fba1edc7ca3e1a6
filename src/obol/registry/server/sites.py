"""Requests that a browser sends for another web site.

A page may make a browser ask any address for an image or a script, and we would fetch what it names. The page sees no
answer, but our line and disk would be at its disposal. Browsers say for whom they ask: in Sec-Fetch-Site (W3C, Fetch
Metadata), in Origin, and in Referer, which is all that they say where we are called by a name that is not of this
machine. Registry clients send none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obol.oci.errors import FOREIGN_SITE, OciError

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

OURS = frozenset({"none", "same-origin"})
"""A person typed the address, or a page of ours asks. `same-site` is another port or name: not ours."""


def refuse_other_sites(headers: CIMultiDictProxy[str]) -> None:
    """Raise OciError (FOREIGN_SITE) for a request that a browser sends because another site told it to."""
    if "Sec-Fetch-Site" in headers and not all(
        value.strip().lower() in OURS for value in headers.getall("Sec-Fetch-Site")
    ):
        raise OciError(FOREIGN_SITE)
    if "Origin" in headers or "Referer" in headers:
        own = _without_default_port(f"http://{headers.get('Host', '')}")
        named = [*headers.getall("Origin", ()), *map(_origin, headers.getall("Referer", ()))]
        if any(_without_default_port(origin) != own for origin in named):
            raise OciError(FOREIGN_SITE)


def _origin(page: str) -> str:
    """The origin of a page; of what is none, nothing."""
    try:
        parts = urlsplit(page.strip())
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


def _without_default_port(origin: str) -> str:
    return origin.strip().lower().removesuffix(":80")
