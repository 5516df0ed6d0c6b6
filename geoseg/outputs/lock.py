"""Lock a folder or file for the command that writes to it."""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from inspect import signature
from operator import attrgetter
from pathlib import Path
from threading import Event, Thread
from typing import Any, ParamSpec, TypeVar

from geoseg.errors import InputError
from geoseg.outputs.files import make_folder

P = ParamSpec("P")
R = TypeVar("R")
BEAT = 20.0
"""Seconds between two signs of life."""
SILENCE = 600.0
"""Seconds without one after which a process on another machine counts as gone: a batch system that
starts a job anew elsewhere must not wait for a person."""
BEGINNING = 5.0
"""Seconds that a process gets to write its name into a lock that it has made."""


@dataclass(frozen=True)
class Holder:
    """The process that has a lock."""

    command: str
    host: str
    """Name of the machine, and its run: after a restart it is another one."""
    process: int
    started: str
    """What tells the process from a later one of the same number."""
    since: str
    """In UTC."""

    @classmethod
    def here(cls, command: str) -> Holder:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return cls(command, _host(), os.getpid(), _start_of(os.getpid()), now)

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """Whoever has a lock; None if the file says nothing sensible. Raises: FileNotFoundError."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise
        except (OSError, ValueError, TypeError):
            return None

    def is_alive(self, silent: float) -> bool:
        """Whether the process still runs. silent: seconds since its last sign of life."""
        if self.host != _host() or sys.platform == "win32":
            return silent < SILENCE  # Windows would send it a Ctrl+C, and says not if it is gone
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            # Another user's; the system may hide when it began, and then its signs of life tell.
            if self.started and not _start_of(self.process):
                return silent < SILENCE
        return _start_of(self.process) == self.started

    def __str__(self) -> str:
        name = self.host.partition(" ")[0]
        return f"geoseg {self.command} (process {self.process} on {name}, since {self.since})"


def _host() -> str:
    """Name of this machine with what tells its runs, and the containers on it, apart.

    Processes of another container have numbers of their own, which mean nothing here.
    """
    parts = [socket.gethostname() or "unknown"]
    # Other systems than Linux have neither: there the name alone has to do.
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _start_of(process: int) -> str:
    """When a process began, in the kernel's own count; empty where the system doesn't say."""
    try:
        # The name before it, in brackets, may hold anything.
        told = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # One that has ended, but that nobody has asked for its status, still has its number.
    return "" if told[0] in "ZX" else told[19]


def lock_path(folder: Path, name: str = "") -> Path:
    """Hidden file that says which process writes to an output."""
    return folder / f".{name and name + '.'}lock"


@contextmanager
def held(folder: str | Path, command: str, *, name: str = "") -> Iterator[None]:
    """Have an output for this command alone, as long as the block lasts.

    Made by O_EXCL, which network disks keep to as well. A lock of a process that is gone counts
    for nothing. name: of the output, where a folder may hold several.
    Raises: InputError if another command writes there, or the folder is removed meanwhile.
    """
    folder = Path(folder)
    new = _first_missing(folder)
    if not folder.is_dir():  # else it may be one where nobody may write
        make_folder(folder)
    path, mine = lock_path(folder, name), Holder.here(command)
    if not _take(path, mine, folder / name):
        yield  # who can't write here is in nobody's way
        return
    stop = Event()
    beating = Thread(target=_beat, args=(path, stop), name="geoseg-lock", daemon=True)
    beating.start()
    try:
        yield
        if not _is_mine(path, mine):
            raise InputError(
                f"{folder / name}: somebody removed it, or took it over, while geoseg {command}"
                " wrote to it; what is there is not whole: give the command again"
            )
    finally:
        stop.set()
        if _is_mine(path, mine):
            path.unlink(missing_ok=True)
        _remove_empty(folder, new)


def alone(command: str, where: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function have the folder that it writes to for itself.

    where: name of the parameter, and of its attributes, that says which: `out`, `config.run`.
    """
    parameter, _, attributes = where.partition(".")

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        known = signature(function)

        @functools.wraps(function)
        def guarded(*args: P.args, **options: P.kwargs) -> R:
            given: Any = known.bind(*args, **options).arguments[parameter]
            with held(attrgetter(attributes)(given) if attributes else given, command):
                return function(*args, **options)

        return guarded

    return decorate


def holder(folder: Path) -> Holder | None:
    """The living process that writes to an output; None if nobody does."""
    path = lock_path(folder)
    try:
        found = Holder.read(path)
        return found if found and found.is_alive(_silence(path)) else None
    except OSError:  # given back meanwhile, or out of reach, as then what it writes is
        return None


def _take(path: Path, mine: Holder, output: Path) -> bool:
    """Make a lock; False in a folder where nobody may write. Raises: InputError."""
    text = json.dumps(asdict(mine)).encode()
    while True:
        try:
            number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            _make_way(path, output)
            continue
        except PermissionError:
            return False
        except OSError as error:
            if os.access(path.parent, os.W_OK):
                raise InputError(f"{path}: can't be made ({error.strerror})") from None
            return False
        with os.fdopen(number, "wb") as file:
            file.write(text)
        return True


def _make_way(path: Path, output: Path) -> None:
    """Remove a lock of a process that is gone. Raises: InputError for that of another one."""
    try:
        found, silent = Holder.read(path), _silence(path)
        if found is None and silent < BEGINNING:
            time.sleep(0.1)
            return
        hidden = found is None and path.exists() and not os.access(path, os.R_OK)
        if hidden and silent < SILENCE:
            raise InputError(
                f"{output}: another user's command is writing there ({path} can't be read); wait"
                f" for it, or choose another output. Its last sign of life: {silent:.0f} s ago"
            )
        if found is not None and found.is_alive(silent):
            raise InputError(_refusal(path, output, found, silent))
        # Renamed first: of two that find it, one only gets it.
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        os.rename(path, aside)
        if Holder.read(aside) != found:
            os.rename(aside, path)  # another process was faster, and has it now
            return
        aside.unlink(missing_ok=True)
    except FileNotFoundError:
        return  # just given back
    if found is not None and found.host != _host():
        print(
            f"geoseg: {output}: {found} gave no sign of life for {silent / 60:.0f} minutes, and"
            " counts as gone",
            file=sys.stderr,
        )


def _refusal(path: Path, output: Path, found: Holder, silent: float) -> str:
    text = f"{output}: {found} is writing there; wait for it, or choose another output"
    if found.host == _host():
        return text
    return (
        f"{text}. Its last sign of life came {silent:.0f} seconds ago; if it is gone, remove {path}"
    )


def _silence(path: Path) -> float:
    """Seconds since a lock was last touched, by the clock of the disk it lies on."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.now")
    try:
        with open(beside, "wb") as file:
            now = os.fstat(file.fileno()).st_mtime
    except OSError:  # where nobody may write, the clock of this machine has to do
        now = time.time()
    finally:
        with suppress(OSError):  # it was never made
            beside.unlink()
    return max(0.0, now - path.stat().st_mtime)


def _is_mine(path: Path, mine: Holder) -> bool:
    try:
        return Holder.read(path) == mine
    except OSError:  # removed, with the folder perhaps: whoever asks says so
        return False


def _beat(path: Path, stop: Event) -> None:
    """Give signs of life."""
    while not stop.wait(BEAT):
        with suppress(OSError):  # the next one follows; that a lock is gone is found at its end
            os.utime(path)


def _first_missing(folder: Path) -> Path | None:
    """The highest of the folders that are still to be made; None if the folder is there."""
    missing = None
    for path in (folder, *folder.parents):
        if path.exists():
            break
        missing = path
    return missing


def _remove_empty(folder: Path, new: Path | None) -> None:
    """Remove folders that were made for nothing."""
    if new is None:
        return
    for path in (folder, *folder.parents):
        try:
            path.rmdir()
        except OSError:  # something lies in it, and so in those above it
            return
        if path == new:
            return
