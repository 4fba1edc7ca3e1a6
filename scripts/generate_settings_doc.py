"""Write docs/settings.md from the options of `obol cache serve`, which are the settings of the cache.

The page is generated so that it can't drift; `scripts.check_docs` compares it with what the code says.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from typer.main import get_group

from obol.cli.cache.commands import app
from obol.config.sources import OPTIONS, PREFIX

PAGE = Path("docs/settings.md")
INTRODUCTION = """\
<!-- Written by `make docs`: change src/obol/cli/cache/options.py or scripts/generate_settings_doc.py instead. -->

# Settings

obol reads settings from four places, and the later one wins: its defaults, `obol.toml`, the environment, the command
line. It reports every mistake of every place at once, and starts nothing before all are right. It also warns of a
variable that begins with `OBOL_` and has no effect, and names the one that you probably mean.

`obol.toml` is in the configuration directory ([below](#directories)). `obol stack purge` never removes it.

## The cache

| option | variable | in `obol.toml` | meaning |
|---|---|---|---|
"""
REST = """
To give several values, repeat the option, separate them by commas in the variable, or write a TOML list. Upstreams in
`obol.toml` add to the three defaults or replace one. If you name upstreams by options or by the variable, the engine
serves only these. An upstream may have its own certificates and its own HTTP proxy (the engine does not use
`HTTPS_PROXY`):

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

An upstream may be a private host. Where it redirects the engine, and where it sends the engine for tokens, must be
public or the same host; `allow-host` names exceptions.

## The stack

| variable or table | meaning |
|---|---|
| `OBOL_DISABLE_REGISTRY_CACHE` | `true` (or 1, yes, on): use no cache. obol reads it before it touches anything. |
| `OBOL_BACKEND` | `k3d`, `k3s`, `podman` or `none`: what `init` and the first `up` choose; `auto` by default |
| `OBOL_CACHE_ENGINE` | `builtin` or `containers`: [which caches](registry-cache.md#two-engines); `auto` by default |
| `OBOL_CACHE_IMAGE` | the image of cache containers (default: `registry:3`) |
| `OBOL_DEVELOPMENT` | `true`: directories below `.workspace`, and a registry to push into |
| `[stack.images]` | image references to use in place of the stack's own, by container name |

## Output

| variable | option | meaning |
|---|---|---|
| `OBOL_OUTPUT` | `-o` | `human` (default) or `json` |
| `OBOL_VERBOSE` | `-v` | `true` (or 1, yes, on): say more, and show what other programs say |
| `OBOL_QUIET` | `-q` | `true`: say nothing but results, warnings and errors |
| `OBOL_NONINTERACTIVE` | | `true`: ask nothing. Where sudo needs a password (k3s), obol fails |
| `NO_COLOR` | | anything: no colours ([no-color.org](https://no-color.org)) |

An option wins over its variable, and an option behind the verb over one before it.

## Directories

| what | the first of these that is set |
|---|---|
| configuration | `OBOL_CONFIG_DIR`, `$XDG_CONFIG_HOME/obol`, `~/.config/obol` |
| data | `OBOL_DATA_DIR`, `$XDG_DATA_HOME/obol`, `~/.local/share/obol` |
| state | `OBOL_STATE_DIR`, `$XDG_STATE_HOME/obol`, `~/.local/state/obol` |
| cache root | `OBOL_REGISTRY_CACHE_DIR`, `$XDG_STATE_HOME/obol/registry-cache`, `~/.local/state/obol/registry-cache` |

With `OBOL_DEVELOPMENT=true` the first three are below `.workspace` in the current directory, unless their variable is
set. The cache root is not, so that all checkouts share the caches. Under `sudo` all of them are those of the user who
called it.
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
