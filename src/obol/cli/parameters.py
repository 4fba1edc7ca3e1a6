"""Values of options and arguments that are what they are to be already, without a library for that.

typer gives every value to pydantic, which takes longer to load than most commands take to answer. Text, flags and words
of a list need no such help. Whatever is not plainly right still goes there, so that mistakes are told as ever.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, get_args, get_origin

_SLOT = "_runtime_param"
"""Where a parameter of typer keeps what converts its values, once it has been made."""
_NOTHING = object()


class Plain:
    """Converts the values of one parameter."""

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Give the value that the command gets; raises what typer raises."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        found = plain(self._annotation, value)
        if found is not _NOTHING:
            return found
        vars(param)[_SLOT] = None  # typer makes its own then
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def quicken(parameters: list[Any]) -> list[Any]:
    """Have these parameters of typer look at plain values by themselves; versions that do not ask pydantic stay."""
    for parameter in parameters:
        if vars(parameter).get(_SLOT, parameter) is None:
            vars(parameter)[_SLOT] = Plain(parameter.type_descriptor.annotation)
    return parameters


def plain(annotation: Any, value: Any) -> Any:
    """The value, where it is plain that it is of that type; `_NOTHING` elsewhere."""
    if annotation in {str, bool} and type(value) is annotation:
        return value
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next((one for one in annotation if value in {one, one.value}), _NOTHING)
    if get_origin(annotation) is list and get_args(annotation) == (str,) and isinstance(value, list | tuple):
        return list(value) if all(type(item) is str for item in value) else _NOTHING
    return _NOTHING
