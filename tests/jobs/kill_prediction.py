"""Started by test_predict: kills predictions at random moments and goes on; prints JSON.

A process of its own that forks: torch is imported once, and has no threads when it is forked.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import torch

from geoseg import predict
from geoseg.commands.run import run
from geoseg.predict import PredictConfig
from geoseg.prediction import (
    blend,  # noqa: F401  (imported before the fork)
    images,
)
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from tests.made.scenes import CARD, Context

KILLS = 24
MOST = 11
"""Batches after which a run is killed at the latest; a panel takes 6, a scene 18."""
PAUSE = 0.005
"""Seconds per batch: spreads the work, so that kills hit all of its parts."""


class Slow(Context):
    """Kills its process soon after a number of batches: in whatever the other threads do then."""

    def __init__(self, last: int | None = None, delay: float = 0.0) -> None:
        super().__init__(3)
        self.left, self.delay = last, delay

    def forward(self, image):
        time.sleep(PAUSE)
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                kill = (os.getpid(), signal.SIGKILL)
                threading.Timer(self.delay, os.kill, kill).start()
        return super().forward(image)


def network(memory: float, source: Slow) -> TrainedNetwork:
    running = InferenceSettings("cpu", "32", batch_size=20, memory=memory)
    return TrainedNetwork(CARD, "0" * 16, source, running)


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


def kill_and_go_on(scenes: str, folder: Path) -> dict:
    def attempt(out: Path, source: Slow) -> int:
        number = child(lambda: images.predict(network(0.002, source), scenes, out))
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])

    attempt(folder / "undisturbed", Slow())
    moments, killed, redone = random.Random(0), 0, 0
    for _ in range(KILLS):
        before = done(folder / "killed")
        source = Slow(moments.randint(1, MOST), moments.uniform(0, 3 * PAUSE))
        killed += attempt(folder / "killed", source) == -signal.SIGKILL
        after = done(folder / "killed")
        redone += any(after[name] != when for name, when in before.items())
    status = attempt(folder / "killed", Slow())
    return {"killed": killed, "redone": redone, "finished": len(after), "status": status}


def interrupt(scenes: str, folder: Path) -> dict:
    def work():
        predict.is_of_tiles = lambda _: False  # there is no file
        TrainedNetwork.open = lambda *_, **__: network(1.0, Slow())
        sys.argv = ["predict", "checkpoint=x", f"scenes={scenes}", f"out={folder / 'stopped'}"]
        os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT), 2)
        run("predict", PredictConfig, predict.main)

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
        print(json.dumps(kill_and_go_on(scenes, Path(folder))))
    else:
        print(json.dumps(interrupt(scenes, Path(folder))))
