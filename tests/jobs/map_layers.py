"""Write a made-up map with every layer that predict can write beside it, and its change.

python tests/jobs/map_layers.py FOLDER

Writes FOLDER/<layer>/made.tif and FOLDER/change/change.tif by the code of predict and compare, with
values from 0 to 100 along the ramps. For tests/jobs/qgis_layers.py, which needs no geoseg.
"""

import sys
from pathlib import Path

import numpy as np

from geoseg.comparison.compare import compare
from geoseg.comparison.pair import MapPair
from geoseg.maps.folder import map_paths, write_side_files
from geoseg.maps.layers import LAYERS
from geoseg.prediction.writer.map_writer import MapWriter
from tests.made.maps import LEGEND, mistaken, place, truth, write

HEIGHT, WIDTH = 120, 160


def main(folder: Path) -> None:
    names = tuple(LAYERS)
    codes = truth(HEIGHT, WIDTH)
    paths = map_paths(folder, "made", names)
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    writer = MapWriter(paths, place(HEIGHT, WIDTH), LEGEND, {}, names)
    writer.write(codes, *(values(name, codes) for name in names))
    writer.close()
    write_side_files(folder, "made", LEGEND, layers=names, undecided=False)
    before = folder / "before.tif"
    after = folder / "after.tif"
    write(before, codes)
    write(after, mistaken(codes, 0.3))
    compare(MapPair.open(before, after), folder / "change", overwrite=True)


def values(name: str, codes: np.ndarray) -> np.ndarray:
    """A slope of percent, or, of what holds classes, other classes."""
    if not LAYERS[name].ramp:
        return truth(HEIGHT, WIDTH, seed=5)
    slope = np.linspace(1, 100, WIDTH).round().astype(np.uint8)
    count = LAYERS[name].count(len(LEGEND))
    return np.broadcast_to(slope, (count, HEIGHT, WIDTH)).copy()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
