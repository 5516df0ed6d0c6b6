"""Check that values fit the types of a dataclass's fields."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from geoseg.errors import Faults, InputError, shown


def check_types(value: Any, source: str) -> None:
    """Compare the fields of a dataclass, and of those in it, with their annotations.

    Raises: InputError that names each field of another type.
    """
    faults = Faults()
    _fields(value, source, faults)
    faults.raise_if_any()


def plain_name(name: Any, source: str) -> str:
    """A text that can name a file in a folder: no path, and nothing that can't be printed.

    Raises: InputError.
    """
    bad = not isinstance(name, str) or not name or len(name) > 255 or name in (".", "..")
    if bad or "/" in name or "\\" in name or not name.isprintable():
        raise InputError(f"{source}: {shown(name)} is no name; expected text that can name a file")
    return str(name)


def _fields(value: Any, source: str, faults: Faults) -> None:
    hints = typing.get_type_hints(type(value))
    for field in dataclasses.fields(value):
        _value(getattr(value, field.name), hints[field.name], f"{source}, {field.name}", faults)


def _value(value: Any, kind: Any, source: str, faults: Faults) -> None:
    if not _fits(value, kind):
        faults.add(f"{source}: {shown(value)}, expected {_name(kind)}")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _fields(value, source, faults)
    elif isinstance(value, tuple | list):
        for number, part in enumerate(value, 1):
            if dataclasses.is_dataclass(part):
                _value(part, type(part), f"{source} {number}", faults)


def _fits(value: Any, kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        fits = isinstance(value, tuple) and len(value) == len(arguments)
        return fits and all(map(_fits, value, arguments))
    if origin in (tuple, list):
        return isinstance(value, origin) and all(_fits(part, arguments[0]) for part in value)
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(key, arguments[0]) and _fits(part, arguments[1]) for key, part in value.items()
        )
    return isinstance(value, origin or kind)


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)
