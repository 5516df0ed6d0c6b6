"""What explains a network for series."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.errors import InputError
from geoseg.explanation import series
from geoseg.explanation.explain import explain
from geoseg.explanation.importance import derangement
from geoseg.explanation.settings import ExplainSettings
from geoseg.models import settings as models
from geoseg.models.networks import build_series
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from tests.explanation.made import CARD
from tests.made.samples import CARD as SERIES
from tests.made.samples import LEGEND, made_dataset

RUNNING = InferenceSettings("cpu", "32")


class Spring(nn.Module):
    """The class of parcels whose first band is bright from day 90 to 150; no other date counts."""

    def forward(self, values, valid, days, shape):
        within = valid & ((days >= 90) & (days < 150))[:, :, None]
        bright = (values[..., 0] * within).sum((1, 2)) / within.sum((1, 2)).clamp(min=1)
        return torch.stack([bright, torch.zeros_like(bright)], 1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return made_dataset(tmp_path_factory.mktemp("series"), parcels=60)


def opened(network, dataset):
    card = replace(
        CARD, bands=("red", "nir"), statistics=dataset.statistics, legend=LEGEND, dtype="uint16",
        series=replace(SERIES, first_day=5, last_day=359),
    )  # fmt: skip
    made = TrainedNetwork(card, "0" * 16, network, RUNNING)
    made._loaded = network.eval()
    return made


def subject(network, dataset):
    return series.SeriesSubject(opened(network, dataset), dataset.samples("train"), dataset)


def test_the_dates_and_the_band_that_a_network_goes_by_count_and_no_others(dataset):
    made = subject(Spring(), dataset)
    settings = ExplainSettings(repeats=3, days=30)
    clean, bands = series.band_importance(made, settings)
    assert clean.overall_accuracy > 0.7
    falls = {one.name: one.miou for one in bands}
    assert falls["red"] > 0.1
    assert falls["nir"] == 0
    parts, dates = series.date_importance(made, settings)
    assert [part.name for part in parts[:3]] == ["01-06", "02-05", "03-07"]
    for part, one in zip(parts, dates, strict=True):
        if part.end <= 90 or part.first >= 150:
            assert one.miou == 0
    assert max(dates, key=lambda one: one.miou).miou > 0.05
    assert series.attention(made, parts) is None


def test_samples_that_lie_by_class_are_exchanged_with_others_all_the_same(dataset, monkeypatch):
    monkeypatch.setattr(series, "BATCH", 10)
    found = dataset.samples("train")
    by_class = found.take(np.argsort(found.code, kind="stable"))
    monkeypatch.setattr(type(dataset), "samples", lambda *_: by_class)
    drawn = series.draw(dataset, "train", 0, 0)
    assert sorted(drawn.id) == sorted(found.id)
    assert len(series.draw(dataset, "train", 7, 0)) == 7
    made = series.SeriesSubject(opened(Spring(), dataset), drawn, dataset)
    _, bands = series.band_importance(made, ExplainSettings(repeats=3))
    assert next(one for one in bands if one.name == "red").miou > 0.5


def test_pixels_of_a_sample_are_exchanged_with_those_of_others(dataset, monkeypatch):
    monkeypatch.setattr(series, "BATCH", 4)
    large = dataset.samples("train")
    large = large.take(large.pixels == 4)
    by_pixel = opened(Spring(), dataset)
    card = replace(by_pixel.card, series=replace(by_pixel.card.series, unit="pixel"))
    by_pixel = replace(by_pixel, card=card)
    made = series.SeriesSubject(by_pixel, large, dataset)
    truth = np.concatenate([of.numpy() for _, of in made.batches])
    assert len(truth) == large.pixels.sum()
    assert any(of.unique().numel() > 1 for _, of in made.batches)


@pytest.mark.parametrize("name", ["ltae", "psetae"])
def test_attention_adds_up_over_the_season(dataset, name):
    torch.manual_seed(0)
    model = models.Model(name=name, width=32, heads=4, keys=4)
    made = subject(build_series.build(model, 2, 2), dataset)
    parts = series.periods(made.card.series, 30)
    found = series.attention(made, parts)
    assert found.shape == (len(parts), 2)
    assert np.allclose(found.sum(0), 1, atol=1e-4)
    assert found.max() < 0.9
    assert all(not m._forward_hooks for m in made.network.modules())


def test_others_observations_come_on_the_own_days():
    days = torch.tensor([[10.0, 50.0, 90.0], [12.0, 48.0, 300.0]])
    values = torch.arange(12.0).reshape(2, 3, 2, 1)
    valid = torch.ones(2, 3, 2, dtype=torch.bool)
    valid[1, :, 1] = False  # of a single pixel
    picked, there = series.exchange((values, valid, days, torch.zeros(2, 4)), torch.tensor([1, 0]))
    assert picked[0, :2, :, 0].tolist() == [[6, 6], [8, 8]]
    assert there[0].tolist() == [[True, True], [True, True], [False, False]]
    assert picked[1, :2, 0, 0].tolist() == [0, 2]
    assert not there[1, 2].any()


def test_everybody_gets_another_ones():
    for count in (2, 3, 10):
        made = derangement(count, np.random.default_rng(count))
        assert sorted(made) == list(range(count))
        assert (made != np.arange(count)).all()


def test_tables_and_a_page_are_written(dataset, tmp_path):
    torch.manual_seed(0)
    network = build_series.build(models.Model(name="ltae", width=32, heads=4, keys=4), 2, 2)
    settings = ExplainSettings(repeats=1, days=90)
    out = tmp_path / "out"
    of = opened(network, dataset)
    explain(of, dataset.folder, out, split="train", settings=settings)
    with (out / "dates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sum(float(row["attention"]) for row in rows) == pytest.approx(1, abs=1e-3)
    assert {"iou:early", "attention:late"} <= rows[0].keys()
    assert {p.name for p in out.iterdir() if p.name[0] != "."} == {
        *("bands.csv", "bands.png", "dates.csv", "dates.png", "explain.json", "explain.html")
    }
    with pytest.raises(InputError, match="occlusion is not for networks for series"):
        explain(of, dataset.folder, out, settings=ExplainSettings(kinds=["occlusion"]))
