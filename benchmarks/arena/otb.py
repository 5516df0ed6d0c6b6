"""Orfeo ToolBox as an analyst runs it: a random forest of pixels, by the defaults of its programs.

It reads rasters and polygons: those of the pieces that train, and the scenes that are to be mapped,
are written to a temporary folder.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio import features
from rasterio.transform import from_origin

from benchmarks.arena.arrays import Images
from benchmarks.arena.plain import IGNORED, Budget

TRAIN = "otbcli_TrainImagesClassifier"
CLASSIFY = "otbcli_ImageClassifier"
PLACE = {"crs": "EPSG:32631", "transform": from_origin(500_000, 5_000_000, 1, 1)}
"""Of all rasters, as arrays have none: OTB finds pixels and polygons together by it."""
FIELD = "class"


def why_not() -> str | None:
    """Why OTB can't be run here; None if it can."""
    missing = [name for name in (TRAIN, CLASSIFY) if shutil.which(name) is None]
    return f"{' and '.join(missing)} not on PATH (Debian: otb-bin)" if missing else None


def map_images(data: Images, budget: Budget, seed: int) -> dict[str, np.ndarray]:
    """Train on the pieces and map the scenes; class indices (H, W), 255 where OTB gave none."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        _call(training(at, data, seed))
        for name, image in data.scenes.items():
            _call(classifying(at, image))
            with rasterio.open(at / "map.tif") as file:
                found[name] = file.read(1) - np.uint8(1)  # 0, no class, becomes 255
    return found


def training(at: Path, data: Images, seed: int) -> list[str]:
    """Write what trains to a folder; the command that makes a model of it there."""
    # One raster of all pieces: OTB ends with an error where one has nothing to draw from.
    image, target = _one_below_another(data.train)
    _write_image(at / "train.tif", image)
    _write_polygons(at / "train.gpkg", target)
    # Of what it draws, it sets half aside to judge itself by, which is its own default.
    return [
        TRAIN, "-io.il", str(at / "train.tif"), "-io.vd", str(at / "train.gpkg"),
        "-io.out", str(at / "model.txt"), "-sample.vfn", FIELD, "-classifier", "rf",
        "-rand", str(seed + 1),
    ]  # fmt: skip


def classifying(at: Path, image: np.ndarray) -> list[str]:
    """Write a scene to the folder of the model; the command that makes map.tif of it there."""
    _write_image(at / "scene.tif", image)
    return [
        CLASSIFY, "-in", str(at / "scene.tif"), "-model", str(at / "model.txt"),
        "-out", str(at / "map.tif"), "uint8",
    ]  # fmt: skip


def _call(words: list[str]) -> None:
    """Run one of OTB's programs; its words go where those of this process go."""
    subprocess.run(words, check=True)


def _one_below_another(
    pieces: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Image (C, H, W) and target (H, W) of all pieces; beside narrow ones nothing is known."""
    wide = max(target.shape[1] for _, target in pieces)
    images, targets = [], []
    for image, target in pieces:
        more = (0, wide - target.shape[1])
        images.append(np.pad(image, ((0, 0), (0, 0), more)))
        targets.append(np.pad(target, ((0, 0), more), constant_values=IGNORED))
    return np.concatenate(images, 1), np.concatenate(targets)


def _write_image(path: Path, image: np.ndarray) -> None:
    count, height, width = image.shape
    with rasterio.open(
        path, "w", driver="GTiff", dtype="float32", count=count, height=height, width=width, **PLACE
    ) as file:
        file.write(image)


def _write_polygons(path: Path, target: np.ndarray) -> None:
    """The areas of each class; their field is the index + 1, as OTB's 0 means no class."""
    import geopandas
    from shapely.geometry import shape

    found = features.shapes(target, target != IGNORED, transform=PLACE["transform"])
    outlines, index = zip(*((shape(area), int(value) + 1) for area, value in found), strict=True)
    frame = geopandas.GeoDataFrame({FIELD: index}, geometry=list(outlines), crs=PLACE["crs"])
    frame.to_file(path, driver="GPKG")
