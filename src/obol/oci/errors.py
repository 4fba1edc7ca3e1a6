"""The errors a registry client may be told, as a table, and the one exception of this package.

The codes are those of the distribution specification where it has one; it allows others that are upper-case words
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes). Problems that a person has to mend
are another matter: `obol.errors`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

MAX_DETAIL = 512
"""Characters of detail that leave us: enough to see what was wrong, too little to be used as a mirror."""


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """A row of the table: the HTTP status, the code for machines and the message for people."""

    status: int
    code: str
    message: str


NAME_INVALID = ErrorKind(400, "NAME_INVALID", "the repository name is not valid")
TAG_INVALID = ErrorKind(400, "TAG_INVALID", "the tag is not valid")
DIGEST_INVALID = ErrorKind(400, "DIGEST_INVALID", "the digest is not valid or its algorithm is not supported")
MANIFEST_INVALID = ErrorKind(400, "MANIFEST_INVALID", "the manifest is not valid")
PAGINATION_NUMBER_INVALID = ErrorKind(
    400, "PAGINATION_NUMBER_INVALID", "the number of results is not a whole number of at least zero"
)
TARGET_INVALID = ErrorKind(400, "TARGET_INVALID", "the request target is not valid")
REQUEST_INVALID = ErrorKind(400, "REQUEST_INVALID", "the request is not valid HTTP")
FOREIGN_SITE = ErrorKind(403, "FOREIGN_SITE", "a browser sent this request for another web site, which is not allowed")
NAME_UNKNOWN = ErrorKind(404, "NAME_UNKNOWN", "the repository is not known here")
MANIFEST_UNKNOWN = ErrorKind(404, "MANIFEST_UNKNOWN", "the manifest is not known here")
BLOB_UNKNOWN = ErrorKind(404, "BLOB_UNKNOWN", "the blob is not known here")
NOT_FOUND = ErrorKind(404, "NOT_FOUND", "there is nothing at this path")
UNSUPPORTED = ErrorKind(405, "UNSUPPORTED", "the operation is not supported here")
REQUEST_TIMEOUT = ErrorKind(408, "REQUEST_TIMEOUT", "the request did not arrive in time")
RANGE_INVALID = ErrorKind(416, "RANGE_INVALID", "the range lies outside the content")
FOREIGN_HOST = ErrorKind(421, "FOREIGN_HOST", "the request names a host that this cache does not have")
HEAD_TOO_LARGE = ErrorKind(431, "HEAD_TOO_LARGE", "the head of the request is too large")
INTERNAL = ErrorKind(500, "INTERNAL", "the cache failed; its log says where")
UPSTREAM_BROKEN = ErrorKind(502, "UPSTREAM_BROKEN", "the upstream registry failed, or its answer cannot be used")
UNAVAILABLE = ErrorKind(503, "UNAVAILABLE", "the content is not available now, try again later")


class OciError(Exception):
    """A refusal: what kind it is, `detail` for the log and the client, and when to come back, in whole seconds.

    `problem` is one word for programs where statuses are too few to tell causes apart.
    """

    def __init__(self, kind: ErrorKind, detail: str = "", retry_after: int | None = None, problem: str = "") -> None:
        super().__init__(kind, detail, retry_after, problem)
        self.kind = kind
        self.detail = printable(detail)
        self.retry_after = retry_after
        self.problem = problem

    def __str__(self) -> str:
        text = f"{self.kind.code}: {self.kind.message}"
        return f"{text} ({self.detail})" if self.detail else text

    def body(self) -> bytes:
        """The JSON document of the specification's section on error codes."""
        error = {"code": self.kind.code, "message": self.kind.message, "detail": self.detail}
        return msgspec.json.encode({"errors": [error]})


def printable(text: str) -> str:
    """`text` made safe to repeat: at most MAX_DETAIL characters, with all that does not print shown as escapes."""
    text = text[:MAX_DETAIL]
    if not text.isprintable():
        # Lone surrogates, which stand for undecodable bytes of a header, do not print either and have no UTF-8 form.
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text[:MAX_DETAIL]
