"""What a training chooses by itself, and what the settings say all the same."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from geoseg.commands.conf import CONF
from geoseg.geo.tiling import Tiling
from geoseg.models.settings import Model
from geoseg.samples.settings import SeriesSamples
from geoseg.training import recipe
from geoseg.training.objectives.loss import class_weights
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit, TrainingSettings
from tests.made.samples import made_dataset
from tests.made.tiles import make_dataset


def test_the_network_suits_what_the_data_set_holds(tmp_path):
    images, windows = make_dataset(tmp_path / "images"), make_dataset(tmp_path / "windows")
    windows = replace(windows, reference="01-01")
    series = made_dataset(tmp_path / "series")
    for dataset, name in ((images, "unet"), (windows, "utae"), (series, "tempcnn")):
        assert recipe.network_for(Model("auto"), dataset).name == name
        assert recipe.network_for(Model("fpn"), dataset) == Model("fpn")
    kept = yaml.safe_load((CONF / "model/tempcnn.yaml").read_text(encoding="utf-8"))
    assert recipe.network_for(Model("auto"), series) == Model(**kept)
    assert recipe.network_for(Model("auto", dropout=0.1, width=32), series).dropout == 0.1


def study(model="unet", loss=None, fit=None):
    return TrainingSettings(Model(model), loss or Loss(), fit or Fit(), SeriesSamples(), 0)


def test_images_and_series_have_recipes_of_their_own(tmp_path):
    images = recipe.for_images(study(), make_dataset(tmp_path))
    assert images.loss.terms == {"cross_entropy": 1, "dice": 1}
    assert images.loss.class_weights == "none"
    series = recipe.for_series(study("lstm"))
    assert series.loss.terms == {"cross_entropy": 1}
    assert (series.loss.class_weights, series.loss.label_smoothing) == ("tempered", 0.05)
    assert (series.fit.peak, series.fit.precision, series.fit.workers) == (2e-3, "32", 0)
    assert "tempered" in recipe.said(series)


def test_what_is_said_counts(tmp_path):
    loss = Loss(terms={"focal": 1.0}, class_weights="median", label_smoothing=0.0)
    fit = Fit(learning_rate=1e-4, precision="bf16", workers=3, epoch_tiles=7)
    series = recipe.for_series(study("ltae", loss, fit))
    assert series.loss == loss
    assert (series.fit.peak, series.fit.precision) == (1e-4, "bf16")
    assert (series.fit.workers, series.fit.least) == (3, 7)
    assert recipe.for_images(study("unet", loss, fit), make_dataset(tmp_path)).loss == loss


def test_a_validation_takes_a_small_part_of_an_epoch(tmp_path):
    dataset = make_dataset(tmp_path)
    train, val = (len(dataset.tiles(split)) for split in ("train", "val"))
    least = recipe.for_images(study(), dataset).fit.least
    assert least == max(128, min(7 * val, 4 * train))


def crop(dataset, size, *, share=1.0, of="unet", fit=None, metres=1.0, **options):
    """The squares that are chosen for tiles of some size with a share of labelled pixels."""
    tiles = [
        replace(tile, counts=2 * (round(share * tile.window.height * tile.window.width / 2),))
        for tile in dataset.tiles("train")
    ]
    made = replace(dataset.with_splits(train=tiles), tiling=Tiling(size), pixel_size_m=metres)
    return recipe.for_images(study(of, fit=fit), made, **options).fit.crop


def test_on_a_cpu_squares_of_tiles_are_learnt_from(tmp_path):
    dataset = make_dataset(tmp_path)
    assert [crop(dataset, size) for size in (64, 128, 192, 256, 512)] == [64, 128, 128, 128, 256]
    assert crop(dataset, 256, on_cpu=False) == 256
    assert crop(dataset, 256, share=0.4) == 256  # many a square would have no label
    assert crop(dataset, 256, metres=30) == 256
    assert crop(dataset, 256, of="pspnet") == 256  # which sums up whole tiles
    assert crop(dataset, 256, fit=Fit(crop=192), on_cpu=False) == 192
    assert crop(dataset, 256, fit=Fit(crop=1024)) == 256


def test_tempered_weights_are_the_fourth_root_of_the_inverse_share():
    weights = np.array(class_weights("tempered", [16, 1], names=["a", "b"]))
    assert weights[1] / weights[0] == pytest.approx(2)
    assert weights.mean() == pytest.approx(1)
