"""LiteLLM as an image: Debian's Python from mmdebstrap, and `litellm[proxy]` from the Python package index.

No image can be pulled where the soak runs, so it is made of what the machine's package lists have. It takes some
minutes and 2 GB of disk. Like the real one it answers on the port that its arguments name and runs as any user.
"""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.clients.images import MEDIA_TYPES, native_architecture
from tests.soak.scenario import Refused

VERSION = "1.83.14"
_WORDS = MEDIA_TYPES["oci"]
_START = "from litellm import run_server; run_server()"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Layer:
    """A compressed layer in a file, with its digest and that of the tar archive within."""

    file: Path
    digest: str
    diff_id: str

    def descriptor(self) -> Mapping[str, str | int]:
        return {"mediaType": _WORDS.layer, "digest": self.digest, "size": self.file.stat().st_size}


def make_layout(workdir: Path, tag: str) -> Path:
    """Make the image in an OCI layout below `workdir`, for `skopeo copy oci:…`. Raises Refused where it cannot."""
    layout = workdir / "litellm-layout"
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    base = workdir / "base.tar"
    _run(["mmdebstrap", "--variant=minbase", "--include=python3,ca-certificates", "bookworm", str(base)])
    packages = workdir / "app" / "app" / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--python-version", "3.11", "--only-binary", ":all:"]
    _run([*pip, "--target", str(packages), f"litellm[proxy]=={VERSION}", "prometheus-client"])
    added = workdir / "app.tar"
    _run(["tar", "--create", "--file", str(added), "--owner=0", "--group=0", "-C", str(workdir / "app"), "app"])
    shutil.rmtree(workdir / "app")
    layers = [_compressed(tar, blobs) for tar in (base, added)]
    config = _keep(blobs, _config([layer.diff_id for layer in layers]))
    manifest = {
        "schemaVersion": 2,
        "mediaType": _WORDS.manifest,
        "config": {"mediaType": _WORDS.config, **config},
        "layers": [layer.descriptor() for layer in layers],
    }
    kept = _keep(blobs, manifest)
    entry = {"mediaType": _WORDS.manifest, **kept, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return layout


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"cannot make LiteLLM's image: {argv[0]}: {(done.stderr or done.stdout).strip()[-300:]}")


def _compressed(tar: Path, blobs: Path) -> Layer:
    plain, packed, file = hashlib.sha256(), hashlib.sha256(), tar.with_suffix(".gz")
    with tar.open("rb") as source, gzip.GzipFile(file, "wb", compresslevel=1, mtime=0) as target:
        while piece := source.read(_PIECE):
            plain.update(piece)
            target.write(piece)
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            packed.update(piece)
    tar.unlink()
    return Layer(file.rename(blobs / packed.hexdigest()), f"sha256:{packed.hexdigest()}", f"sha256:{plain.hexdigest()}")


def _keep(blobs: Path, value: Mapping[str, object]) -> Mapping[str, str | int]:
    body = json.dumps(value, separators=(",", ":")).encode()
    name = hashlib.sha256(body).hexdigest()
    (blobs / name).write_bytes(body)
    return {"digest": f"sha256:{name}", "size": len(body)}


def _config(diff_ids: Sequence[str]) -> Mapping[str, object]:
    environ = ["PATH=/usr/bin:/bin", "PYTHONPATH=/app/packages", "PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp"]
    return {
        "created": "2026-01-01T00:00:00Z",
        "architecture": native_architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["python3", "-c", _START], "Env": environ},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
    }
