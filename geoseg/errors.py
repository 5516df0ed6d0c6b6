"""Collect faults in what the user gave, and report all of them at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
LONGEST = 4000
"""Characters of a fault: what a file holds may be any length."""
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
"""Characters that would rule a terminal, or turn its text around; not tab and line feed."""


def readable(text: str) -> str:
    """Text for a terminal: what rules one is written out, and what is too long is cut."""
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]} … ({len(text) - LONGEST} characters) … {text[-half:]}"
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def shown(value: Any, most: int = 80) -> str:
    """A value as a message tells it, whatever it is: numbers of 5000 digits have no text."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= most else f"{text[:most]}…"


class InputError(Exception):
    """One or several faults that the user can mend; the command ends with them on stderr."""

    def __init__(self, *faults: str) -> None:
        faults = tuple(readable(str(fault)) for fault in faults)
        super().__init__(*faults)
        self.faults: tuple[str, ...] = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


class Faults:
    """Collects faults while checking goes on, so that a user mends them all in one round.

    >>> faults = Faults()
    >>> for path in paths:
    ...     faults.attempt(check, path)
    >>> faults.raise_if_any()
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, fault: str) -> None:
        self.found.append(fault)

    def need(self, given: object, **examples: str) -> None:
        """Add those keys that a configuration lacks, or that are empty, with what to set them to.

        Of an empty path, as `out=$UNSET` gives it, the folder where one is would be taken.
        """
        for name, example in examples.items():
            if getattr(given, name) in (None, ""):
                self.add(f"{name}: none given; set {name}={example}")

    def at_least(self, settings: object, room: str, /, **least: float) -> None:
        """Add those of some settings that are set, and below their least value.

        room: before their names, as "fit.".
        """
        for name, bound in least.items():
            value = getattr(settings, name)
            if value is not None and value < bound:
                rule = f"must be at least {bound}" if bound else "must not be negative"
                self.add(f"{room}{name}={value}: {rule}")

    def above_zero(self, settings: object, room: str, /, *names: str) -> None:
        """Add those of some settings that are set, and not above 0."""
        for name in names:
            value = getattr(settings, name)
            if value is not None and not value > 0:
                self.add(f"{room}{name}={value}: must be above 0")

    def within(self, settings: object, interval: str, room: str, /, *names: str) -> None:
        """Add those of some settings that are set, and outside an interval, written as "[0, 1)"."""
        low, high = map(float, interval[1:-1].split(","))
        for name in names:
            value = getattr(settings, name)
            at_end = (value == low and interval[0] == "(") or (
                value == high and interval[-1] == ")"
            )
            if value is not None and (at_end or not low <= value <= high):
                self.add(f"{room}{name}={value}: must be in {interval}")

    def one_of(self, settings: object, room: str, /, **choices: Collection[str]) -> None:
        """Add those of some settings that are none of their choices."""
        for name, known in choices.items():
            value = getattr(settings, name)
            if value not in known:
                self.add(f"{room}{name}={value}: choose from {', '.join(known)}")

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep an InputError of the block and go on after it."""
        try:
            yield
        except InputError as error:
            self.found.extend(error.faults)

    def attempt(self, call: Callable[P, R], /, *args: P.args, **options: P.kwargs) -> R | None:
        """What a call returns; None, and the faults kept, if it raises an InputError."""
        with self.collect():
            return call(*args, **options)
        return None

    def each(self, call: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """What a call returns for each of some items, but those for which it raises."""
        found = []
        for item in items:
            with self.collect():
                found.append(call(item))
        return found

    def raise_if_any(self) -> None:
        """Raises: InputError with every fault found so far."""
        if self.found:
            raise InputError(*self.found)


def require(given: object, **examples: str) -> None:
    """Raises: InputError for keys that a configuration lacks; as `Faults.need`."""
    faults = Faults()
    faults.need(given, **examples)
    faults.raise_if_any()
