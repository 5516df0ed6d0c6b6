"""Started by test_dask: predicts with a worker of its own, slowly, until somebody interrupts it."""

import sys
import time
from pathlib import Path

from geoseg import predict
from geoseg.commands.run import run
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from tests.made.scenes import CARD, Context

NARROW = InferenceSettings("cpu", "32", batch_size=3, memory=0.0025)


class Slow(Context):
    """Says when it begins, and takes its time.

    It stands here, not in the test: its worker loads what this needs, and no tests.
    """

    def __init__(self, note: Path) -> None:
        super().__init__(3)
        self.note = str(note)

    def forward(self, image):
        Path(self.note).touch()
        time.sleep(0.02)
        return super().forward(image)


def main(folder: Path) -> None:
    predict.is_of_tiles = lambda _: False  # there is no file
    network = TrainedNetwork(CARD, "0" * 16, Slow(folder / "began"), NARROW)
    TrainedNetwork.open = lambda *_, **__: network
    sys.argv[1:] = [
        *("checkpoint=x", f"scenes={folder}/a.tif", f"out={folder}/maps"),
        *("engine=dask", "engine.workers=1"),
    ]
    run("predict", predict.PredictConfig, predict.main)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
