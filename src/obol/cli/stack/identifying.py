"""Which stack a command is about, also where the files that say so were lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from obol.cli.stack import building
from obol.cli.verb import run
from obol.config.paths import locate

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from obol.cli.terminal.present import Speaker
    from obol.config.paths import Invocation
    from obol.stack.adoption import Clusters
    from obol.stack.home import Home, Identity


def whose(
    say: Speaker, around: Invocation, home: Home, *, surely: bool = False, remember: bool = True
) -> Identity | None:
    """Tell which stack this is; None where there is none. Raises NameLost, or ObolError where it may be several.

    Where its name was lost, the cluster that was made for this directory tells it, and it is written down again. With
    `surely` that cluster is looked for also where a name is written: it may be that of another stack.
    """
    from obol.stack.adoption import settle
    from obol.stack.home import Identity, NameLost

    written: Identity | NameLost | None
    try:
        written = home.identity()
    except NameLost as lost:
        written = lost
    known = isinstance(written, Identity) and not surely
    if known or (written is not None and written.backend not in {None, "k3d"}):
        if isinstance(written, NameLost):
            raise written
        return written
    identity, line = settle(written, run(say, clusters(around, home)), home.config)
    if identity is not None and line:
        if remember:
            with building.at_work(around):
                home.establish(identity)
        say.note(line)
    return identity


def before(say: Speaker, around: Invocation, home: Home, *, anew: bool) -> Identity | None:
    """The stack that is there; none where its name was lost and one begins `anew`. Raises NameLost otherwise."""
    from obol.stack.home import NameLost

    try:
        return whose(say, around, home)
    except NameLost:
        if anew:
            return None
        raise


def seen(say: Speaker, around: Invocation, home: Home) -> Identity | None:
    """The stack to be shown: nothing is looked for where there was none, and nothing is written. Raises NameLost."""
    from obol.stack.home import RENDERED

    if not any((home.config / name).exists() for name in RENDERED):
        return home.identity()
    return whose(say, around, home, remember=False)


def clusters(around: Invocation, home: Home) -> Coroutine[object, object, Clusters]:
    """Look for the clusters of stacks on this machine's Docker."""
    from obol.wiring.stack import clusters_of

    return clusters_of(home, locate(around).data)
