"""From windows to probabilities: scaling, turns, several networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.device import Device
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.prediction.forward import TURNS, Forward, Member, Scaling
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.reader import Batch
from geoseg.scenes.bands import BandStatistics, scale
from tests.made.scenes import CARD, LEGEND, Context, Identity, plain, write
from tests.prediction.test_images import CODES, classes, read

CPU = Device("cpu", "32")
RUNNING = InferenceSettings("cpu", "32", batch_size=3)


def batch(channels=1, seed=0) -> Batch:
    return Batch(torch.randn(2, channels, 16, 16, generator=torch.Generator().manual_seed(seed)))


def member(network) -> Member:
    return Member(network, Scaling(plain(), CPU.torch))


@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "int32", "float32"]),
    seed=st.integers(0, 99),
    holes=st.booleans(),
)
def test_scaling_is_that_of_the_training_to_the_bit(dtype, seed, holes):
    random = np.random.default_rng(seed)
    statistics = BandStatistics(*((tuple(random.uniform(1, 90, 3)),) * 6))
    image = random.uniform(0, 120, (3, 9, 7)).astype(dtype)
    seen = random.random((9, 7)) < (0.5 if holes else 2)
    image[:, ~seen] = 0
    expected = scale(image, seen, statistics)
    where = None if seen.all() else torch.from_numpy(seen)[None]
    got = Scaling(statistics, CPU.torch)(torch.from_numpy(image)[None], where)
    assert got.is_contiguous(memory_format=torch.channels_last)
    assert (got[0].numpy() == expected).all()


def test_there_are_eight_turns_and_each_is_taken_back():
    image = torch.arange(2 * 3 * 16).reshape(1, 6, 4, 4).float()
    for name, count in (("none", 1), ("flips", 4), ("d4", 8)):
        turned = {tuple(turn(image).flatten().tolist()) for turn in TURNS[name]}
        assert len(turned) == count
        for turn in TURNS[name]:
            assert torch.equal(turn.back(turn(image)), image)
    mirrored = [image, image.flip(-1), image.flip(-2), image.flip(-1).flip(-2)]
    turned = [turn(image) for turn in TURNS["flips"]]
    assert all(any(torch.equal(m, t) for t in turned) for m in mirrored)


@torch.inference_mode()
def test_the_mean_over_turns_and_networks():
    networks = [Context(3), Context(3)]
    networks[1].kernel.mul_(0.3)
    images = batch()
    expected = torch.zeros(2, 3, 16, 16)
    for network in networks:
        for turn in TURNS["d4"]:
            expected += turn.back(torch.softmax(network(turn(images.images)), 1)) / 16
    got = Forward([member(n) for n in networks], CPU, "d4")(images)
    assert torch.allclose(got, expected, atol=1e-6)
    alone = Forward([member(networks[0])], CPU)(images)
    assert torch.allclose(alone, torch.softmax(networks[0](images.images), 1), atol=1e-6)
    assert not torch.allclose(got, alone, atol=0.01)


def test_cost_is_in_proportion():
    network = Context(3)
    Forward([member(network)] * 2, CPU, "flips")(batch())
    assert network.seen == 2 * 2 * 4


def test_turned_predictions_of_the_identity_are_the_input(tmp_path):
    image = classes(70, 45)
    write(tmp_path / "a.tif", image)
    network = TrainedNetwork(CARD, "0" * 16, Identity(3, first=1), RUNNING, "d4")
    predict(network, tmp_path / "a.tif", tmp_path / "maps")
    assert (read(tmp_path / "maps/landcover/a.tif")[0] == CODES[image]).all()


def save(folder, card: ModelCard = CARD, seed: int = 0):
    card = replace(card, model=Model("pspnet", "tu-lcnet_050"))
    torch.manual_seed(seed)
    network = models.build(card.model, len(card.bands), len(card.legend))
    checkpoint.save(folder / "best.safetensors", network, card)
    return str(folder)


def test_an_ensemble_sees_pixels_as_each_network_was_trained(tmp_path):
    """Two networks of other scaling, of which each alone says the same as the ensemble."""
    values = {"mean": 1.0, "std": 2.0, "p2": 0.0, "p98": 255.0, "low": 0.0, "high": 255.0}
    other = BandStatistics(**{name: (value,) for name, value in values.items()})
    first = TrainedNetwork(CARD, "a", Identity(3, first=1), RUNNING)
    half = Identity(3)
    half.values.div_(2)  # what (1, 2, 3) become
    second = TrainedNetwork(replace(CARD, statistics=other), "b", half, RUNNING)
    image = classes(60, 50)
    write(tmp_path / "a.tif", image)
    ensemble = replace(first, hash="c", others=(second,))
    predict(ensemble, tmp_path / "a.tif", tmp_path / "maps")
    assert (read(tmp_path / "maps/landcover/a.tif")[0] == CODES[image]).all()


def test_checkpoints_in_a_list_are_averaged(tmp_path):
    runs = [save(tmp_path / name, seed=seed) for seed, name in enumerate("ab")]
    one = TrainedNetwork.open(runs[0], RUNNING)
    both = TrainedNetwork.open(runs, RUNNING)
    assert len(both.members) == 2
    assert both.hash not in (one.hash, both.others[0].hash)
    assert TrainedNetwork.open(runs[:1], RUNNING).hash == one.hash
    write(tmp_path / "scenes/a.tif", classes(70, 60) * 50)
    predict(both, tmp_path / "scenes", tmp_path / "maps")
    confidence = [read(tmp_path / "maps/confidence/a.tif")[0].astype(float)]
    for number, run in enumerate(runs):
        predict(TrainedNetwork.open(run, RUNNING), tmp_path / "scenes", tmp_path / f"{number}")
        confidence.append(read(tmp_path / f"{number}/confidence/a.tif")[0].astype(float))
    valid = confidence[0] > 0
    assert (confidence[0][valid] <= np.maximum(*confidence[1:])[valid] + 1).all()


def test_networks_that_cannot_be_averaged_are_named(tmp_path):
    legend = Legend.parse([{"code": c.code, "name": c.name + "er", "color": c.color}
                           for c in LEGEND.classes], "test")  # fmt: skip
    other = replace(CARD, legend=legend, bands=("red",), pixel_size_m=3.0)
    runs = [save(tmp_path / "a"), save(tmp_path / "b", other)]
    with pytest.raises(InputError) as caught:
        TrainedNetwork.open(runs, RUNNING, tta="upside down")
    text = str(caught.value)
    for words in ("tta=upside down", "3 lower", "the bands red", "pixels of 3 m"):
        assert words in text
    red = Legend.parse([c | {"color": "red"} for c in LEGEND.to_dict()["classes"]], "test")
    runs.append(save(tmp_path / "c", replace(CARD, legend=red)))
    TrainedNetwork.open(runs[::2], RUNNING)  # other colours are no other classes
    with pytest.raises(InputError, match="no such file"):
        TrainedNetwork.open([runs[0], str(tmp_path / "d")], RUNNING)
