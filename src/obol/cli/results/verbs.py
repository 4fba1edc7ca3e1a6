"""Which type each verb writes as JSON: what schemas, the page and the tests go by."""

from __future__ import annotations

from collections.abc import Mapping

from obol.caches.builtin.atlogin import DisableResult
from obol.cli.results import cache, others, stack
from obol.demo.base import Result
from obol.registry.control.api import Inventory

ERROR = "error"
"""Stands for what a failure writes, in place of a verb."""

RESULTS: Mapping[str, type] = {
    "stack init": stack.InitResult,
    "stack up": stack.UpResult,
    "stack status": stack.StackStatusResult,
    "stack down": stack.DownResult,
    "stack purge": stack.PurgeResult,
    "stack key": stack.KeyResult,
    "cache start": cache.StartResult,
    "cache stop": cache.StopResult,
    "cache status": cache.CacheStatusResult,
    "cache logs": cache.LogResult,
    "cache warm": cache.WarmResult,
    "cache ls": Inventory,
    "cache config": cache.ConfigResult,
    "cache enable": cache.EnableResult,
    "cache disable": DisableResult,
    "dev push": others.SwappedResult,
    "dev reset": others.RestoredResult,
    "demo": Result,
    "version": others.VersionResult,
    "schema": others.SchemaListResult,
    ERROR: others.ErrorResult,
}
WITHOUT = frozenset({"cache serve", "completion", "kubectl", "helm", "k9s"})
"""Verbs whose output is not ours, or is a script."""
