"""End a command: without delay when it is done, cleaned up when a person or batch system asks."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""From a batch system whose time is over, and from a terminal that is closed."""
ENOUGH = 1.0
"""Seconds that processes get to end before they are killed."""

ANEW = ("assess", "compare", "evaluate", "export", "sample", "suggest")
"""Commands that keep nothing unfinished."""


class Stopped(KeyboardInterrupt):
    """What a signal raises, so that it is met wherever Ctrl-C is."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def watch() -> None:
    """Have these signals end this process as Ctrl-C does, unless somebody ignores them (nohup)."""
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a process that reads for this one: it ends at once
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        signal.signal(number, signal.SIG_IGN)  # asked again, it cleans up all the same
        raise Stopped(number)

    for number in SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def end(name: str, stopped: KeyboardInterrupt) -> NoReturn:
    """End the process of a command that has cleaned up, with those that it started."""
    print(said(name), file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    for child in children:
        child.join(ENOUGH)
        if child.is_alive():  # a signal in the moment of its fork is lost
            child.kill()
            child.join(ENOUGH)
    # All is cleaned up; libraries that say goodbye to each other would keep a person waiting.
    os._exit(128 + getattr(stopped, "number", signal.SIGINT))


def said(name: str) -> str:
    """What a command that was stopped says."""
    again = "begins anew" if name in ANEW else "goes on from here"
    return f"geoseg {name}: stopped; the same command {again}"


def leave_objects() -> None:
    """Let a process that ends leave its objects where they are, as the system takes them anyway.

    Python would search all that the libraries made for what refers to each other: seconds.
    """
    if "triton" not in sys.modules:  # its bindings would report what stays as leaks
        gc.freeze()
