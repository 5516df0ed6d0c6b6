"""Write pictures of a place before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geoseg.geo.raster import png
from geoseg.outputs.files import make_folder, replacing
from geoseg.robustness.measure import Bench, shown
from geoseg.robustness.strips import Painter, telling
from geoseg.samples.corruptions import View


def write_places(bench: Bench, folder: Path, kinds: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Write <kind>.png for each kind and attack, of the tile with the most even mixture of classes.

    Returns: kinds and what was done. Raises: InputError if they can't be written.
    """
    number = telling(bench.tiles.tiles)
    before = bench.view(number)
    paint = Painter(bench.card.bands, bench.card.legend, before)
    clean = _mapped(bench, before)
    make_folder(folder)
    made = []
    for kind, what, after in shown(bench, number, kinds):
        with replacing(folder / f"{kind}.png") as temporary:
            temporary.write_bytes(png(paint.strip(after, (clean, _mapped(bench, after)))))
        made.append((kind, what))
    return tuple(made)


def _mapped(bench: Bench, view: View) -> np.ndarray:
    """Indices (H, W)."""
    shares = bench.shares(bench.victim([view]).image)[0]
    return shares.argmax(2).astype(np.uint8)
