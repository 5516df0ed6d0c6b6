"""Strips: image, labels, map and their differences side by side, to follow a training by eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geoseg.legend import NODATA, UNLABELLED, Legend
from geoseg.output import replacing

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
