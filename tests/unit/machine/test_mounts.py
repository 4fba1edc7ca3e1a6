from __future__ import annotations

from typing import TYPE_CHECKING

from obol.machine.mounts import holding

if TYPE_CHECKING:
    from pathlib import Path

TABLE = r"""proc /proc proc rw,nosuid 0 0
tmpfs /d/k3s/a tmpfs rw 0 0
tmpfs /d/k3s/a/b\040c tmpfs rw 0 0
overlay /run/k3s/rootfs overlay rw,lowerdir=/d/k3s/agent/1:/d/k3s/agent/2,upperdir=/d/k3s/agent/3 0 0
overlay /run/other overlay rw,lowerdir=/d/k3s2/agent/1 0 0
tmpfs /d/k3s-not tmpfs rw 0 0
tmpfs /d/k3s/a tmpfs rw 0 0
"""


def test_holding(tmp_path: Path) -> None:
    """What is mounted below the directory or made of it, inner ones first, each once; nothing of its neighbours."""
    (tmp_path / "mounts").write_text(TABLE)

    assert holding("/d/k3s", tmp_path / "mounts") == ("/run/k3s/rootfs", "/d/k3s/a/b c", "/d/k3s/a")


def test_nothing_known(tmp_path: Path) -> None:
    """Where there is no such list, nothing is known; on this machine there may be one."""
    assert holding("/d/k3s", tmp_path / "mounts") == ()
    assert holding(str(tmp_path)) == ()
