"""Read ahead and write behind a loop in threads that end with it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from queue import Empty, Full, Queue, SimpleQueue
from threading import Event, Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
GRACE = 1.0
"""Seconds that an interrupted loop waits for its threads: Ctrl-C must not hang on a slow disk."""
_POLL = 0.1
"""Seconds between two looks at whether the other side is still there."""


def prefetch(items: Generator[T, None, None], *, depth: int = 2) -> Generator[T, None, None]:
    """Yield the items of a generator that runs in a thread of its own, at most `depth` ahead.

    Raises: what the generator raises, where its item would have come.
    """
    waiting: Queue[tuple[str, Any]] = Queue(depth)
    stop = Event()

    def put(kind: str, item: Any) -> bool:
        while not stop.is_set():
            try:
                waiting.put((kind, item), timeout=_POLL)
                return True
            except Full:
                continue
        return False

    def work() -> None:
        try:
            with closing(items):  # here, where it opened its files
                for item in items:
                    if not put("item", item):
                        return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = Thread(target=work, name="geoseg-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, item = waiting.get()
            if kind == "end":
                return
            if kind == "error":
                raise item
            yield item
    finally:
        stop.set()
        thread.join(GRACE)


def in_order(
    work: Callable[[T], R], items: Iterable[T], *, threads: int
) -> Generator[R, None, None]:
    """Yield what the work makes of each item, in their order; threads are at most two items ahead.

    Unlike those of an executor they do not keep an interrupted process alive.
    Raises: what the work raises, where its result would have come.
    """
    tasks: SimpleQueue[tuple[Future[R], T] | None] = SimpleQueue()
    stop = Event()

    def run() -> None:
        while (task := tasks.get()) is not None and not stop.is_set():
            future, item = task
            try:
                future.set_result(work(item))
            except BaseException as error:
                future.set_exception(error)

    workers = [Thread(target=run, name="geoseg-work", daemon=True) for _ in range(threads)]
    due: deque[Future[R]] = deque()
    try:
        for worker in workers:
            worker.start()
        for item in items:
            due.append(Future())
            tasks.put((due[-1], item))
            if len(due) > 2 * threads:
                yield due.popleft().result()
        while due:
            yield due.popleft().result()
    finally:
        stop.set()
        for _ in workers:
            tasks.put(None)
        end = time.monotonic() + GRACE
        for worker in workers:
            if worker.is_alive():
                worker.join(max(0.0, end - time.monotonic()))


def timed(
    items: Generator[T, None, None], seconds: dict[str, float], what: str
) -> Generator[T, None, None]:
    """Yield the items of a generator, and add the time that it takes to make them."""
    with closing(items):
        begin = time.perf_counter()
        for item in items:
            seconds[what] = seconds.get(what, 0.0) + time.perf_counter() - begin
            yield item
            begin = time.perf_counter()


class BackgroundWriter:
    """Makes calls, in order, in a thread of its own; `with` waits for the last of them.

    If the block ends with an error, calls that have not begun are dropped; `last` is made anyway.
    Raises: what a call raised, at the next `do` or at the end of the block.
    """

    def __init__(self, last: Callable[[], None], *, depth: int = 4) -> None:
        self._last = last
        self._calls: Queue[Callable[[], None] | None] = Queue(depth)
        self._dropped = Event()
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="geoseg-behind", daemon=True)

    def do(self, call: Callable[[], None]) -> None:
        """Have a call made; waits while `depth` others are due."""
        if self._error is not None:
            raise self._error
        self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._dropped.is_set():
                continue
            try:
                call()
            except BaseException as error:
                self._error = error
                self._dropped.set()
        self._last()

    def __enter__(self) -> BackgroundWriter:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is None:
            self._calls.put(None)
            self._thread.join()
            if self._error is not None:
                raise self._error
            return
        self._dropped.set()
        try:
            while True:
                self._calls.get_nowait()
        except Empty:
            self._calls.put(None)
        self._thread.join(GRACE)


class BackgroundFile(Generic[T]):
    """A context manager that lives in a thread of its own, beside whoever uses what it yields."""

    def __init__(self, context: AbstractContextManager[T]) -> None:
        self._context = context
        self._thread = ThreadPoolExecutor(1, "geoseg-apart")

    def enter(self) -> None:
        """Raises: what the context raises."""
        try:
            self._value = self._thread.submit(self._context.__enter__).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def do(self, call: Callable[[T], None]) -> Future[None]:
        """Begin a call with what the context yielded; calls are made in order."""
        return self._thread.submit(call, self._value)

    def leave(self, *error: Any) -> Future[bool | None]:
        """Begin to leave the context, with an error (type, error, traceback) or without."""
        left = self._thread.submit(self._context.__exit__, *(error or (None, None, None)))
        self._thread.shutdown(wait=False)
        return left
