import pytest

from obol.errors import UsageError
from obol.workloads.configs import check_configs
from obol.workloads.sources import ManifestFile, packaged

HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n"


def check(text: str) -> None:
    """Look at one manifest."""
    check_configs([ManifestFile("mine.yaml", text)])


def test_own_manifests() -> None:
    """All that the product deploys can be parsed."""
    check_configs(packaged())


@pytest.mark.parametrize(
    ("text", "entry", "why"),
    [
        (HEAD + "  config.yaml: |\n    a: 1\n    b: [\n", "config.yaml", "line 8"),
        (HEAD + "  config.yaml: |\n    a: 1\n     b: 2\n", "config.yaml", "line 7"),
        (HEAD + "  config.yml: |-\n    a: 1\n\n    b: 'x\n", "config.yml", "found unexpected end of stream, line"),
        (HEAD + "  a.yaml: 'b: [1'\n", "a.yaml", "line 1 of the entry"),
        (HEAD + "  a.json: |\n    {\n      'b': 1}\n", "a.json", "line 7"),
        (HEAD + '  a.yaml: "\\0"\n', "a.yaml", "special characters"),
        (HEAD + f"  a.yaml: '{'[' * 9000}'\n", "a.yaml", "nested too deeply"),
        (HEAD + f"  a.json: '{'[' * 200000}'\n", "a.json", "nested too deeply"),
        ("kind: List\nitems:\n- kind: ConfigMap\n  data: {a.json: '{,'}\n", "a.json", "line 1 of the entry"),
        ("kind: Pod\n---\nkind: ConfigMap\ndata: {a.json: '{,'}\n", "a.json", "line 1 of the entry"),
    ],
)
def test_entry_that_cannot_be_parsed(text: str, entry: str, why: str) -> None:
    """A spoilt entry is told with its file, its name, the reason and the line, as the person sees them."""
    with pytest.raises(UsageError, match=f"the entry {entry} in the manifest mine.yaml cannot be parsed") as caught:
        check(text)

    assert why in caught.value.why
    assert "mend it" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "  config.yaml: |\n    a: !include b\n    c: 2000-99-99\n",
        HEAD + "  many.yaml: |\n    a: 1\n    ---\n    b: 2\n",
        HEAD + "  template.yaml: |\n    {% if x %}\n    a: [\n",
        HEAD + "  empty.json: ''\n  empty.yaml:\n  notes.txt: 'a: ['\n  odd.yaml: [1]\n  ? [x]\n  : y\n",
        "kind: Secret\nstringData: {a.json: '{,'}\n",
        "kind: ConfigMap\ndata: none\n",
        "kind: List\nitems: [1]\n---\n",
        "a: [\n",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    """Tags, several documents, templates and other files are no trouble, nor is what others look at."""
    check(text)
