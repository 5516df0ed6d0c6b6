"""What explains a network for images, and that it depends on the network."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.explanation import images
from geoseg.explanation.explain import explain
from geoseg.explanation.images import Subject, band_importance
from geoseg.explanation.settings import ExplainSettings
from geoseg.geo.raster import Raster
from geoseg.models import checkpoint
from geoseg.models.card import weights_hash
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.samples.fitted import some_tiles
from tests.explanation.made import CARD, Small, made_dataset, trained

RUNNING = InferenceSettings("cpu", "32", batch_size=8)


def opened(network):
    made = TrainedNetwork(CARD, "0" * 16, network, RUNNING)
    made._loaded = network
    return made


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return made_dataset(tmp_path_factory.mktemp("explained"))


@pytest.fixture(scope="module")
def network():
    return trained()


def subject(network, dataset, most=6):
    loaded = Dataset.load(dataset)
    return Subject(opened(network.eval()), loaded, some_tiles(loaded, "val", most))


def place_and_goals(made, number=2):
    place = made.place(number)
    return place, images.goals(made, place, ())


class ByBand(nn.Module):
    """Logits from one band alone, negative and positive."""

    def __init__(self, band):
        super().__init__()
        self.band = band

    def forward(self, image):
        one = image[:, self.band : self.band + 1]
        return torch.cat([-one, one], 1)


def test_the_band_that_labels_depend_on_comes_first_and_noise_last(network, dataset):
    clean, found = band_importance(subject(network, dataset), ExplainSettings(repeats=2))
    assert clean.overall_accuracy > 0.8
    assert [one.name for one in found] == ["tells", "hints", "noise"]
    assert found[0].miou > 0.2
    assert found[1].miou > 0.02
    assert abs(found[2].miou) < 0.02


def test_what_a_network_does_not_see_counts_exactly_nothing(dataset):
    _, found = band_importance(subject(ByBand(0), dataset), ExplainSettings(repeats=2))
    falls = {one.name: one.miou for one in found}
    assert falls["tells"] > 0.3
    assert falls["hints"] == falls["noise"] == 0
    groups = ExplainSettings(repeats=2, groups={"both": ["hints", "noise"]})
    _, found = band_importance(subject(ByBand(0), dataset), groups)
    assert {one.name: one.miou for one in found} == {"tells": falls["tells"], "both": 0}


def test_integrated_gradients_add_up_to_what_they_explain(network, dataset):
    made = subject(network, dataset)
    place, some = place_and_goals(made)
    assert len(some) == 2
    for one in images.integrated_gradients(made, place, some, 64):
        assert one.gap < 0.01
        by_band = np.abs(one.values).sum((1, 2))
        assert by_band.argmax() == 0
        assert by_band.argmin() == 2
    (alone, _) = images.integrated_gradients(subject(ByBand(1), dataset), place, some, 4)
    assert np.abs(alone.values[[0, 2]]).max() == 0
    assert alone.gap < 1e-4


def correlation(one, two):
    return np.corrcoef(one.ravel(), two.ravel())[0, 1] if one.std() * two.std() > 0 else 0.0


def test_an_explanation_is_one_of_the_weights(network, dataset):
    """Adebayo et al. 2018: with random weights another one comes out."""
    made = subject(network, dataset)
    place, some = place_and_goals(made)
    torch.manual_seed(7)
    random = [subject(Small(), dataset) for _ in range(5)]

    def cams(of):
        dark, light = images.grad_cam(of, place, some)
        return light / max(light.max(), 1e-9) - dark / max(dark.max(), 1e-9)

    def gradients(of):
        return images.integrated_gradients(of, place, some, 4)[1].values.sum(0)

    for explained in (cams, gradients):
        own = explained(made)
        found = [correlation(own, explained(other)) for other in random]
        assert abs(np.mean(found)) < 0.3
        assert max(np.abs(found)) < 0.95


def test_grad_cam_is_high_where_its_class_is(network, dataset):
    made = subject(network, dataset)
    place, some = place_and_goals(made)
    light = some[1]
    cam = images.grad_cam(made, place, [light])[0]
    assert cam.min() >= 0
    assert cam[light.pixels].mean() > 1.5 * cam[some[0].pixels].mean()


def test_the_deepest_layer_is_the_last_of_the_lowest_resolution(network):
    assert images.Deepest(network, torch.zeros(1, 3, 16, 16)).name == "encoder.4"
    assert all(not module._forward_hooks for module in network.modules())


def test_hiding_what_matters_lowers_the_class_and_a_constant_network_sees_nothing(network, dataset):
    class Constant(nn.Module):
        def forward(self, image):
            return torch.stack([image[:, 0] * 0 + 1, image[:, 0] * 0], 1)

    blind = subject(Constant(), dataset)
    place, some = place_and_goals(blind)
    assert [goal.name for goal in some] == ["dark"]
    assert (images.occlusion(blind, place, some, 8)[0] == 0).all()
    made = subject(network, dataset)
    place, some = place_and_goals(made)
    for goal, found in zip(some, images.occlusion(made, place, some, 8), strict=True):
        hidden = found[goal.pixels].mean()
        assert hidden > 0
        assert hidden > 3 * abs(found[~place.valid].mean())


def test_rasters_tables_and_a_page_are_written(network, dataset, tmp_path):
    path = tmp_path / "run/best.safetensors"
    path.parent.mkdir()
    checkpoint.save(path, network, CARD)
    of = TrainedNetwork(CARD, weights_hash(path), path, RUNNING)
    of._loaded = network
    settings = ExplainSettings(repeats=1, tiles=4, places=1, square=16, steps=4)
    out = tmp_path / "out"
    told = str(explain(of, dataset, out, settings=settings))
    assert told.index("tells") < told.index("noise")
    record = json.loads((out / "explain.json").read_text(encoding="utf-8"))
    rasters = record["places"][0]["rasters"]
    assert len(rasters) == 6
    for one in rasters:
        assert (out / one["file"]).with_suffix(".qml").is_file()
        with Raster(out / one["file"]) as file:
            values, valid = file.read(file.grid.window)
        assert np.abs(values[0][valid]).max() == 100
        low = 0 if one["file"].startswith("gradcam") else -100
        assert values[0][valid].min() >= low
    page = (out / "explain.html").read_text(encoding="utf-8")
    assert page.count("<figcaption>gradcam") == 2
    assert (out / "bands.csv").read_text(encoding="utf-8").startswith("name,miou,sd,iou:dark")
    assert "nothing to do" in str(explain(of, dataset, out, settings=settings))
    with pytest.raises(InputError, match="other settings"):
        explain(of, dataset, out, settings=ExplainSettings())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kinds": ["dates"]}, "dates is not for networks for images"),
        ({"classes": ["sea"]}, "no class sea"),
        ({"groups": {"a": ["tells", "red"]}}, "no band 'red'"),
        ({"groups": {"a": ["tells"], "b": ["tells"]}}, "in another group"),
    ],
)
def test_what_is_not_there_is_said_before_the_work(network, dataset, tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        explain(opened(network), dataset, tmp_path / "none", settings=ExplainSettings(**settings))
    assert not (tmp_path / "none").exists()


def test_settings_are_checked_at_once():
    with pytest.raises(InputError) as error:
        ExplainSettings(kinds=["tea"], repeats=0, tiles=-1, groups={"a": "red"})
    assert len(error.value.faults) == 4
