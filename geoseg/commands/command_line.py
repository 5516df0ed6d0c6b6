"""Check the words of a command line before Hydra sees them, and say all that is wrong with them.

Hydra stops at the first wrong word, and explains it in terms of its own. OmegaConf remains the
judge of values: what it would refuse is refused here, in a sentence.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from geoseg.commands.help import groups_of
from geoseg.commands.schema import Section, Setting, sections
from geoseg.errors import InputError, shown

WITH_VALUE = (
    *("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp"),
    *("--package", "-p", "--cfg", "-c", "--experimental-rerun"),
)
ALONE = (
    *("--multirun", "-m", "--resolve", "--run", "-r", "--shell-completion", "-sc"),
    *("--info", "-i", "--hydra-help"),
)
_KEY = re.compile(r"(\+{0,2})([^=~]*?)=(.*)", re.DOTALL)
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "list": "a list, as in [a, b]",
    "dict": "entries, as in {name: value}",
}


@dataclass(frozen=True)
class Known:
    """What a command may be given."""

    name: str
    schema: type
    sections: Sequence[Section]
    groups: Mapping[str, Sequence[str]]

    @classmethod
    def of(
        cls, name: str, schema: type, *, more: Mapping[str, Sequence[str]] | None = None
    ) -> Known:
        """more: choices of groups that came from elsewhere, as by --config-dir."""
        parts = sections(schema)
        groups = groups_of(name, parts)
        for group, names in (more or {}).items():
            groups[group] = [*groups.get(group, []), *names]
        return cls(name, schema, parts, groups)

    @cached_property
    def settings(self) -> dict[str, Setting]:
        return {setting.key: setting for part in self.sections for setting in part.settings}

    @cached_property
    def parts(self) -> set[str]:
        """Names that have settings of their own below them."""
        return {key[:end] for key in self.settings for end in _dots(key)}

    @property
    def help(self) -> str:
        return f"all keys: geoseg {self.name} --help"

    def owner(self, key: str) -> str | None:
        """The setting of entries that a key is an entry of: loss.terms of loss.terms.dice."""
        for end in _dots(key):
            setting = self.settings.get(key[:end])
            if setting and (setting.type.startswith("dict") or setting.type == "Any"):
                return key[:end]
        return None

    def near(self, key: str) -> str | None:
        """The key that was probably meant."""
        key = key.lstrip("-").replace("-", "_")
        every = [*self.settings, *self.groups]
        if key in every:
            return key
        ends = [known for known in every if known.rpartition(".")[2] == key.rpartition(".")[2]]
        if len(ends) == 1:
            return ends[0]
        room, _, end = key.rpartition(".")
        short = [k for k in every if len(end) > 1 and _initials(k) == end and k.startswith(room)]
        if len(short) == 1:  # fit.lr for fit.learning_rate
            return short[0]
        close = difflib.get_close_matches(key, every, n=1)
        # A room that two keys share makes them no more alike.
        if close and difflib.SequenceMatcher(None, end, close[0].rpartition(".")[2]).ratio() > 0.5:
            return close[0]
        last = {known.rpartition(".")[2]: known for known in every}
        close = difflib.get_close_matches(key, last, n=1, cutoff=0.75)
        return last[close[0]] if close else None

    def expected(self, key: str) -> str:
        """What the values of a setting are, in words."""
        setting = self.settings[key]
        kinds = [part.strip() for part in setting.type.split("|")]
        said = [_EXPECTED[k.partition("[")[0]] for k in kinds if k.partition("[")[0] in _EXPECTED]
        if "None" in kinds:
            said.append("null")
        return " or ".join(said) or "another value"


def _initials(key: str) -> str:
    return "".join(word[:1] for word in key.rpartition(".")[2].split("_"))


def check(arguments: Sequence[str], known: Known, *, sweeps: bool) -> None:
    """Raises: InputError with a sentence for each word that the command can't take."""
    faults = [*_shape_faults(arguments, known)]
    if faults:
        raise InputError(*faults)
    for word in arguments:
        if word.startswith("~") or ("=" in word and not word.startswith("-")):
            faults += _faults(word, known, sweeps=sweeps)
    if faults:
        raise InputError(*(f"{fault}; {known.help}" for fault in faults))


def check_values(words: Sequence[str], known: Known) -> None:
    """Raises: InputError for values of another type than their setting.

    words: as Hydra gets them.
    """
    blank = copy.deepcopy(structure(known.schema))
    faults = []
    for override in map(_parsed, words):
        if override is None or override.is_sweep_override() or override.is_delete():
            continue
        key = override.key_or_group
        place = key if key in known.settings else known.owner(key)
        if place is None or (place != key and known.settings[place].type == "Any"):
            continue
        value = override.value()
        if isinstance(value, str) and ("${" in value or value == "???"):
            continue
        try:
            OmegaConf.update(blank, key, value, force_add=True)
        except OmegaConfBaseException:
            faults.append(wrong_value(key, value, known, place=place))
    if faults:
        raise InputError(*(f"{fault}; {known.help}" for fault in faults))


@cache
def structure(schema: type) -> DictConfig:
    """The settings of a command with their types; to copy it takes a fifth of making it."""
    made: DictConfig = OmegaConf.structured(schema)
    return made


def wrong_value(key: str, value: Any, known: Known, *, place: str | None = None) -> str:
    """That a value is not of the type of its setting."""
    what = known.expected(place or key)
    if place and place != key:
        what = "a number" if "float" in known.settings[place].type else "text"
    got = {None: "null", True: "true", False: "false", "": "nothing"}
    text = got.get(value) if value is None or isinstance(value, bool | str) else None
    text = text or (value if isinstance(value, str) else str(shown(value)))
    return f"{key}={'' if text == 'nothing' else text}: expected {what}, got {text}"


def _shape_faults(arguments: Sequence[str], known: Known) -> Iterator[str]:
    """What is no option and no key=value."""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, _ = word.partition("=")
        follows = bool(rest) and not rest[0].startswith("-") and "=" not in rest[0]
        if word.startswith("-"):
            option = _option(name, known)
            if option is None or (option in ALONE and (equals or follows) and known.near(name)):
                value = word[len(name) + 1 :] if equals else (rest.pop(0) if follows else "…")
                yield _dashed(
                    word if equals or value == "…" else f"{word} {value}", name, value, known
                )
            elif option in WITH_VALUE and not equals and rest:
                rest.pop(0)
            continue
        if rest[:1] == ["="]:
            rest.pop(0)
            value = rest.pop(0) if rest else "…"
            yield f"{word} = {value}: write it without blanks: {word}={value}"
        elif rest and rest[0].startswith("=") and len(rest[0]) > 1:
            yield f"{word} {rest[0]}: write it without blanks: {word}{rest.pop(0)}"
        elif not equals and not word.startswith("~"):
            near = known.near(word)
            if near == word and follows:
                yield f"{word} {rest[0]}: write {word}={rest.pop(0)}"
            elif near:
                yield f"{word}: no value; write {near}=<value>"
            else:
                yield f"{word}: expected key=value, as in {_example(known)}; {known.help}"
        elif equals and not word.partition("=")[2] and follows:
            yield f"{word} {rest[0]}: write it without blanks: {word}{rest.pop(0)}"


def _option(name: str, known: Known) -> str | None:
    """The option of Hydra that a word is, or begins."""
    every = (*WITH_VALUE, *ALONE)
    if name in every:
        return name
    if known.near(name) == name.lstrip("-").replace("-", "_"):
        return None
    long = [option for option in every if name.startswith("--") and option.startswith(name)]
    return long[0] if long and len(name) > 4 else None


def _dashed(said: str, name: str, value: str, known: Known) -> str:
    near = known.near(name)
    if near is None:
        return f"{said}: no such option; settings are given as key=value; {known.help}"
    value = f"'{value}'" if " " in value else value
    return f"{said}: settings have no dashes; write {near}={'<value>' if value == '…' else value}"


def _example(known: Known) -> str:
    key = next(iter(known.settings))
    return f"{key}=<value>"


def _faults(word: str, known: Known, *, sweeps: bool) -> Iterator[str]:
    """What is wrong with a key=value but for the type of its value."""
    if word.startswith("~"):
        key = word[1:].partition("=")[0]
        yield f"{word}: settings are never taken away; leave it out, or set {key}=null"
        return
    match = _KEY.fullmatch(word)
    key, value = (match[2], match[3]) if match else ("", "")
    if key.startswith("hydra") and key[5:6] in (".", "/"):
        return
    if not key:
        yield f"{word}: expected key=value, as in {_example(known)}"
    elif "@" in key or "/" in key:
        yield f"{word}: no key has @ or / in it"
    elif key in known.groups and not value.startswith(("{", "$")):
        yield from _choice_faults(key, value, known, sweeps=sweeps)
    elif key in known.settings or known.owner(key):
        if value == "???":
            yield f"{word}: no value; give one"
        elif sweeps or not _several(value, key, known):
            return
        else:
            yield f"{word}: one value is expected" + _for_several(key, known)
    elif key in known.parts:
        if not value.startswith("{"):
            inside = [k for k in known.settings if k.startswith(f"{key}.")]
            yield f"{word}: {key} has settings of its own: {', '.join(inside[:6])}" + (
                ", …" if len(inside) > 6 else ""
            )
    else:
        near = known.near(key)
        yield f"{key}: no such key" + (f"; did you mean {near}?" if near else "")


def _choice_faults(key: str, value: str, known: Known, *, sweeps: bool) -> Iterator[str]:
    names = value.split(",") if sweeps else [value]
    if not sweeps and "," in value and {*value.split(",")} <= {*known.groups[key]}:
        yield f"{key}={value}: one value is expected" + _for_several(key, known)
        return
    for name in names:
        plain = name.strip().strip("'\"")
        if plain in known.groups[key] or (sweeps and re.search(r"[()]", value)):
            continue
        if plain == "null" and key == "experiment":
            continue
        near = difflib.get_close_matches(plain, known.groups[key], n=1)
        hint = f"did you mean {key}={near[0]}? " if near else ""
        yield f"{key}={plain}: {hint}choose from {', '.join(sorted(known.groups[key]))}"


def _several(value: str, key: str, known: Known) -> bool:
    """Whether a value is several, that only a sweep would take one after the other."""
    if known.settings.get(key) and re.match(r"str|Any", known.settings[key].type):
        return False
    override = _parsed(f"{key}={value}")
    return override is not None and override.is_sweep_override()


def _for_several(key: str, known: Known) -> str:
    setting = known.settings.get(key)
    if setting and setting.type.startswith("list"):
        return f"; write a list as {key}=[a,b]"
    return "; --multirun trains once for each of several" if known.name == "train" else ""


def _parsed(word: str) -> Override | None:
    if "=" not in word or word.startswith("-"):
        return None
    with suppress(HydraException):  # Hydra itself refuses it later, and says why
        parsed: Override = OverridesParser.create().parse_override(word)
        return parsed
    return None


def _dots(key: str) -> Iterator[int]:
    return (place for place, letter in enumerate(key) if letter == ".")
