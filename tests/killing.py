"""Started by test_predict: kills predictions at random moments and goes on; prints JSON.

A process of its own that forks: torch is imported once, and has no threads when it is forked.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from made_up import CARD, Context

from geoseg import blend, command, predict  # noqa: F401  (blend: imported before the fork)
from geoseg.predict import Network, PredictConfig, Running

PAUSE = 0.01
"""Seconds per batch: spreads the work, so that kills hit all of its parts."""


class Slow(Context):
    def forward(self, image):
        time.sleep(PAUSE)
        return super().forward(image)


def network(memory: float) -> Network:
    running = Running("cpu", "32", batch_size=20, memory=memory)
    return Network(CARD, "0" * 16, Slow(3), running)


def child(work) -> int:
    """Fork a process that does the work; its number."""
    number = os.fork()
    if number:
        return number
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        work()
        os._exit(0)
    except SystemExit as end:
        os._exit(end.code or 0)
    finally:
        os._exit(99)


def done(out: Path) -> dict[str, int]:
    """Times of the class maps that the record calls done."""
    record = out / "predict.json"
    scenes = json.loads(record.read_text())["scenes"] if record.exists() else {}
    paths = {name: out / "landcover" / f"{name}.tif" for name in scenes}
    return {name: path.stat().st_mtime_ns for name, path in paths.items()}


def kill_and_go_on(scenes: str, folder: Path, kills: int) -> dict:
    def work(out):
        return lambda: predict.predict(network(0.002), scenes, out)

    begin = time.perf_counter()
    os.waitpid(child(work(folder / "undisturbed")), 0)
    duration = time.perf_counter() - begin
    moments, redone, unfinished = random.Random(0), 0, 0
    for _ in range(kills):
        before = done(folder / "killed")
        number = child(work(folder / "killed"))
        time.sleep(moments.uniform(0, 0.6 * duration))
        os.kill(number, signal.SIGKILL)
        unfinished += os.waitpid(number, 0)[1] == signal.SIGKILL
        after = done(folder / "killed")
        redone += any(after[name] != when for name, when in before.items())
    number = child(work(folder / "killed"))
    status = os.waitpid(number, 0)[1]
    return {"killed": unfinished, "redone": redone, "status": status}


def interrupt(scenes: str, folder: Path) -> dict:
    def work():
        predict.Network.open = lambda *_: replace(network(1.0), source=Slow(3))
        sys.argv = ["predict", "checkpoint=x", f"scenes={scenes}", f"out={folder / 'stopped'}"]
        os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT), 2)
        command.run("predict", PredictConfig, predict.main)

    number = child(work)
    while not (folder / "stopped" / "landcover").is_dir():
        time.sleep(0.01)
    time.sleep(0.1)
    begin = time.perf_counter()
    os.kill(number, signal.SIGINT)
    status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    return {
        "seconds": time.perf_counter() - begin,
        "status": status,
        "said": (folder / "stderr").read_text(),
    }


if __name__ == "__main__":
    task, scenes, folder = sys.argv[1:]
    if task == "kill":
        print(json.dumps(kill_and_go_on(scenes, Path(folder), kills=8)))
    else:
        print(json.dumps(interrupt(scenes, Path(folder))))
