"""Networks as ONNX: the same classes, any shape, what plugins read, and what is refused."""

import json
import re
import shutil
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from pystac.extensions.mlm import MLMExtension
from torch import nn

from geoseg.errors import InputError
from geoseg.export import check, write
from geoseg.export.onnx import INPUT
from geoseg.export.whole import WholeNetwork, nodata_of
from geoseg.export.write import export
from geoseg.geo.band_tags import BandTags
from geoseg.models.calibration import Calibration
from geoseg.models.card import SeriesCard
from geoseg.models.networks import build as models
from geoseg.models.networks.pixels import PixelPath
from geoseg.models.settings import Model
from geoseg.prediction.forward import smoothed
from geoseg.prediction.network import TrainedNetwork
from geoseg.scenes.bands import BandStatistics
from tests.made.narrow import few_neighbourhoods
from tests.made.scenes import CARD, LEGEND, Context, Identity
from tests.made.stac import checked

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
BANDS = ("red", "green", "blue")
STATISTICS = BandStatistics(
    mean=(80.0, 90.0, 100.0), std=(20.0, 25.0, 30.0), p2=(20.0,) * 3, p98=(180.0,) * 3,
    low=(0.0,) * 3, high=(255.0,) * 3,
)  # fmt: skip
COLOUR = replace(
    CARD, bands=BANDS, statistics=STATISTICS, pixel_size_m=0.2, tags=(BandTags(0.0),) * 3
)


class Uncounted(Context):
    """Changes nothing of itself while it is traced, which would have it traced in two ways."""

    def forward(self, image):
        return nn.functional.conv2d(image, self.kernel, padding=2)


def context():
    return TrainedNetwork(COLOUR, "a" * 16, Uncounted(3, channels=3))


def calibrated(**values):
    made = Calibration(
        method="temperature", scale=[0.5] * 3, bias=[0.0] * 3, copied_from="x", pooled=["x"],
        tta="none", smooth=0, fitted_on="", blocks=1, pixels=1, scores={},
    )  # fmt: skip
    return replace(context(), card=replace(COLOUR, calibration=replace(made, **values)))


class Halved(nn.Module):
    """A branch at half the size, as encoders have it, in few layers: to export takes long."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.head = nn.Conv2d(11, 3, 3, padding=1)

    def forward(self, image):
        up = nn.functional.interpolate(self.down(image).relu(), scale_factor=2)
        return self.head(torch.cat([up, image], dim=1))


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """A network with all that geoseg puts around one, exported for any size: network, file, what
    is said. Pixels see two neighbourhoods, not four: each takes seconds to export. The first way of
    tracing must do; torch takes as long for the second."""
    with few_neighbourhoods():
        torch.manual_seed(0)
        module = models.AnySize(Halved(), PixelPath(3, 3, 8)).eval()
        with torch.no_grad():  # as if it had learnt to use what single pixels tell
            module.pixel_path.scale.fill_(0.5)
        network = TrainedNetwork(COLOUR, "b" * 16, module)
        out = tmp_path_factory.mktemp("padded") / "model.onnx"
        with pytest.MonkeyPatch.context() as patched:
            strategies = import_module("torch.onnx._internal.exporter._capture_strategies")
            first = strategies.CAPTURE_STRATEGIES[:1]
            patched.setattr(strategies, "CAPTURE_STRATEGIES", first)
            said = str(export(network, out))
        yield network, out, said


def run(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (made,) = session.run(None, {INPUT: images})
    return made


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 40, 77), (2, 99, 135), (1, 33, 20)])
def test_images_of_any_number_and_size_get_torch_s_probabilities(padded, shape):
    network, path, _ = padded
    images = check.made_up(COLOUR, shape, np.random.default_rng(3))
    with torch.inference_mode():
        scaled = (torch.from_numpy(images) - torch.tensor(STATISTICS.mean)[:, None, None]) / (
            torch.tensor(STATISTICS.std)[:, None, None]
        )
        seen = torch.from_numpy((images != 0).all(axis=1))[:, None]
        expected = torch.softmax(network.source(scaled * seen), 1) * seen
    assert np.abs(run(path, images) - expected.numpy()).max() < 1e-5


def test_the_agreement_is_said(padded):
    _, path, said = padded
    assert "100.0000% of" in said
    assert "max |Δp|" in said
    assert "size=512" in said
    assert path.stat().st_size > 1e3


def test_what_plugins_read(padded):
    _, path, _ = padded
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    found = {key: json.loads(text) for key, text in said.items()}
    assert found["model_type"] == "Segmentor"
    assert found["class_names"] == {"0": "low", "1": "middle", "2": "high"}
    assert found["class_codes"] == list(LEGEND.codes)
    assert found["resolution"] == 20  # cm per pixel
    assert (found["tile_size"], found["tiles_overlap"]) == (32, 25)
    assert found["bands"] == list(BANDS)
    assert found["geoseg"]["bands"] == list(BANDS)
    # Deepness divides by 255 and standardises: the network must get the values of the files.
    values = np.arange(256)
    mean, std = (found[f"standardization_{name}"] for name in ("mean", "std"))
    seen = (np.float32(values / 255.0)[:, None] - mean) / std
    assert np.allclose(seen, values[:, None], atol=1e-4)
    assert session.get_inputs()[0].shape == ["batch", 3, "height", "width"]
    assert session.get_outputs()[0].shape == ["batch", 3, "height", "width"]


def test_no_path_of_this_machine_is_in_the_file(padded):
    _, path, _ = padded
    assert b"site-packages" not in path.read_bytes()


@pytest.fixture(scope="module")
def sized(tmp_path_factory):
    """A network exported for images of one size, without the calibration, which is of turns:
    file, what is said."""
    out = tmp_path_factory.mktemp("sized") / "model.onnx"
    return out, str(export(calibrated(tta="flips"), out, size=48))


def test_one_size_as_deepness_wants_it(sized):
    out, said = sized
    assert "48 × 48 pixels" in said
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 48, 48]
    assert session.get_outputs()[0].shape == ["batch", 3, 48, 48]
    assert json.loads(session.get_modelmeta().custom_metadata_map["tile_size"]) == 48


def test_once_more_it_is_there_and_calibrated_ones_stay_calibrated(sized, tmp_path):
    first, said = sized
    assert "WARNING: the checkpoint's calibration" in said
    out = shutil.copytree(first.parent, tmp_path / "copy") / first.name
    before = out.stat().st_mtime_ns
    assert "nothing to do" in str(export(calibrated(tta="flips"), out, size=48))
    assert out.stat().st_mtime_ns == before
    # Other settings are refused, unless it is to be replaced.
    with pytest.raises(InputError, match="other settings"):
        export(calibrated(), out, size=64)
    # Smoothed as predict does it, and calibrated after that.
    made = calibrated(smooth=3)
    made = replace(made, card=replace(made.card, smooth=3))
    assert "WARNING" not in str(export(made, out, size=64, overwrite=True))
    images = check.made_up(COLOUR, (1, 64, 64), np.random.default_rng(3))
    flat = run(out, images)
    assert flat.shape == (1, 3, 64, 64)
    with torch.inference_mode():
        sharp = WholeNetwork(context().source, COLOUR)(torch.from_numpy(images))
    seen = sharp.numpy().any(axis=1)[0]
    sharp = smoothed(sharp, torch.from_numpy(seen)[None], 3).numpy()
    expected = made.card.calibration.apply(sharp[0][:, seen].T)
    assert np.allclose(flat[0][:, seen].T, expected, atol=1e-4)


@pytest.mark.parametrize("partial", [False, True])
def test_pixels_without_data_are_not_seen(partial):
    tags = (BandTags(0.0), BandTags(9.0), BandTags(None))
    card = replace(COLOUR, tags=tags, partial=partial)
    whole = WholeNetwork(Identity(3), card)
    images = torch.full((1, 3, 1, 5), 50.0)
    images[0, 0, 0, 0] = 0.0  # of red that is nodata …
    images[0, 1, 0, 1] = 0.0  # … but of green it is a value
    images[0, :, 0, 2] = torch.tensor([0.0, 9.0, float("nan")])
    images[0, 2, 0, 3] = float("nan")
    sums = whole(images).sum(dim=1)[0, 0]
    expected = [1, 1, 0, 1, 1] if partial else [0, 1, 0, 0, 1]
    assert torch.allclose(sums, torch.tensor(expected).float())


def test_the_value_of_the_settings_counts_before_the_files():
    assert nodata_of(replace(COLOUR, nodata=7.0)) == [7.0] * 3
    assert np.isnan(nodata_of(replace(COLOUR, nodata="none"))).all()
    assert np.isnan(nodata_of(replace(COLOUR, tags=()))).all()
    added = replace(COLOUR, nodata=7.0, extra={"blue": "height.tif"})
    assert nodata_of(added) == [7.0, 7.0, 0.0]


def test_what_says_otherwise_is_not_written(sized, tmp_path, monkeypatch):
    model = onnx.load(sized[0])
    model.ClearField("metadata_props")
    monkeypatch.setattr("geoseg.export.onnx.convert", lambda *_, **__: model)
    monkeypatch.setattr(write, "replacing", None)  # nothing may be written
    other = WholeNetwork(Context(3, channels=3), COLOUR)
    other.network.kernel.neg_()
    compare = check.compare

    def swap(program, network, card, size):
        return compare(program, other, card, size)

    monkeypatch.setattr(check, "compare", swap)
    with pytest.raises(InputError, match=r"at least 99.9% are expected"):
        export(context(), tmp_path / "model.onnx", size=48)
    assert not (tmp_path / "model.onnx").exists()


class Fixed(nn.Module):
    """A network for images of one size, as other people's may be."""

    def forward(self, images):
        return nn.functional.softplus(images.reshape(len(images), 3, 64, 64))


def test_a_network_for_one_size_is_told_so(tmp_path):
    network = TrainedNetwork(COLOUR, "c" * 16, Fixed())
    with pytest.raises(InputError, match=r"set size=<pixels>"):
        export(network, tmp_path / "model.onnx")
    export(network, tmp_path / "model.onnx", size=64)


def test_what_is_refused_is_said_at_once(tmp_path):
    series = SeriesCard(
        unit="pixel", reference="01-01", first_day=0, last_day=300, fill="none", step=10,
        shape_mean=(), shape_std=(), min_clear=3,
    )  # fmt: skip
    network = replace(context(), card=replace(COLOUR, series=series), others=(context(),))
    with pytest.raises(InputError) as caught:
        export(network, tmp_path / "model.pt", format="tflite", size=7)
    text = str(caught.value)
    assert len(caught.value.faults) == 4
    for words in ("format=tflite", "ensemble", "network for series", "size=7"):
        assert words in text
    forest = replace(context(), card=replace(COLOUR, model=Model("forest")))
    with pytest.raises(InputError, match="is a forest, no network"):
        export(forest, tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"must end in \.onnx"):
        export(context(), tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_a_catalog_can_name_the_model(padded, tmp_path):
    network, path, _ = padded
    path = shutil.copytree(path.parent, tmp_path / "copy") / path.name
    said = str(export(network, path, stac=True))
    assert "nothing to do" in said
    assert "STAC item" in said
    made = checked(path.with_name("model.stac.json"))
    model = MLMExtension.ext(made)
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", model.mlm_name)
    assert (model.tasks, model.framework) == (["semantic-segmentation"], "ONNX")
    assert model.total_parameters == sum(p.numel() for p in network.source.parameters())
    assert (model.pretrained, made.properties["mlm:pretrained_source"]) == (False, None)
    (taken,), (given,) = model.input, model.output
    assert taken.bands == list(BANDS) == [band["name"] for band in made.properties["bands"]]
    assert (taken.input.shape, given.result.shape) == ([-1, 3, -1, -1], [-1, 3, -1, -1])
    assert taken.input.dim_order == ["batch", "bands", "height", "width"]
    assert [c.value for c in given.classes] == [0, 1, 2]
    pairs = zip(LEGEND.names, LEGEND.codes, strict=True)
    said = [f"{name} (code {code} in maps)" for name, code in pairs]
    assert [c.description for c in given.classes] == said
    # What stac-model knows of a class; another key would keep it from reading the item.
    assert {key for c in given.classes for key in c.to_dict()} == {"value", "name", "description"}
    asset = made.assets["model"]
    assert "mlm:model" in asset.roles
    assert asset.extra_fields["mlm:artifact_type"] == "onnx"
    assert made.geometry is None
