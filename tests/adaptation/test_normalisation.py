"""Statistics of batch normalisation, measured anew."""

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.adaptation.normalisation import batch_norms, renew
from geoseg.adaptation.settings import AdaptSettings
from geoseg.errors import InputError


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 1)
    )


def batches(count=3):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 2, 8, 8, generator=generator) + number for number in range(count)]


def test_statistics_are_those_of_all_images():
    net, images = network(), batches()
    renew(net, images, share=1.0)
    made = net[0](torch.cat(images)).double()
    norm = net[1]
    np.testing.assert_allclose(norm.running_mean, made.mean((0, 2, 3)).detach(), rtol=1e-5)
    expected = made.var((0, 2, 3), correction=0).detach()
    np.testing.assert_allclose(norm.running_var, expected, rtol=1e-5)
    assert not net.training
    assert not norm.training
    assert norm.momentum == 0.1, "as it was"
    other = torch.cat(images)
    np.testing.assert_array_equal(net(other).detach(), net(other).detach())


def test_a_share_of_them_is_mixed_with_those_of_before():
    net, images = network(), batches()
    renew(net, images, share=1.0)
    whole = net[1].running_mean.clone()
    half = network()
    renew(half, images, share=0.5)
    np.testing.assert_allclose(half[1].running_mean, whole / 2, rtol=1e-6)
    np.testing.assert_allclose(half[1].running_var, (net[1].running_var + 1) / 2, rtol=1e-6)


def test_weights_stay_and_other_norms_are_left_alone():
    net = nn.Sequential(nn.GroupNorm(1, 2), nn.BatchNorm2d(2, track_running_stats=False))
    assert batch_norms(net) == []
    net = network()
    weights = [p.detach().clone() for p in net.parameters()]
    renew(net, batches(), share=1.0)
    assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))


@pytest.mark.parametrize(
    "settings", [{"parts": ["bias"]}, {"parts": []}, {"share": 0}, {"share": 1.5}, {"windows": 1}]
)
def test_settings_that_make_no_sense(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"adapt.{name}"):
        AdaptSettings(**settings)
