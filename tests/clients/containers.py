"""What skopeo and podman are told: ask the engine for docker.io, and nobody else."""

from pathlib import Path

# The second source is a port of this machine where nobody listens: what the engine does not give, nobody gives.
_REGISTRIES = """\
unqualified-search-registries = []
[[registry]]
prefix = "docker.io"
location = "127.0.0.1:9"
insecure = true
[[registry.mirror]]
location = "127.0.0.1:{port}"
insecure = true
"""

# Limits: the defaults are above what restricted machines allow. Driver: overlay does not work over every file system.
# There is no static_dir: the process that cleans up after a container derives it from the storage root, gives up where
# that differs from the setting, and `podman run` then waits 20 s for it.
_CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{workdir}/podman/tmp"
[network]
network_config_dir = "{workdir}/podman/networks"
"""

_STORAGE_CONF = """\
[storage]
driver = "vfs"
graphroot = "{workdir}/podman/root"
runroot = "{workdir}/podman/run"
"""

_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'


def write_registries(workdir: Path, port: int) -> Path:
    """Write registries.conf with the engine's port as the mirror of docker.io; return its path."""
    path = workdir / "registries.conf"
    path.write_text(_REGISTRIES.format(port=port))
    return path


def write_policy(directory: Path) -> Path:
    """Write a signature policy that asks for no signatures; return its path."""
    path = directory / "policy.json"
    path.write_text(_POLICY)
    return path


def podman_settings(workdir: Path) -> dict[str, str]:
    """Write what gives podman a store of its own; return the variables that lead it there."""
    variables = {}
    for name, text in {"CONTAINERS_CONF": _CONTAINERS_CONF, "CONTAINERS_STORAGE_CONF": _STORAGE_CONF}.items():
        path = workdir / name.lower()
        path.write_text(text.format(workdir=workdir))
        variables[name] = str(path)
    return variables
