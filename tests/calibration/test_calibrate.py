"""Calibration of networks: of which data, written where, and what predict makes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.calibration.calibrate import calibrate
from geoseg.calibration.samples import collect_samples
from geoseg.calibration.settings import CalibrationSettings
from geoseg.dataset.tiles import Dataset, Tile, write_tiles
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint
from geoseg.models.card import JUDGED, ModelCard, weights_hash
from geoseg.parcels.classify import Classifier
from geoseg.prediction.images import predict
from geoseg.prediction.layers import RowMaker
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.scenes.scene import find_scenes
from tests.made import samples as series
from tests.made.scenes import CARD, LEGEND, Identity, grid, plain, write

RUNNING = InferenceSettings("cpu", "32", batch_size=8)
SIDE = 96


class Sure(nn.Module):
    """As `Identity`, sure of itself by a factor, the other classes being alike."""

    def __init__(self, factor=6.0) -> None:
        super().__init__()
        self.identity = Identity(3, first=1)
        self.register_buffer("factor", torch.tensor(factor))

    def forward(self, image):
        return self.factor * self.identity(image).clamp(min=-1)


def made_dataset(folder: Path, wrong=(0.4, 0.4, 0.4)) -> Path:
    """Scenes of classes; labels of which a share says something else, at random."""
    rng, tiles = np.random.default_rng(0), []
    for number, share in enumerate(wrong):
        name = f"s{number}"
        image = rng.integers(1, 4, (SIDE, SIDE)).astype(np.uint8)
        image[:4] = 0
        write(folder / "scenes" / f"{name}.tif", image)
        other = (image - 1 + rng.integers(1, 3, image.shape)) % 3 + 1
        truth = np.where(rng.random(image.shape) < share, other, image)
        codes = np.array([0, *LEGEND.codes], np.uint8)[np.where(image > 0, truth, 0)]
        codes[:, :3] = 255
        target = folder / "dataset/targets" / f"{name}.tif"
        with raster.create(target, grid(SIDE, SIDE), dtype="uint8", nodata=0) as file:
            file.write(codes, grid(SIDE, SIDE).window)
        home = grid(SIDE, SIDE).window
        tiles += [Tile(name, "val", w, home, (1, 1, 1)) for w in Tiling(32, 8).tiles(home)]
    scenes = tuple(find_scenes(str(folder / "scenes")))
    write_tiles(folder / "dataset", tiles, scenes, LEGEND)
    settings = {"bands": {"nodata": None, "extra": {}}}
    Dataset(folder / "dataset", scenes, plain(), LEGEND, Tiling(32, 8), 1.0, settings).save()
    return folder / "dataset"


def saved(folder: Path, source=None) -> TrainedNetwork:
    """A made-up network that lies in a file, too."""
    source = source or Sure()
    path = folder / "run" / "best.safetensors"
    path.parent.mkdir(exist_ok=True)
    checkpoint.save(path, source, CARD)
    network = TrainedNetwork(CARD, weights_hash(path), path, RUNNING)
    network._loaded = source
    return network


def opened(path: Path, like: TrainedNetwork, **running) -> TrainedNetwork:
    made = TrainedNetwork(
        ModelCard.read(path), weights_hash(path), path, replace(RUNNING, **running)
    )
    made._loaded = like._loaded
    return made


def pixels(path):
    with raster.Raster(path) as file:
        return file.read(file.grid.window)[0]


def test_from_data_set_to_calibrated_map(tmp_path):
    dataset, network = made_dataset(tmp_path), saved(tmp_path)
    out = tmp_path / "calibrated.safetensors"
    settings = CalibrationSettings(block=24)
    said = str(calibrate(network, dataset, out, settings=settings))
    assert "T = " in said
    made = opened(out, network)
    card = made.card.calibration
    assert card.method == "temperature"
    assert card.copied_from == network.hash != made.hash
    assert card.blocks == 3 * 16
    assert card.scores["before"]["ece"] > 0.3
    assert card.scores["after"]["ece"] < 0.03
    record = json.loads(out.with_suffix(".calibration.json").read_text())
    assert record["scale"] == card.scale
    assert "<svg" in out.with_suffix(".calibration.html").read_text()
    assert "nothing to do" in str(calibrate(network, dataset, out, settings=settings))
    scene = tmp_path / "scenes/s0.tif"
    predict(network, scene, tmp_path / "plain")
    predict(made, scene, tmp_path / "maps")
    codes = [pixels(tmp_path / f"{name}/landcover/s0.tif") for name in ("plain", "maps")]
    assert (codes[0] == codes[1]).all()
    sure = pixels(tmp_path / "maps/confidence/s0.tif")[0]
    assert np.median(sure[4:]) == pytest.approx(60, abs=2)
    assert (sure[:4] == 0).all()
    # The share of wrong pixels that remains can't be promised to be below 40 % by deciding.
    risky = opened(out, network, undecided=0.45)
    assert risky.thresholds.values[0] <= 0.6
    with pytest.raises(InputError, match="needs a calibration on 99 blocks"):
        predict(opened(out, network, undecided=0.01), scene, tmp_path / "risk")


def test_the_class_map_of_any_temperature_has_the_same_classes():
    rng = np.random.default_rng(0)
    shares = torch.from_numpy(rng.dirichlet(np.full(5, 0.1), (40, 50)).astype(np.float32))
    shares = shares.movedim(-1, 0).contiguous()
    shares[:2, 0] = 0.5  # equal ones
    shares[2:, 0] = 0
    plain_ = RowMaker(5)(shares.clone())
    for scale in (1 / 7, 0.9, 3.0):
        made = RowMaker(5, calibration=_scaled(scale))(shares.clone())
        assert (made.indices == plain_.indices).all()
        assert (made.layers["confidence"] != plain_.layers["confidence"]).any()


def _scaled(scale, classes=5):
    from geoseg.models.calibration import Calibration

    return Calibration(
        "temperature", [scale] * classes, [0.0] * classes, "a", ["a"], "none", 0, "val", 1, 1, {}
    )


def test_torch_and_numpy_calibrate_alike():
    shares = np.random.default_rng(0).dirichlet(np.ones(5), 100).astype(np.float32)
    card = replace(_scaled(0.4), method="vector", bias=[0.5, 0, -0.5, 0, 1])
    made = RowMaker(5, calibration=card).calibrated(torch.from_numpy(shares.T[:, None].copy()))
    assert np.allclose(made[:, 0].numpy().T, card.apply(shares), atol=1e-6)
    # A temperature goes another way, and the same with a layer that still wants the sums.
    expected = _scaled(0.4).apply(shares)
    for layers, extra in ((["confidence"], 0), (["confidence", "probabilities"], 0),
                          (["confidence", "probabilities", "disagreement"], 1)):  # fmt: skip
        sums = np.concatenate([shares.T, np.zeros((extra, len(shares)), np.float32)])[:, None]
        found = RowMaker(5, layers, calibration=_scaled(0.4))(torch.from_numpy(sums.copy())).layers
        sure = found["confidence"][0].numpy().astype(float)
        assert np.abs(sure - 100 * expected.max(axis=1)).max() <= 0.51
        if "probabilities" in layers:
            every = found["probabilities"][:, 0].numpy().T.astype(float)
            assert np.abs(every - 100 * expected).max() <= 0.51


def test_a_calibration_that_does_not_transfer_is_said_and_left_out(tmp_path):
    dataset, network = made_dataset(tmp_path, wrong=(0.0, 0.6)), saved(tmp_path, Sure(1.0))
    out = tmp_path / "calibrated.safetensors"
    said = str(calibrate(network, dataset, out))
    assert "WARNING: on left-out groups the NLL does not fall" in said
    assert opened(out, network).card.calibration.method == "none"
    assert not opened(out, network).card.calibration.changes


def test_a_calibration_holds_for_what_was_calibrated(tmp_path):
    dataset, network = made_dataset(tmp_path), saved(tmp_path)
    out = tmp_path / "calibrated.safetensors"
    calibrate(network, dataset, out)
    made = opened(out, network)
    with pytest.raises(InputError, match="tta=flips: the calibration in the checkpoint"):
        _ = replace(made, tta="flips").calibration
    with pytest.raises(InputError, match=r"is that of 1 network \("):
        _ = replace(made, others=(network,)).calibration
    with pytest.raises(InputError, match=r"predict\.smooth=3: "):
        _ = opened(out, network, smooth=3).calibration
    with pytest.raises(InputError, match="is calibrated already"):
        calibrate(made, dataset, tmp_path / "again.safetensors")


def test_an_ensemble_is_calibrated_as_one(tmp_path):
    dataset, network = made_dataset(tmp_path), saved(tmp_path)
    other = replace(network, hash="1" * 16)
    other._loaded = Sure(2.0)
    both = replace(network, hash="2" * 16, own_hash=network.hash, others=(other,))
    both._loaded = network._loaded
    out = tmp_path / "calibrated.safetensors"
    said = str(calibrate(both, dataset, out))
    assert f"predict with checkpoint=[{out},{network.source}] and tta=none" in said
    first = opened(out, network)
    pair = replace(first, hash="3" * 16, own_hash=first.hash, others=(other,))
    assert pair.calibration.pooled == [network.hash, other.hash]
    # What that network has become since is not what was calibrated, which is told by its name.
    before = tmp_path / "run" / JUDGED
    before.parent.mkdir(parents=True)
    before.touch()
    card = replace(other.card, refit=True)
    grown = replace(other, hash="4" * 16, card=card, source=tmp_path / "run/best.safetensors")
    with pytest.raises(InputError, match=f"give {before} if that was calibrated, calibrate anew"):
        _ = replace(pair, others=(grown,)).calibration


def test_faults(tmp_path):
    dataset, network = made_dataset(tmp_path), saved(tmp_path)
    with pytest.raises(InputError, match=r"must end in \.safetensors"):
        calibrate(network, dataset, tmp_path / "out.pt")
    with pytest.raises(InputError, match="is the checkpoint itself"):
        calibrate(network, dataset, network.source)
    with pytest.raises(InputError, match=r"split=test: .* has no tiles of it"):
        calibrate(network, dataset, tmp_path / "a.safetensors", split="test")
    with pytest.raises(InputError, match="the checkpoint has no calibration"):
        predict(
            replace(network, running=replace(RUNNING, undecided=0.1)),
            tmp_path / "scenes", tmp_path / "maps",
        )  # fmt: skip
    with pytest.raises(InputError, match="choose from temperature, vector, none"):
        CalibrationSettings(method="platt", block=1, pixels=1)


class SameForAll(nn.Module):
    """A network for samples: the first class by 95 %, whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("logits", torch.log(torch.tensor([0.95, 0.05])))

    def forward(self, values, valid, days, shape):
        return self.logits.expand(len(values), -1)


def test_networks_for_pixels_are_calibrated_on_each_pixel_of_a_sample(tmp_path):
    dataset = series.made_dataset(tmp_path / "dataset", "pixel")
    samples = dataset.samples("val")
    values = np.load(dataset.folder / "pixels/a.npy")
    values[samples.first[0]] = 65535  # never observed
    np.save(dataset.folder / "pixels/a.npy", values)
    card = replace(
        CARD, bands=dataset.bands, statistics=series.STATISTICS, legend=series.LEGEND,
        series=replace(series.CARD, unit="pixel"),
    )  # fmt: skip
    network = TrainedNetwork(card, "0" * 16, SameForAll(), RUNNING)
    found = collect_samples(network, dataset, "val")
    assert len(found) == samples.pixels.sum() - 1
    assert found.blocks == len(samples)
    codes = np.array(series.LEGEND.codes)[found.truth]
    np.testing.assert_array_equal(codes, np.repeat(samples.code, samples.pixels)[1:])


def test_samples_of_series_are_calibrated_too(tmp_path):
    dataset = series.made_dataset(tmp_path / "dataset")
    card = replace(
        CARD, bands=dataset.bands, statistics=series.STATISTICS, legend=series.LEGEND,
        series=series.CARD,
    )  # fmt: skip
    path = tmp_path / "best.safetensors"
    checkpoint.save(path, SameForAll(), card)
    network = TrainedNetwork(card, weights_hash(path), path, RUNNING)
    network._loaded = SameForAll()
    out = tmp_path / "calibrated.safetensors"
    said = str(calibrate(network, dataset.folder, out, split="train"))
    assert "surer of what it has learnt" in said
    assert "36 samples of 36 blocks\n" in said
    made = opened(out, network)
    samples = dataset.samples("train")
    share = float((samples.code == series.LEGEND.codes[0]).mean())
    (found,) = Classifier(made).probabilities(dataset.folder, samples)
    # Never beyond half, as a temperature keeps the class, and T ends at 20: 19^(1/20) to 1.
    assert found[:, 0].mean() == pytest.approx(max(share, 0.537), abs=0.02)
    with pytest.raises(InputError, match="the network is one for images"):
        calibrate(saved(tmp_path), dataset.folder, tmp_path / "other.safetensors")
    from_autumn = replace(card, series=replace(card.series, reference="09-01"))
    winter = replace(card, series=replace(card.series, first_day=-200, last_day=1))
    for other, said in (
        (replace(card, bands=dataset.bands[::-1]), r"bands.order=\["),
        (from_autumn, "days are counted from 01-01 .* by the network from 09-01"),
        (winter, "the network saw -200 to 1"),
        (replace(card, series=replace(card.series, unit="pixel")), "those of the network of unit"),
        (replace(card, dtype="float32", statistics=plain(2, high=1.0)), "other units"),
    ):
        with pytest.raises(InputError, match=said):
            calibrate(replace(network, card=other), dataset.folder, tmp_path / "no.safetensors")
    assert not (tmp_path / "no.safetensors").exists()
