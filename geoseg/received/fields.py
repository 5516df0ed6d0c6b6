"""Check that values fit the fields of a dataclass: those of a JSON file, or of an object made."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from geoseg import errors
from geoseg.errors import Faults, InputError

SHOWN = 60
"""Characters of a wrong value of a JSON file that are shown."""


def check(kind: type, values: Any, where: str = "") -> None:
    """Look at values before they become an object; those of other dataclasses are not looked into.

    where: name of the values within their file, "" for the whole.
    Raises: InputError with all that is missing, unknown or of another type.
    """
    faults = Faults()
    prefix = f"{where}." if where else ""
    if not isinstance(values, dict):
        faults.add(f"{where or 'content'}: {shown(values)}, expected named entries")
        faults.raise_if_any()
    hints = _hints(kind)
    known = {field.name: field for field in fields(kind) if field.init}
    for name in values:
        if name not in known:
            faults.add(f"{prefix}{shown(name)}: unknown to this version")
    for name, field in known.items():
        needed = field.default is MISSING and field.default_factory is MISSING
        if name in values:
            if not fits(values[name], hints[name]):
                faults.add(f"{prefix}{name}: {shown(values[name])}, expected {said(hints[name])}")
        elif needed:
            faults.add(f"{prefix}{name}: missing")
    faults.raise_if_any()


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
        raise InputError(
            f"{source}: {errors.shown(name)} is not a name; expected text that can name a file"
        )
    return str(name)


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Annotations of a dataclass, which are evaluated once: data sets have 100,000 tiles."""
    return get_type_hints(kind)


def _fields(value: Any, source: str, faults: Faults) -> None:
    kind: type = type(value)
    hints = _hints(kind)
    for field in fields(value):
        _value(getattr(value, field.name), hints[field.name], f"{source}, {field.name}", faults)


def _value(value: Any, kind: Any, source: str, faults: Faults) -> None:
    if not fits(value, kind, strict=True):
        faults.add(f"{source}: {errors.shown(value)}, expected {_name(kind)}")
    elif is_dataclass(value) and not isinstance(value, type):
        _fields(value, source, faults)
    elif isinstance(value, tuple | list):
        for number, part in enumerate(value, 1):
            if is_dataclass(part):
                _value(part, type(part), f"{source} {number}", faults)


def fits(value: Any, hint: Any, *, strict: bool = False) -> bool:
    """Whether a value is of a type: a whole number is a number too, a truth value is none.

    strict: else, as in JSON, lists stand for tuples, and named entries for a dataclass.
    """
    kind, of = get_origin(hint), get_args(hint)
    if hint is Any or (is_dataclass(hint) and not strict):
        return True
    if kind in (Union, types.UnionType):
        return any(fits(value, one, strict=strict) for one in of)
    if kind in (tuple, list):
        if not isinstance(value, kind if strict else (list, tuple)):
            return False
        if strict and kind is tuple and of[-1] is not Ellipsis:
            return len(value) == len(of) and all(
                fits(part, one, strict=True) for part, one in zip(value, of, strict=True)
            )
        return all(fits(part, of[0], strict=strict) for part in value)
    if kind is dict or hint is dict:
        key_type, part_type = of or (Any, Any)
        return isinstance(value, dict) and all(
            fits(key, key_type, strict=strict) and fits(part, part_type, strict=strict)
            for key, part in value.items()
        )
    if hint in (int, float):
        number = isinstance(value, int) or (hint is float and isinstance(value, float))
        return number and not isinstance(value, bool)
    return isinstance(value, type(None) if hint is None else hint)


def said(hint: Any) -> str:
    """A type in words."""
    kind, of = get_origin(hint), get_args(hint)
    if kind in (Union, types.UnionType):
        return " or ".join(said(one) for one in of)
    if kind in (tuple, list):
        return f"a list, each {said(of[0])}"
    if kind is dict or hint is dict or is_dataclass(hint):
        return "named entries"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(hint, "nothing (null)")


def shown(value: Any) -> str:
    """A wrong value, as far as it fits in a sentence."""
    return errors.shown(value, SHOWN)


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
