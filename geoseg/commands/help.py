"""Write the help of a command from the docstrings of its settings."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace

from geoseg.commands import conf, verbs
from geoseg.commands.schema import UNKNOWN, Section, Setting

WIDEST = 140
"""Columns of a line at most: longer ones are hard to follow."""
KEYS = 26
"""Columns of the keys at most; a longer key gets a line of its own."""
OF_SERIES = ("For a network for series", "Series:", "LSTM only", "PSE-TAE")
"""How the meaning of a setting begins that only series have."""
SERIES_SECTIONS = ("series", "samples")
OPTIONS = (
    ("--help", "This text."),
    ("--multirun", "Only train: once per value of key=a,b,c; see docs/sweeps.md."),
    ("--config-dir", "Folder of settings, as <run>/.hydra; with --config-name config."),
)


def width() -> int:
    """Columns that a line of help may have."""
    return max(min(shutil.get_terminal_size((100, 24)).columns, WIDEST), 40)


def help_text(name: str, purpose: str, sections: Sequence[Section]) -> str:
    """Purpose, keys with default and meaning, groups; what is used most comes first."""
    wide = width()
    lines = [f"geoseg {name} key=value …", "", *_paragraphs(purpose, wide), ""]
    for number, (title, doc, settings) in enumerate(_headings(name, sections)):
        lines += textwrap.wrap(f"{title}: {doc}" if doc else f"{title}:", wide)
        lines += [line for setting in settings for line in _entry(*_told(setting), wide)] + [""]
        if number == 0:
            lines += _groups(name, sections, wide)
    lines.append("Options:")
    shown = [option for option in OPTIONS if option[0] != "--multirun" or name == "train"]
    lines += [line for option in shown for line in _entry(*option, wide)]
    return "\n".join([*lines, "", f"The same as python -m geoseg.{name}; all commands: geoseg"])


def groups_of(name: str, sections: Sequence[Section]) -> dict[str, list[str]]:
    """The groups of a command that have ready-made files, with the names of these."""
    top = conf.CONF / f"{name}.yaml"
    listed = re.findall(r"^ *- (?:optional )?(\w+):", top.read_text(encoding="utf-8"), re.M)
    parts = dict.fromkeys(section.name.partition(".")[0] for section in sections)
    groups = [*(part for part in parts if part in listed), *(g for g in listed if g not in parts)]
    found = {group: sorted(p.stem for p in (conf.CONF / group).glob("*.yaml")) for group in groups}
    return {group: names for group, names in found.items() if names}


def _groups(name: str, sections: Sequence[Section], wide: int) -> list[str]:
    ready = groups_of(name, sections)
    if not ready:
        return []
    lines = ["Ready-made groups, each a file of settings:"]
    for group, names in ready.items():
        lines += _entry(f"{group}=", " | ".join(names), wide)
    return [*lines, ""]


def _headings(
    name: str, sections: Sequence[Section]
) -> Iterator[tuple[str, str, Sequence[Setting]]]:
    """Title, meaning and settings of each part of the help, in order."""
    usual = verbs.USUAL.get(name, tuple(s.key for s in sections[0].settings))
    every = {setting.key: setting for section in sections for setting in section.settings}
    first = [every[key] for key in usual if key in every]
    if len(first) < len(every):
        yield "Usual keys", "", first
    else:
        yield "Keys", "", first
    of_series: list[Setting] = []
    parts: list[Section] = []
    for section in sections:
        rest = [s for s in section.settings if s.key not in usual]
        apart = [s for s in rest if s.doc.startswith(OF_SERIES)]
        of_series += apart
        parts.append(replace(section, settings=tuple(s for s in rest if s not in apart)))
    series = [part for part in parts if part.name in SERIES_SECTIONS]
    for part in (*(part for part in parts if part not in series), *series):
        if part in series and of_series:
            yield "Of series only", "", of_series
            of_series = []
        if part.settings:
            doc = part.doc.partition("\n\n")[0] if part.name else ""
            yield part.name or "More", doc, part.settings
    if of_series:
        yield "Of series only", "", of_series


def _told(setting: Setting) -> tuple[str, str]:
    """A key, and its meaning with the default."""
    value, doc = setting.default, setting.doc
    if value is None:
        said = any(word in doc for word in ("none =", "None =", "default"))
        text = "" if said else "none"
    elif value is UNKNOWN:
        text = ""
    elif isinstance(value, bool):
        text = str(value).lower()
    elif value in ([], {}, ""):
        text = "" if "empty =" in doc or "Without any" in doc else "empty"
    else:
        text = str(value)
    return setting.key, f"{doc} [{text}]" if text else doc


def _paragraphs(text: str, wide: int) -> list[str]:
    lines = []
    for paragraph in text.split("\n\n"):
        lines += ["", *textwrap.wrap(" ".join(paragraph.split()), wide)]
    return lines[1:]


def _entry(key: str, doc: str, wide: int) -> list[str]:
    """A key and what it means, the meaning in a column of its own."""
    column = KEYS + 2
    wrapped = textwrap.wrap(doc, wide - column, break_long_words=False, break_on_hyphens=False) or [
        ""
    ]
    if len(key) + 2 > KEYS:
        return [f"  {key}", *(" " * column + line for line in wrapped)]
    first = f"  {key:<{KEYS}}{wrapped[0]}".rstrip()
    return [first, *(" " * column + line for line in wrapped[1:])]
