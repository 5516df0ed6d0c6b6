"""Be the interpreter for programs that start `python -m …`: let the server fork one for it.

Started by the script beside the socket of the server (tests/made/started.py), with its own words;
it imports nothing else of the tests, for it must be there at once. What is neither a module nor a
process that multiprocessing spawns nor a worker of the tests is run by the real interpreter.
"""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

OWN = ("submitit.local._local",)
"""Modules that need a process of their own: its number is the name of what they do."""
EXECNET = re.compile(r"import sys;\s*exec\(eval\(sys\.stdin\.readline\(\)\)\)")
"""What execnet has an interpreter run that is to be a worker of pytest-xdist."""
WORKER = "tests.jobs.pytest_worker"
SPAWN = re.compile(r"from multiprocessing\.spawn .*\(tracker_fd=(\d+), pipe_handle=(\d+)\)")


def main(door: str, words: list[str]) -> int:
    asked = _module(words)
    if not asked:
        os.execv(sys.executable, [sys.executable, *words])
    inherited = [
        number
        for number in map(int, os.listdir("/proc/self/fd"))
        if number > 2 and _is_inherited(number)
    ]
    if asked == [WORKER]:
        inherited.append(0)  # others are told nothing by it
    ear, mouth = os.pipe()
    request = {
        "words": asked,
        "cwd": str(Path.cwd()),
        "env": dict(os.environ),
        "inherited": inherited,
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(door)
        socket.send_fds(server, [json.dumps(request).encode()], [1, 2, mouth, *inherited])
    for number in (mouth, *inherited):
        os.close(number)
    with os.fdopen(ear) as told:
        pid = int(told.readline())
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(name, lambda number, _: os.kill(pid, number))
        status = int(told.readline())
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _module(words: list[str]) -> list[str]:
    """The module that the interpreter is to run, and its words; none for other code and files."""
    if "-m" in words:
        place = words.index("-m")
        named = all(word.startswith("-") for word in words[:place])
        return words[place + 1 :] if named and words[place + 1] not in OWN else []
    code = words[words.index("-c") + 1] if "-c" in words else ""
    if found := SPAWN.fullmatch(code):
        return ["tests.jobs.spawned", *found.groups()]
    return [WORKER] if EXECNET.fullmatch(code) else []


def _is_inherited(number: int) -> bool:
    """Of whoever started this; what Python opens itself it closes for those that it starts."""
    try:
        return os.get_inheritable(number)
    except OSError:  # the list's own
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
