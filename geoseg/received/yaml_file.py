"""Read YAML as plain values of limited size.

A few lines of anchors and aliases may stand for thousands of millions of values ("billion laughs"),
and text that nests deeply ends the program that reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from geoseg.errors import InputError

DEEPEST = 50
"""Levels of lists and mappings within each other."""
MOST = 500_000
"""Values, with all that aliases stand for."""


def parse_yaml(text: str, source: str | Path, load: Callable[[str], Any] = yaml.safe_load) -> Any:
    """Content of a YAML text as lists, dictionaries, text and numbers.

    load: makes it of the text once that is known to be harmless.
    Raises: InputError if it isn't YAML, is nested too deeply or too large.
    """
    try:
        _measure(text)
        return load(text)
    except yaml.YAMLError as error:
        cause = " ".join(str(error).split())
        raise InputError(f"{source}: not valid YAML ({cause})") from None
    except (ValueError, OverflowError, RecursionError, TypeError) as error:
        # A date such as 2020-99-99, a number of 5000 digits, a list as a key.
        raise InputError(f"{source}: not valid YAML ({error or type(error).__name__})") from None


def _measure(text: str) -> None:
    """Raises: YAMLError, ValueError."""
    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        total += 1
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(str(event.anchor), 0)
        elif isinstance(event, yaml.ScalarEvent) and event.anchor:
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, total))
            if len(opened) > DEEPEST:
                raise ValueError(f"nested more than {DEEPEST} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = opened.pop()
            if anchor:
                sizes[anchor] = total - start
        if total > MOST:
            raise ValueError(f"more than {MOST} values, those of aliases counted")
