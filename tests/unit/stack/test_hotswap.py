import pytest

from obol.backends.kubernetes.deployments import Found
from obol.backends.kubernetes.rollouts import Deployment
from obol.backends.ports import ClusterState
from obol.caches.containers.engine import State
from obol.errors import NotThere, ObolError, UsageError
from obol.machine.docker.errors import DockerFailed
from obol.machine.docker.values import Pushed
from obol.stack.home import Identity
from obol.stack.hotswap import LocalImage, Restored, Swapped, Target, chosen, released, stack_of, to_restore
from tests.fakes.k3d import Killed
from tests.unit.stack.devworld import APP, PUSHED, RELEASED, REMEMBERED, DevWorld, deployment, dev_world

LITELLM, WEB = Target.parse("llm/litellm"), Target.parse("llm/pair:web")
SOURCE = LocalImage.parse("app:dev")
NEXT = "sha256:fedcba9876543210" + "0" * 48
PUSHED_NEXT = "localhost:54103/app:dev-fedcba987654"


@pytest.fixture
def world() -> DevWorld:
    """A stack with two Deployments."""
    return dev_world()


async def push(world: DevWorld, target: Target = LITELLM) -> Swapped:
    """Push `app:dev` as it is now."""
    return await world.stack.push(SOURCE, target, world.reporter)


async def test_push(world: DevWorld) -> None:
    """The image is tagged by its ID, pushed, and swapped together with what it replaces by one request."""
    swapped = await push(world)

    container = Target(LITELLM.deployment, "litellm")
    assert swapped == Swapped(container, PUSHED, RELEASED, RELEASED, Pushed(sent=1, present=1))
    annotations = f'"annotations":{{"{REMEMBERED}litellm":"{RELEASED}"}}'
    containers = f'"containers":[{{"name":"litellm","image":"{PUSHED}"}}]'
    patch = f'{{"metadata":{{{annotations}}},"spec":{{"template":{{"spec":{{{containers}}}}}}}}}'
    assert world.machine.lines == [
        "kubectl get deployment litellm --namespace llm --ignore-not-found -o json",
        "docker image inspect app:dev",
        f"docker tag {APP} {PUSHED}",
        f"docker push {PUSHED}",
        f"docker rmi {PUSHED}",
        f"kubectl patch deployment litellm --namespace llm --type strategic --patch {patch}",
        "kubectl get deployments,pods --all-namespaces -o json",
    ]
    assert world.reporter.seen == [
        "Looking at the stack",
        f"Pushing {PUSHED}",
        "  litellm: ready",
        "Swapping the image of llm/litellm:litellm",
    ]
    assert world.machine.ids == {"app:dev": APP}


async def test_next_build(world: DevWorld) -> None:
    """A new build of the same name has a new tag; the released image is remembered, not the build before.

    Pushing what runs already is no error, and changes nothing.
    """
    await push(world)
    again = await push(world)
    assert again.image == again.before == PUSHED
    assert world.machine.remembered("litellm") == {f"{REMEMBERED}litellm": RELEASED}
    world.machine.ids["app:dev"] = NEXT

    swapped = await push(world)

    assert (swapped.image, swapped.before, swapped.released) == (PUSHED_NEXT, PUSHED, RELEASED)
    assert world.machine.registry == {PUSHED, PUSHED_NEXT}
    assert world.machine.remembered("litellm") == {f"{REMEMBERED}litellm": RELEASED}


async def test_two_people(world: DevWorld) -> None:
    """Two builds of one name, from two worktrees, are two images in the registry, each where it was pushed to.

    Where 54103 was taken, an image is called by the port that was chosen.
    """
    await push(world)
    world.machine.ids["app:dev"] = NEXT
    await push(world, WEB)

    assert (world.machine.image_of("litellm"), world.machine.image_of("pair")) == (PUSHED, PUSHED_NEXT)
    world.port, world.known = 40003, ("localhost:40003",)
    assert (await push(world)).image == "localhost:40003/app:dev-fedcba987654"


async def test_image_without_another_name(world: DevWorld) -> None:
    """The last name of an image is not taken away: the image would be gone."""
    world.machine.script("docker", "image", "inspect", stdout=f'[{{"Id":"{APP}","RepoTags":[]}}]')

    await world.stack.push(LocalImage.parse("0123456789ab"), LITELLM, world.reporter)

    assert not [line for line in world.machine.lines if "rmi" in line]


@pytest.mark.parametrize(
    ("registry", "state", "known", "said"),
    [
        ("absent", "running", ["localhost:54103"], "k3d-obol-local.localhost: there is none"),
        ("stopped", "running", ["localhost:54103"], "it is stopped"),
        ("failing", "running", ["localhost:54103"], "it does not answer"),
        ("running", "absent", ["localhost:54103"], "the stack does not run: it has no cluster"),
        ("running", "stopped", ["localhost:54103"], "its cluster is stopped"),
        ("running", "running", ["docker.io", "localhost:40003"], "without localhost:54103"),
    ],
)
async def test_what_is_missing_for_a_push(
    world: DevWorld, registry: State, state: ClusterState, known: list[str], said: str
) -> None:
    """Without registry, cluster or way between them nothing is changed, and `obol stack up` is named."""
    world.registry, world.state, world.known = registry, state, known

    with pytest.raises(ObolError, match=said) as caught:
        await push(world)

    assert "obol stack up" in caught.value.hint
    assert world.machine.lines == []


@pytest.mark.parametrize(
    ("image", "target", "said"),
    [
        ("app:dev", "llm/nothing", "there is no Deployment llm/nothing"),
        ("app:dev", "llm/pair", "llm/pair has several containers: they are web, log"),
        ("app:dev", "llm/pair:sidecar", "llm/pair has no container sidecar"),
        ("app:other", "llm/pair:web", "Docker has no image app:other"),
    ],
)
async def test_nothing_to_push_or_nowhere(world: DevWorld, image: str, target: str, said: str) -> None:
    """A Deployment, container or image that is not there is said before anything is changed."""
    with pytest.raises(ObolError, match=said):
        await world.stack.push(LocalImage.parse(image), Target.parse(target), world.reporter)

    assert {line.split()[1] for line in world.machine.lines} <= {"get", "image"}


async def test_push_fails(world: DevWorld) -> None:
    """A push that fails leaves the cluster as it is."""
    world.machine.script("docker", "push", code=1, stderr="connection refused")

    with pytest.raises(DockerFailed, match="connection refused"):
        await push(world)

    assert world.machine.image_of("litellm") == RELEASED
    assert world.machine.remembered("litellm") == {}


async def test_same_image_at_the_same_moment(world: DevWorld) -> None:
    """Where somebody who pushes the same image takes its name away, it gets the name once more."""
    world.machine.script("docker", "push", code=1, stderr="tag does not exist: localhost:54103/app")
    world.machine.script("docker", "push", stdout="aaaaaaaaaaaa: Layer already exists")
    world.machine.script("docker", "image", "inspect", PUSHED, code=1, stderr=f"Error: No such image: {PUSHED}")

    swapped = await push(world)

    assert swapped.pushed == Pushed(sent=0, present=1)
    assert world.machine.lines.count(f"docker tag {APP} {PUSHED}") == 2


async def test_rollout_fails(world: DevWorld) -> None:
    """An image that does not get ready says how to look and how to go back, which works."""
    world.machine.deployments = [deployment("litellm", {"litellm": RELEASED}, strong=False)]

    with pytest.raises(ObolError, match="litellm is not ready after 5 minutes") as caught:
        await push(world)

    assert caught.value.hint == (
        "look with `kubectl --kubeconfig /k -n llm describe pods`, "
        "or go back with `obol dev reset --deployment llm/litellm:litellm`"
    )
    world.machine.named("llm", "litellm")[0]["metadata"]["strong"] = True
    await world.stack.reset(Target.parse("llm/litellm:litellm"), world.reporter)
    assert world.machine.image_of("litellm") == RELEASED


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(7))
async def test_interrupted(world: DevWorld, call: int, when: str) -> None:
    """Whenever it is killed, what is swapped is remembered, and doing it again and going back both work."""
    world.machine.kill_at, world.machine.kill_when = call, when

    with pytest.raises(Killed):
        await push(world)

    swapped = world.machine.image_of("litellm") == PUSHED
    assert world.machine.remembered("litellm") == ({f"{REMEMBERED}litellm": RELEASED} if swapped else {})
    assert not swapped or PUSHED in world.machine.registry
    await push(world)
    assert world.machine.image_of("litellm") == PUSHED
    assert world.machine.ids == {"app:dev": APP}
    await world.stack.reset(None, world.reporter)
    assert (world.machine.image_of("litellm"), world.machine.remembered("litellm")) == (RELEASED, {})


async def test_reset_all(world: DevWorld) -> None:
    """Without a name all go back that were swapped, each Deployment by one request, and nothing is remembered then."""
    for target in (LITELLM, WEB, Target.parse("llm/pair:log")):
        await push(world, target)
    began = len(world.machine.lines)

    restored = await world.stack.reset(None, world.reporter)

    assert restored == (
        Restored(Target.parse("llm/litellm:litellm"), RELEASED, PUSHED),
        Restored(Target.parse("llm/pair:web"), "nginx:1", PUSHED),
        Restored(Target.parse("llm/pair:log"), "busybox:1", PUSHED),
    )
    assert sum("patch" in line for line in world.machine.lines[began:]) == 2
    assert (world.machine.image_of("pair"), world.machine.image_of("pair", 1)) == ("nginx:1", "busybox:1")
    assert world.machine.remembered("litellm") == world.machine.remembered("pair") == {}
    assert world.reporter.seen[-3:] == ["  litellm: ready", "  pair: ready", "Going back to the released images"]


@pytest.mark.parametrize(
    ("target", "left"), [("llm/pair", "busybox:1"), ("llm/pair:web", PUSHED), ("llm/litellm", PUSHED)]
)
async def test_reset_one(world: DevWorld, target: str, left: str) -> None:
    """Only what is named goes back."""
    for swapped in (LITELLM, WEB, Target.parse("llm/pair:log")):
        await push(world, swapped)

    await world.stack.reset(Target.parse(target), world.reporter)

    assert world.machine.image_of("pair", 1) == left


async def test_put_back_by_a_manifest(world: DevWorld) -> None:
    """A released image that a manifest has put back, perhaps a newer one, is not replaced by what is remembered."""
    await push(world)
    world.machine.named("llm", "litellm")[0]["spec"]["template"]["spec"]["containers"][0]["image"] = "litellm:v2"

    (restored,) = await world.stack.reset(None, world.reporter)

    assert restored.image == restored.before == world.machine.image_of("litellm") == "litellm:v2"
    assert world.machine.remembered("litellm") == {}


async def test_container_that_is_gone(world: DevWorld) -> None:
    """What is remembered of a container that the Deployment has no more is forgotten."""
    await push(world, WEB)
    world.machine.named("llm", "pair")[0]["spec"]["template"]["spec"]["containers"].pop(0)

    assert await world.stack.reset(None, world.reporter) == ()
    assert world.machine.remembered("pair") == {}


async def test_reset_of_what_is_not_there(world: DevWorld) -> None:
    """A Deployment or container that is not there is an error."""
    with pytest.raises(ObolError, match="there is no Deployment llm/nothing"):
        await world.stack.reset(Target.parse("llm/nothing"), world.reporter)
    with pytest.raises(UsageError, match="has no container x"):
        await world.stack.reset(Target.parse("llm/pair:x"), world.reporter)


async def test_reset_needs_a_cluster(world: DevWorld) -> None:
    """The registry may be gone then, the cluster not; what was not swapped is left alone."""
    world.registry = "absent"
    assert await world.stack.reset(None, world.reporter) == ()
    assert await world.stack.reset(LITELLM, world.reporter) == ()
    assert not [line for line in world.machine.lines if "patch" in line]

    world.state = "stopped"
    with pytest.raises(ObolError, match="the stack does not run"):
        await world.stack.reset(None, world.reporter)


WHO = Identity("brave-otter", "k3d")
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
    source = LocalImage.parse(text)

    assert source.name == text
    assert source.pushed_as(54103, "sha256:" + "0123456789abcdef" * 4) == name
    assert source.pushed_as(54103, "0123456789abcdef" * 4) == name


@pytest.mark.parametrize("text", ["", "-f", "App", "app:", "a b", "http://x/app"])
def test_no_image(text: str) -> None:
    """What is no reference is refused, and never reaches Docker as an option."""
    with pytest.raises(UsageError, match="is not an image"):
        LocalImage.parse(text)


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
    """What is missing for hot-swapping is said, and what to do about it; nothing is, on k3d in development mode."""
    assert stack_of(WHO, development=True, caches=True) == WHO
    with pytest.raises((UsageError, NotThere)) as caught:
        stack_of(identity, development=development, caches=caches)

    assert said in caught.value.what
    assert way_out in caught.value.hint


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
    """What is remembered counts only while an image that we pushed runs in its place; one without a memory stays."""
    assert released(Found(PAIR, {"web": PUSHED}), "web") == PUSHED
    found = Found(PAIR, {"web": now}, remembered)

    assert released(found, "web") == goes_back_to
    assert to_restore(Found(PAIR, {"web": now}, {"web": "nginx:1"}), "web") == restores
