"""Started by test_parcelmaps: kills predictions at their n-th touch of a file; prints JSON.

A process of its own that forks: torch is imported once, and has no threads when it is forked.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from geoseg.models import device  # noqa: F401  (imported before the fork)
from geoseg.training.tasks import series as learnseries  # noqa: F401  (imported before the fork)
from tests.made.series import files_of, predict

KILLS = 12
EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")


def attempt(folder: Path, out: str, last: int | None = None) -> tuple[int, int]:
    """Predict in a process that is killed before its touch number `last`.

    Returns: status, and how often it touched files of the output.
    """
    reading, writing = os.pipe()
    number = os.fork()
    if number:
        os.close(writing)
        status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        with os.fdopen(reading) as pipe:
            return status, int(pipe.read() or 0)
    touched = 0

    def watch(event: str, given: tuple) -> None:
        nonlocal touched
        if event in EVENTS and str(folder / out) in str(given[:1]):
            touched += 1
            if touched == last:
                os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.addaudithook(watch)
    try:
        predict(folder, out)
        os.write(writing, str(touched).encode())
        os._exit(0)
    finally:
        os._exit(99)


def main(folder: Path) -> None:
    status, touched = attempt(folder, "undisturbed")
    assert status == 0, status
    whole = files_of(folder / "undisturbed")
    killed, wrong = 0, []
    for number in range(KILLS):
        last = 1 + number * (touched - 1) // (KILLS - 1)
        out = f"killed{last}"
        killed += attempt(folder, out, last)[0] == -signal.SIGKILL
        status, _ = attempt(folder, out)
        if status != 0 or files_of(folder / out) != whole:
            wrong.append(last)
    print(json.dumps({"touched": touched, "killed": killed, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
