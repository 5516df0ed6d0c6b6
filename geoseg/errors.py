"""Faults in what the user gave: what, got, expected, remedy; all of them at once."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """One or several faults that the user can mend; the command ends with them on stderr."""

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults: tuple[str, ...] = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


class Faults:
    """Collects faults while checking goes on, so that a user mends them all in one round.

    >>> faults = Faults()
    >>> for path in paths:
    ...     with faults.collect():
    ...         check(path)
    >>> faults.raise_if_any()
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, fault: str) -> None:
        self.found.append(fault)

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep an InputError of the block and go on after it."""
        try:
            yield
        except InputError as error:
            self.found.extend(error.faults)

    def raise_if_any(self) -> None:
        """Raises: InputError with every fault found so far."""
        if self.found:
            raise InputError(*self.found)
