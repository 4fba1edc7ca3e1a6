import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from obol.cli.passthrough import become, needs_cluster, trouble
from tests.unit.cli.conftest import Terminal


class Became(Exception):
    """The process is another one now."""


@pytest.fixture
def became(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, list[str], dict[str, str]]]:
    """What the process became; kubectl is installed."""
    found: list[tuple[str, list[str], dict[str, str]]] = []

    def execve(program: str, argv: list[str], environ: dict[str, str]) -> None:
        found.append((program, argv, environ))
        raise Became

    monkeypatch.setattr(os, "execve", execve)
    tool = tmp_path / "bin/kubectl"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    return found


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of a cluster that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        path = tmp_path / "kubeconfig.yaml"
        path.write_text(f"clusters:\n- cluster:\n    server: https://127.0.0.1:{server.getsockname()[1]}\n")
        yield path


def test_arguments_are_passed_as_they_are(
    became: list[tuple[str, list[str], dict[str, str]]], api: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tool gets every argument, and the stack's kubeconfig in place of the person's own."""
    environ = {"PATH": os.environ["PATH"], "KUBECONFIG": "/home/ada/.kube/config", "HOME": "/home/ada"}
    arguments = ["get", "pods", "-A", "-o", "json", "--", "--help"]

    with pytest.raises(Became):
        become("kubectl", arguments, api, environ)

    program, argv, given = became[0]
    assert program.endswith("/kubectl")
    assert argv == ["kubectl", *arguments]
    assert given == {**environ, "KUBECONFIG": str(api)}
    assert capsys.readouterr() == ("", "")


def test_a_leading_separator_is_ours(became: list[tuple[str, list[str], dict[str, str]]], api: Path) -> None:
    """The first `--` only ends our own options."""
    with pytest.raises(Became):
        become("kubectl", ["--", "version"], api, {"PATH": os.environ["PATH"]})

    assert became[0][1] == ["kubectl", "version"]


@pytest.mark.parametrize("words", [["--kubeconfig", "mine"], ["--kubeconfig=mine"]])
def test_a_kubeconfig_of_ones_own(
    became: list[tuple[str, list[str], dict[str, str]]], tmp_path: Path, words: list[str]
) -> None:
    """Who names a kubeconfig gets that one, and no word about ours."""
    environ = {"PATH": os.environ["PATH"]}

    with pytest.raises(Became):
        become("kubectl", ["get", "pods", *words], tmp_path / "nowhere", environ)

    assert became[0][2] == environ


def test_through_the_command_line(
    became: list[tuple[str, list[str], dict[str, str]]], terminal: Terminal, tmp_path: Path, api: Path
) -> None:
    """Options that look like ours are the tool's, and its absence is exit code 3 with the way to get it."""
    (tmp_path / "config").mkdir()
    api.rename(tmp_path / "config/kubeconfig.yaml")

    assert terminal.run("kubectl exec -it pod -o json -- ls --help") == 1  # `Became` is foreign to the command line
    assert became[0][1] == ["kubectl", "exec", "-it", "pod", "-o", "json", "--", "ls", "--help"]
    assert became[0][2]["KUBECONFIG"] == str(tmp_path / "config/kubeconfig.yaml")

    assert terminal.run("k9s") == 3
    assert "k9scli.io" in terminal.err


def test_without_a_cluster(became: list[tuple[str, list[str], dict[str, str]]], terminal: Terminal) -> None:
    """Without a cluster the tool is not run; what is missing is told, for people: -o is the tool's."""
    assert terminal.run("kubectl get pods -o json") == 4

    assert became == []
    assert terminal.out == ""
    assert terminal.err.startswith("error: the stack has no Kubernetes cluster\n  try: on k3d or k3s `obol stack up`")
    assert "`podman pod ps`" in " ".join(terminal.err.split())


@pytest.mark.parametrize(
    ("tool", "line", "needed"),
    [
        ("kubectl", "get pods", True),
        ("kubectl", "-n llm get pods", True),
        ("kubectl", "version", True),
        ("kubectl", "version --client", False),
        ("kubectl", "version --client=true -o yaml", False),
        ("kubectl", "get --help", False),
        ("kubectl", "get -h", False),
        ("kubectl", "", False),
        ("kubectl", "-n help get pods", True),
        ("kubectl", "exec pod -- ls --help", True),
        ("kubectl", "exec pod -- ls --kubeconfig=x", True),
        ("kubectl", "completion bash", False),
        ("kubectl", "get pods --kubeconfig mine", False),
        ("helm", "list", True),
        ("helm", "-n llm ls", True),
        ("helm", "version", False),
        ("helm", "template chart", False),
        ("helm", "install --help", False),
        ("k9s", "", True),
        ("k9s", "-n llm", True),
        ("k9s", "version", False),
    ],
)
def test_what_needs_a_cluster(tool: str, line: str, needed: bool) -> None:
    """What a tool does by itself it may do without a cluster, all else not."""
    assert needs_cluster(tool, line.split()) is needed


def test_trouble(api: Path, tmp_path: Path) -> None:
    """What stands in the way is said: no cluster, a stopped one, a spoilt file, or a pipe, where no time is lost."""

    def told(path: Path) -> tuple[int, str]:
        problem = trouble(path)
        assert problem is not None
        return problem.exit_code, f"{problem.what}: {problem.hint}"

    assert trouble(api) is None
    code, words = told(tmp_path / "nowhere")
    assert code == 4
    assert words.startswith("the stack has no Kubernetes cluster: on k3d or k3s `obol stack up` makes one")
    (tmp_path / "spoilt").write_text("clusters: [")
    assert told(tmp_path / "spoilt")[0] == 1
    assert "cannot be used" in told(tmp_path / "spoilt")[1]
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "cannot be used" in told(tmp_path / "binary")[1]
    os.mkfifo(tmp_path / "pipe")
    assert "cannot be used" in told(tmp_path / "pipe")[1]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    (tmp_path / "stopped").write_text(f"clusters:\n- cluster:\n    server: https://127.0.0.1:{port}\n")
    assert told(tmp_path / "stopped") == (4, "the stack's cluster does not run: `obol stack up` starts it")


@pytest.mark.parametrize(
    "text",
    [
        "clusters:\n- cluster:\n    certificate-authority-data: c2VydmVy\n    server: https://127.0.0.1:{port}\n",
        "clusters:\n- cluster: {{server: 'https://127.0.0.1:{port}'}}\n",
        '{{"clusters": [{{"cluster": {{"tls-server-name": "x", "server": "https://127.0.0.1:{port}"}}}}]}}',
    ],
)
def test_the_address_in_a_kubeconfig(tmp_path: Path, text: str) -> None:
    """It is found however the file is written."""
    path = tmp_path / "kubeconfig.yaml"
    with socket.create_server(("127.0.0.1", 0)) as server:
        path.write_text(text.format(port=server.getsockname()[1]))
        assert trouble(path) is None

    problem = trouble(path)
    assert problem is not None
    assert problem.exit_code == 4


def test_an_api_that_is_slow(monkeypatch: pytest.MonkeyPatch, api: Path) -> None:
    """An API that takes its time is left to the tool, which has more patience."""

    def slow(address: object, timeout: float = 0) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", slow)

    assert trouble(api) is None


@pytest.mark.parametrize(("line", "option"), [("-v kubectl get", "--verbose"), ("-o json k9s", "--output")])
def test_options_of_ours_before_a_tool(terminal: Terminal, line: str, option: str) -> None:
    """An option before the name of a tool is refused, with the reason and the place for one of the tool's."""
    assert terminal.run(line) == 2
    assert f"`{option}` before `{line.split()[-2 if 'get' in line else -1]}` has no meaning" in terminal.err
    assert "goes behind its name" in terminal.err


def test_kubectl_of_k3s(became: list[tuple[str, list[str], dict[str, str]]], api: Path, tmp_path: Path) -> None:
    """Where there is no kubectl, k3s is one."""
    (tmp_path / "bin/kubectl").rename(tmp_path / "bin/k3s")

    with pytest.raises(Became):
        become("kubectl", ["version"], api, {"PATH": os.environ["PATH"]})

    program, argv, given = became[0]
    assert program.endswith("/k3s")
    assert argv == ["k3s", "kubectl", "version"]
    assert given["KUBECONFIG"] == str(api)
