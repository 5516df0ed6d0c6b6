"""Print safely: a closed pipe or an odd encoding never ends the work."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

_lost: dict[str, OSError] = {}
"""By stream, why what a command says is no longer written."""


def settle(name: str = "") -> None:
    """Let standard output and errors take any text, and outlive whoever reads them.

    Letters that the terminal can't show become question marks. A reader that has gone away, as
    `head` does, costs no work. name: of the command, which then says so; empty = silently.
    """
    _occupy()
    sys.stdout = _lasting(sys.stdout, name, "replace")
    sys.stderr = _lasting(sys.stderr, "", "backslashreplace")


def unwritten() -> str | None:
    """Why standard output is not whole; None if it is, or nobody wanted the rest of it."""
    with suppress(OSError, ValueError):  # what fails is in _lost, or the stream was closed
        sys.stdout.flush()
    error = _lost.get("stdout")
    if error is None or isinstance(error, BrokenPipeError):
        return None
    return f"standard output can't be written ({error.strerror}); all else is done"


class _Lasting(io.FileIO):
    """A stream that swallows what can't be written any more."""

    def __init__(self, before: TextIO, stream: str, command: str) -> None:
        super().__init__(before.fileno(), "w", closefd=False)
        self._before = before  # it would close the file when nobody has it any more
        self._stream, self._command = stream, command

    def write(self, content: object) -> int:
        size = memoryview(content).nbytes  # type: ignore[arg-type]
        if self._stream in _lost:
            return size
        try:
            return super().write(content)  # type: ignore[arg-type]
        except OSError as error:
            _lost[self._stream] = error
        if self._command and isinstance(_lost[self._stream], BrokenPipeError):
            with suppress(OSError):  # nobody reads that either
                said = "nobody reads the output any more; the work goes on without it"
                print(f"geoseg {self._command}: {said}", file=sys.stderr)
        return size


def _occupy() -> None:
    """Open what was closed: else the next file that is opened would get what is printed."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _lasting(stream: TextIO, command: str, errors: str) -> TextIO:
    """The stream, or one of the same file that takes everything."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # somebody's own, as in a notebook
    raw = getattr(stream.buffer, "raw", stream.buffer)  # itself, where nothing is buffered
    if type(raw) is not io.FileIO:
        stream.reconfigure(errors=errors)
        return stream
    with suppress(OSError):  # the next write to it fails too, and is noted
        stream.flush()
    name = "stdout" if stream is sys.stdout else "stderr"
    _lost.pop(name, None)
    lasting = _Lasting(stream, name, command)
    return io.TextIOWrapper(
        lasting if raw is stream.buffer else io.BufferedWriter(lasting),
        encoding=stream.encoding,
        errors=errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
