"""Ways of predicting, compared on val tiles: their numbers, and what is said of them."""

import pytest
import torch
from torch import nn

from geoseg.models.device import Device
from geoseg.prediction.forward import smoothed
from geoseg.samples.tiles import ValTiles
from geoseg.training import advice
from tests.made.tiles import make_dataset


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
    text = advice.advise(miou, "runs/x")
    assert "predict.smooth=" in text
    assert "checkpoint=runs/x" in text


def test_nothing_is_recommended_that_does_not_gain():
    flat = {(tta, side): 0.8 for tta in advice.TTA for side in advice.SMOOTH}
    assert advice.advise(flat, "r") == ""
    assert "4 × the time" in advice.advise(flat | {("flips", 0): 0.85}, "r")
    # The dearer way must beat the cheaper one.
    assert "flips" not in advice.advise(flat | {("none", 3): 0.85, ("flips", 0): 0.85}, "r")


def test_smoothing_is_a_mean_over_what_is_seen():
    image = torch.arange(25.0).reshape(1, 1, 5, 5)
    seen = torch.ones(1, 5, 5, dtype=torch.bool)
    seen[0, 2, 3] = False
    found = smoothed(image, seen, 3)
    around = [6, 7, 8, 11, 12, 16, 17, 18]
    assert float(found[0, 0, 2, 2]) == pytest.approx(sum(around) / len(around))
    assert float(found[0, 0, 0, 0]) == pytest.approx((0 + 1 + 5 + 6) / 4)
    assert smoothed(image, None, 0) is image
