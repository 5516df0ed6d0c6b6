"""A small network with random weights, its maps of two scenes, and the page over them."""

import re
import time

import numpy as np
import pytest
import torch

from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.page.session import open_session
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.refinement.refine import Inputs
from geoseg.refinement.settings import Refining
from tests.made.scenes import CARD, grid, with_bands, write
from tests.made.started import Started

SIZE = 64
HEIGHT, WIDTH = 150, 300
SETTINGS = Refining(device="cpu", precision="32", steps=2)


@pytest.fixture(scope="package")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    random = np.random.default_rng(0)
    coarse = random.integers(1, 255, (10, 19)).repeat(16, 0).repeat(16, 1)[:HEIGHT, :WIDTH]
    image = np.clip(coarse + random.integers(-20, 20, (HEIGHT, WIDTH)), 1, 255).astype(np.uint8)
    for name, left in (("a", 500_000.0), ("b", 600_000.0)):
        write(folder / f"scenes/{name}.tif", image, grid=grid(HEIGHT, WIDTH, left=left))
    torch.manual_seed(1)
    card = with_bands(CARD, "gray", model=Model("unet", "tu-lcnet_050"), tiling=Tiling(SIZE, 16))
    statistics = card.statistics.__class__((128.0,), (70.0,), (10.0,), (245.0,), (1.0,), (254.0,))
    card = card.__class__(**{**card.__dict__, "statistics": statistics})
    checkpoint.save(folder / "best.safetensors", models.build(card.model, 1, 3), card)
    running = InferenceSettings(device="cpu", precision="32", layers=["confidence", "entropy"])
    trained = TrainedNetwork.open(folder / "best.safetensors", running)
    predict(trained, folder / "scenes", folder / "maps").raise_if_incomplete()
    return folder


@pytest.fixture(scope="package")
def inputs(place):
    running = InferenceSettings(device="cpu", precision="32")
    network = TrainedNetwork.open(place / "best.safetensors", running)
    return Inputs.open(network, place / "scenes", place / "maps")


@pytest.fixture(scope="package")
def shared(tmp_path_factory, inputs):
    """A session for tests that draw nothing."""
    made = open_session(inputs, None, tmp_path_factory.mktemp("shared") / "out", settings=SETTINGS)
    made.start()
    made.settle(300)
    yield made
    made.stop()


@pytest.fixture
def session(tmp_path, inputs):
    made = open_session(inputs, None, tmp_path / "out", settings=SETTINGS)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(place, tmp_path):
    """The command itself, and the address that it prints."""
    keys = [f"checkpoint={place / 'best.safetensors'}", f"scenes={place / 'scenes'}"]
    keys += [f"maps={place / 'maps'}", f"out={tmp_path / 'out'}", "serve=true"]
    keys += ["refine.steps=2", "refine.device=cpu"]
    with Started("-m", "geoseg.refine", *keys) as process:
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.printed())):
            assert process.poll() is None, "no address"
            time.sleep(0.02)
        yield process, found[0]
