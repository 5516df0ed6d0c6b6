"""Write scenes as another archive would show them.

Letters in shapes: C bands, H rows, W columns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.tiling import Tiling
from geoseg.scenes.bands import scale
from geoseg.scenes.scene import Scene, SceneReader
from geoseg.translation.model_file import TranslationCard
from geoseg.translation.networks import REACH, Generator
from geoseg.translation.settings import STEP

SIDE = 256
"""Side of the windows that are written at once."""
FILL = {"f": -9999.0, "u": 0.0}
"""Nodata of what is written, by kind of number, where the scene has none; of i the lowest."""


def write(scene: Scene, network: Generator, card: TranslationCard, path: Path) -> float:
    """Write one scene on its own grid, with the bands, units and type of the other archive.

    Pixels without image stay without. Windows see so far around that none shows where it ends.
    Returns: mean change of the pixels by the network, in deviations of their band.
    """
    device = next(network.parameters()).device
    nodata = nodata_of(scene, card.dtype)
    total = count = 0.0
    with (
        raster.environment(),
        scene.open() as reader,
        raster.create(
            path, scene.grid, dtype=card.dtype, count=len(card.bands), nodata=nodata,
            names=card.bands,
        ) as writer,
    ):  # fmt: skip
        for window in Tiling(SIDE, 0).tiles(scene.grid.window):
            before, after, valid = translated(reader, window, network, card, device)
            values = in_units(after, card, nodata)
            writer.write(np.where(valid, values, np.array(nodata, card.dtype)), window)
            total += float((np.abs(after - before) * valid).mean(axis=0).sum())
            count += int(valid.sum())
    return total / max(1.0, count)


@torch.no_grad()
def translated(
    reader: SceneReader, window: Window, network: Generator, card: TranslationCard,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Scaled values (C, H, W) of a window before and after, and where it is valid (H, W)."""
    # On a lattice of STEP pixels that begins with the scene, so that windows agree.
    top, left = (at // STEP * STEP - REACH for at in (window.top, window.left))
    bottom, right = (-(-end // STEP) * STEP + REACH for end in (window.bottom, window.right))
    wide = Window(top, left, bottom - top, right - left)
    image, valid = reader.read(wide)
    scaled = scale(image, valid, card.here)
    made = network(torch.from_numpy(scaled)[None].to(device))[0].cpu().numpy()
    inside = window.within(wide)
    return scaled[:, *inside], made[:, *inside], valid[inside]


def in_units(scaled: np.ndarray, card: TranslationCard, nodata: float) -> np.ndarray:
    """Values (C, H, W) in the units and type of the other archive, none of them nodata."""
    mean, std = (np.array(v)[:, None, None] for v in (card.there.mean, card.there.std))
    low, high = (np.array(v)[:, None, None] for v in (card.there.low, card.there.high))
    values = np.clip(scaled * std + mean, low, high)
    dtype = np.dtype(card.dtype)
    if dtype.kind == "f":
        found = values.astype(dtype)
        moved = float(np.nextafter(dtype.type(nodata), dtype.type(np.inf)))
    else:
        found = np.rint(values).astype(dtype)
        moved = nodata + 1 if nodata < np.iinfo(dtype).max else nodata - 1
    found[found == nodata] = moved
    return found


def nodata_of(scene: Scene, dtype: str) -> float:
    """What stands where a scene has no image: what its files have, if the type has that number."""
    kind = np.dtype(dtype).kind
    said = scene.nodata if scene.nodata is not None else raster.info(scene.paths[0]).nodata
    if isinstance(said, (int, float)):
        fits = kind == "f" or (
            float(said).is_integer() and np.iinfo(dtype).min <= said <= np.iinfo(dtype).max
        )
        if fits:
            return float(said)
    return FILL[kind] if kind in FILL else float(np.iinfo(dtype).min)
