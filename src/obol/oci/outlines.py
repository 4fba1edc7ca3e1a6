"""What kind of manifest a document is, found out without reading what it names.

A parser that makes nothing of the parts of a document passes over them at the speed of memory. So this is for documents
that are only passed on, whatever their size.
"""

from __future__ import annotations

import msgspec

from obol.oci.errors import MANIFEST_INVALID, OciError
from obol.oci.manifests import RawDescriptor, RawDocument, type_of


class _Outline(msgspec.Struct, frozen=True, rename="camel"):
    """A document with its parts passed over: that they are JSON is seen, and nothing is made of them."""

    schema_version: int = 2
    media_type: str | None = None
    manifests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    fs_layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_PLACEHOLDER = RawDescriptor("", 0)
_outline = msgspec.json.Decoder(_Outline).decode


def stored_type(body: bytes, said: str) -> str:
    """The type of a document that was said to be of type `said`, from its outline: a hundredth of the work.

    For bytes that were named by their digest in something that calls them a manifest. Raises OciError
    (MANIFEST_INVALID) for what is no manifest, or another kind of one.
    """
    return type_of(_in_outline(body), said)


def _in_outline(body: bytes) -> RawDocument:
    """The document with placeholders for what it names."""
    try:
        outline = _outline(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise OciError(MANIFEST_INVALID, str(error)) from None
    return RawDocument(
        schema_version=outline.schema_version,
        media_type=outline.media_type,
        manifests=msgspec.UNSET
        if outline.manifests is msgspec.UNSET
        else ([] if _is(b"[", outline.manifests) else None),
        config=_PLACEHOLDER if _is(b"{", outline.config) else None,
        layers=[] if _is(b"[", outline.layers) else None,
        fs_layers=outline.fs_layers,
    )


def _is(opening: bytes, raw: msgspec.Raw | msgspec.UnsetType) -> bool:
    """Whether a value is of the kind that opens so; not where it is null or left out. Others are refused."""
    text = b"null" if raw is msgspec.UNSET else bytes(raw)
    if text[:1] == opening:
        return True
    if text != b"null":
        raise OciError(MANIFEST_INVALID, "a part of it is not what it should be")
    return False
