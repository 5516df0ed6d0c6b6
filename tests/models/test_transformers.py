"""Vision transformers as encoders: every family, size and band count; probes; what is refused."""

import pytest
import timm
import torch

from geoseg.errors import InputError
from geoseg.models import settings, weights
from geoseg.models.networks import build as models
from geoseg.models.networks import smp
from geoseg.models.networks.transformers import vit
from geoseg.training import optimizer, recipe
from geoseg.training.checks import check_fit
from geoseg.training.config import PretrainConfig
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit, SeriesSamples, TrainingSettings

SMALL = {"depth": 4, "embed_dim": 48, "num_heads": 3}
FAMILIES = {
    "ViT": "tu-vit_tiny_patch16_224",
    "DINO": "tu-vit_small_patch16_224.dino",
    "DINOv2": "tu-vit_small_patch14_dinov2",
    "registers": "tu-vit_small_patch14_reg4_dinov2",
    "DINOv3": "tu-vit_small_patch16_dinov3",
}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Networks of the right kind, but of 4 blocks of 48 features."""
    build = timm.create_model

    def made(name, *args, **kwargs):
        return build(name, *args, **((SMALL | kwargs) if vit.is_plain(name) else kwargs))

    monkeypatch.setattr(timm, "create_model", made)
    torch.manual_seed(0)


def model(name: str, encoder: str, **values) -> settings.Model:
    return settings.Model(name=name, encoder=encoder, pixels=0, **values)


@pytest.mark.parametrize("encoder", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("name", ["upernet", "segformer", "dpt"])
def test_every_family_takes_any_size_and_bands(name, encoder):
    if name == "dpt" and "patch14" in encoder:
        pytest.skip("refused, see below")
    network = models.build(model(name, encoder), 5, 3)
    image = torch.randn(1, 5, 45, 70, requires_grad=True)
    logits = network(image)
    assert logits.shape == (1, 3, 45, 70)
    logits.square().sum().backward()
    assert (image.grad.abs().sum((0, 2, 3)) > 0).all(), "every band counts"
    unused = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not unused, "several devices wait for all gradients"
    network.eval()
    with torch.no_grad():
        for height, width in ((1, 1), (64, 160)):
            found = network(torch.randn(2, 5, height, width))
            assert found.shape == (2, 3, height, width)
            assert found.isfinite().all()


@pytest.mark.parametrize("encoder", [FAMILIES["ViT"], FAMILIES["DINOv2"]])
def test_features_lie_where_their_pixels_are(encoder):
    """Whether or not the patches divide the image: a spot is strongest at its own place."""
    pyramid = vit.Pyramid(encoder.removeprefix("tu-"), 1).eval()
    image = torch.zeros(1, 1, 96, 160)
    with torch.no_grad():
        before = pyramid(image)
        image[..., 80:88, 124:132] = 20
        after = pyramid(image)
    for stride, was, now in zip(vit.LEVELS[:3], before[2:5], after[2:5], strict=True):
        assert now.shape[-2:] == (96 // stride, 160 // stride)
        change = (now - was).abs().sum(1)[0]
        row, column = divmod(int(change.argmax()), change.shape[1])
        assert abs((row + 0.5) * stride - 84) <= 14
        assert abs((column + 0.5) * stride - 128) <= 14


def test_positions_are_interpolated():
    """A larger image sees positions in the same order, not those of the corner again."""
    pyramid = vit.Pyramid("vit_tiny_patch16_224", 1)
    with torch.no_grad():
        pyramid.model.pos_embed.zero_()
        grid = torch.arange(14.0).view(1, 1, 14, 1).expand(1, 14, 14, 48).reshape(1, 196, 48)
        pyramid.model.pos_embed[:, 1:] = grid
        shown = pyramid.model._pos_embed(torch.zeros(1, 20, 30, 48))
    columns = shown[0, 1:, 0].view(20, 30)
    assert (columns.diff(dim=1) >= 0).all()
    assert columns[:, -1].min() > 12


@pytest.mark.parametrize(
    ("name", "encoder", "expected"),
    [
        ("dpt", "resnet18", ["not a plain vision transformer", "model.name=upernet"]),
        ("dpt", FAMILIES["DINOv2"], ["patches of 14 px", "8, 16, 32", "model.name=upernet"]),
        ("unet", FAMILIES["ViT"], ["one resolution", "model.name=dpt, upernet, segformer, probe"]),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_sentence(name, encoder, expected):
    with pytest.raises(InputError) as raised:
        models.build(model(name, encoder), 3, 2)
    assert "\n" not in str(raised.value)
    for part in expected:
        assert part in str(raised.value)


def test_a_patch_embedding_is_transferred_by_band_names():
    published = timm.create_model("vit_tiny_patch16_224", num_classes=7)
    encoder = models.build(model("segformer", FAMILIES["ViT"]), 4, 2).encoder
    # blue, green, red, nir from red, green, blue
    loaded = weights.load_state(
        encoder, published.state_dict(), channels=4, source="file", places=(2, 1, 0, None)
    )
    theirs, ours = published.patch_embed.proj.weight, encoder.model.patch_embed.proj.weight
    for band, place in enumerate((2, 1, 0)):
        torch.testing.assert_close(ours[:, band], theirs[:, place] * 3 / 4)
    torch.testing.assert_close(ours[:, 3], theirs.mean(1) * 3 / 4)
    assert loaded.adapted == ("model.patch_embed.proj.weight",)
    assert not loaded.missing
    assert set(loaded.heads) == {"head.weight", "head.bias"}


def test_positions_of_another_size_are_resized():
    published = timm.create_model("vit_tiny_patch16_224", img_size=160).state_dict()
    encoder = models.build(model("segformer", FAMILIES["ViT"]), 3, 2).encoder
    loaded = weights.load_state(encoder, published, channels=3, source="file")
    assert not loaded.missing
    ours, theirs = encoder.model.pos_embed, published["pos_embed"]
    assert ours.shape == (1, 197, 48)
    torch.testing.assert_close(ours[:, 0], theirs[:, 0])
    assert any("14 × 14" in line and "10 × 10" in line for line in loaded.said)


def test_weights_of_another_family_are_refused():
    encoder = models.build(model("segformer", FAMILIES["ViT"]), 3, 2).encoder
    other = timm.create_model("resnet18").state_dict()
    with pytest.raises(InputError, match=r"set model\.encoder to the file's"):
        weights.load_state(encoder, other, channels=3, source="file")


# Probes


def probe() -> torch.nn.Module:
    return models.build(settings.Model(name="probe", encoder="resnet18", weights="imagenet"), 3, 2)


def test_the_encoder_of_a_probe_never_moves():
    network = probe()
    before = {n: t.clone() for n, t in network.encoder.state_dict().items()}
    fit = Fit(learning_rate=0.1)
    steps, average = optimizer.optimizer_of(network, fit), optimizer.Average(network, 0.9)
    for _ in range(2):
        optimizer.set_frozen(network, frozen=False)  # as after the first epochs of any training
        network(torch.randn(2, 3, 64, 64)).square().mean().backward()
        steps.step()
        average.update(network)
    for name, tensor in network.encoder.state_dict().items():
        assert torch.equal(tensor, before[name]), name
        assert torch.equal(average.network.encoder.state_dict()[name], before[name]), name
    moved = {id(p) for group in steps.param_groups for p in group["params"]}
    assert not moved & {id(p) for p in network.encoder.parameters()}
    assert all(p.grad is None for p in network.encoder.parameters())
    assert all(p.grad is not None for p in network.network.decoder.parameters())


def test_a_probe_needs_weights_and_no_rates_of_its_encoder():
    with pytest.raises(InputError, match="one with random weights knows nothing"):
        check_fit(Fit(), settings.Model(name="probe"))
    with pytest.raises(InputError) as raised:
        check_fit(
            Fit(freeze=2, encoder_lr_scale=0.5), settings.Model(name="probe", weights="lite0")
        )
    for key in ("fit.freeze=2", "fit.encoder_lr_scale=0.5"):
        assert key in str(raised.value)
    with pytest.raises(InputError, match="nothing else is trained here"):
        PretrainConfig(model=settings.Model(name="probe"))


def test_the_recipe_of_a_probe_leaves_its_head_the_usual_rate():
    given = settings.Model(name="probe", weights="lite0")
    assert recipe.fine_tuning(Fit(epochs=9), given) == Fit(epochs=9)
    study = TrainingSettings(given, Loss(), Fit(), SeriesSamples(), 0)
    assert "the encoder stays as it is" in recipe.said(study)


def test_dpt_reads_every_family_with_its_tokens():
    network = smp.build(model("dpt", FAMILIES["DINOv3"]), 3, 2)
    assert network.encoder.has_prefix_tokens
    assert network.encoder.output_strides == [16, 16, 16, 16]
