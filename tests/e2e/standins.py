"""Small images under the stack's real names: they answer as the real ones do, from the machine's static busybox.

What a pod is given is checked by the image itself, which ends where it is missing: the key and the file with settings.
"""

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass

from obol.oci.references import ImageReference
from tests.clients.images import BUSYBOX, MEDIA_TYPES, Content, Pushing, native_architecture

MIB = 1024 * 1024
_WORDS = MEDIA_TYPES["oci"]
_SERVE = "trap 'exit 0' TERM; /bin/busybox httpd -f -p {port} -h /www & wait"


@dataclass(frozen=True, slots=True)
class StandIn:
    """What an image does."""

    port: int
    paths: tuple[str, ...]
    """Which it answers with 200."""
    needs: str
    """A condition of the shell, without which it ends."""
    layers: tuple[int, ...]
    """Sizes of the layers that only weigh something."""


STAND_INS = {
    "litellm": StandIn(
        4000,
        ("health/liveliness", "health/readiness"),
        '[ -f /app/config.yaml ] && case "$LITELLM_MASTER_KEY" in sk-*) ;; *) false;; esac',
        (6 * MIB, 3 * MIB),
    ),
    "prometheus": StandIn(
        9090,
        ("-/ready", "-/healthy"),
        "[ -f /etc/prometheus/prometheus.yml ] && : >/prometheus/writable",
        (3 * MIB,),
    ),
}


def push_stand_in(port: int, reference: ImageReference, stand_in: StandIn) -> int:
    """Make one and push it into the registry on a loopback port; tells the bytes of its blobs."""
    diffs = [_files(stand_in), *(_weight(size, seed) for seed, size in enumerate(stand_in.layers, stand_in.port))]
    layers = [Content(_WORDS.layer, gzip.compress(diff, compresslevel=1, mtime=0)) for diff in diffs]
    config = Content(_WORDS.config, _config(stand_in, diffs))
    manifest = Content(
        _WORDS.manifest,
        _json(
            {
                "schemaVersion": 2,
                "mediaType": _WORDS.manifest,
                "config": config.descriptor(),
                "layers": [layer.descriptor() for layer in layers],
            }
        ),
    )
    with Pushing(port, str(reference.repository)) as registry:
        for blob in (*layers, config):
            registry.blob(blob)
        registry.manifest(manifest, str(reference.tag))
    return sum(len(blob.body) for blob in (*layers, config))


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _files(stand_in: StandIn) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        parents = {path.rpartition("/")[0] for path in stand_in.paths}
        for name in ("bin", "tmp", "app", "etc", "www", *(f"www/{parent}" for parent in sorted(parents))):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for path in stand_in.paths:
            _add(tar, f"www/{path}", b"fine\n", 0o644)
        entry = tarfile.TarInfo("bin/sh")
        entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
        tar.addfile(entry)
    return out.getvalue()


def _weight(size: int, seed: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add(tar, f"weight-{seed}", random.Random(seed).randbytes(size), 0o644)
    return out.getvalue()


def _add(tar: tarfile.TarFile, name: str, body: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(body), mode
    tar.addfile(entry, io.BytesIO(body))


def _config(stand_in: StandIn, diffs: list[bytes]) -> bytes:
    script = f"{{ {stand_in.needs}; }} || {{ echo something is missing; exit 1; }}; {_SERVE.format(port=stand_in.port)}"
    return _json(
        {
            "created": "2026-01-01T00:00:00Z",
            "architecture": native_architecture(),
            "os": "linux",
            "config": {"Entrypoint": ["/bin/sh", "-c", script], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(diff).hexdigest() for diff in diffs]},
        }
    )
