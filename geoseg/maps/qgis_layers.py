"""Gather what a QGIS project shows of a class map: images, the map itself, layers beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.raster import Raster
from geoseg.maps.folder import LANDCOVER
from geoseg.maps.landcover import MAPS_TAG, ClassMap
from geoseg.maps.layers import LAYERS
from geoseg.maps.mosaic_layers import layer_path
from geoseg.maps.qgis_project import Group, ProjectLayer
from geoseg.scenes.bands import shown_bands
from geoseg.scenes.scene import Scene

LOOK = 256
"""Longer side, in pixels, at which a scene is looked at for its stretch."""
CUT = (2, 98)
"""Percentiles between which images are stretched, all alike, so that no seams are drawn."""


def map_layer(found: ClassMap) -> ProjectLayer:
    """The map in its legend's colours."""
    style = found.legend.qml(undecided=found.leaves_open)
    path = Path(found.path)
    return ProjectLayer(found.path, f"map {path.stem}", found.grid.crs, style)


def beside_layers(found: ClassMap, notes: list[str]) -> list[Group]:
    """The layers that predict wrote beside the maps of this one, a group for each; hidden.

    notes: gets a sentence for each raster that can't be shown.
    """
    folder = _folder(found)
    if folder is None:
        return []
    groups = []
    for name, layer in LAYERS.items():
        joined = layer_path(Path(found.path), name)
        paths = [joined] if joined.is_file() else _maps(folder / name, found)
        styled = []
        for path in paths:
            try:
                title, style = f"{name} {path.stem}", layer.style(found.legend)
                styled.append(ProjectLayer(str(path), title, _crs_of(path), style))
            except InputError as error:
                notes.append(f"not in the QGIS project: {error}")
        if styled:
            groups.append(Group(layer.title, styled, visible=False))
    return groups


def image_layers(scenes: Sequence[Scene], notes: list[str]) -> Group:
    """The scenes in natural colours, where they have them; all stretched alike.

    notes: gets a sentence for each scene that can't be shown.
    """
    found: list[tuple[str, tuple[int, ...], np.ndarray]] = []
    for scene in scenes:
        try:
            found += _shown(scene)
        except InputError as error:
            notes.append(f"not in the QGIS project: {error}")
    limits: dict[int, list[np.ndarray]] = {}
    for _, bands, pixels in found:
        limits.setdefault(len(bands), []).append(pixels)
    ranges = {count: _range(parts) for count, parts in limits.items()}
    layers = []
    for path, bands, _ in found:
        style = image_qml(bands, ranges[len(bands)])
        layers.append(ProjectLayer(path, Path(path).stem, _crs_of(path), style))
    return Group("images", layers)


def image_qml(bands: Sequence[int], ranges: Sequence[tuple[float, float]]) -> str:
    """QGIS style of an image: three bands as red, green and blue, or one in grey.

    bands: numbers from 1. ranges: lowest and highest value shown of each.
    """
    if len(bands) == 1:
        renderer = (
            f'  <rasterrenderer type="singlebandgray" grayBand="{bands[0]}" opacity="1"'
            ' alphaBand="-1" gradient="BlackToWhite">\n'
            f"   <contrastEnhancement>{_stretch(ranges[0])}</contrastEnhancement>\n"
        )
    else:
        names = ("red", "green", "blue")
        numbers = " ".join(f'{n}Band="{band}"' for n, band in zip(names, bands, strict=True))
        renderer = (
            f'  <rasterrenderer type="multibandcolor" opacity="1" alphaBand="-1" {numbers}>\n'
        )
        for name, limits in zip(names, ranges, strict=True):
            renderer += (
                f"   <{name}ContrastEnhancement>{_stretch(limits)}</{name}ContrastEnhancement>\n"
            )
    return f"<qgis>\n <pipe>\n{renderer}  </rasterrenderer>\n </pipe>\n</qgis>\n"


def _stretch(limits: tuple[float, float]) -> str:
    low, high = limits
    return (
        f"<minValue>{low:.15g}</minValue><maxValue>{high:.15g}</maxValue>"
        "<algorithm>StretchToMinimumMaximum</algorithm>"
    )


def _folder(found: ClassMap) -> Path | None:
    """Predict's output folder that a map comes from."""
    path = Path(found.path).absolute()
    if MAPS_TAG in found.tags:
        return path.parent / found.tags[MAPS_TAG]
    return path.parent.parent if path.parent.name == LANDCOVER else None


def _maps(folder: Path, found: ClassMap) -> list[Path]:
    """Rasters of a layer: of all scenes of a mosaic, or of the one scene of a map."""
    if MAPS_TAG not in found.tags:
        path = folder / Path(found.path).name
        return [path] if path.is_file() else []
    return sorted(p for p in folder.glob("*.tif") if not p.name.startswith("."))


def _crs_of(path: str | Path) -> str:
    """Raises: InputError if it isn't a raster with a place."""
    facts = raster.info(path)
    if facts.grid is None:
        raise InputError(str(facts.problem))
    return facts.grid.crs


def _shown(scene: Scene) -> list[tuple[str, tuple[int, ...], np.ndarray]]:
    """Files of a scene that show it: path, bands, and pixels (C, N) of a small picture.

    Where its bands lie in files of their own, QGIS shows one of them in grey.
    """
    stacked = [(source.paths, band) for source in scene.sources for band in source.bands]
    order = scene.order or tuple(range(len(stacked)))
    files = [stacked[order[scene.bands.index(name)]] for name in shown_bands(scene.bands)]
    together = all(paths == files[0][0] for paths, _ in files)
    bands = tuple(band for _, band in files) if together else (files[0][1],)
    return [(path, bands, _look(path, bands)) for path in files[0][0]]


def _look(path: str, bands: tuple[int, ...]) -> np.ndarray:
    with Raster(path, bands=bands) as file:
        grid = file.grid
        pixels, valid = file.read(grid.window, shape=grid.shape_within(LOOK))
    return pixels[:, valid]


def _range(parts: list[np.ndarray]) -> list[tuple[float, float]]:
    pixels = np.concatenate(parts, axis=1)
    if not pixels.shape[1]:
        return [(0.0, 1.0)] * len(pixels)
    low, high = np.nanpercentile(pixels.astype(float), CUT, axis=1)
    return [(float(a), float(max(b, a + 1e-9))) for a, b in zip(low, high, strict=True)]
