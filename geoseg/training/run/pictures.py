"""Draw what a network makes of val tiles during training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from geoseg.dataset.tiles import Dataset, Tile
from geoseg.geo.legend import NODATA, UNLABELLED, Legend
from geoseg.outputs.files import replacing
from geoseg.samples.tiles import Look, ValTiles
from geoseg.scenes.bands import scale, shown_bands
from geoseg.training.validation import inputs

COUNT = 4
"""Tiles that are shown."""
SIDE = 512
"""Longest side of a part of a picture; of larger tiles every second (third …) pixel is shown."""
PRESENT = 0.005
"""Share of a tile's labelled pixels from which a class counts as there."""


@dataclass(frozen=True)
class Shown:
    """A tile as it is shown time and again: all but its map."""

    given: Tensor
    """What the network sees: (1, C, S, S) float32, with context."""
    inside: tuple[slice, slice]
    """The tile without its context, and of that what is shown."""
    image: np.ndarray
    """(1 or 3, h, w) uint8."""
    labels: np.ndarray
    """Codes (h, w)."""


class TilePictures:
    """Strips of some val tiles: image, labels, map and where these differ."""

    def __init__(self, dataset: Dataset, tiles: ValTiles, fabric: Fabric) -> None:
        """tiles: of the val split; read at the first call, by this process."""
        self._dataset, self._fabric = dataset, fabric
        self._tiles: ValTiles | None = tiles
        sides = [max(tile.window.height, tile.window.width) for tile in tiles.tiles]
        self._stride = -(-max(sides, default=1) // SIDE)
        self._shown: dict[str, Shown] = {}

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> dict[str, np.ndarray]:
        """Strips (h, w, 3) uint8 of one width, by scene and place. Draws no random number."""
        if self._tiles is not None:
            for number in choose(self._tiles.tiles):
                tile = self._tiles.tiles[number]
                name = f"{tile.scene} row {tile.window.top} column {tile.window.left}"
                self._shown[name] = self._read(self._tiles.look(number))
            self._tiles = None  # and with it the files that it holds open
        network.eval()
        legend = self._dataset.legend
        strips = {}
        width = max((shown.labels.shape[1] for shown in self._shown.values()), default=0)
        for name, shown in self._shown.items():
            with self._fabric.autocast():
                logits = network(*inputs(shown.given.to(self._fabric.device)))
            indices = logits[0].argmax(dim=0)[shown.inside].cpu().numpy()
            found = legend.decode(indices.astype(np.uint8))
            found[shown.labels == NODATA] = NODATA
            wider = ((0, 0), (0, width - found.shape[1]))
            strips[name] = strip(
                np.pad(shown.image, ((0, 0), *wider)),
                np.pad(shown.labels, wider, constant_values=NODATA),
                np.pad(found, wider, constant_values=NODATA),
                legend,
            )
        return strips

    def save(self, pictures: dict[str, np.ndarray], path: Path, title: str) -> None:
        """Write what a call returned as one PNG with captions and the legend."""
        save_strips(pictures, path, title=title, legend=self._dataset.legend)

    def _read(self, look: Look) -> Shown:
        dataset = self._dataset
        given = torch.from_numpy(scale(look.image, look.valid, dataset.statistics))
        rows, columns = (self._range(np.any(look.counted, axis, keepdims=True)) for axis in (1, 0))
        inside = rows, columns
        places = [dataset.bands.index(band) for band in shown_bands(dataset.bands)]
        low, high = (
            np.array(values, np.float32)[places, None, None]
            for values in (dataset.statistics.p2, dataset.statistics.p98)
        )
        image = (look.image[places][:, *inside] - low) / np.maximum(high - low, 1e-9)
        labels = dataset.legend.decode(look.target[inside])
        labels[~look.valid[inside]] = NODATA
        # Invalid pixels may hold anything, NaN too.
        image = np.where(look.valid[inside], image, 0).clip(0, 1)
        return Shown(given[None], inside, (255 * image).astype(np.uint8), labels)

    def _range(self, which: np.ndarray) -> slice:
        """From the first to behind the last that is true, or every so many of them."""
        numbers = np.flatnonzero(which)
        return slice(int(numbers[0]), int(numbers[-1]) + 1, self._stride)


def choose(tiles: list[Tile], count: int = COUNT) -> list[int]:
    """Numbers of tiles to show: from each of `count` equal parts of the list the most diverse.

    Those at the rim of a split may be narrow: they are taken only where there is none else.
    """
    whole = max((sum(tile.counts) for tile in tiles), default=0)
    parts = np.array_split(np.arange(len(tiles)), max(1, min(count, len(tiles))))

    def rank(number: int) -> tuple[bool, int, float]:
        tile = tiles[number]
        return 2 * sum(tile.counts) >= whole, *_diversity(tile)

    return [int(max(part, key=rank)) for part in parts if len(part)]


def _diversity(tile: Tile) -> tuple[int, float]:
    """Number of classes, and the entropy of their shares (Shannon 1948)."""
    counts = np.array(tile.counts, np.float64)
    shares = counts / max(counts.sum(), 1)
    there = shares[shares > 0]
    return int((shares >= PRESENT).sum()), float(-(there * np.log(there)).sum())


PARTS = ("image", "labels", "map", "differences")
GAP = 6
"""White pixels between the parts of a strip."""
WHITE = 255
HATCHED, HATCH = 226, 178
"""Greys of pixels without label, and of the lines across them."""
WRONG = (226, 0, 88)
"""Colour of the differences; legends have it seldom."""
SMALL = 256
"""Sides below this are drawn enlarged."""


def strip(image: np.ndarray, labels: np.ndarray, found: np.ndarray, legend: Legend) -> np.ndarray:
    """The four parts side by side.

    image: (1 or 3, h, w) uint8. labels, found: codes (h, w), nodata where there is no image.
    Returns: (h, 4 w + 3 GAP, 3) uint8; nodata white, unlabelled hatched, and the differences on
    the paled image.
    """
    shown = np.moveaxis(np.broadcast_to(image, (3, *labels.shape)), 0, 2).copy()
    differing = _differing(shown, labels, found)
    parts = [shown, _painted(labels, legend), _painted(found, legend), differing]
    valid = found != NODATA
    gap = np.full((len(labels), GAP, 3), WHITE, np.uint8)
    row = []
    for part in parts:
        part[~valid] = WHITE
        row += [part, gap]
    return np.concatenate(row[:-1], axis=1)


def save_strips(strips: dict[str, np.ndarray], path: Path, *, title: str, legend: Legend) -> None:
    """Write strips of one width below one another as PNG, with captions and the legend.

    strips: by caption, as `strip` makes them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    dpi, head, line, margin = 100, 62, 26, 14
    width = next(iter(strips.values())).shape[1]
    side = (width - 3 * GAP) // 4
    zoom = max(1, round(SMALL / side))
    entries = [Patch(color=c.color, label=c.name) for c in legend.classes]
    grey, lines, wrong = (_hex(color) for color in (3 * (HATCHED,), 3 * (HATCH,), WRONG))
    entries.append(Patch(facecolor=grey, edgecolor=lines, hatch="////", label="unlabelled"))
    entries.append(Patch(color=wrong, label="map differs"))
    columns = max(1, min(len(entries), zoom * width // 130))
    foot = margin + 24 * -(-len(entries) // columns)
    heights = [zoom * one.shape[0] for one in strips.values()]
    total = head + sum(heights) + line * len(heights) + foot
    pixels = (zoom * width + 2 * margin, total)
    figure = Figure(figsize=(pixels[0] / dpi, pixels[1] / dpi), dpi=dpi)
    FigureCanvasAgg(figure)  # not pyplot: no global state, no display
    figure.text(margin / pixels[0], 1 - 20 / total, title, size=13, weight="bold", va="center")
    for number, name in enumerate(PARTS):
        middle = margin + zoom * (number * (side + GAP) + side / 2)
        figure.text(middle / pixels[0], 1 - 48 / total, name, size=10, ha="center", va="center")
    below = total - head
    for (caption, one), height in zip(strips.items(), heights, strict=True):
        below -= height
        large = one.repeat(zoom, axis=0).repeat(zoom, axis=1)
        figure.figimage(large, margin, below, origin="upper")
        below -= line
        at = (below + line / 2 + 2) / total
        figure.text(margin / pixels[0], at, caption, size=8, color="0.35", va="center")
    figure.legend(
        handles=entries,
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
        handlelength=1.2,
        columnspacing=1.4,
    )
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)


def _painted(codes: np.ndarray, legend: Legend) -> np.ndarray:
    """Codes (h, w) in the legend's colours, (h, w, 3) uint8; without label hatched."""
    table = np.full((256, 3), WHITE, np.uint8)
    for code, color in legend.colors().items():
        table[code] = color[:3]
    picture = table[codes]
    picture[codes == UNLABELLED] = HATCHED
    picture[(codes == UNLABELLED) & _lines(codes.shape)] = HATCH
    return picture


def _differing(shown: np.ndarray, labels: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Where the map is not as the labels say, on the image (h, w, 3) in pale grey."""
    grey = 130 + shown.mean(axis=2) * (125 / 255)
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    unlabelled = labels == UNLABELLED
    picture[unlabelled & _lines(labels.shape)] = HATCH
    picture[(labels != found) & ~unlabelled & (labels != NODATA)] = WRONG
    return picture


def _lines(shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows + columns) % 8 < 2


def _hex(color: tuple[int, ...]) -> str:
    return "#" + "".join(f"{value:02x}" for value in color)
