"""How many scenes `predict` takes for darker or brighter than the training, wrongly and rightly.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.light

Each scene, and each window of it, against the statistics of every other scene of its bands, or of
its own where there is no other: as they are nothing may be told; made ten times darker, all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.real import real_data
from geoseg.geo import raster
from geoseg.outputs.summary import table
from geoseg.scenes.bands import BandStatistics, Measure
from geoseg.scenes.measure_units import gain

SETS = {
    "aerial images": ("buildings/*.tif", "massachusetts/*.tif", "new_brunswick/*.tif"),
    "Sentinel-2": ("denmark_s2/*.tif",),
    "MODIS, 12 months": ("po_valley_modis/modis*.tif",),
}
SIDES = (None, 512, 256, 128, 64)
"""Of the windows in pixels; None = whole scenes."""
FEWEST = 64
"""Valid pixels of a window, as of the scenes that are looked at."""
DARKER = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    data = real_data()
    if not data.is_dir():
        parser.error(f"{data}: no such folder; set GEOSEG_REAL_DATA to the real data")
    rows, wrong = [], 0
    for name, patterns in SETS.items():
        scenes = [_values(path) for pattern in patterns for path in sorted(data.glob(pattern))]
        statistics = [_measured(*scene) for scene in scenes]
        for side in SIDES:
            told = [_told(scene, side, statistics, number) for number, scene in enumerate(scenes)]
            pairs, alarms, found = (sum(part) for part in zip(*told, strict=True))
            if pairs:
                size = f"{side} px" if side else "whole"
                rows.append((name, size, pairs, alarms, f"{found / pairs:.1%}"))
            wrong += alarms
    print(table(("", "windows", "pairs", "told as they are", f"told {DARKER} times darker"), rows))
    return int(wrong > 0)


def _values(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values (C, H, W) of a scene, three bands of a photograph, and where it has any (H, W)."""
    with raster.Raster(path) as file:
        image, valid = file.read(file.grid.window)
    image = image[:3] if len(image) == 4 else image
    return image, valid & (image != 0).any(axis=0)


def _measured(image: np.ndarray, valid: np.ndarray) -> BandStatistics:
    measure = Measure(len(image))
    measure.add(image, valid)
    return measure.result()


def _told(
    scene: tuple[np.ndarray, np.ndarray],
    side: int | None,
    statistics: list[BandStatistics],
    own: int,
) -> tuple[int, int, int]:
    """Pairs of a window and statistics; told as they are; told when made darker."""
    others = [s for n, s in enumerate(statistics) if side or n != own] or statistics
    pairs = alarms = found = 0
    for values in _windows(*scene, side):
        dark = {band: part / DARKER for band, part in values.items()}
        for one in others:
            pairs += 1
            alarms += gain(values, one) is not None
            found += gain(dark, one) is not None
    return pairs, alarms, found


def _windows(
    image: np.ndarray, valid: np.ndarray, side: int | None
) -> Iterator[dict[int, np.ndarray]]:
    """Valid values by band."""
    height, width = valid.shape
    down, right = (side or height), (side or width)
    if side and side >= min(height, width):
        return
    for top in range(0, height - down + 1, down):
        for left in range(0, width - right + 1, right):
            part = np.s_[top : top + down, left : left + right]
            here = image[:, *part][:, valid[part]]
            if here.shape[1] >= FEWEST:
                yield dict(enumerate(here.astype(np.float32)))


if __name__ == "__main__":
    sys.exit(main())
