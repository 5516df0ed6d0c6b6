"""Ways of predicting, compared on val tiles: their numbers, and what is said of them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from geoseg.models import checkpoint
from geoseg.models.card import BEST
from geoseg.models.device import Device
from geoseg.models.settings import Model
from geoseg.prediction.forward import smoothed
from geoseg.samples.tiles import ValTiles
from geoseg.training import advice
from tests.made.hurry import ON_VAL
from tests.made.scenes import CARD
from tests.made.tiles import make_dataset

FLAT = {(tta, side): 0.8 for tta in advice.TTA for side in advice.SMOOTH}
SMALL = Model(encoder="tu-lcnet_050", detail=0, pixels=0)


class Speckled(nn.Module):
    """Right by the second band, but for every seventh pixel of every seventh row."""

    def forward(self, image):
        low, high = (60 - image[:, 1]).sign(), (image[:, 1] - 100).sign()
        logits = torch.stack([low, high], 1)
        wrong = torch.zeros_like(logits[:, :1], dtype=torch.bool)
        wrong[..., ::7, ::7] = True
        return torch.where(wrong, -logits, logits) * 3


def test_smoothing_gains_where_single_pixels_are_wrong(tmp_path):
    dataset = make_dataset(tmp_path)
    tiles = ValTiles(dataset)
    miou = advice.compare(Speckled(), tiles, dataset.legend.names, Device("cpu", "32"))
    assert set(miou) == {(tta, side) for tta in ("none", "flips") for side in (0, 3, 5, 9)}
    assert miou["none", 0] < 0.97 < miou["none", 5]
    side = advice.smoothing(miou)
    assert side >= 3
    assert f"over {side} × {side} pixels" in advice.advise(miou, "runs/x", smooth=side)
    assert f"predict.smooth={side} gains" in advice.advise(miou, "runs/x", smooth=0)


def test_nothing_is_recommended_that_does_not_gain():
    assert advice.advise(FLAT, "r", smooth=0) == ""
    # Of sides that gain alike the smallest, which takes least from thin objects.
    assert advice.smoothing(FLAT | {("none", 3): 0.838, ("none", 9): 0.84}) == 3
    assert advice.smoothing(FLAT | {("none", 3): 0.82, ("none", 9): 0.84}) == 9
    assert advice.smoothing(FLAT | {("none", 3): 0.802}) == 0
    unlabelled = dict.fromkeys(FLAT, float("nan"))
    assert advice.smoothing(unlabelled) == 0
    assert advice.advise(unlabelled, "r", smooth=0) == ""
    said = advice.advise(FLAT | {("flips", 0): 0.85}, "runs/x", smooth=0)
    assert "4 × the time" in said
    assert "checkpoint=runs/x" in said
    # The dearer way must beat the cheaper one.
    better = FLAT | {("none", 3): 0.85, ("flips", 0): 0.85}
    assert "flips" not in advice.advise(better, "r", smooth=3)


def test_what_gains_on_val_goes_into_the_model_card(tmp_path, monkeypatch):
    """And out of it again when a training that goes on comes to weights that gain nothing."""
    dataset, card = make_dataset(tmp_path / "dataset"), replace(CARD, model=SMALL)
    torch.manual_seed(0)
    checkpoint.save(tmp_path / BEST, checkpoint.build(card), card)
    weights = checkpoint.load(tmp_path / BEST)[0].state_dict()
    for gain, side in ((0.01, 5), (0.001, 0)):
        miou = FLAT | {("none", 5): FLAT["none", 0] + gain}
        monkeypatch.setattr(advice, "compare", lambda *_, miou=miou: miou)
        ON_VAL(dataset, tmp_path, None, Device("cpu", "32"))
        network, found = checkpoint.load(tmp_path / BEST)
        assert found == replace(card, smooth=side)
        # Two tiles decide nothing, but it is recommended.
        monkeypatch.setattr(advice, "TILES", len(ValTiles(dataset)) + 1)
        text = ON_VAL(dataset, tmp_path, None, Device("cpu", "32"))
        assert ("predict.smooth=5 gains" in text) == (side == 5)
        assert checkpoint.load(tmp_path / BEST)[1].smooth == 0
        monkeypatch.undo()
        assert all(torch.equal(weights[n], w) for n, w in network.state_dict().items())


def test_smoothing_is_a_mean_over_what_is_seen():
    image = torch.arange(25.0).reshape(1, 1, 5, 5)
    seen = torch.ones(1, 5, 5, dtype=torch.bool)
    seen[0, 2, 3] = False
    found = smoothed(image, seen, 3)
    around = [6, 7, 8, 11, 12, 16, 17, 18]
    assert float(found[0, 0, 2, 2]) == pytest.approx(sum(around) / len(around))
    assert float(found[0, 0, 0, 0]) == pytest.approx((0 + 1 + 5 + 6) / 4)
    assert smoothed(image, None, 0) is image
