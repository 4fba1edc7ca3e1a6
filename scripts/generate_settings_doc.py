"""Write docs/settings.md from the options of `obol cache serve`, which are the settings of the cache.

The page is generated so that it can't drift; `scripts.check_docs` compares it with what the code says.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from typer.main import get_group

from obol.cli.cache import app
from obol.config.sources import OPTIONS, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path("docs/settings.md")
INTRODUCTION = """\
<!-- Written by `make docs`: change src/obol/cli/options.py or scripts/generate_settings_doc.py instead. -->

# Settings

A setting is looked for in four places, and the last one that has it wins: our defaults, `obol.toml`, the environment,
the command line. Every problem of every place is reported at once, and nothing starts before all are right.
A variable that begins with `OBOL_` and has no effect is told of, with the one that was meant.

`obol.toml` lies in the configuration directory (below). Purging never removes it.

## The cache

| option | variable | in `obol.toml` | meaning |
|---|---|---|---|
"""
REST = """
Lists are repeated options, comma-separated variables and TOML lists. Upstreams in `obol.toml` add to or replace the
three defaults, while upstreams given by options or by the variable are a choice: only those are served. An upstream may
have its own certificates and its own HTTP proxy:

```toml
[cache]
tag-ttl = "5m"
allow-host = ["minio.corp.example"]

[cache.upstreams]
"registry.corp.example" = { url = "https://registry.corp.example", ca-file = "corp.pem" }
"gcr.io" = { url = "https://gcr.io", proxy = "http://proxy.corp.example:3128" }

[cache.ports]
"gcr.io" = 54110
```

A host that is named as an upstream may be a private one. What it redirects to, and where it sends us for tokens, must
be public or the same host; `allow-host` names exceptions.

## The stack

| variable or table | meaning |
|---|---|
| `OBOL_DISABLE_REGISTRY_CACHE` | `true` (or 1, yes, on): use no cache. Looked at before anything is touched. |
| `OBOL_BACKEND` | `k3d`, `k3s`, `podman` or `none`: what `init` and the first `up` choose; `auto` by default |
| `OBOL_NONINTERACTIVE` | `true`: sudo, which k3s on this machine takes, asks for no password, and fails instead |
| `OBOL_CACHE_ENGINE` | `builtin` or `containers`: [which caches](registry-cache.md#two-engines); `auto` by default |
| `OBOL_CACHE_IMAGE` | the image of cache containers (default: `registry:3`) |
| `OBOL_DEVELOPMENT` | `true`: directories below `.workspace`, and a registry to push into |
| `[stack.images]` | image references to use in place of the stack's own, by container name |

## How it talks

| variable | option | meaning |
|---|---|---|
| `OBOL_OUTPUT` | `-o` | `human` (default) or `json` |
| `OBOL_VERBOSE` | `-v` | `true` (or 1, yes, on): say more, and show what other programs say |
| `OBOL_QUIET` | `-q` | `true`: say nothing but results, warnings and errors |
| `OBOL_NONINTERACTIVE` | | `true`: ask nothing, as where standard input is no terminal |
| `NO_COLOR` | | anything: no colours ([no-color.org](https://no-color.org)) |

An option counts more than its variable, and one behind the verb more than one before it.

## Directories

| what | the first of these that is set |
|---|---|
| configuration | `OBOL_CONFIG_DIR`, `$XDG_CONFIG_HOME/obol`, `~/.config/obol` |
| data | `OBOL_DATA_DIR`, `$XDG_DATA_HOME/obol`, `~/.local/share/obol` |
| state | `OBOL_STATE_DIR`, `$XDG_STATE_HOME/obol`, `~/.local/state/obol` |
| cache root | `OBOL_REGISTRY_CACHE_DIR`, `$XDG_STATE_HOME/obol/registry-cache`, `~/.local/state/obol/registry-cache` |

With `OBOL_DEVELOPMENT=true` the first three are below `.workspace` in the current directory, unless their variable is
set; the cache root is not, because caches are worth more the more checkouts share them. Under `sudo` all of them are
those of the user who called it.
"""


def rows() -> Iterator[str]:
    """Yield a row of the table for each setting of the cache."""
    serve = get_group(app).commands["serve"]
    meanings = {parameter.name: getattr(parameter, "help", "") for parameter in serve.params}
    for name in OPTIONS:
        kebab = name.replace("_", "-")
        table = {"upstream": "`[cache.upstreams]`", "port": "`[cache.ports]`"}.get(name, f"`cache.{kebab}`")
        yield f"| `--{kebab}` | `{PREFIX}{name.upper()}` | {table} | {_cell(meanings[name] or '')} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def render() -> str:
    """The whole page."""
    return INTRODUCTION + "\n".join(rows()) + "\n" + REST


def main() -> int:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
