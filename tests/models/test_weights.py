"""Encoder weights from files: any prefix, wrapper and number of bands; and files that are none."""

import pickle
from datetime import timedelta
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from segmentation_models_pytorch import encoders
from torch import Tensor, nn
from torchvision.models import vgg

from geoseg.errors import InputError
from geoseg.models import checkpoint, origin, settings, transfer, weights
from geoseg.models.networks import build as models
from geoseg.models.published import sources
from tests.made.scenes import CARD, with_bands


def load(network: nn.Module, path: Path, channels: int) -> weights.Loaded:
    return weights.load_state(network, weights.read(path), channels=channels, source=str(path))


def encoder(channels: int = 3) -> nn.Sequential:
    """Names as of any encoder: conv1, bn1, layer1.conv …"""
    inner = nn.Sequential()
    inner.conv = nn.Conv2d(8, 8, 3, padding=1)
    network = nn.Sequential()
    network.conv1 = nn.Conv2d(channels, 8, 3, padding=1, bias=False)
    network.bn1 = nn.BatchNorm2d(8)
    network.layer1 = inner
    return network


def random_state(seed: int = 1, channels: int = 3) -> dict[str, Tensor]:
    """Another encoder's weights: torch.rand everywhere but in the counter."""
    generator = torch.Generator().manual_seed(seed)
    state = encoder(channels).state_dict()
    return {
        name: torch.rand(tensor.shape, generator=generator) if tensor.ndim else tensor
        for name, tensor in state.items()
    }


def equal(network: nn.Module, state: dict[str, Tensor], prefix: str = "") -> bool:
    own = network.state_dict()
    return all(torch.equal(own[name], state[prefix + name]) for name in own)


def write(path: Path, content) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "encoder.", "backbone.", "model.", "module.model.encoder.", "net.3."]
)
def test_prefixes_are_seen_through(tmp_path, prefix, suffix):
    state = random_state()
    head = {"fc.weight": torch.rand(5, 8), "decoder.conv.weight": torch.rand(3)}
    named = {prefix + name: tensor for name, tensor in state.items()} | head
    network = encoder()
    loaded = load(network, write(tmp_path / f"w{suffix}", named), channels=3)
    assert equal(network, state)
    assert set(loaded.heads) == set(head)
    assert len(loaded.loaded) == len(state) - 1, "all but the counter of batches"
    assert loaded.missing == loaded.unused == loaded.adapted == ()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3, "best": 0.5},
        lambda state: {"model": {"encoder": state, "decoder": {}}, "optimizer": {"state": {}}},
        lambda state: {"model_state_dict": {f"module.{k}": v for k, v in state.items()}},
    ],
)
def test_wrappers_are_unpacked(tmp_path, wrap):
    network, state = encoder(), random_state()
    load(network, write(tmp_path / "w.ckpt", wrap(state)), channels=3)
    assert equal(network, state)


def test_an_old_pickle_of_tensors_is_read(tmp_path):
    network, state = encoder(), random_state()
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    load(network, path, channels=3)
    assert equal(network, state)


def test_what_is_missing_and_unused_is_reported(tmp_path):
    state = random_state()
    del state["bn1.weight"]
    state["layer9.conv.weight"] = torch.rand(3, 3)
    state["layer1.conv.bias"] = torch.rand(5)
    network = encoder()
    bias = network.layer1.conv.bias.clone()
    loaded = load(network, write(tmp_path / "w.safetensors", state), channels=3)
    assert loaded.missing == ("bn1.weight", "layer1.conv.bias")
    assert set(loaded.unused) == {"layer9.conv.weight", "layer1.conv.bias"}
    assert torch.equal(network.layer1.conv.bias, bias)
    text = str(loaded)
    assert "5 of 7 encoder tensors" in text
    assert "still random: bn1.weight, layer1.conv.bias" in text
    assert "layer9.conv.weight" in text


@hypothesis_settings(deadline=None, max_examples=30)
@given(theirs=st.integers(1, 6), ours=st.integers(1, 13))
def test_a_grey_image_gives_the_same_activations_for_any_bands(theirs, ours):
    weight = torch.rand(8, theirs, 3, 3)
    spread = weights.spread_bands(weight, ours)
    assert spread.shape == (8, ours, 3, 3)
    grey = torch.rand(1, 1, 9, 9)
    before, after = (
        torch.nn.functional.conv2d(grey.expand(-1, w.shape[1], -1, -1), w) for w in (weight, spread)
    )
    torch.testing.assert_close(before, after)
    if ours == theirs:
        torch.testing.assert_close(spread, weight)
    if ours > theirs:
        torch.testing.assert_close(spread[:, :theirs], weight * theirs / ours)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_the_first_layer_is_adapted(tmp_path, channels):
    network, state = encoder(channels), random_state()
    loaded = load(network, write(tmp_path / "w.pth", state), channels=channels)
    assert loaded.adapted == ("conv1.weight",)
    assert "adapted" in str(loaded)
    expected = weights.spread_bands(state["conv1.weight"], channels)
    assert torch.equal(network.conv1.weight, expected)


def test_torchvisions_vgg_fits_segnet():
    theirs = nn.Sequential()
    theirs.features = vgg.make_layers(vgg.cfgs["D"], batch_norm=True)
    theirs.classifier = nn.Linear(4, 10)
    network = models.build(settings.Model(name="segnet", encoder="vgg16_bn"), 3, 2)
    state = theirs.state_dict()
    loaded = weights.load_state(network.encoder, state, channels=3, source="vgg")
    assert equal(network.encoder, state)
    assert loaded.missing == loaded.unused == ()
    assert loaded.heads == ("classifier.weight", "classifier.bias")


def test_vgg_fits_segnet_without_batch_norm():
    theirs = nn.Sequential()
    theirs.features = vgg.make_layers(vgg.cfgs["A"], batch_norm=True)
    model = settings.Model(name="segnet", encoder="vgg11_bn", norm="group")
    network = models.build(model, 4, 2)
    loaded = weights.load_state(network.encoder, theirs.state_dict(), channels=4, source="vgg")
    assert loaded.missing == ()
    assert all("running" in name for name in loaded.unused)


def test_torchvisions_resnet_and_densenet_fit_unet():
    for encoder_name, build in (
        ("resnet18", torchvision.models.resnet18),
        ("densenet121", torchvision.models.densenet121),
    ):
        state = build(weights=None).state_dict()
        # As in torchvision's published file of 2017.
        old = {
            name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2.")
            if "denselayer" in name
            else name: tensor
            for name, tensor in state.items()
        }
        network = models.build(settings.Model(encoder=encoder_name), 3, 2)
        loaded = weights.load_state(network.encoder, old, channels=3, source="torchvision")
        assert loaded.missing == loaded.unused == ()
        assert len(loaded.heads) == 2
        assert equal(network.encoder, state)


def test_timms_names_fit_its_encoders():
    network = models.build(settings.Model(encoder="tu-resnet18"), 3, 2)
    state = {
        name.removeprefix("model."): torch.rand(tensor.shape)
        for name, tensor in network.encoder.state_dict().items()
    }
    weights.load_state(network.encoder, state, channels=3, source="timm")
    assert torch.equal(network.encoder.state_dict()["model.conv1.weight"], state["conv1.weight"])


def card(model: settings.Model, channels: int):
    return with_bands(CARD, *"abcd"[:channels], model=model.trained())


def test_a_file_in_the_settings_is_loaded(tmp_path):
    donor = models.build(settings.Model(encoder="mobilenet_v2"), 3, 2)
    # As a run's own best.safetensors: the whole network, names and all.
    path = write(tmp_path / "best.safetensors", dict(donor.state_dict()))
    model = settings.Model(name="fpn", encoder="mobilenet_v2", weights=str(path))
    network = checkpoint.build(card(model, 3))
    loaded = transfer.load(network, model, card(model, 3))
    assert equal(network.encoder, donor.encoder.state_dict())
    assert loaded.source == str(path)
    assert loaded.missing == ()
    assert transfer.load(network, model.trained(), card(model, 3)) is None


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))


def damaged(kind: str, folder: Path) -> Path:
    path = folder / "w.pth"
    if kind == "cut safetensors":
        whole = safetensors.torch.save(random_state())
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "cut torch":
        torch.save(random_state(), path)
        path.write_bytes(path.read_bytes()[:-400])
    elif kind == "cut pickle":
        torch.save(random_state(), path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"conv1.weight": Evil()}))
    elif kind == "objects":
        torch.save({"state_dict": random_state(), "took": timedelta(1)}, path)
    elif kind == "list":
        torch.save([1, 2], path)
    elif kind == "no tensors":
        torch.save({"epoch": 3, "lr": 0.1}, path)
    else:
        starts = {
            "empty": b"",
            "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(99),
            "text": b"<!DOCTYPE html><html>",
        }
        path.write_bytes(starts[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("cut safetensors", "cut short or damaged"),
        ("cut torch", "cut short or damaged"),
        ("cut pickle", "cut short or damaged"),
        ("pickle", "Python objects"),
        ("objects", "Python objects"),
        ("list", "no tensors by name in it"),
        ("no tensors", "epoch, lr"),
        ("empty", "an empty file"),
        ("lfs", "git lfs pull"),
        ("hdf5", "HDF5"),
        ("text", "unknown format"),
    ],
)
def test_a_file_that_is_no_weights_is_refused(tmp_path, capsys, kind, expected):
    path = damaged(kind, tmp_path)
    network = encoder()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError) as raised:
        load(network, path, channels=3)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert "expected .safetensors or a state dict" in message
    assert "\n" not in message
    assert equal(network, before)
    assert "unpickled" not in capsys.readouterr().out


def test_another_networks_weights_are_refused():
    network = encoder()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for state in (
        {"stem.weight": torch.rand(3)},
        {"bn1.weight": torch.rand(8)},
        {"conv1.weight": torch.rand(64, 3, 7, 7), "layer1.conv.weight": torch.rand(64, 64, 3, 3)},
    ):
        with pytest.raises(InputError, match=r"w\.pth: fits .* of 8 .* expected conv1\.weight"):
            weights.load_state(network, state, channels=3, source="w.pth")
    state = random_state()
    state["layer1.conv.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match=r"layer1\.conv\.weight hold NaN"):
        weights.load_state(network, state, channels=3, source="w.pth")
    assert equal(network, before)


@pytest.mark.parametrize("value", ["nowhere.pth", "weights/resnet18", "."])
def test_a_path_without_file_is_refused(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"model\.weights=.*(no such file|is a folder)"):
        origin.check(settings.Model(weights=value))


def test_an_unknown_name_of_weights_is_refused_before_torch_or_data_are_read():
    for encoder in ("resnet18", "tu-resnet18"):
        model = settings.Model(encoder=encoder, weights="imagenette")
        with pytest.raises(InputError, match=r"has no such weights .*did you mean imagenet\?"):
            origin.check(model)


def test_the_names_of_weights_are_those_of_the_library():
    for name, encoder in encoders.encoders.items():
        assert set(sources.names_of(name)) == set(encoder["pretrained_settings"]), name


@pytest.mark.parametrize("name", ["unet", "segnet"])
def test_without_network_the_remedy_is_a_file(monkeypatch, name):
    def unreachable(*_, **__):
        raise OSError("no route to host")

    encoder_name = "vgg11_bn" if name == "segnet" else "resnet18"
    model = settings.Model(name=name, encoder=encoder_name, weights="imagenet")
    network = models.build(model, 4, 2)
    monkeypatch.setattr(encoders, "get_encoder", unreachable)
    with pytest.raises(InputError) as raised:
        transfer.load(network, model, card(model, 4))
    for part in ("no route to host", "model.weights=<.safetensors", encoder_name):
        assert part in str(raised.value)


def test_downloaded_weights_are_adapted(monkeypatch):
    published = encoders.get_encoder("resnet18", weights=None)
    model = settings.Model(weights="imagenet")
    network = models.build(model, 4, 2)
    asked = []

    def get_encoder(name, **options):
        asked.append((name, options))
        return published

    monkeypatch.setattr(encoders, "get_encoder", get_encoder)
    loaded = transfer.load(network, model, card(model, 4))
    assert asked == [("resnet18", {"weights": "imagenet"})]
    assert loaded.source == "resnet18 imagenet"
    assert loaded.adapted == ("conv1.weight",)
    assert loaded.missing == loaded.unused == ()
