"""Names for stacks: two words that a person can say and type. Pure: chance is an argument."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 21
"""k3d allows 32 characters for a cluster, of which `obol-stack-` takes eleven."""

FIRST = (
    "amber", "ample", "brave", "brisk", "calm", "civil", "clear", "coral", "crisp", "dapper", "eager", "early",
    "fair", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "humble", "jolly", "keen", "kind",
    "lively", "loyal", "lucid", "mellow", "merry", "mild", "modest", "neat", "noble", "open", "patient", "plain",
    "proud", "quick", "quiet", "rapid", "ready", "royal", "sharp", "silent", "simple", "smooth", "sober", "solid",
    "steady", "sunny", "swift", "tender", "tidy", "trusty", "vivid", "warm", "wise", "witty", "young", "zesty",
)  # fmt: skip
SECOND = (
    "badger", "beaver", "bison", "bobcat", "camel", "condor", "coyote", "crane", "dingo", "dolphin", "eagle", "egret",
    "falcon", "ferret", "finch", "gecko", "gibbon", "heron", "hippo", "ibex", "iguana", "jackal", "jaguar", "kestrel",
    "kiwi", "koala", "lemur", "lion", "llama", "lynx", "macaw", "marmot", "marten", "meerkat", "moose", "newt",
    "ocelot", "osprey", "otter", "owl", "panda", "parrot", "pelican", "puffin", "puma", "quail", "rabbit", "raven",
    "robin", "salmon", "seal", "sparrow", "squid", "stork", "swan", "tapir", "tiger", "toucan", "walrus", "wombat",
)  # fmt: skip


def two_words(below: Callable[[int], int]) -> str:
    """Make a name; `below(n)` gives a number from 0 up to, not including, n."""
    return f"{FIRST[below(len(FIRST))]}-{SECOND[below(len(SECOND))]}"
