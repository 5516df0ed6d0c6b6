"""Layers beside class maps, and pixels without decision."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.maps.landcover import UNDECIDED_TAG, ClassMap
from geoseg.maps.layers import LAYERS, parse
from geoseg.maps.thresholds import Thresholds
from geoseg.outputs.files import read_json
from geoseg.prediction.images import predict
from geoseg.prediction.layers import RowMaker
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from tests.made.scenes import CARD, LEGEND, Constant, Context, Identity, write

ALL = ["confidence", "entropy", "margin", "second", "probabilities"]
RUNNING = InferenceSettings("cpu", "32", batch_size=3, layers=ALL)


def network(source, **settings) -> TrainedNetwork:
    return TrainedNetwork(CARD, "0" * 16, source, replace(RUNNING, **settings))


def read(path):
    with raster.Raster(path) as file:
        return file.read(file.grid.window)[0]


def image(height=40, width=50, seed=0):
    return np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8)


def column(*shares):
    return torch.tensor(shares)[:, None, None].float()


def bytes_of(folder):
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "predict.json")
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_layers_of_known_probabilities():
    made = RowMaker(3, ALL)(column(0.2, 0.7, 0.1))
    values = {name: layer.flatten().tolist() for name, layer in made.layers.items()}
    entropy = -sum(p * np.log(p) for p in (0.2, 0.7, 0.1)) / np.log(3)
    assert values == {
        "confidence": [70],
        "entropy": [round(100 * entropy)],
        "margin": [50],
        "second": [0],
        "probabilities": [20, 70, 10],
    }
    assert made.indices.item() == 1
    assert made.undecided is None


def test_the_second_of_equal_classes_is_the_next_one():
    made = RowMaker(3, ["second", "margin"])(column(0.4, 0.4, 0.2))
    assert (made.indices.item(), made.layers["second"].item()) == (0, 1)
    assert made.layers["margin"].item() == 1  # 0 would say that there is no image


def test_a_network_that_gives_no_number_is_told_from_no_decision():
    made = RowMaker(2, ALL, thresholds=(0.9, 0.9))(column(float("nan"), float("nan")))
    assert made.indices.item() == 255


def test_disagreement_is_mutual_information():
    """Two that are sure of different classes disagree fully, two that doubt alike not at all."""
    maker = RowMaker(2, ["disagreement"], parts=2)
    assert maker.planes == 3
    assert maker(column(0.5, 0.5, 0.0)).layers["disagreement"].item() == 100
    assert maker(column(0.5, 0.5, np.log(2))).layers["disagreement"].item() == 1


def test_turns_that_disagree(tmp_path):
    """A network that looks at one side says something else of a turned window."""
    source = Constant([0.0, 0.0, 0.0])
    write(tmp_path / "a.tif", np.maximum(image(), 1))
    made = replace(network(source, layers=["disagreement"]), tta="d4")
    predict(made, tmp_path / "a.tif", tmp_path / "same")
    assert (read(tmp_path / "same/disagreement/a.tif") == 1).all()
    predict(replace(made, source=Context(3)), tmp_path / "a.tif", tmp_path / "other")
    assert read(tmp_path / "other/disagreement/a.tif").max() > 50


def test_files_of_all_layers(tmp_path):
    pixels = image()
    write(tmp_path / "a.tif", pixels)
    predict(network(Identity(3, first=1)), tmp_path / "a.tif", tmp_path / "maps")
    found = {name: read(tmp_path / f"maps/{name}/a.tif") for name in ALL}
    for name in ("confidence", "entropy", "margin", "second"):
        assert ((found[name][0] == 0) == (pixels == 0)).all()
    assert found["probabilities"].shape[0] == 3
    assert (found["probabilities"][:, pixels == 0] == 255).all()
    assert (found["probabilities"][:, pixels > 0] <= 100).all()
    # Of a middle class both neighbours are equally near: the first of them comes second.
    assert set(found["second"][0][pixels == 2]) == {LEGEND.codes[0]}
    info = raster.info(tmp_path / "maps/probabilities/a.tif")
    assert info.names == tuple(f"{c.code} {c.name}" for c in LEGEND.classes)
    assert raster.info(tmp_path / "maps/margin/a.tif").names == (LAYERS["margin"].meaning,)
    for name in ALL:
        assert "rasterrenderer" in (tmp_path / f"maps/{name}/a.qml").read_text()
    noted = read_json(tmp_path / "maps/predict.json")["scenes"]["a"]["files"]
    assert set(noted) == {f"{name}/a.tif" for name in ("landcover", *ALL)}


def test_panels_write_the_same_bytes_and_layers_change_no_map(tmp_path):
    write(tmp_path / "a.tif", image(150, 1100))
    made = network(Context(3))
    predict(made, tmp_path / "a.tif", tmp_path / "one")
    narrow = replace(made, running=replace(made.running, memory=0.0035))
    predict(narrow, tmp_path / "a.tif", tmp_path / "many")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "many")
    usual = replace(made, running=replace(made.running, layers=["confidence"]))
    predict(usual, tmp_path / "a.tif", tmp_path / "usual")
    one, alone = bytes_of(tmp_path / "one"), bytes_of(tmp_path / "usual")
    assert {name: one[name] for name in alone} == alone


def test_a_longer_list_makes_what_is_missing_and_keeps_the_rest(tmp_path):
    write(tmp_path / "a.tif", image())
    source, out = Context(3), tmp_path / "maps"

    def make(*layers):
        return predict(network(source, layers=list(layers)), tmp_path / "a.tif", out)

    assert make("confidence").done == ["a"]
    assert make("confidence", "entropy").done == ["a"]
    seen = source.seen
    assert make("confidence").before == ["a"]
    assert make("entropy", "confidence").before == ["a"]
    assert source.seen == seen
    assert make("margin").done == ["a"]
    kept = read_json(out / "predict.json")["scenes"]["a"]["files"]
    assert set(kept) == {f"{n}/a.tif" for n in ("landcover", "confidence", "entropy", "margin")}
    write(tmp_path / "a.tif", image(seed=1))
    assert make("margin").done == ["a"]
    assert not (out / "entropy/a.tif").exists()
    assert not (out / "entropy/a.qml").exists()


def test_pixels_below_a_threshold_stay_without_class(tmp_path):
    pixels = np.maximum(image(), 1)
    pixels[:5] = 0
    write(tmp_path / "a.tif", pixels)
    sure = Constant([1.0, 0.0, 0.0])
    probability = float(torch.softmax(torch.tensor([1.0, 0.0, 0.0]), 0)[0])
    for threshold, code in ((probability - 0.01, 3), (probability + 0.01, 255)):
        out = tmp_path / str(code)
        predict(network(sure, threshold=threshold), tmp_path / "a.tif", out)
        assert set(np.unique(read(out / "landcover/a.tif"))) == {0, code}
        assert (read(out / "landcover/a.tif")[0, :5] == 0).all()
        assert (read(out / "confidence/a.tif")[0, 5:] == 58).all()
        assert ClassMap.read(out / "landcover/a.tif").leaves_open
        assert 'value="255"' in (out / "landcover/a.qml").read_text()
        assert "<Category>no decision</Category>" in (out / "landcover/a.tif.aux.xml").read_text()
    predict(network(sure, threshold={"middle": 0.99}), tmp_path / "a.tif", tmp_path / "other")
    assert set(np.unique(read(tmp_path / "other/landcover/a.tif"))) == {0, 3}
    assert "middle 0.99" in raster.tags(tmp_path / "other/landcover/a.tif")[UNDECIDED_TAG]
    with pytest.raises(InputError, match="other settings"):
        predict(network(sure, threshold=0.3), tmp_path / "a.tif", tmp_path / "other")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.5, "predict.threshold=1.5: expected a probability"),
        (True, "predict.threshold=True"),
        ({"lake": 0.5}, "class 'lake' is not in the legend; it has low, middle, high"),
        ({"low": -1}, "predict.threshold.low=-1"),
    ],
)
def test_faulty_thresholds(value, said):
    with pytest.raises(InputError, match=said):
        Thresholds.parse(value, LEGEND)


def test_faulty_layers(tmp_path):
    assert parse(["second", "entropy", "entropy"]) == ("entropy", "second")
    with pytest.raises(InputError, match="'entropi' is unknown; choose from confidence, entropy"):
        InferenceSettings(layers=["entropi"])
    made = network(Constant([0.0, 0.0, 0.0]), layers=["disagreement"])
    write(tmp_path / "a.tif", image())
    with pytest.raises(InputError, match="disagreement is that of several networks"):
        predict(made, tmp_path / "a.tif", tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
