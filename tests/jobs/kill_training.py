"""Started by test_learning: kills trainings at random moments and goes on; prints JSON.

A process of its own that forks: torch is imported once, and has no threads when it is forked.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import torch

from geoseg.dataset.tiles import Dataset
from geoseg.models.networks import build as models  # noqa: F401  (before the fork)
from geoseg.models.settings import Model
from geoseg.samples.augment import Augment
from geoseg.training import loop as fit
from geoseg.training import validation  # noqa: F401  (before the fork)
from geoseg.training.objectives import mean_teacher  # noqa: F401  (before the fork)
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit
from geoseg.training.start import train
from geoseg.training.tasks import images as learn  # noqa: F401  (before the fork)
from tests.made.hurry import hurry

QUICK = Fit(
    epochs=5, epoch_tiles=8, batch_size=4, workers=0, precision="32", device="cpu", pictures=0
)
SEED = 3
LEAST, MOST = 0.025, 0.4
"""Shares of the time of an undisturbed training after which one is killed: it must not be done
before on any machine."""
PATIENCE = 600
"""Seconds that one which is not to be killed may take, on machines however busy."""


def cases(scenes: str) -> dict[str, Fit]:
    return {
        "accumulate": replace(QUICK, accumulate=2, average=0.9, train_share=0.7),
        "balance": replace(QUICK, balance=0.7, hard=0.5, average=0.0, pictures=2),
        "swa": replace(QUICK, swa=0.5, hard=0.3),
        # A worker, as by default: its loader must draw nothing that dropout would miss.
        "unlabelled": replace(QUICK, unlabelled=[scenes], confidence=0.5, balance=0.5, workers=1),
    }


def work(dataset: Dataset, run: Path, how: Fit) -> None:
    # What single pixels tell is fitted anew at each start, of which one case is enough.
    pixels = 32 if how.accumulate > 1 else 0
    train(
        dataset, run, model=Model("pspnet", "tu-lcnet_050", dropout=0.2, pixels=pixels),
        loss=Loss(), augment=Augment(flips=True, brightness=0.2), fit=how, seed=SEED,
    )  # fmt: skip


def killed(dataset: Dataset, run: Path, how: Fit, after: float) -> bool:
    """Whether a training was killed before it was done."""
    number = os.fork()
    if not number:
        torch.set_num_threads(1)
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
        work(dataset, run, how)
        os._exit(0)
    _, status = os.waitpid(number, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"a training ended with {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def main(folder: Path, case: str) -> None:
    fit.HARD_EPOCHS = 2
    hurry()
    dataset, draw = Dataset.load(folder / "dataset"), random.Random(case)
    how = cases(str(folder / "s.tif"))[case]
    whole, parts = folder / f"{case}_whole", folder / f"{case}_parts"
    began = time.monotonic()
    killed(dataset, whole, how, PATIENCE)
    took = time.monotonic() - began
    kills = [killed(dataset, parts, how, took * draw.uniform(LEAST, MOST)) for _ in range(6)]
    killed(dataset, parts, how, PATIENCE)
    last = [torch.load(run / "last.ckpt", weights_only=True) for run in (whole, parts)]
    wrong = [
        f"{part} {name}"
        for part in ("model", "average")
        for name in weights(last[0][part])
        if not torch.equal(weights(last[0][part])[name], weights(last[1][part])[name])
    ]
    best = [(run / "best.safetensors").read_bytes() for run in (whole, parts)]
    if best[0] != best[1]:
        wrong.append("best.safetensors")
    strays = [str(p) for p in parts.rglob("*.part")]
    epochs = [part["history"]["epoch"] for part in last]
    print(json.dumps({"kills": sum(kills), "wrong": wrong, "strays": strays, "epochs": epochs}))


def weights(part: dict) -> dict:
    return part.get("network", part)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
