"""Networks: every size, number of bands and architecture; SegNet's indices, norms and layout."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torchvision.models import vgg

from geoseg.errors import InputError
from geoseg.models import settings
from geoseg.models.networks import build as models
from geoseg.models.networks import build_series, segnet, smp
from geoseg.prediction.backends.export import plain
from geoseg.training import recipe
from tests.made.narrow import shallow_transformers

CONF = Path(__file__).parents[2] / "conf" / "model"
ENCODERS = {"segnet": "vgg11_bn", "segformer": "mit_b0", "dpt": "tu-vit_tiny_patch16_224"}
"""Small ones where resnet18 does not go or is not meant."""


def small(name: str, **values) -> settings.Model:
    return settings.Model(name=name, encoder=ENCODERS.get(name, "resnet18"), **values)


def first_weight(network: nn.Module) -> nn.Parameter:
    """The weight of the convolution that sees the image."""
    return next(m.weight for m in network.modules() if isinstance(m, nn.Conv2d))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module", autouse=True)
def _shallow():
    with shallow_transformers():
        yield


@pytest.mark.parametrize("name", [n for n in settings.ARCHITECTURES if n != settings.PROBE])
def test_takes_every_size_and_learns_down_to_the_first_layer(name):
    channels, classes = 13, 5
    network = models.build(small(name, dropout=0.1), channels, classes)
    # A single image: pooled branches have one value per channel.
    image = torch.randn(1, channels, 33, 65)
    logits = network(image)
    assert logits.shape == (1, classes, 33, 65)
    logits.float().square().mean().backward()
    gradient = first_weight(network).grad
    assert gradient.isfinite().all()
    assert (gradient.abs().sum((0, 2, 3)) > 0).all(), "every band counts"
    network.eval()
    with torch.no_grad():
        for height, width in ((1, 1), (1, 70), (32, 32)):
            logits = network(torch.randn(2, channels, height, width))
            assert logits.shape == (2, classes, height, width)
            assert logits.isfinite().all()


@pytest.mark.parametrize(
    "encoder",
    [
        "vgg16_bn",
        "densenet121",
        "inceptionresnetv2",
        "inceptionv4",
        "efficientnet-b0",
        "mobilenet_v2",
        "mit_b0",
        "tu-resnet18",
    ],
)
def test_encoders_of_every_family_take_four_bands(encoder):
    network = models.build(settings.Model(name="unet", encoder=encoder), 4, 2)
    image = torch.randn(1, 4, 64, 64, requires_grad=True)
    logits = network(image)
    assert logits.shape == (1, 2, 64, 64)
    logits.square().sum().backward()
    assert (image.grad.abs().sum((0, 2, 3)) > 0).all(), "every band counts"


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_built(path):
    merged = OmegaConf.merge(OmegaConf.structured(settings.Model), OmegaConf.load(path))
    model = recipe.from_what_is_named(OmegaConf.to_object(merged))
    assert model.name == path.stem
    if model.name == settings.AUTO:  # the data set decides: test_recipe
        return
    if model.for_series:  # built in test_series_models
        assert build_series.build(model, 1, 2, grid=range(9), filled=True)
        return
    shape = (1, 2) if model.name == settings.CLASSIFY else (1, 2, 8, 8)
    assert models.build(model, 1, 2).eval()(torch.zeros(1, 1, 8, 8)).shape == shape


def test_every_architecture_has_a_configuration():
    assert {path.stem for path in CONF.glob("*.yaml")} == {
        settings.AUTO,
        *settings.ARCHITECTURES,
        *settings.SERIES_NETWORKS,
        settings.FOREST,
        settings.CLASSIFY,
    }


@pytest.mark.parametrize(
    ("name", "encoder", "expected"),
    [
        ("unet", "resnet19", ["resnet19", "resnet18"]),
        ("fpn", "vgg16bn", ["vgg16_bn"]),
        ("unet", "tu-resnest14", ["tu-resnest14d"]),
        ("unet", "Zweig", ["efficientnet-b0"]),
        ("unetplusplus", "mit_b0", ["unetplusplus", "mit_b0", "choose another"]),
        ("unet", "tu-swin_tiny_patch4_window7_224", ["(64) doesn't match", "choose another"]),
        ("segnet", "resnet18", ["resnet18", "vgg16_bn"]),
        ("segnet", "vgg19", ["set model.encoder=vgg19_bn"]),
    ],
)
def test_an_encoder_that_does_not_go_is_refused(name, encoder, expected):
    with pytest.raises(InputError) as raised:
        models.build(settings.Model(name=name, encoder=encoder), 4, 2)
    for part in expected:
        assert part in str(raised.value)


@pytest.mark.parametrize("name", ["unet", "segnet"])
def test_a_seed_makes_the_same_weights(name):
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(models.build(small(name), 3, 2).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("name", settings.ARCHITECTURES)
def test_dropout_works_in_training_only(name):
    image = torch.randn(2, 3, 64, 64)
    network = models.build(small(name, dropout=0.5), 3, 2)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))
        without = models.build(small(name), 3, 2)
        if name != "segformer":  # whose encoder leaves out whole paths by itself
            assert torch.equal(without(image), without(image))
    # A run without dropout and one with it have weights of the same names.
    assert without.state_dict().keys() == network.state_dict().keys()


@hypothesis_settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 70), width=st.integers(1, 140), last=st.booleans())
def test_an_identity_returns_its_image(height, width, last):
    inner = Recording()
    image = torch.randn(1, 2, height, width)
    if last:
        image = image.contiguous(memory_format=torch.channels_last)
    assert torch.equal(models.AnySize(inner)(image), image)
    padded_height, padded_width = inner.seen[-2:]
    assert padded_height % 32 == padded_width % 32 == 0
    assert height <= padded_height < height + 32
    assert padded_width >= 64, "two values for batch norms after five halvings"


class Recording(nn.Module):
    """An identity that keeps the shape of what it saw."""

    def forward(self, image: Tensor) -> Tensor:
        self.seen = image.shape
        return image


def test_padding_keeps_channels_last_and_repeats_the_edge():
    image = torch.randn(1, 3, 33, 65).contiguous(memory_format=torch.channels_last)
    seen = []
    network = models.AnySize(nn.Identity())
    network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(image)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(seen[0][:, :, 33:, :65], image[:, :, -1:].expand(-1, -1, 31, -1))
    assert torch.equal(seen[0][:, :, :33, 65:], image[..., -1:].expand(-1, -1, -1, 31))


def test_a_lone_value_takes_the_running_statistics():
    norm = smp.LoneBatchNorm2d(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(
        norm(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)), torch.zeros(1, 3, 1, 1)
    )
    plain = nn.BatchNorm2d(3)
    image = torch.randn(2, 3, 4, 4)
    plain.load_state_dict(norm.state_dict())
    assert torch.equal(norm(image), plain(image))
    assert torch.equal(norm.running_mean, plain.running_mean)


# SegNet


@pytest.fixture
def _narrow(monkeypatch):
    """A VGG has millions of weights in its last blocks: here there are a few thousand."""
    monkeypatch.setattr(segnet, "WIDTHS", (32,) * 5)


def test_segnets_encoder_is_laid_out_as_vgg16():
    ours = segnet.SegNet(3, 2).encoder
    theirs = nn.Sequential()
    theirs.features = vgg.make_layers(vgg.cfgs["D"], batch_norm=True)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == shapes
    assert sum(p.numel() for p in ours.parameters()) == 14_723_136
    assert sum(isinstance(module, nn.Conv2d) for module in ours.modules()) == 13


def test_segnets_decoder_mirrors_its_encoder():
    """13 convolutions, the widths of the encoder's in reverse."""
    network = segnet.SegNet(3, 6)
    widths = [
        [(m.in_channels, m.out_channels) for m in half.modules() if isinstance(m, nn.Conv2d)]
        for half in (network.encoder, network.decoder)
    ]
    mirrored = [(out, into) for into, out in reversed(widths[0])]
    assert widths[1][:-1] == mirrored[:-1]
    assert widths[1][-1] == (64, 6)


@pytest.mark.usefixtures("_narrow")
def test_features_are_put_back_where_the_encoder_found_its_maxima():
    network = segnet.SegNet(2, 3, depths=segnet.DEPTHS["vgg11_bn"]).eval()
    pooled, unpooled = [], []
    for layer in network.encoder.features:
        if isinstance(layer, nn.MaxPool2d):
            layer.register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    for block in network.decoder.blocks:
        block.register_forward_pre_hook(lambda _, inputs: unpooled.append(inputs[0]))
    with torch.no_grad():
        network(torch.randn(2, 2, 64, 64))
    for before, after in zip(pooled, reversed(unpooled), strict=True):
        _, where = F.max_pool2d(before, 2, return_indices=True)
        elsewhere = torch.ones_like(after).flatten(2).scatter(2, where.flatten(2), 0)
        assert (after.flatten(2) * elsewhere == 0).all()
        assert (after != 0).any()


@pytest.mark.parametrize("deterministic", [False, True])
def test_unpooling_is_the_inverse_of_pooling(deterministic):
    image = torch.rand(2, 3, 6, 8) + 0.1
    pooled, where = F.max_pool2d(image, 2, return_indices=True)
    pooled.requires_grad_()
    torch.use_deterministic_algorithms(deterministic)
    try:
        back = segnet.unpool(pooled, where)
        back.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    largest = F.interpolate(pooled.detach(), scale_factor=2)
    assert torch.equal(back.detach(), torch.where(image == largest, image, 0))
    assert (pooled.grad == 1).all()


@pytest.mark.usefixtures("_narrow")
@pytest.mark.parametrize("norm", settings.NORMS)
def test_norms(norm):
    network = models.build(small("segnet", norm=norm), 3, 2)
    images = torch.randn(2, 3, 64, 64)
    images[1] *= 10
    with torch.no_grad():
        together, alone = network(images)[:1], network(images[:1])
    # In the median: a rounding that moves a maximum moves whole features.
    apart = (together - alone).abs().median()
    assert apart > 0.1 if norm == "batch" else apart < 1e-4
    kinds = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
    found = [m for m in network.modules() if isinstance(m, kinds.get(norm, nn.GroupNorm))]
    assert len(found) == 8 + 8
    if norm in ("group", "layer"):
        assert {m.num_groups for m in found} == {32 if norm == "group" else 1}


@pytest.mark.usefixtures("_narrow")
def test_segnet_trains_in_bfloat16_and_channels_last():
    network = models.build(small("segnet"), 3, 2).to(memory_format=torch.channels_last)
    image = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(image)
    assert logits.dtype == torch.bfloat16
    assert logits.is_contiguous(memory_format=torch.channels_last)
    logits.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_kaiming_keeps_the_size_of_activations():
    """Through all of the encoder, without any norm to help."""
    network = segnet.SegNet(3, 2)
    x = torch.randn(1, 3, 32, 32)
    sizes = []
    for layer in network.encoder.features:
        if isinstance(layer, nn.Conv2d):
            x = layer(x).relu()
            sizes.append(x.square().mean().item())
    assert 0.1 < sizes[-1] / sizes[2] < 10


@pytest.mark.parametrize("name", recipe.STARTED)
def test_exporters_see_a_padding_that_no_size_changes(name):
    torch.manual_seed(0)
    network = models.build(settings.Model(name=name, encoder="tu-tf_efficientnet_lite0"), 3, 2)
    network.train()(torch.randn(4, 3, 64, 64))
    network.eval()
    handed = plain(network)
    kinds = [{type(module) for module in one.modules()} for one in (network, handed)]
    assert [Conv2dSame in found for found in kinds] == [True, False]
    with torch.no_grad():
        for size in ((99, 135), (64, 64), (1, 1), (33, 200)):
            image = torch.randn(2, 3, *size)
            torch.testing.assert_close(handed(image), network(image))
