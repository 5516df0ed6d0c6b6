"""Run a command of geoseg: pass on what it says, tell how far it is, end it when asked to.

Plain Python, without QGIS, so that it can be tested without.
"""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

from .executable import HIDDEN, environment

GRACE = 10.0
"""Seconds that a command gets to clean up before it is killed."""
TICK = 0.1
"""Seconds between two looks at whether it is to end."""
KEPT = 200
"""Lines of the errors that are kept for the message."""
PROGRESS = re.compile(r"geoseg-progress (\d+(?:\.\d+)?)")
COUNTED = re.compile(r"\((\d+) of (\d+)\)\s*$")
"""As in `scene_a: done in 3 s (2 of 8)`."""
POSIX = sys.platform != "win32"


class CommandError(Exception):
    """What a command said when it ended with a fault."""


class CancelledError(Exception):
    """A command was ended because a person asked for it."""


def run(words, folder, *, say, warn, progress, cancelled):
    """Run a command to its end.

    words: the executable and its arguments. folder: where it runs. say, warn: take a line of what
    it says and of its errors. progress: takes percent. cancelled: tells whether it is to end.
    Raises: CommandError with all of its errors; CancelledError.
    """
    process = start(words, folder)
    lines = queue.Queue()
    readers = [
        threading.Thread(target=_read, args=(stream, kind, lines), daemon=True)
        for stream, kind in ((process.stdout, say), (process.stderr, warn))
    ]
    for reader in readers:
        reader.start()
    errors = []
    last = []
    open_ = len(readers)
    try:
        while open_:
            if cancelled():
                raise CancelledError
            try:
                kind, line = lines.get(timeout=TICK)
            except queue.Empty:
                continue
            if line is None:
                open_ -= 1
                continue
            share = percent(line)
            if share is not None:
                progress(share)
            if PROGRESS.fullmatch(line):
                continue
            (errors if kind is warn else last).append(line)
            del errors[:-KEPT], last[:-KEPT]
            kind(line)
        while process.poll() is None:
            if cancelled():
                raise CancelledError
            time.sleep(TICK)
    finally:
        end(process)  # whatever ends this, nothing goes on behind QGIS's back
    if process.returncode:
        raise CommandError(_told(words, process.returncode, errors, last))


def start(words, folder):
    """Start a command as the first of a group of processes of its own."""
    options = {"start_new_session": True} if POSIX else {"creationflags": HIDDEN | 0x00000200}
    return subprocess.Popen(
        words,
        cwd=folder or None,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def percent(line):
    """How far a command is by a line that it says; None if the line doesn't tell."""
    found = PROGRESS.fullmatch(line)
    if found:
        return min(100.0, float(found.group(1)))
    found = COUNTED.search(line)
    if found and int(found.group(2)):
        return min(100.0, 100.0 * int(found.group(1)) / int(found.group(2)))
    return None


def end(process):
    """End a command with all processes that it has started; nothing if it has ended."""
    if process.poll() is None:
        _signal(process, gently=True)
        with suppress(subprocess.TimeoutExpired):  # it gets no more time
            process.wait(GRACE)
    _signal(process, gently=False)
    process.wait()


def _signal(process, gently):
    if POSIX:
        with suppress(ProcessLookupError, PermissionError):  # none of the group is left
            os.killpg(process.pid, signal.SIGTERM if gently else signal.SIGKILL)
    elif process.poll() is None:
        words = ["taskkill", "/T", "/PID", str(process.pid)] + ([] if gently else ["/F"])
        subprocess.run(words, capture_output=True, creationflags=HIDDEN, check=False)


def _read(stream, kind, lines):
    with stream:
        for raw in stream:
            lines.put((kind, raw.decode("utf-8", "replace").rstrip("\r\n")))
    lines.put((kind, None))


def _told(words, status, errors, last):
    """What is told of a command that failed: its own sentences, whole."""
    if errors:
        return "\n".join(errors)
    tail = "\n".join(last[-20:]) or "(nothing)"
    name = " ".join(words[:2])
    return f"{name} ended with status {status} without an error; the last that it said:\n{tail}"
