"""Check that values of a JSON file fit the fields of a dataclass."""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from geoseg.errors import Faults

SHOWN = 60
"""Characters of a wrong value that are shown."""


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
    hints = get_type_hints(kind)
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


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a type: a whole number is a number too, a truth value is none."""
    kind, of = get_origin(hint), get_args(hint)
    if hint is Any or is_dataclass(hint):
        return True
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in of)
    if kind in (tuple, list):
        return isinstance(value, (list, tuple)) and all(fits(part, of[0]) for part in value)
    if kind is dict or hint is dict:
        pairs = of or (Any, Any)
        return isinstance(value, dict) and all(
            fits(key, pairs[0]) and fits(part, pairs[1]) for key, part in value.items()
        )
    if hint in (int, float):
        number = isinstance(value, int) or (hint is float and isinstance(value, float))
        return number and not isinstance(value, bool)
    return value is None if hint is type(None) else isinstance(value, hint)


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
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
