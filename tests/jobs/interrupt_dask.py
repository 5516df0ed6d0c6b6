"""Started by test_dask: predicts with a worker of its own, slowly, until somebody interrupts it."""

import sys
from pathlib import Path

from geoseg import predict
from geoseg.commands.run import run
from geoseg.prediction.network import TrainedNetwork
from tests.prediction.test_dask import NARROW, Slow, network


def main(folder: Path) -> None:
    predict.is_of_tiles = lambda _: False  # there is no file
    TrainedNetwork.open = lambda *_, **__: network(Slow(folder / "began"), NARROW)
    sys.argv[1:] = [
        *("checkpoint=x", f"scenes={folder}/a.tif", f"out={folder}/maps"),
        *("engine=dask", "engine.workers=1"),
    ]
    run("predict", predict.PredictConfig, predict.main)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
