from __future__ import annotations

from obol.cli.dev.view import restored_parts, restored_result
from obol.stack.hotswap import Restored, Target


def test_restored() -> None:
    """Each container has a line; one that a manifest had put back is told apart."""
    result = restored_result(
        [
            Restored(Target.parse("llm/pair:web"), "nginx:1", "localhost:54103/app:dev-0123456789ab"),
            Restored(Target.parse("llm/pair:log"), "busybox:2", "busybox:2"),
        ],
        1.23456,
    )

    assert result.seconds == 1.235
    assert restored_parts(result) == ["llm/pair:web runs nginx:1 again.", "llm/pair:log ran busybox:2 already."]
