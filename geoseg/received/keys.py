"""Read key=value by the type of its setting, as Hydra must see it.

Hydra reads a value as a language of its own: 11_0 is the number 110, and é, ( or ' are syntax
errors. Settings that hold text take it as it is typed, and so do lists and dictionaries of them.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import Any

import yaml

from geoseg.errors import InputError
from geoseg.received.yaml_file import parse_yaml

NUMERIC = {"kind": "NUMERIC"}
"""Metadata of a field of type Any that takes numbers as well; others take text or lists of text."""
OPTIONS = {"kind": "OPTIONS"}
"""Metadata of a field that holds arguments for other code: numbers, flags, text and lists."""
WEIGHTS = {"kind": "WEIGHTS"}
"""Metadata of a field of type Any that takes text or a dictionary of numbers."""
_PLAIN = re.compile(r"(?!(?i:null|true|false|nan|inf)$)[A-Za-z/][A-Za-z0-9_/.\-]*")
"""Text that Hydra reads as this very text."""
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d+)?|\.\d+)")
_NAME = re.compile(r"(?!(?i:null|true|false|nan|inf)$)[A-Za-z_][A-Za-z0-9_]*")
"""What Hydra takes for one part of a key, and leaves text."""
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_VALUE = re.compile(rf"(?i:null|true|false)|{_NUMBER.pattern}|[+-]?\d[\d.]*[eE][+-]?\d+|\[.*\]")
"""What Hydra reads as something other than text."""
_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag|int|float|str|bool)\(.*\)")
_RESOLVERS = ("oc.env:", "oc.decode:", "oc.select:", "oc.create:", "hydra:", "now:")
_OPENING, _CLOSING = "[{(", "]})"


class Kind(Enum):
    """What the values of a setting are."""

    TEXT = auto()
    ANY = auto()
    """Text, or a list of it."""
    NUMERIC = auto()
    """A number, text, or a list of text."""
    WEIGHTS = auto()
    """Text, or a dictionary of numbers."""
    TEXTS = auto()
    ENTRIES = auto()
    """A list of dictionaries."""
    TEXT_DICT = auto()
    NUMBER_DICT = auto()
    OPTIONS = auto()
    """A dictionary of numbers, flags, text and lists."""
    OTHER = auto()
    """Numbers and flags: Hydra reads them well."""


DICTS = (Kind.TEXT_DICT, Kind.NUMBER_DICT, Kind.WEIGHTS, Kind.OPTIONS)


@dataclass(frozen=True)
class Late:
    """A value that Hydra's command line has no words for; set when the rest is composed."""

    key: str
    value: Any
    """A list, or a dictionary of entries that are added."""


@dataclass
class Words:
    """A command line, ready for Hydra."""

    words: list[str] = field(default_factory=list)
    late: list[Late] = field(default_factory=list)


def settings(schema: type, prefix: str = "") -> Iterator[tuple[str, Kind]]:
    """Key and kind of each setting of a command."""
    hints = typing.get_type_hints(schema)
    for item in dataclasses.fields(schema):
        hint = hints[item.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from settings(hint, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, _kind(hint, item.metadata)


def _kind(hint: Any, metadata: Any) -> Kind:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    known = {
        str: Kind.TEXT,
        Any: Kind[metadata.get("kind", "ANY")],
        list[str]: Kind.TEXTS,
        list[Any]: Kind.ENTRIES,
        dict[str, str]: Kind.TEXT_DICT,
        dict[str, float]: Kind.NUMBER_DICT,
        dict[str, Any]: Kind.OPTIONS,
    }
    return known.get(hint, Kind.OTHER)


def for_hydra(arguments: Sequence[str], schema: type, *, sweeps: bool = False) -> Words:
    """A command line as Hydra must see it: text quoted, entries of dictionaries addable.

    sweeps: whether values parted by commas are several.
    Raises: InputError for a sweep over names that Hydra has no words for.
    """
    reader = _Reader(dict(settings(schema)), sweeps)
    made = Words()
    for argument in arguments:
        reader.read(argument, made)
    if sweeps and made.late:
        keys = ", ".join(late.key for late in made.late)
        raise InputError(
            f"--multirun: {keys}: its names must be of a-z, 0-9 and _ in a sweep; rename them, or"
            " give the command once per setting"
        )
    return made


@dataclass(frozen=True)
class _Reader:
    known: dict[str, Kind]
    sweeps: bool

    def read(self, argument: str, made: Words) -> None:
        """Add what an argument of the command line becomes."""
        match = re.match(r"(\+{0,2})([^=+~\-][^=]*)=(.*)", argument, re.DOTALL)
        if match is None:
            made.words.append(argument)
            return
        sign, key, value = match.groups()
        owner = key if key in self.known else self._owner(key)
        if owner is None:
            made.words.append(argument)
        elif owner != key:
            self._entry(owner, key[len(owner) + 1 :], value, made)
        elif _is_mapping(self.known[key], value):
            self._entries(key, value, made)
        elif self.known[key] is Kind.ENTRIES and value.startswith("["):
            made.late.append(Late(key, text_yaml(value, key)))
        else:
            made.words.append(f"{sign}{key}={self._value(self.known[key], value)}")

    def _owner(self, key: str) -> str | None:
        """The dictionary that a key is an entry of."""
        for end in (place for place, letter in enumerate(key) if letter == "."):
            if self.known.get(key[:end]) in DICTS and key[end + 1 :]:
                return key[:end]
        return None

    def _entry(self, key: str, name: str, value: str, made: Words) -> None:
        """One entry of a dictionary, whether it is there already or not."""
        kind = _kind_of_entry(self.known[key], value)
        if _NAME.fullmatch(name):
            made.words.append(f"++{key}.{name}={self._value(kind, value)}")
        else:
            made.late.append(Late(key, {name: _scalar(kind, value, f"{key}.{name}")}))

    def _entries(self, key: str, value: str, made: Words) -> None:
        """A whole dictionary, {a: b, c: d}."""
        owner = self.known[key]
        pairs = _pairs(value[1:-1], key)
        if all(_NAME.fullmatch(name) for name in pairs):
            said = ", ".join(
                f"{name}: {self._one(_kind_of_entry(owner, text), text)}"
                for name, text in pairs.items()
            )
            made.words.append(f"++{key}={{{said}}}")
            return
        entries = {
            name: _scalar(_kind_of_entry(owner, text), text, f"{key}.{name}")
            for name, text in pairs.items()
        }
        made.late.append(Late(key, entries))

    def _value(self, kind: Kind, value: str) -> str:
        """A value as Hydra must see it."""
        if not self.sweeps or kind in (Kind.OTHER, Kind.TEXTS, Kind.ENTRIES) or _exists(value):
            return self._one(kind, value)
        if _FUNCTION.fullmatch(value):
            return value
        return ",".join(self._one(kind, part) for part in _split(value, nested=True))

    def _one(self, kind: Kind, value: str) -> str:
        if kind in (Kind.OTHER, Kind.ENTRIES) or value in ("", "null"):
            return value
        if kind is Kind.NUMERIC and _NUMBER.fullmatch(value):
            return value
        if kind is not Kind.TEXT and value[0] == "[" and value[-1] == "]" and not _exists(value):
            parts = items(value[1:-1])
            return f"[{','.join(self._text(part) for part in parts)}]" if all(parts) else value
        return value if kind is Kind.TEXTS else self._text(value)

    def _text(self, text: str) -> str:
        """A text in quotes, if it needs them."""
        text = unquoted(text)
        if _PLAIN.fullmatch(text):
            return text
        text = self._literal(text)
        # A backslash before a quote, or at the end, would else escape it.
        text = re.sub(r"(\\+)(?='|$)", r"\1\1", text).replace("'", "\\'")
        return f"'{text}'"

    def _literal(self, text: str) -> str:
        """${…} that is no reference to a setting is text, and so is all of a path that exists."""
        there = _exists(text)

        def escaped(found: re.Match[str]) -> str:
            inner = found[2]
            refers = inner in self.known or inner.startswith(_RESOLVERS)
            return found[0] if refers and not there else escape(found[0])

        return re.sub(r"(\\*)\$\{([^{}]*)\}?", escaped, text)


def escape(text: str) -> str:
    """Text that OmegaConf reads as it stands, though it holds ${."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)


def unquoted(text: str) -> str:
    """Text without the quotes that a person put around all of it, unless they are part of a path.

    >>> unquoted("'a b'")
    'a b'
    """
    if not _QUOTED.fullmatch(text) or _exists(text):
        return text
    quote, inner = text[0], text[1:-1]
    return re.sub(rf"\\+(?={quote}|$)", lambda found: "\\" * (len(found[0]) // 2), inner)


def items(text: str) -> list[str]:
    """The texts of a list a,b,c; a path that exists may hold commas.

    >>> items("a, 'b,c'")
    ['a', "'b,c'"]
    """
    parts = _split(text, nested=False) if text.strip() else []
    made = []
    while parts:
        count = 1
        if not _exists(parts[0].strip()):
            joined = (",".join(parts[:n]).strip() for n in range(2, len(parts) + 1))
            count = next((n for n, path in enumerate(joined, 2) if _exists(path)), 1)
        made.append(",".join(parts[:count]).strip())
        del parts[:count]
    return made


def _split(text: str, *, nested: bool) -> list[str]:
    """Parts between commas outside quotes; nested: outside brackets too."""
    parts, start, place, depth = [], 0, 0, 0
    while place < len(text):
        begins = not text[start:place].strip()
        quoted = _QUOTED.match(text, place) if begins or depth else None
        # A quote in the middle of a word is an apostrophe.
        if quoted and re.match(r"\s*([,\]}):]|$)", text[quoted.end() :]):
            place = quoted.end()
            continue
        letter = text[place]
        if nested:
            depth += (letter in _OPENING) - (letter in _CLOSING)
        if letter == "," and depth <= 0:
            parts.append(text[start:place])
            start, depth = place + 1, 0
        place += 1
    return [*parts, text[start:]]


def _pairs(text: str, key: str) -> dict[str, str]:
    """Entries of a: b, c: d. Raises: InputError."""
    pairs: dict[str, str] = {}
    last = ""
    for part in _split(text, nested=False) if text.strip() else []:
        found = re.match(r"\s*('[^']*'|\"[^\"]*\"|[^:]*?)\s*:\s*(.*?)\s*$", part, re.DOTALL)
        if found and found[1]:
            last = unquoted(found[1])
            pairs[last] = found[2]
        elif last:  # a comma within a value
            pairs[last] += f",{part.rstrip()}"
        else:
            raise InputError(f"{key}={{{text}}}: expected {{name: value, …}}, got {part.strip()!r}")
    return pairs


def _kind_of_entry(owner: Kind, value: str) -> Kind:
    """What an entry of a dictionary is; of options, several values of a sweep may be."""
    if owner is Kind.OPTIONS:
        parts = _split(value, nested=True)
        plain = all(_VALUE.fullmatch(part.strip()) for part in parts) or _FUNCTION.fullmatch(value)
        return Kind.OTHER if plain else Kind.TEXT
    return Kind.TEXT if owner is Kind.TEXT_DICT else Kind.OTHER


def _is_mapping(kind: Kind, value: str) -> bool:
    return kind in DICTS and value.startswith("{") and value.endswith("}")


def _scalar(kind: Kind, value: str, key: str) -> Any:
    """The value of an entry whose name Hydra's command line can't hold. Raises: InputError."""
    if kind is Kind.TEXT:
        return escape(unquoted(value))
    try:
        return float(value)
    except ValueError:
        raise InputError(f"{key}={value}: expected a number") from None


def _exists(text: str) -> bool:
    """Whether a text is a path to something that is there."""
    return bool(text) and "\0" not in text and os.path.lexists(os.path.expanduser(text))


class _TextLoader(yaml.SafeLoader):
    """YAML whose scalars are the text that was written: 010, no and 1e3 are names, not numbers."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._checked: set[yaml.Node] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """As it is, but a key that appears twice is refused: the first one would be lost. What a
        mapping merges may have the same keys as itself, and stands in it from then on."""
        seen: set[str] = set()
        for key, _ in () if node in self._checked else node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != MERGED:
                if key.value in seen:
                    problem = f"the key {key.value!r} appears twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        self._checked.add(node)
        super().flatten_mapping(node)


MERGED = "tag:yaml.org,2002:merge"
_KEPT = ("tag:yaml.org,2002:null", MERGED)
_TextLoader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in resolvers if tag in _KEPT]
    for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def text_yaml(text: str, source: str) -> Any:
    """YAML with all scalars as text, but for null. Raises: InputError if it isn't YAML."""
    return parse_yaml(text, source, partial(yaml.load, Loader=_TextLoader))  # a SafeLoader
