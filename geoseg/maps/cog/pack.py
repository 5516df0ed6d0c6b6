"""Keep finished blocks in one growing file, from which a killed command goes on."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from geoseg.outputs.crew import WorkerEndedError
from geoseg.outputs.files import make_folder, unwritable

_KILLED = (WorkerEndedError, MemoryError)


@dataclass(frozen=True)
class Record:
    """A piece of finished work."""

    offset: int
    """Of its bytes in the pack."""
    sizes: tuple[int, ...]
    """Of its parts in bytes, which follow each other."""
    note: Any
    """What else is to be known of it; JSON."""


class Pack:
    """Records in the order in which they were added; those of a killed run with the same key stay.

    Each is a line (checksum, JSON) and its bytes. What is not whole is cut off, with all behind it.
    """

    def __init__(self, path: str | Path, key: str, *, owner: str | Path) -> None:
        """Open what there is of this key, or begin anew.

        key: what the work depends on. owner: the output that it is for, for errors.
        Raises: InputError if it can't be written.
        """
        self._path, self._owner = Path(path), Path(owner)
        make_folder(self._path.parent)
        self.records: list[Record] = []
        """What a run before has left."""
        self.is_void = False
        """Whether there was something of another key."""
        head = json.dumps({"key": key}).encode() + b"\n"
        try:
            # Unbuffered: what is added is there when the process is killed, and a full disk is
            # reported where it is met.
            self._file = FileIO(self._path, "r+" if self._path.exists() else "w+")
            self._begin = len(head)
            found = self._file.readline(len(head))
            if found == head:
                self._end = self._recover(len(head))
            else:
                self.is_void = not head.startswith(found)  # else it was killed as it began
                self._file.seek(0)
                self._file.truncate()
                self._end = 0
                self._append(head)
        except OSError as error:
            raise unwritable(self._owner, error.strerror) from None

    def _recover(self, begin: int) -> int:
        """Read all whole records, and cut the file off behind them. Returns: its size."""
        end = begin
        with open(self._path, "rb") as file:
            file.seek(begin)
            while line := file.readline():
                checksum, _, told = line.partition(b" ")
                try:
                    sizes, note = json.loads(told)
                    content = file.read(sum(sizes))
                except (ValueError, TypeError):
                    break
                if checksum != _checksum(told, content) or len(content) < sum(sizes):
                    break
                self.records.append(Record(end + len(line), tuple(sizes), note))
                end += len(line) + len(content)
        self._file.truncate(end)
        self._file.seek(end)
        return end

    def cut(self, count: int) -> None:
        """Forget what a run before has left but the first `count` records."""
        del self.records[count:]
        last = self.records[-1] if self.records else None
        self._end = last.offset + sum(last.sizes) if last else self._begin
        self._file.truncate(self._end)
        self._file.seek(self._end)

    def add(self, parts: Sequence[bytes], note: Any = None) -> Record:
        """Append a record. Raises: InputError if the disk is full."""
        content = b"".join(parts)
        sizes = tuple(map(len, parts))
        told = json.dumps((sizes, note), separators=(",", ":")).encode() + b"\n"
        line = _checksum(told, content) + b" " + told
        record = Record(self._end + len(line), sizes, note)
        try:
            self._append(line + content)
        except OSError as error:
            raise unwritable(self._owner, error.strerror) from None
        return record

    def _append(self, content: bytes) -> None:
        left = memoryview(content)
        while left:  # a disk that fills takes a part and fails at the next
            done = self._file.write(left)
            left = left[done:]
        self._end += len(content)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of a part; any thread may ask."""
        return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Pack:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """A fault removes the pack; a kill or Ctrl-C leaves it for the next run to go on.

        So does what is a kill of a part: of a process that worked for this one, or by too little
        memory.
        """
        self.close()
        if kind is None or (issubclass(kind, Exception) and not issubclass(kind, _KILLED)):
            self._path.unlink(missing_ok=True)


def _checksum(told: bytes, content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content, zlib.crc32(told))
