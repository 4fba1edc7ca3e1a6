import json

from tests.unit.cli.conftest import Terminal
from tests.unit.stack import world


def test_a_life_as_json(terminal: Terminal, cluster: world.World) -> None:
    """Each verb tells programs what it has done, also where the wish for JSON stands before the verb."""
    assert terminal.run("stack init -o json") == 0
    named = json.loads(terminal.out)
    assert (named["backend"], named["manifests"]) == ("podman", str(cluster.home.workloads))
    assert terminal.run("-o json stack up -q") == 0
    up = json.loads(terminal.out)
    assert up["gateway"]["api_base"] == "http://localhost/v1"
    assert (up["stack"], up["created"], up["cache_engine"]) == (named["stack"], True, "builtin")
    assert terminal.run("stack up -o json -q") == 0
    assert json.loads(terminal.out).keys() == up.keys()
    assert terminal.run("-o json stack status") == 0
    assert json.loads(terminal.out)["last_up"]["gain"].keys() == up["gain"].keys()

    assert terminal.run("-o json stack down -q") == 0
    assert json.loads(terminal.out) == {"stack": named["stack"], "backend": "podman", "stopped": True}
    assert terminal.run("-o json stack purge --force -q") == 0

    purged = json.loads(terminal.out)
    assert purged["removed"] == ["cluster", "images", "data", "manifests"]
    assert (purged["stack"], purged["kept"], terminal.err) == (named["stack"], [], "")
    assert terminal.run("stack purge -o json -q") == 0
    assert (json.loads(terminal.out)["stack"], json.loads(terminal.out)["removed"]) == (None, [])


def test_one_shape(terminal: Terminal, cluster: world.World) -> None:
    """What `up` and `status` tell programs has the same fields with a cluster and without one."""
    assert terminal.run("stack up -o json -q") == 0
    with_cluster = json.loads(terminal.out).keys()
    assert terminal.run("stack status -o json -q") == 0
    status = json.loads(terminal.out).keys()
    assert terminal.run("stack purge -q") == 0

    assert terminal.run("stack up --backend none -o json -q") == 0
    assert json.loads(terminal.out).keys() == with_cluster
    assert terminal.run("stack status -o json -q") == 0
    assert json.loads(terminal.out).keys() == status


def test_key(terminal: Terminal, cluster: world.World) -> None:
    """The key is printed when it is asked for, and nowhere else; without a stack or a key that is said."""
    assert terminal.run("stack key -o json") == 4
    assert "there is no stack" in terminal.err
    assert terminal.run("stack up") == 0
    assert terminal.run("stack key") == 4
    assert "`obol stack up` makes one" in terminal.err
    cluster.home.key_file.write_text("sk-secret\n")

    assert terminal.run("stack key") == 0
    assert (terminal.out, terminal.err) == ("sk-secret\n", "")
    assert terminal.run("stack key -o json") == 0
    assert json.loads(terminal.out) == {"key": "sk-secret", "key_file": str(cluster.home.key_file)}
    for line in ("stack status", "stack status -o json", "stack up", "stack up -o json"):
        assert terminal.run(line) == 0
        assert "sk-secret" not in terminal.out + terminal.err
