from pathlib import Path

import pytest

from obol.caches.containers.plan import RegistryContainer
from obol.config.background import background_plan, cache_plans, idle_plans, sudo_account
from obol.config.paths import Invocation, locate
from obol.config.settings import load_cache_settings
from obol.config.sources import CacheFlags
from obol.machine.commands import User
from obol.registry.control.api import Listener


def test_background_plan(tmp_path: Path) -> None:
    """The process gets the flags that were given; its store and ports are decided by us."""
    flags = CacheFlags(store="s", port=("a.io=7",), upstream=("a.io=https://a",), bind=("127.0.0.1",), offline=True)
    around = Invocation({"OBOL_CONFIG_DIR": str(tmp_path), "PATH": "/bin"}, tmp_path, Path("/home/ada"))
    directories = locate(around)

    plan = background_plan(load_cache_settings(flags, around, directories), flags, around, directories)

    assert (plan.store, plan.config, plan.offline) == (tmp_path / "s", tmp_path, True)
    assert plan.listeners == (Listener("a.io", "127.0.0.1", 7),)
    assert plan.arguments == ("--upstream=a.io=https://a", "--bind=127.0.0.1", "--offline")


@pytest.mark.parametrize(
    ("environ", "uid", "account"),
    [
        ({"SUDO_UID": "1000", "SUDO_GID": "100"}, 0, User(1000, 100)),
        ({"SUDO_UID": "1000", "SUDO_GID": "100"}, 1000, None),
        ({"SUDO_UID": "0", "SUDO_GID": "0"}, 0, None),
        ({"SUDO_UID": "x", "SUDO_GID": "0"}, 0, None),
        ({}, 0, None),
    ],
)
def test_sudo_account(environ: dict[str, str], uid: int, account: User | None) -> None:
    """Only where sudo made somebody root is there another account to run as."""
    assert sudo_account(environ, uid) == account


def test_cache_plans(tmp_path: Path) -> None:
    """Containers are planned for the same registries and ports, below the cache root, with the image that is wished."""
    environ = {
        "OBOL_CONFIG_DIR": str(tmp_path),
        "OBOL_REGISTRY_CACHE_DIR": str(tmp_path / "caches"),
        "OBOL_CACHE_IMAGE": "registry:2",
        "OBOL_DEVELOPMENT": "true",
    }
    flags = CacheFlags(upstream=("a.io=https://a",), port=("a.io=7",))
    around = Invocation(environ, tmp_path, tmp_path)
    directories = locate(around)

    plans = cache_plans(load_cache_settings(flags, around, directories), flags, around, directories, "containers")

    assert plans.containers.caches == (RegistryContainer("a.io", "https://a", 7),)
    assert (plans.containers.root, plans.containers.image) == (tmp_path / "caches", "registry:2")
    assert (plans.engine, plans.development) == ("containers", True)


def test_idle_plans(tmp_path: Path) -> None:
    """Commands that leave the caches alone know where they are, and read no setting of theirs."""
    environ = {"OBOL_REGISTRY_CACHE_DIR": str(tmp_path), "OBOL_CACHE_IMAGE": "Not An Image"}
    directories = locate(Invocation(environ, tmp_path, tmp_path))

    plans = idle_plans(directories)

    assert plans.builtin.store == tmp_path / "builtin"
    assert (plans.containers.root, plans.containers.caches) == (tmp_path, ())
