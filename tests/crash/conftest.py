"""The same stack is brought up hundreds of times here: what takes long and is not tested here is made short."""

import os

import pytest
import yaml


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let libyaml do YAML, where PyYAML has it, and flush no file: machines are fakes here, and none loses power."""
    for kind in ("SafeLoader", "SafeDumper"):
        monkeypatch.setattr(yaml, kind, getattr(yaml, f"C{kind}", getattr(yaml, kind)))
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
