"""Weights that nobody can predict with are refused at the door, in a sentence each."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from geoseg.errors import InputError
from geoseg.models import checkpoint
from geoseg.models.card import ENCODER_KEY, KEY, EncoderCard, ModelCard, find_card
from geoseg.models.origin import check
from geoseg.models.settings import Model
from geoseg.prediction.images import predict
from geoseg.prediction.network import TrainedNetwork
from geoseg.received import tensor_file
from tests.made.samples import CARD as SERIES
from tests.made.scenes import CARD, Constant, plain, with_bands, write

BANDS = ("red", "green")
SMALL = with_bands(CARD, *BANDS)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    torch.manual_seed(0)
    checkpoint.save(path, small_network(), SMALL)
    return path


def small_network():
    """Not the card's, but built at once; what is damaged is refused before anything is built."""
    parts = {
        "first": nn.Conv2d(2, 4, 3),
        "second": nn.Conv2d(2, 4, 3),
        "norm": nn.BatchNorm2d(4),
    }
    return nn.ModuleDict(parts)


def fault(function, *given):
    """The message of an InputError: one sentence on one line, without a traceback."""
    with pytest.raises(InputError) as caught:
        function(*given)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 1000
    return text


def refused(path):
    """The message of whoever opens a file for prediction, the same as at the start of training."""
    said = fault(TrainedNetwork.open, path)
    assert str(path) in said
    assert fault(checkpoint.load, path) == said
    assert fault(check, Model(weights=str(path))) == said
    return said


def rewritten(saved, path, change=None, *, checked=False):
    """The file with its tensors changed. checked: with the checksum of before, not without any."""
    with safetensors.safe_open(saved, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(saved)
    if change:
        change(tensors)
    if not checked:
        del metadata[tensor_file.CHECKSUM]
    safetensors.torch.save_file(tensors, path, metadata=metadata)
    return path


def carded(path, change):
    """A file of no tensors with the card of `SMALL` as changed."""
    values = json.loads(SMALL.to_json())
    change(values)
    header = json.dumps({"__metadata__": {KEY: json.dumps(values)}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


def test_whole_weights_are_taken(saved, tmp_path):
    TrainedNetwork.open(saved)
    check(Model(weights=str(saved)))
    old = rewritten(saved, tmp_path / "old.safetensors")  # older versions wrote no checksum
    assert tensor_file.CHECKSUM in tensor_file.TensorFile.open(saved).metadata
    assert tensor_file.CHECKSUM not in tensor_file.TensorFile.open(old).metadata
    TrainedNetwork.open(old)
    check(Model(weights=str(old)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_one_number_that_is_none_is_enough(saved, tmp_path, value, kind):
    def spoil(tensors):
        tensors["second.weight"] = tensors["second.weight"].to(kind)
        tensors["second.weight"].view(-1)[7] = value

    said = refused(rewritten(saved, tmp_path / "nan.safetensors", spoil))
    assert "second.weight hold NaN, infinity" in said
    assert "train again" in said


def test_a_negative_variance_makes_nan_of_all(saved, tmp_path):
    def spoil(tensors):
        tensors["norm.running_var"][0] = -1.0

    said = refused(rewritten(saved, tmp_path / "variance.safetensors", spoil))
    assert "negative variance" in said


def test_each_flipped_bit_is_told(saved, tmp_path):
    whole = bytearray(saved.read_bytes())
    begin = tensor_file.TensorFile.open(saved).begin
    random = np.random.default_rng(0)
    for place in (begin, len(whole) - 1, *random.integers(begin, len(whole), 20)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path = tmp_path / "flipped.safetensors"
        path.write_bytes(damaged)
        assert "not those that were saved" in refused(path)


def test_tensors_that_changed_places_are_told(saved, tmp_path):
    def swap(tensors):
        one, other = tensors["first.weight"], tensors["second.weight"]
        tensors["first.weight"], tensors["second.weight"] = other, one

    path = rewritten(saved, tmp_path / "swapped.safetensors", swap, checked=True)
    assert "not those that were saved" in refused(path)


def test_a_checksum_does_not_depend_on_order_or_layout():
    parts = [("a", (2, 3), b"123456"), ("b", (1,), b"7")]
    assert tensor_file.checksum(parts) == tensor_file.checksum(parts[::-1])
    assert tensor_file.checksum(parts) != tensor_file.checksum([("a", (3, 2), b"123456"), parts[1]])
    assert tensor_file.checksum(parts) != tensor_file.checksum([("a", (2, 3), b"1234567")])


@pytest.mark.parametrize(
    "offsets", [[0, 10**30], [10, 5], [-5, 3], ["a", "b"], [None, 4], [0], 7, {}, [0, 3]]
)
def test_a_header_that_lies_is_told(tmp_path, offsets):
    """Here the size may fit by chance; whatever it is, there is no traceback."""
    told = {"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}
    header = json.dumps({"__metadata__": {KEY: SMALL.to_json()}} | told).encode()
    path = tmp_path / "lies.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(3))
    assert "lies.safetensors" in fault(TrainedNetwork.open, path)
    assert "lies.safetensors" in fault(checkpoint.load, path)
    assert "lies.safetensors" in fault(tensor_file.check, path)


def test_a_deep_header_is_told(tmp_path):
    header = b'{"a":' + b"[" * 100_000
    path = tmp_path / "deep.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "not a safetensors file" in fault(ModelCard.read, path)
    assert find_card(path) is None
    deep = json.dumps({"__metadata__": {KEY: "[" * 100_000}}).encode()
    path.write_bytes(struct.pack("<Q", len(deep)) + deep)
    assert "can't read" in fault(ModelCard.read, path)


def of(*keys, value):
    """A change of one entry."""

    def change(values):
        for key in keys[:-1]:
            values = values[key]
        values[keys[-1]] = value

    change.__name__ = ".".join(map(str, keys))
    return change


def without(*keys):
    def change(values):
        for key in keys[:-1]:
            values = values[key]
        del values[keys[-1]]

    return change


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of("tiling", "size", value=64.5), r"tiling.size: 64.5, expected a whole number"),
        (of("tiling", "size", value=True), "tiling.size: True, expected a whole number"),
        (of("tiling", "size", value=0), "tiling.size=0: must be at least 8"),
        (of("tiling", "size", value=10**9), "tiling.size"),
        (of("tiling", value=[]), "tiling: []"),
        (of("bands", value=[]), "bands: []"),
        (of("bands", value=["red", 7]), "bands: ['red', 7], expected a list, each a text"),
        (of("bands", value="rg"), "bands: 'rg', expected a list"),
        (of("bands", value=["red", "red"]), "red named more than once"),
        (of("bands", value=["red", "green", "blue"]), "statistics.mean: 2 values for 3 bands"),
        (of("model", "encoder", value=7), "model.encoder: 7, expected a text"),
        (of("model", "name", value="from the future"), "model.name=from the future"),
        (of("model", "colour", value=1), "model.'colour': unknown to this version"),
        (of("model", "width", value=-1), "model.width=-1"),
        (of("model", value=None), "model: None"),
        (of("statistics", "std", value=[1.0]), "statistics.std: 1 value for 2 bands"),
        (of("statistics", "std", value=[0.0, 1.0]), "statistics.std: 0 of red"),
        (of("statistics", "std", value=[-3.0, 1.0]), "statistics.std: -3 of red"),
        (of("statistics", "std", value=[1e-44, 1.0]), "of red, expected a deviation above 0"),
        (of("statistics", "mean", value=[NAN, 1.0]), "statistics.mean: not finite"),
        (of("statistics", "mean", value=[1e300, 1.0]), "statistics.mean: not finite"),
        (of("statistics", "high", value=[INF, 1.0]), "statistics.high: not finite"),
        (of("statistics", "high", value=[10**400, 1.0]), "statistics.high: not finite"),
        (of("statistics", "low", value=["a", 1.0]), "statistics.low"),
        (of("statistics", "p2", value=None), "statistics.p2: None"),
        (without("statistics", "p98"), "statistics.p98: missing"),
        (of("statistics", value=7), "statistics: 7, expected named entries"),
        (of("pixel_size_m", value=NAN), "pixel_size_m: nan"),
        (of("pixel_size_m", value=-1.0), "pixel_size_m: -1"),
        (of("pixel_size_m", value="1 m"), "pixel_size_m: '1 m', expected a number"),
        (of("pixel_size_on", value="moon"), "pixel_size_on: 'moon'"),
        (of("dtype", value="complex64"), "dtype: 'complex64'"),
        (of("dtype", value="no type"), "dtype: 'no type'"),
        (of("nodata", value="often"), "nodata: 'often'"),
        (of("nodata", value=[0]), "nodata: [0]"),
        (of("extra", value={"height": 7}), "extra"),
        (of("scores", value=[]), "scores: []"),
        (of("legend", value=[]), "legend: []"),
        (of("legend", "classes", value=[]), "legend"),
        (of("legend", "classes", value=[7]), "legend.classes: [7]"),
        (of("legend", "classes", 0, "code", value=0), "code"),
        (of("version", value=1), "version: 1, expected a text"),
        (of("started_from", value={"name": 1}), "started_from"),
        (without("legend"), "legend: missing"),
        (without("bands"), "bands: missing"),
        (of("colour", value="red"), "'colour': unknown to this version"),
    ],
)
def test_a_damaged_card_is_told(tmp_path, change, words):
    path = carded(tmp_path / "best.safetensors", change)
    said = refused(path)
    assert words in said
    assert "copy the file again, or take the version" in said


@pytest.mark.parametrize("text", ["{", "7", "null", "[]", '"card"', "{}"])
def test_what_is_no_card_is_told(tmp_path, text):
    header = json.dumps({"__metadata__": {KEY: text}}).encode()
    path = tmp_path / "best.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "a model card that geoseg" in refused(path)


def test_all_faults_of_a_card_stand_in_one_sentence(tmp_path):
    def change(values):
        values["tiling"]["size"] = 64.5
        values["statistics"]["std"] = [0.0, 1.0]
        values["dtype"] = "text"

    said = refused(carded(tmp_path / "best.safetensors", change))
    assert all(word in said for word in ("tiling.size", "statistics.std", "dtype"))


def test_a_band_that_is_constant_may_have_no_deviation(tmp_path):
    def constant(values):
        values["statistics"]["std"] = [0.0, 1.0]
        values["statistics"]["low"] = values["statistics"]["high"] = [5.0, 255.0]

    card = ModelCard.read(carded(tmp_path / "best.safetensors", constant))
    assert card.statistics.scaling()[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of("unit", value="farm"), "series.unit=farm"),
        (of("unit", value=7), "series.unit: 7, expected a text"),
        (of("reference", value="13-45"), "13-45"),
        (of("first_day", value=400), "days 400 to 300"),
        (of("last_day", value=10**9), "expected a period"),
        (of("step", value=0), "series.step=0"),
        (of("fill", value="cubic"), "series.fill=cubic"),
        (of("shape_mean", value=[0.0]), "shape_mean and shape_std"),
        (of("shape_std", value=[NAN] * 4), "shape_mean and shape_std"),
        (of("buffer_m", value=INF), "series.buffer_m=inf"),
        (without("min_clear"), "series.min_clear: missing"),
    ],
)
def test_a_damaged_card_of_series_is_told(tmp_path, change, words):
    def both(values):
        values["series"] = json.loads(json.dumps(SERIES.to_dict()))
        change(values["series"])

    said = fault(TrainedNetwork.open, carded(tmp_path / "best.safetensors", both))
    assert words in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of("encoder", value=7), "encoder: 7, expected a text"),
        (of("bands", value=[]), "bands: []"),
        (of("bands", value=["red", "red"]), "more than once"),
        (of("statistics", "std", value=[1.0]), "1 value for 2 bands"),
        (of("statistics", "mean", value=[NAN, 0.0]), "not finite"),
        (of("dtype", value=None), "dtype: None"),
        (without("pixel_size_m"), "pixel_size_m: missing"),
    ],
)
def test_a_damaged_card_of_an_encoder_is_told(tmp_path, change, words):
    values = json.loads(EncoderCard("resnet18", BANDS, plain(2), "uint8", 1.0, {}).to_json())
    change(values)
    header = json.dumps({"__metadata__": {ENCODER_KEY: json.dumps(values)}}).encode()
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    said = fault(check, Model(weights=str(path)))
    assert "an encoder's card" in said
    assert words in said


def test_an_encoder_with_nan_is_no_start(tmp_path):
    card = EncoderCard("resnet18", BANDS, plain(2), "uint8", 1.0, {})
    encoder = small_network()
    path = tmp_path / "encoder.safetensors"
    checkpoint.save_encoder(path, encoder, card)
    check(Model(weights=str(path)))
    with torch.no_grad():
        next(encoder.parameters()).view(-1)[0] = NAN
    checkpoint.save_encoder(path, encoder, card)
    assert "hold NaN" in fault(check, Model(weights=str(path)))


def test_a_network_that_cannot_be_built_is_told(tmp_path):
    path = carded(tmp_path / "best.safetensors", of("model", "encoder", value="resnet18000"))
    said = fault(checkpoint.load, path)
    assert "best.safetensors: model.encoder=resnet18000" in said


def test_a_network_that_gives_no_number_makes_no_map(tmp_path):
    """Finite weights may be too large to compute with: that ends a scene, not in a map of 255."""
    write(tmp_path / "a.tif", np.full((40, 50), 200, np.uint8))
    network = TrainedNetwork(replace(CARD, statistics=plain()), "0" * 16, Constant([NAN, 0.0, 0.0]))
    report = predict(network, tmp_path / "a.tif", tmp_path / "maps")
    assert "scene a: the network gives no number (NaN)" in report.failed["a"]
    assert not (tmp_path / "maps" / "landcover" / "a.tif").exists()
    with pytest.raises(InputError, match="1 failed"):
        report.raise_if_incomplete()
