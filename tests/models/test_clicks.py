"""Clicks as channels: nothing changes without them, nor far from them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.geo.legend import IGNORED
from geoseg.models import checkpoint, transfer
from geoseg.models.card import ModelCard
from geoseg.models.clicks import REACH, encode
from geoseg.models.networks.build import AnySize, Clicked
from geoseg.models.settings import Model
from tests.made.scenes import CARD, with_bands

MODEL = Model("unet", "resnet18", pixels=4)


def shaken(network: nn.Module) -> nn.Module:
    """With a click path that says something."""
    torch.manual_seed(1)
    nn.init.normal_(network.click_path.last.weight)
    return network.eval()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(2, 3, 3, padding=1)


def test_channels_are_1_on_a_correction_and_fall_to_0():
    corrected = np.full((5, 200), IGNORED, np.uint8)
    corrected[2, 10] = 1
    made = encode(corrected, 3, ignored=IGNORED)
    assert made.shape == (3, 5, 200)
    assert made.dtype == np.float32
    assert not made[[0, 2]].any()
    assert made[1, 2, 10] == 1
    assert made[1, 2, 10 + REACH // 2] == 0.5
    assert not made[1, 2, 10 + REACH :].any()


@pytest.mark.parametrize("size", [(64, 96), (37, 1), (5, 70)])
def test_without_clicks_the_map_is_that_of_the_network_to_the_bit(base, size):
    network = shaken(Clicked(base, bands=2, classes=3))
    image = torch.randn(2, 2, *size)
    with torch.no_grad():
        plain = AnySize(base)(image)
        assert torch.equal(network(image), plain)
        none = torch.zeros(2, 3, *size)
        assert torch.equal(network(torch.cat([image, none], dim=1)), plain)


def test_clicks_change_what_is_near_and_nothing_far(base):
    network = shaken(Clicked(base, bands=2, classes=3))
    image = torch.randn(1, 2, 64, 256)
    corrected = np.full((64, 256), IGNORED, np.uint8)
    corrected[30, 20] = 2
    clicks = torch.from_numpy(encode(corrected, 3, ignored=IGNORED))[None]
    with torch.no_grad():
        moved = network(torch.cat([image, clicks], dim=1)) - network(image)
    assert moved[..., 30, 20].abs().max() > 0.01
    assert not moved[..., 20 + REACH :].any()


def card(names: tuple[str, ...] = ("gray",), *, clicks: bool) -> ModelCard:
    return replace(with_bands(CARD, *names, model=MODEL), clicks=clicks)


def test_the_card_says_it_and_older_cards_do_not(tmp_path):
    known = card(clicks=True)
    assert ModelCard.from_json(known.to_json()).clicks
    assert '"clicks"' not in card(clicks=False).to_json()
    assert not ModelCard.from_json(card(clicks=False).to_json()).clicks
    network = shaken(checkpoint.build(known))
    checkpoint.save(tmp_path / "best.safetensors", network, known)
    loaded, _ = checkpoint.load(tmp_path / "best.safetensors")
    image = torch.randn(1, 1 + len(known.legend), 40, 40)
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image))


def test_a_network_that_knew_no_clicks_keeps_its_map_and_one_that_did_keeps_both(tmp_path):
    torch.manual_seed(3)
    plain = checkpoint.build(card(clicks=False)).eval()
    checkpoint.save(tmp_path / "plain.safetensors", plain, card(clicks=False))
    model = replace(MODEL, weights=str(tmp_path / "plain.safetensors"), keep="network")
    network = checkpoint.build(card(clicks=True)).eval()
    said = transfer.load(network, model, card(clicks=True))
    assert "clicks: what sees them is new" in str(said)
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network(image), plain(image))
    shaken(network)
    checkpoint.save(tmp_path / "clicks.safetensors", network, card(clicks=True))
    again = replace(model, weights=str(tmp_path / "clicks.safetensors"))
    other = checkpoint.build(card(clicks=True)).eval()
    assert "clicks: " not in str(transfer.load(other, again, card(clicks=True)))
    shown = torch.cat([image, torch.rand(1, len(CARD.legend), 64, 64)], dim=1)
    with torch.no_grad():
        assert torch.equal(other(shown), network(shown))
    # For other bands what sees clicks begins anew; a network without takes the rest.
    wider = checkpoint.build(card(("gray", "more"), clicks=True)).eval()
    transfer.load(wider, again, card(("gray", "more"), clicks=True))
    assert not wider.click_path.last.weight.any()
    bare = checkpoint.build(card(clicks=False)).eval()
    transfer.load(bare, again, card(clicks=False))
    with torch.no_grad():
        assert torch.equal(bare(image), plain(image))
