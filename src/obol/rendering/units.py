"""What starts the cache engine at login: a unit of the systemd user manager, or an agent of launchd.

systemd.service(5), systemd.exec(5), launchd.plist(5). Both run the engine in the foreground, and start it again when it
fails, not when it was told to stop.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from dataclasses import dataclass

from obol.rendering.quoting import systemd_argument, systemd_text, systemd_word, xml_text

LABEL = "dev.obol.cache"
"""By what launchd knows the agent."""


@dataclass(frozen=True, slots=True)
class UserService:
    """The engine as a service of one person."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    log: str
    """The path of the file that its output is appended to."""


def systemd_unit(service: UserService) -> str:
    """Render obol-cache.service. Raises ValueError for text that a unit cannot hold.

    The limit on starts is for an engine that a person started by hand: the unit steps back from it after a minute.
    """
    environment = [f"Environment={systemd_word(f'{name}={value}')}" for name, value in sorted(service.environ.items())]
    return "\n".join(
        [
            "# Written by `obol cache enable`; `obol cache disable` removes it.",
            "[Unit]",
            "Description=Obol registry caches",
            "StartLimitIntervalSec=120",
            "StartLimitBurst=6",
            "",
            "[Service]",
            "Type=exec",
            # A dollar sign begins a variable in a command line, but not in the other settings.
            f"ExecStart={' '.join(map(systemd_argument, service.argv))}",
            *environment,
            f"StandardOutput=append:{systemd_text(service.log)}",
            "StandardError=inherit",
            "Restart=on-failure",
            "RestartSec=10",
            "UMask=0077",
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
    )


def launchd_agent(service: UserService) -> str:
    """Render dev.obol.cache.plist. Raises ValueError for text that XML cannot hold."""
    log = xml_text(service.log)
    agent = {
        "Label": LABEL,
        "ProgramArguments": [xml_text(word) for word in service.argv],
        "EnvironmentVariables": {xml_text(name): xml_text(text) for name, text in sorted(service.environ.items())},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "StandardOutPath": log,
        "StandardErrorPath": log,
        "Umask": 0o077,
    }
    return plistlib.dumps(agent, sort_keys=False).decode()
