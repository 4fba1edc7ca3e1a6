"""Images and what became of them, for the tests of what is shown."""

from obol.client.ports import Kind, PulledImage, PullFailed
from obol.oci.references import Digest, ImageReference

MIB = 1024 * 1024
APP = ImageReference.parse("team/app:1")
LITELLM = ImageReference.parse("ghcr.io/berriai/litellm-non_root:main-v1.83.14-stable")
DIGEST = Digest.of(b"")


def pulled(
    reference: ImageReference = APP,
    cache: int = 0,
    upstream: int = 12 * MIB,
    platforms: tuple[str, ...] = ("linux/amd64",),
) -> PulledImage:
    """An image that is there, in two seconds."""
    return PulledImage(reference, DIGEST, platforms, 4, cache + upstream, cache, upstream, 2.0)


def failed(reference: ImageReference = LITELLM, kind: Kind = Kind.RATE_LIMITED) -> PullFailed:
    """An image that is not."""
    return PullFailed(reference, kind, why="too often", hint="wait", retry_after=34.0)
