import pytest
import torch
from torch import nn

from geoseg.models.networks import build as models
from geoseg.models.networks.pixels import PixelPath, neighbourhoods
from geoseg.models.settings import ARCHITECTURES, Model


def fitted(channels: int, classes: int) -> PixelPath:
    torch.manual_seed(0)
    path = PixelPath(channels, classes, 8)
    path.mean.normal_()
    path.scale.uniform_(0.5, 2)
    return path


def test_a_new_path_tells_nothing():
    path = PixelPath(3, 4, 8)
    assert path.is_new
    logits = path(torch.randn(2, 3, 7, 90))
    assert torch.equal(logits, logits[:1, :, :1, :1].expand_as(logits))
    assert not fitted(3, 4).is_new


def test_it_classifies_each_pixel_by_its_standardised_features():
    path, image = fitted(2, 3), torch.randn(1, 2, 6, 5)
    features = torch.cat(list(neighbourhoods(image)), dim=1)[0, :, 4, 2]
    wanted = path.layers(((features - path.mean) * path.scale)[None, :, None, None])
    assert torch.allclose(path(image)[0, :, 4, 2], wanted[0, :, 0, 0], atol=1e-5)


def test_its_logits_are_added_to_those_of_the_network():
    class Zero(nn.Module):
        def forward(self, image):
            return image.new_zeros(len(image), 3, *image.shape[-2:])

    path, image = fitted(2, 3), torch.randn(2, 2, 33, 20)
    assert torch.equal(models.AnySize(Zero(), path)(image), path(image))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_may_begin_with_what_it_finds(name):
    own = {"segnet": "vgg11_bn", "segformer": "mit_b0", "dpt": "tu-vit_tiny_patch16_224"}
    encoder = own.get(name, "resnet18" if name == "unet" else "tu-lcnet_050")
    network = models.build(Model(name, encoder=encoder), 4, 3).eval()
    path = models.pixel_path_of(network)
    assert isinstance(path, PixelPath)
    path.scale.fill_(1.0)
    network.silence()
    image = torch.randn(1, 4, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(image), path(image))


def test_without_it_a_network_has_no_weights_of_it():
    network = models.build(Model("unet", pixels=0), 4, 3)
    assert models.pixel_path_of(network) is None
    assert not any("pixel_path" in key for key in network.state_dict())
