"""Call networks for series on windows of dated scenes.

Windows are (B, T + T · C, H, W) as geoseg.scenes.dated lays them out: days, then bands by date.
"""

from __future__ import annotations

from torch import Tensor, nn

from geoseg.models.view import View

PIXELS = 8192
"""Series that a network for single series gets at a time: enough to keep it busy."""


def unfold(windows: Tensor, bands: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values (B, T, C, H, W), 0 where not seen, seen (B, T, C, H, W) and days (B, T)."""
    batch, planes, height, width = windows.shape
    dates = planes // (bands + 1)
    days = windows[:, :dates, 0, 0]
    values = windows[:, dates:].reshape(batch, dates, bands, height, width)
    seen = ~values.isnan()
    return values.where(seen, 0), seen, days


class PixelWindows(nn.Module):
    """Gives each pixel of windows to a network for single series."""

    def __init__(self, network: nn.Module, view: View, planes: int) -> None:
        """planes: that the network gives: logits of classes, and perhaps scores."""
        super().__init__()
        self.network = network
        self._view = view
        self._bands = len(view.statistics.mean)
        self._planes = planes

    def forward(self, windows: Tensor) -> Tensor:
        """Logits (B, K, H, W); 0 where a pixel was never seen."""
        values, seen, days = unfold(windows, self._bands)
        batch, _, _, height, width = values.shape
        logits = values.new_zeros(batch, height * width, self._planes)
        for number in range(batch):
            lit = seen[number].flatten(1).any(dim=1)  # dates not under clouds all over
            # (T, C, H · W) → (H · W, T, C)
            series = values[number, lit].flatten(2).permute(2, 0, 1)
            known = seen[number, lit].flatten(2).permute(2, 0, 1)
            alive = known.flatten(1).any(dim=1).nonzero()[:, 0]
            for part in alive.split(PIXELS):
                logits[number, part] = self._classify(series[part], known[part], days[number, lit])
        return logits.transpose(1, 2).reshape(batch, self._planes, height, width)

    def _classify(self, series: Tensor, known: Tensor, days: Tensor) -> Tensor:
        """Logits (N, K) float32 of series and known (N, T, C), which share their days (T,)."""
        shape = series.new_zeros(len(series), 4)
        # All pixels of a window share their dates: for filling they are the pixels of one sample.
        values, valid, days, _ = self._view.regular(series[None], known[None], days[None], shape)
        values, valid = values[0].transpose(0, 1)[:, :, None], valid[0].T[:, :, None]
        days = days.expand(len(series), -1)
        logits: Tensor = self.network(values, valid, days, shape)
        return logits.float()


class CubeWindows(nn.Module):
    """Gives whole windows to a network for maps through time."""

    def __init__(self, network: nn.Module, bands: int) -> None:
        super().__init__()
        self.network = network
        self._bands = bands

    def forward(self, windows: Tensor) -> Tensor:
        """Logits (B, K, H, W)."""
        values, seen, days = unfold(windows, self._bands)
        logits: Tensor = self.network(values, seen.any(dim=2), days)
        return logits
