"""Networks adapted to scenes of another sensor, and what is said of that."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.adaptation.adapt import adapt
from geoseg.adaptation.settings import AdaptSettings
from geoseg.dataset.tiles import Dataset, Tile, write_tiles
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard, weights_hash
from geoseg.models.settings import Model
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.scene import find_scenes
from tests.made.scenes import CARD, LEGEND, grid, write

RUNNING = InferenceSettings("cpu", "32")
SIDE = 96
MEAN, STD = 60.0, 20.0


class Thirds(nn.Module):
    """Batch normalisation, then a class by thirds: below, around and above the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, affine=False)

    def forward(self, image):
        centres = torch.tensor([-1.2, 0.0, 1.2])[None, :, None, None]
        return -4 * (self.norm(image) - centres) ** 2


def values(seed=0):
    """Pixels (SIDE, SIDE) of classes in thirds, and their indices."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 3, (SIDE, SIDE))
    return MEAN + STD * np.sqrt(1.5) * (index - 1), index


def card():
    low, high = MEAN - 2 * STD, MEAN + 2 * STD
    six = ((v,) for v in (MEAN, STD, low, high, low, high))
    return replace(CARD, statistics=BandStatistics(*six))


def trained(folder, network=None, made=None):
    path = folder / "run" / "best.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    network, made = network or Thirds(), made or card()
    checkpoint.save(path, network, made)
    found = TrainedNetwork(made, weights_hash(path), path, RUNNING)
    found._loaded = network
    return found


def other_place(folder, gain=1.4, offset=30.0, seed=0):
    """Scenes of another sensor, and a data set of their labels."""
    tiles, home = [], grid(SIDE, SIDE).window
    for number in range(2):
        shown, index = values(seed + number)
        image = np.round(gain * shown + offset).astype(np.uint8)
        write(folder / "scenes" / f"s{number}.tif", image)
        target = folder / "dataset/targets" / f"s{number}.tif"
        with raster.create(target, grid(SIDE, SIDE), dtype="uint8", nodata=0) as file:
            file.write(np.array(LEGEND.codes, np.uint8)[index], home)
        each = Tiling(32, 8).tiles(home)
        tiles += [Tile(f"s{number}", "test", w, home, (1, 1, 1)) for w in each]
    scenes = tuple(find_scenes(str(folder / "scenes")))
    write_tiles(folder / "dataset", tiles, scenes, LEGEND)
    settings = {"bands": {"nodata": None, "extra": {}}}
    stats = card().statistics
    Dataset(folder / "dataset", scenes, stats, LEGEND, Tiling(32, 8), 1.0, settings).save()
    return folder / "scenes", folder / "dataset"


def record(out):
    return json.loads(out.with_suffix(".adapt.json").read_text())


@pytest.mark.parametrize("parts", [["input"], ["norm"], ["input", "norm"]])
def test_another_gain_and_offset_are_undone(tmp_path, parts):
    scenes, dataset = other_place(tmp_path)
    network, out = trained(tmp_path), tmp_path / "out" / "adapted.safetensors"
    said = adapt(network, scenes, out, dataset=dataset, settings=AdaptSettings(parts))
    found = record(out)
    assert found["scores"]["before"]["miou"] < 0.7
    assert found["scores"]["after"]["miou"] > 0.99
    assert found["changed"] > 0.2
    assert found["confidence"]["after"] > found["confidence"]["before"]
    assert sum(found["shares"]["after"].values()) == pytest.approx(1, abs=1e-4)
    assert "By its labels" in str(said)
    assert not said.warnings
    made = ModelCard.read(out)
    assert made.adapted["copied_from"] == network.hash
    assert made.adapted["parts"] == parts
    assert (made.statistics == card().statistics) == ("input" not in parts)


def test_where_nothing_differs_nothing_changes(tmp_path):
    scenes, _ = other_place(tmp_path, gain=1.0, offset=0.0)
    out = tmp_path / "adapted.safetensors"
    said = adapt(trained(tmp_path), scenes, out)
    assert record(out)["changed"] < 0.001
    assert "nothing here says that the map is better" in str(said)
    before = out.stat().st_mtime_ns
    assert "already made" in str(adapt(trained(tmp_path), scenes, out))
    assert out.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="made with other settings"):
        adapt(trained(tmp_path), scenes, out, settings=AdaptSettings(share=0.5))


def test_a_band_of_one_value_and_labels_in_other_units_are_told(tmp_path):
    scenes, dataset = other_place(tmp_path, gain=0.0, offset=70.0)
    said = adapt(trained(tmp_path), scenes, tmp_path / "a.safetensors")
    assert any("band gray: one value in all windows" in text for text in said.warnings)
    assert ModelCard.read(tmp_path / "a.safetensors").statistics == card().statistics
    made = Dataset.load(dataset)
    replace(made, statistics=replace(made.statistics, high=(0.3,), p98=(0.2,))).save()
    with pytest.raises(InputError, match=r"dataset=.* values up to 0.3.*other units"):
        adapt(trained(tmp_path), scenes, tmp_path / "b.safetensors", dataset=dataset)


def test_what_gets_worse_is_said(tmp_path):
    """A place of one class only, whose statistics say nothing of the sensor."""
    scenes, dataset = other_place(tmp_path, gain=0.2, offset=48.0)
    out = tmp_path / "adapted.safetensors"
    for path in (dataset / "targets").glob("*.tif"):
        with raster.create(path, grid(SIDE, SIDE), dtype="uint8", nodata=0) as file:
            file.write(np.full((SIDE, SIDE), LEGEND.codes[1], np.uint8), grid(SIDE, SIDE).window)
    said = adapt(trained(tmp_path), scenes, out, dataset=dataset)
    assert any("the adapted network is worse" in text for text in said.warnings)


def test_a_network_of_geoseg_is_loaded_again(tmp_path):
    model = Model("pspnet", "tu-lcnet_050")
    network = checkpoint.build(replace(card(), model=model))
    scenes, _ = other_place(tmp_path)
    out = tmp_path / "adapted.safetensors"
    source = trained(tmp_path, network, replace(card(), model=model))
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    adapt(source, scenes, out)
    made = TrainedNetwork.open(out, RUNNING).load().state_dict()
    moved = {name for name in weights if not torch.equal(weights[name], made[name])}
    assert moved
    assert all(name.endswith(("running_mean", "running_var")) for name in moved)
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items()), "untouched"
    with pytest.raises(InputError, match="is adapted already"):
        adapt(TrainedNetwork.open(out, RUNNING), scenes, tmp_path / "again.safetensors")


def test_what_cannot_be_adapted_is_said_at_once(tmp_path):
    scenes, _ = other_place(tmp_path)
    plain = trained(tmp_path, nn.Conv2d(1, 3, 1))
    with pytest.raises(InputError, match=r"has no batch normalisation.*adapt\.parts"):
        adapt(plain, scenes, tmp_path / "out.safetensors")
    adapt(plain, scenes, tmp_path / "out.safetensors", settings=AdaptSettings(["input"]))
    with pytest.raises(InputError) as error:
        adapt(trained(tmp_path), tmp_path / "none", tmp_path / "out.tif")
    assert len(error.value.faults) == 2, "all at once"
    write(tmp_path / "small" / "s.tif", np.full((32, 32), 60, np.uint8))
    with pytest.raises(InputError, match=r"1 windows of 32 px"):
        adapt(trained(tmp_path), tmp_path / "small", tmp_path / "few.safetensors")
    assert not (tmp_path / "few.safetensors").exists()
