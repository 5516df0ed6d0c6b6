"""Started by test_mosaic: kills mosaics at random moments and goes on, or stops one; prints JSON.

A process of its own that forks: it has no threads when it is forked.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from geoseg.commands.run import run
from geoseg.maps import landcover
from geoseg.maps.cog import tiff
from geoseg.maps.cog import write as cog
from geoseg.maps.cog.pack import Pack
from geoseg.maps.mosaic import mosaic
from geoseg.mosaic import MosaicConfig, main

KILLS = (
    *(("joining", step) for step in (1, 1, 2, 1)),
    ("overviews", 1),
    *(("copying", step) for step in (7, 60)),
    ("side files", 1),
)
"""Runs one after the other on one output: phase in which each is killed, at which step of it."""
CHAINS = 3
DELAY = 0.02
"""Seconds: a kill comes up to so much after its step, in whatever the threads do then."""


def watch(log: Path, act: Callable[[str], None]) -> None:
    """Have a mosaic call `act` with its phase at each step, and tell finished ones in a log."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    add, from_below, framed = Pack.add, cog._from_below, tiff.framed
    write, write_side_files = cog.write, landcover.write_side_files
    phase = "joining"

    def added(*given):
        record = add(*given)
        os.write(file, b"added\n")
        act(phase)
        return record

    def overview(*given):
        nonlocal phase
        phase = "overviews"
        act(phase)
        return from_below(*given)

    def copied(block):
        act("copying")
        return framed(block)

    def written(*given, **options):
        counts = write(*given, **options)
        os.write(file, b"written\n")
        return counts

    def beside(*given, **options):
        act("side files")
        write_side_files(*given, **options)
        act("side files")

    Pack.add, cog._from_below, tiff.framed = added, overview, copied
    cog.write, landcover.write_side_files = written, beside


def child(work: Callable[[], None]) -> int:
    """Fork a process that does the work; its number."""
    number = os.fork()
    if number:
        return number
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        work()
        os._exit(0)
    except SystemExit as end:
        os._exit(end.code or 0)
    finally:
        os._exit(99)


def ended(number: int) -> int:
    """Status of a process that ends."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def attempt(folder: Path, name: str, phase: str = "", step: int = 0) -> int:
    """Make a mosaic in a process that is killed. Returns: its status."""
    delay = random.uniform(0, DELAY)

    def act(now: str) -> None:
        nonlocal step
        step -= now == phase
        if now == phase and step == 0:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        elif now == phase and step < 0:
            time.sleep(60)  # a step further at most: the kill comes in its phase

    def work() -> None:
        watch(folder / f"{name}.log", act)
        mosaic(folder / "maps", folder / f"{name}.tif")

    return ended(child(work))


def files_of(folder: Path, name: str) -> dict[str, bytes]:
    """Bytes of an output's files by name, hidden ones too, as if all had one name."""
    paths = [p for p in folder.iterdir() if name in p.name and p.suffix != ".log"]
    return {
        path.name.replace(name, "landcover"): (
            # The note names the files that it knows.
            path.read_bytes().replace(name.encode(), b"landcover")
            if path.suffix == ".json"
            else path.read_bytes()
        )
        for path in paths
    }


def done(folder: Path, name: str) -> Counter:
    return Counter((folder / f"{name}.log").read_text().split())


def kill(folder: Path) -> dict:
    random.seed(0)
    assert attempt(folder, "undisturbed") == 0
    whole, steps = files_of(folder, "undisturbed"), done(folder, "undisturbed")
    phases, redone, wrong = Counter(), Counter(), []
    for chain in range(CHAINS):
        name = f"killed{chain}"
        for phase, step in KILLS:
            phases[phase] += attempt(folder, name, phase, step) == -signal.SIGKILL
        status = attempt(folder, name)
        if status != 0 or files_of(folder, name) != whole:
            wrong.append((status, sorted(files_of(folder, name))))
        # A kill may come before a finished step is told: never more, but sometimes fewer.
        redone += done(folder, name) - steps
    return {"phases": phases, "redone": redone, "wrong": wrong, "files": sorted(whole)}


def interrupt(folder: Path, phase: str) -> dict:
    log, said = folder / "landcover.log", folder / "stderr"

    def act(now: str) -> None:
        if now == phase:
            (folder / "begun").touch()
            time.sleep(0.05)  # the phase lasts until the signal comes

    def work() -> None:
        watch(log, act)
        sys.argv = ["mosaic", f"maps={folder / 'maps'}", f"out={folder / 'landcover.tif'}"]
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
        run("mosaic", MosaicConfig, main)

    number = child(work)
    while not (folder / "begun").exists():
        time.sleep(0.01)
    begin = time.perf_counter()
    os.kill(number, signal.SIGINT)
    status = ended(number)
    seconds = time.perf_counter() - begin
    left = [path.name for path in folder.iterdir() if ".landcover.tif" in path.name]
    return {"seconds": seconds, "status": status, "said": said.read_text(), "left": sorted(left)}


if __name__ == "__main__":
    task, where, *more = sys.argv[1:]
    print(json.dumps(kill(Path(where)) if task == "kill" else interrupt(Path(where), *more)))
