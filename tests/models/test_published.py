"""Published weights by name: their files, their bands, and whom they are not for."""

import re
import socket
from dataclasses import replace
from importlib import metadata

import pytest
import timm
import torch
from segmentation_models_pytorch import encoders

from geoseg.errors import InputError
from geoseg.models import origin, transfer, weights
from geoseg.models.networks import build as models
from geoseg.models.networks import smp
from geoseg.models.published import dialects, fetch, sources
from geoseg.models.settings import Model
from geoseg.training.recipe import fine_tuning
from geoseg.training.settings import Fit
from tests.made.scenes import CARD, with_bands

PACKAGES = [s for s in sources.SOURCES.values() if isinstance(s.place, sources.Package)]
LITE = "tu-tf_efficientnet_lite0"


def needs(name):
    """The source of that name. Skips without its package."""
    source = sources.SOURCES[name]
    try:
        metadata.version(source.place.distribution)
    except metadata.PackageNotFoundError:
        pytest.skip(f"needs {source.place}: pip install --no-deps {source.place.distribution}")
    return source


def begun(model, bands):
    """(network, what was loaded) of a new U-Net for these bands."""
    card = replace(with_bands(CARD, *bands), model=model)
    network = models.build(model, len(bands), len(card.legend))
    return network, transfer.load(network, model, card)


@pytest.mark.parametrize("name", [source.name for source in PACKAGES])
def test_all_of_an_encoder_is_filled_and_its_licence_shown(name):
    source = needs(name)
    model = Model(encoder=source.encoders[0], weights=name, detail=0, pixels=0)
    _, loaded = begun(model, source.bands)
    # A last convolution, which no segmentation uses: csmask leaves it out, timm's encoder too.
    assert {n.split(".")[0] for n in loaded.missing} <= {"_conv_head", "_bn1"}
    assert {n.split(".")[0] for n in loaded.unused} <= {"conv_head", "bn2"}
    assert source.licence in str(loaded)
    assert str(source.place) in str(loaded)


def test_bands_find_their_filters_by_name():
    source = needs("csmask")
    file = dialects.read_onnx(fetch.find(source))["model.encoder._conv_stem.weight"]
    model = Model(encoder="efficientnet-b4", weights="csmask", detail=0, pixels=0)
    for bands in (("B04", "B03", "B02", "B08"), ("red", "green", "blue", "nir")):
        network, loaded = begun(model, bands)
        found = network.encoder._conv_stem.weight
        torch.testing.assert_close(found, file[:, [2, 1, 0, 3]])
        assert "keep their filters" in str(loaded)
    _, loaded = begun(model, ("height", "red"))
    assert "height gets the mean of blue, green, red, nir" in str(loaded)
    assert "blue, green, nir have no place here" in str(loaded)


@pytest.mark.parametrize(
    ("bands", "filters", "said"),
    [
        (("nir", "red", "green"), (None, 0, 1), "nir gets the mean of red, green, blue"),
        (("nir", "swir16", "swir22"), (0, 1, 2), "swir22 are taken for red, green, blue, as they"),
        (("band_1", "band_2", "band_3", "band_4"), (0, 1, 2, None), "without names, taken as"),
        (("height", "red"), (None, 0), "height gets the mean of red, green, blue"),
        (("height",), (None,), "height gets the mean of red, green, blue"),
    ],
)
def test_photographs_of_whatever_bands_are_given_filters(bands, filters, said):
    file = next(iter(weights.read(fetch.find(needs("lite0"))).values()))
    model = Model(encoder=LITE, weights="lite0", detail=0, pixels=0)
    network, loaded = begun(model, bands)
    mean = file.mean(dim=1)
    expected = torch.stack([mean if n is None else file[:, n] for n in filters], dim=1)
    torch.testing.assert_close(network.encoder.model.conv_stem.weight, expected * 3 / len(bands))
    assert said in str(loaded)


def test_bands_without_names_are_asked_for():
    needs("csmask")
    model = Model(encoder="efficientnet-b4", weights="csmask", detail=0, pixels=0)
    bands = tuple(f"band_{n}" for n in range(1, 5))
    with pytest.raises(InputError, match=r"none of them .*model\.weights_bands=\[band_1"):
        begun(model, bands)
    named = replace(model, weights_bands=["band_3", "band_2", "band_1", "band_4"])
    network, _ = begun(named, bands)
    expected, _ = begun(model, ("red", "green", "blue", "nir"))
    assert torch.equal(network.encoder._conv_stem.weight, expected.encoder._conv_stem.weight)
    few = replace(model, weights_bands=["band_3", "band_2"])
    with pytest.raises(InputError, match=r"2 names, but the first layer .* takes 4 bands"):
        begun(few, bands)


def test_a_files_bands_are_matched_where_they_are_named(tmp_path):
    published = encoders.get_encoder("resnet18", weights=None).state_dict()
    path = tmp_path / "w.pth"
    torch.save(published, path)
    model = Model(weights=str(path), weights_bands=["red", "green", "blue"], detail=0, pixels=0)
    network, loaded = begun(model, ("blue", "red", "nir"))
    own, theirs = network.encoder.conv1.weight, published["conv1.weight"]
    mean = theirs.mean(dim=1)
    expected = torch.stack([theirs[:, 2], theirs[:, 0], mean], dim=1)
    torch.testing.assert_close(own, expected)
    assert "nir gets the mean" in str(loaded)


def test_names_of_efficientnet_pytorch_are_timms():
    """Both programs list the same layers in the same order."""
    state = weights.read(fetch.find(needs("lite0")))
    whole = timm.create_model("tf_efficientnet_lite0").state_dict()
    named = dialects.translated(state, whole)
    assert list(named) == list(whole)
    assert all(a is b for a, b in zip(named.values(), state.values(), strict=True))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (Model(weights="csmask"), r"for the encoder efficientnet-b4, but this run's is resnet18"),
        (Model(weights="dinov2"), r"_small_patch14_dinov2 or .* …, but this run's is resnet18"),
        (
            Model(encoder="timm-tf_efficientnet_lite0", weights="lite0"),
            r"set model\.encoder=tu-tf_efficientnet_lite0",
        ),
        (
            Model(encoder="timm-tf_efficientnet_lite0", weights="imagenet"),
            r"set model\.encoder=tu-tf_efficientnet_lite0",
        ),
        (Model(weights="resnet18_sentinel2", keep="network"), "has no decoder"),
        (Model(name="utae", weights="csmask"), "there are none for model=utae"),
    ],
)
def test_whom_they_are_not_for(model, expected):
    with pytest.raises(InputError, match=expected):
        origin.check(model)


def test_a_package_that_is_not_there_or_another(monkeypatch):
    source = sources.SOURCES["lite0"]
    model = Model(encoder=LITE, weights="lite0")

    def gone(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(fetch.metadata, "version", gone)
    with pytest.raises(InputError, match=r"not installed; pip install .*==0\.1\.0"):
        origin.check(model)
    monkeypatch.setattr(fetch.metadata, "version", lambda _: "0.2.0")
    with pytest.raises(InputError, match=r"0\.2\.0 is installed, expected 0\.1\.0"):
        fetch.find(source)


def test_a_file_that_differs_is_refused(monkeypatch, tmp_path):
    place = sources.Package("numpy", metadata.version("numpy"), "numpy", "__init__.py", "0" * 64)
    source = replace(sources.SOURCES["lite0"], place=place)
    with pytest.raises(InputError, match=r"is not the file that is known .*expected 0{16}"):
        fetch.find(source)


def test_a_hub_that_is_out_of_reach(monkeypatch):
    import huggingface_hub

    def unreachable(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    model = Model(weights="resnet18_sentinel2")
    origin.check(model)  # asks nobody
    with pytest.raises(InputError, match=r"no route to host.*model\.weights_bands=\[B01,B02"):
        begun(model, ("B02", "B03"))


def test_what_timm_has_of_dino_is_called_by_its_name_and_licence():
    """A tag of timm's says what weights learnt from; the network is the same without it."""
    for source in (s for s in sources.SOURCES.values() if isinstance(s.place, sources.Timm)):
        for encoder in source.encoders:
            told = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
            assert told.license.casefold() in source.licence.casefold()
            assert told.mean == (0.485, 0.456, 0.406)
            origin.check(Model("upernet", encoder, weights=source.name))
    satellite = Model("upernet", "tu-vit_large_patch16_dinov3.sat493m", weights="dinov3")
    origin.check(satellite)
    with pytest.raises(InputError, match="has no such weights"):
        origin.check(Model("upernet", "tu-vit_small_patch16_224", weights="dinov4"))


@pytest.mark.parametrize(
    ("encoder", "weights", "expected"),
    [
        ("tu-vit_small_patch16_dinov3", "dinov3", "hub timm/.*, licence dinov3-license; learnt"),
        ("tu-lcnet_050", "imagenet", "hub timm/lcnet_050.*, licence apache-2.0"),
        ("resnet18", "imagenet", "hub smp-hub/resnet18.imagenet, licence not stated by the lib"),
    ],
)
def test_downloads_show_their_licence_and_the_card_keeps_it(
    monkeypatch, encoder, weights, expected
):
    model = Model("fpn", encoder, weights=weights, pixels=0)
    network = torch.nn.Module()
    network.encoder = torch.nn.Conv2d(3, 4, 1)
    monkeypatch.setattr(smp, "download", lambda _: network.encoder.state_dict())
    card = replace(with_bands(CARD, "red", "green", "blue"), model=model)
    card, said = transfer.begin(network, model, card, None)
    assert re.search(expected, said)
    assert card.started_from["licence"] in said
    assert card.started_from["from"] in said
    assert card.started_from["kept"] == "encoder"


def test_nothing_is_downloaded_that_nobody_named(monkeypatch):
    def asked(*_, **__):
        raise AssertionError("asks a hub")

    monkeypatch.setattr(socket, "create_connection", asked)
    monkeypatch.setattr(socket.socket, "connect", asked)
    for name, encoder in (
        ("unet", "resnet18"), ("fpn", "tu-lcnet_050"), ("classify", "resnet18"),
    ):  # fmt: skip
        model = Model(name, encoder, pixels=0, detail=0)
        network = models.build(model, 4, 2)
        card = replace(with_bands(CARD, *"abcd"), model=model)
        assert transfer.begin(network, model, card, None) == (card, "")


def test_names_of_bands_alone_are_refused():
    with pytest.raises(InputError, match="of which weights"):
        Model(weights_bands=["red"])
    with pytest.raises(InputError, match="once"):
        Model(weights="csmask", weights_bands=["red", "red"])


def test_landsats_b4_is_not_sentinels():
    assert sources.places(sources.SENTINEL2_RGB, ("red", "B03", "B4")) == (0, 1, None)


def test_what_is_known_is_learnt_further_slowly():
    tuned = fine_tuning(Fit(epochs=9), Model(weights="csmask"))
    assert (tuned.peak, tuned.encoder_scale, tuned.frozen) == (1e-3, 0.3, 0)
    vit = Model(encoder="tu-vit_small_patch16_224.dino", weights="dino")
    tuned = fine_tuning(Fit(epochs=9), vit)
    assert (tuned.peak, tuned.encoder_scale, tuned.frozen) == (3e-4, 0.3, 1)
    assert fine_tuning(Fit(epochs=2), vit).frozen == 0
    whole = fine_tuning(Fit(), Model(weights="runs/a", keep="network"))
    assert (whole.peak, whole.encoder_scale, whole.frozen) == (3e-4, 1.0, 0)
    for model in (vit, Model(weights="csmask")):
        given = Fit(learning_rate=2e-3, encoder_lr_scale=1.0, freeze=0)
        assert fine_tuning(given, model) == given
    assert fine_tuning(Fit(), Model()) == Fit()
