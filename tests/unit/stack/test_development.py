from __future__ import annotations

import pytest

from obol.backends.kubernetes.deployments import Found
from obol.backends.kubernetes.rollouts import Deployment
from obol.errors import NotThere, UsageError
from obol.stack.development import Source, Target, chosen, released, stack_of, to_restore
from obol.stack.state import Identity

WHO = Identity("brave-otter", "k3d")
PUSHED = "localhost:54103/app:dev-0123456789ab"
PAIR = Deployment("llm", "pair")


@pytest.mark.parametrize(
    ("text", "namespace", "name", "container"),
    [
        ("llm/litellm", "llm", "litellm", ""),
        ("llm/litellm:proxy", "llm", "litellm", "proxy"),
        ("a-1/b.c-2:d-3", "a-1", "b.c-2", "d-3"),
    ],
)
def test_target(text: str, namespace: str, name: str, container: str) -> None:
    """A Deployment is named by its namespace, and perhaps a container of it."""
    target = Target.parse(text)

    assert target == Target(Deployment(namespace, name), container)
    assert str(target) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "litellm", "/litellm", "llm/", "llm/litellm:", "LLM/x", "a.b/c", "a/b/c", "a/-b", "a/b:c.d", "a/b:c:d"),
        *("a/b\n", "--all/x", f"{'n' * 64}/x", f"a/{'.'.join(['n' * 63] * 4)}.n"),
    ],
)
def test_no_target(text: str) -> None:
    """Names that Kubernetes does not allow are refused with an example."""
    with pytest.raises(UsageError, match="does not name a Deployment") as caught:
        Target.parse(text)

    assert "llm/litellm" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("app", "localhost:54103/app:dev-0123456789ab"),
        ("me/app:1", "localhost:54103/me/app:dev-0123456789ab"),
        ("ghcr.io/me/app:1", "localhost:54103/me/app:dev-0123456789ab"),
        ("localhost:54103/app:dev", "localhost:54103/app:dev-0123456789ab"),
        ("ghcr.io/library/app", "localhost:54103/library/app:dev-0123456789ab"),
    ],
)
def test_pushed_as(text: str, name: str) -> None:
    """An image keeps its repository and gets a tag of its ID."""
    source = Source.parse(text)

    assert source.name == text
    assert source.pushed_as(54103, "sha256:" + "0123456789abcdef" * 4) == name
    assert source.pushed_as(54103, "0123456789abcdef" * 4) == name


@pytest.mark.parametrize("text", ["", "-f", "App", "app:", "a b", "http://x/app"])
def test_no_image(text: str) -> None:
    """What is no reference is refused, and never reaches Docker as an option."""
    with pytest.raises(UsageError, match="is not an image"):
        Source.parse(text)


@pytest.mark.parametrize(
    ("development", "caches", "identity", "said", "way_out"),
    [
        (False, True, WHO, "development mode is off", "export OBOL_DEVELOPMENT=true"),
        (True, False, WHO, "is turned off", "unset OBOL_DISABLE_REGISTRY_CACHE"),
        (True, True, None, "there is no stack here", "obol stack up"),
        (True, True, Identity("brave-otter", "podman"), "no Deployments: it runs on podman", "[stack.images]"),
    ],
)
def test_no_stack_to_swap_in(
    development: bool, caches: bool, identity: Identity | None, said: str, way_out: str
) -> None:
    """What is missing for hot-swapping is said, and what to do about it."""
    with pytest.raises((UsageError, NotThere)) as caught:
        stack_of(identity, development=development, caches=caches)

    assert said in caught.value.what
    assert way_out in caught.value.hint


def test_stack_of() -> None:
    """A stack on k3d in development mode has all that is needed."""
    assert stack_of(WHO, development=True, caches=True) == WHO


def test_chosen() -> None:
    """The only container need not be named; of several one must be, and the hint can be typed as it stands."""
    assert chosen(Found(PAIR, {"web": "x"}), Target(PAIR)) == "web"
    assert chosen(Found(PAIR, {"web": "x", "log": "y"}), Target(PAIR, "log")) == "log"
    with pytest.raises(UsageError) as caught:
        chosen(Found(PAIR, {"web": "x", "log": "y"}), Target(PAIR))
    assert caught.value.hint.endswith("--deployment llm/pair:web")


@pytest.mark.parametrize(
    ("now", "remembered", "goes_back_to", "restores"),
    [
        ("nginx:1", {}, "nginx:1", None),
        ("nginx:2", {"web": "nginx:1"}, "nginx:2", None),
        (PUSHED, {"web": "nginx:1"}, "nginx:1", "nginx:1"),
        ("localhost:54103/app:mine", {"web": "nginx:1"}, "localhost:54103/app:mine", None),
    ],
)
def test_released(now: str, remembered: dict[str, str], goes_back_to: str, restores: str | None) -> None:
    """What is remembered counts only while an image that we pushed runs in its place."""
    found = Found(PAIR, {"web": now}, remembered)

    assert released(found, "web") == goes_back_to
    assert to_restore(Found(PAIR, {"web": now}, {"web": "nginx:1"}), "web") == restores


def test_pushed_without_a_memory() -> None:
    """An image of ours of which nobody knows what it replaced is what to go back to."""
    assert released(Found(PAIR, {"web": PUSHED}), "web") == PUSHED
