"""Put a network together with its scaling, so that other programs need to know neither.

Letters of shapes: B images of a batch, C bands, K classes, H and W.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geoseg.models.calibration import Calibration
from geoseg.models.card import ModelCard
from geoseg.prediction.forward import smoothed


class WholeNetwork(nn.Module):
    """Values as the files hold them (B, C, H, W) float32 → probabilities (B, K, H, W).

    Where there is no data, by the values that meant nodata in the training and by NaN, nothing is
    seen, as in geoseg.predict, and all probabilities are 0.
    """

    mean: Tensor
    factor: Tensor
    nodata: Tensor
    sharpness: Tensor
    bias: Tensor

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        calibration: Calibration | None = None,
        *,
        smooth: int = 0,
    ) -> None:
        """network: scaled images → logits. calibration: of its probabilities; None = none.

        smooth: side of the squares over which they are averaged before that; 0 = not.
        """
        super().__init__()
        self.network = network
        self.partial, self.smooth = card.partial, smooth
        self.calibrates = calibration is not None and calibration.changes
        mean, factor = (torch.from_numpy(v)[:, None, None] for v in card.statistics.scaling())
        self.register_buffer("mean", mean.clone())
        self.register_buffer("factor", factor.clone())
        self.register_buffer("nodata", torch.tensor(nodata_of(card))[:, None, None])
        if calibration is not None and self.calibrates:
            self.register_buffer("sharpness", torch.tensor(calibration.scale)[:, None, None])
            self.register_buffer("bias", torch.tensor(calibration.bias)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        holds = torch.isfinite(images) & (images != self.nodata)
        scaled = torch.where(holds, (images - self.mean) * self.factor, 0.0)
        if self.partial:  # the mean, which is 0 now, stands for bands that have no data
            seen = holds.any(dim=1, keepdim=True)
        else:
            seen = holds.all(dim=1, keepdim=True)
            scaled = torch.where(seen, scaled, 0.0)
        logits = self.network(scaled)
        if self.smooth:
            logits = smoothed(torch.softmax(logits, dim=1), seen[:, 0], self.smooth).log()
        if self.calibrates:
            logits = torch.log_softmax(logits, dim=1) * self.sharpness + self.bias
        return torch.where(seen, torch.softmax(logits, dim=1), 0.0)


def nodata_of(card: ModelCard) -> list[float]:
    """The value of each band that means nodata; NaN, which no value equals, where none does."""
    nan = float("nan")
    found = [nan if tags.nodata is None else tags.nodata for tags in card.tags]
    found = found or [nan] * len(card.bands)
    if card.nodata is None:
        return found
    replaced = nan if card.nodata == "none" else float(card.nodata)
    # Added rasters keep what they declare, which the tags say.
    pairs = zip(card.bands, found, strict=True)
    own = card.extra if card.tags else ()
    return [mine if band in own else replaced for band, mine in pairs]
