from obol.cli.results.verbs import ERROR, RESULTS, WITHOUT
from scripts.generate_cli_doc import commands


def test_every_verb_has_a_shape() -> None:
    """Each verb that is shown has a type for what it writes as JSON, or is one whose output is not ours."""
    shown = {" ".join(words) for words in commands()}
    verbs = {words for words in shown if not any(other.startswith(f"{words} ".lstrip()) for other in shown - {words})}

    assert verbs - WITHOUT == RESULTS.keys() - {ERROR}
