"""Have other processes of Python do a function's work, where threads would wait for each other."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable
from itertools import cycle
from typing import Any, TypeVar

from geoseg.errors import InputError

T = TypeVar("T")
R = TypeVar("R")
_START = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer);"
    " from geoseg.outputs.crew import serve; serve()"
)
"""Not by multiprocessing, which would run a person's script once more in each process."""


class WorkerEndedError(InputError):
    """A process was ended before its work was done; what the others did is true."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    work: Callable[[T], R], items: Iterable[T], *, processes: int, key: str
) -> Generator[R, None, None]:
    """Yield what the work makes of each item, in their order; one item at a time per process.

    work: what pickle finds by its name, as it does the items and results. With one process the
    work is done in this one. key: the setting of their number, for messages.
    The processes end with this one, however it ends.
    Raises: what the work raises, where its result would have come; WorkerEndedError if a process
    ends.
    """
    if processes < 2:
        yield from map(work, items)
        return
    crew = [_Worker(work, f"{key}={processes}", key) for _ in range(processes)]
    busy: deque[_Worker] = deque()
    try:
        for item, worker in zip(items, cycle(crew), strict=False):
            ready = [busy.popleft().result()] if len(busy) == processes else []
            worker.give(item)
            busy.append(worker)
            yield from ready
        while busy:
            yield busy.popleft().result()
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A process that does the same work with what it is given."""

    def __init__(self, work: Callable[[Any], Any], setting: str, key: str) -> None:
        self._setting, self._key = setting, key
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.give(sys.path)
        self.give(work)

    def give(self, item: Any) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(item, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            self._process.stdin.flush()
        except OSError:
            raise self._gone() from None

    def result(self) -> Any:
        assert self._process.stdout is not None
        try:
            fault, value = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError):
            raise self._gone() from None
        if fault:
            raise value
        return value

    def _gone(self) -> WorkerEndedError:
        status = self._process.wait()
        how = f"status {status}"
        if status < 0:
            how = f"{signal.Signals(-status).name} (is there too little memory?)"
        return WorkerEndedError(
            f"{self._setting}: one of these processes ended with {how}; {self._key}=1 does the work"
            " in the command's own process"
        )

    def end(self) -> None:
        """It holds nothing that could be lost."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # what it was not given any more
                continue
        self._process.wait()


def serve() -> None:
    """Be one of the processes: until there are no more items, or nobody is left to give any."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    # What libraries print must not get among the results.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        work = pickle.load(sys.stdin.buffer)
        while True:
            pickle.dump(_done(work, pickle.load(sys.stdin.buffer)), out, pickle.HIGHEST_PROTOCOL)
            out.flush()
    except (EOFError, OSError, pickle.UnpicklingError):
        os._exit(0)


def _done(work: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    """Whether the work failed, and its result or fault."""
    try:
        return False, work(item)
    except (InputError, MemoryError) as error:
        return True, error
    except Exception:
        return True, RuntimeError(traceback.format_exc())
