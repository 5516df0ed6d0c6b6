"""Where the processor time of a command goes: imports, files of geoseg, libraries.

    python -m benchmarks.where predict checkpoint=work/run scenes=orthophotos/ out=work/maps

runs the command in this process and looks every 5 ms of processor time at what its main thread
does, so that it takes no longer than it would by itself. What readers, writers and torch's own
threads take, and other processes, is told beside it.
"""

from __future__ import annotations

import resource
import runpy
import signal
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

EVERY = 0.005
"""Seconds of processor time between two looks."""
SHOWN = 25
"""Lines of each list."""
IMPORTING = ("<frozen importlib._bootstrap>", "_find_and_load")
"""File and function that stand below all that an import does."""


@dataclass
class Looks:
    """Seconds of the main thread, by what it was seen at."""

    own: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By the file of geoseg, or the library, that was at work."""
    whole: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By each function of geoseg, with all that it called; imports apart."""
    imports: float = 0.0
    last: float = 0.0
    """When it was looked at last."""

    def look(self, _: int, frame: FrameType | None) -> None:
        """Add what has gone since the last look. A handler of signals."""
        now = time.thread_time()  # a long call into a library is seen once, when it has returned
        spent, self.last = now - self.last, now
        stack = []
        while frame is not None:
            stack.append((frame.f_code.co_filename, frame.f_code.co_name))
            frame = frame.f_back
        if IMPORTING in stack:
            self.imports += spent
            return
        if stack:
            self.own[owner(stack[0][0])] += spent
        for name in {f"{owner(path)}:{function}" for path, function in stack}:
            if name.startswith("geoseg"):
                self.whole[name] += spent


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    command, *keys = sys.argv[1:]
    sys.argv = [command, *keys]
    looks = Looks(last=time.thread_time())
    signal.signal(signal.SIGPROF, looks.look)
    signal.siginterrupt(signal.SIGPROF, False)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    status = 0
    try:
        runpy.run_module(f"geoseg.{command}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    looks.look(0, None)
    print(told(looks, time.thread_time(), time.process_time()))
    return status


def told(looks: Looks, main_thread: float, process: float) -> str:
    """What was seen, as a text. main_thread, process: their seconds of processor time."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [
        f"{process:7.2f}  this process, of which",
        f"{process - main_thread:7.2f}  in threads beside the main one",
        f"{looks.imports:7.2f}  imports",
        f"{children.ru_utime + children.ru_stime:7.2f}  other processes",
    ]
    for title, seconds in (("by itself", looks.own), ("with what it calls", looks.whole)):
        lines += ["", f"seconds, {title}"]
        most = sorted(seconds, key=lambda name: -seconds[name])[:SHOWN]
        lines += [f"{seconds[name]:7.2f}  {name}" for name in most]
    return "\n".join(lines)


def owner(path: str) -> str:
    """Whose a file is: a module of geoseg, a library, or Python's own."""
    parts = Path(path).with_suffix("").parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "geoseg" in parts:
        last = len(parts) - 1 - parts[::-1].index("geoseg")
        return ".".join(parts[last:])
    return "Python"


if __name__ == "__main__":
    sys.exit(main())
