"""Check in real QGIS that a map opens as it is: names, colours, place, picture.

QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/jobs/qgis_check.py MAP.tif [LEGEND.yaml]
    [--parcels PARCELS.gpkg] [--picture FOLDER]

Needs Debian's python3-qgis, not geoseg. The legend comes from the file, or from the map's tag.
Each check is a line; the exit status is 0 if all hold. The map is checked as it lies there, and
once more without the .qml beside it, as after a copy of the GeoTIFF and its .aux.xml only.
Parcels are checked in the same two ways. Pictures are kept in FOLDER, to be looked at.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from osgeo import gdal
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
BACKGROUND = "#fe01fd"
"""Of the picture; a colour that no legend has."""
PICTURE = 800
"""Longer side of the picture in pixels."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("map", type=Path)
    parser.add_argument("legend", nargs="?", default="")
    parser.add_argument("--parcels", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    path = given.map
    dataset = gdal.Open(str(path))
    if dataset is None:
        print(f"FAIL {path}: GDAL can't open it")
        return 1
    classes = read_legend(dataset, given.legend)
    application = QgsApplication([], False)
    application.initQgis()
    failed = check(path, classes, dataset, "as it is", only=True)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        shutil.copy(path, copy)
        shutil.copy(f"{path}.aux.xml", f"{copy}.aux.xml")
        # A TIFF's colour table has 256 entries, and without a style QGIS lists them all.
        failed += check(copy, classes, dataset, "without .qml", only=False)
        if given.parcels:
            failed += check_parcels(given.parcels, classes, "parcels as they are", given.picture)
            copy = Path(folder) / given.parcels.name
            shutil.copy(given.parcels, copy)
            failed += check_parcels(copy, classes, "parcels without .qml", None)
    print(f"{path}: {f'{failed} checks failed' if failed else 'opens in QGIS as it is'}")
    return 1 if failed else 0


def read_legend(dataset: gdal.Dataset, path: str = "") -> "dict[int, tuple[str, str]]":
    """Code → name and colour #rrggbb."""
    if path:
        import yaml

        legend = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    else:
        legend = json.loads(dataset.GetMetadataItem("GEOSEG_LEGEND"))
    return {
        int(c["code"]): (c["name"], QColor(c["color"]).name().lower()) for c in legend["classes"]
    }


def check(path: Path, classes: dict, dataset: gdal.Dataset, title: str, *, only: bool) -> int:
    """Print a line per check. Returns: how many failed.

    only: whether the layer's legend must have no other entries than the classes.
    """
    layer = QgsRasterLayer(str(path), path.stem)
    results = [("layer is valid", layer.isValid(), "")]
    if layer.isValid():
        renderer = layer.renderer()
        results.append(("renderer is paletted", renderer.type() == "paletted", renderer.type()))
        if renderer.type() == "paletted":
            results += check_classes(renderer, classes, only)
        results += check_place(layer, dataset)
        results += check_picture(layer, classes, dataset)
    for what, holds, got in results:
        print(f"{'ok  ' if holds else 'FAIL'} {title}: {what}" + ("" if holds else f": got {got}"))
    return sum(not holds for _, holds, _ in results)


def check_classes(renderer, classes: dict, only: bool) -> list:
    found = {int(c.value): (c.label, c.color.name().lower()) for c in renderer.classes()}
    shown = {code: found.get(code) for code in classes}
    strangers = {code: v for code, v in found.items() if code not in classes}
    results = [("class names and colours are the legend's", shown == classes, shown)]
    if only:
        results.append(("the legend has no other entries", not strangers, strangers))
    return results


def check_place(layer: QgsRasterLayer, dataset: gdal.Dataset) -> list:
    left, width, _, top, _, height = dataset.GetGeoTransform()
    right, bottom = left + width * dataset.RasterXSize, top + height * dataset.RasterYSize
    box = layer.extent()
    got = (box.xMinimum(), box.yMinimum(), box.xMaximum(), box.yMaximum())
    expected = (left, bottom, right, top)
    apart = max(abs(got[i] - expected[i]) for i in range(4))
    crs = QgsCoordinateReferenceSystem.fromWkt(dataset.GetProjection())
    return [
        ("extent is right", apart < abs(width) / 100, got),
        ("CRS is right", layer.crs().isValid() and layer.crs() == crs, layer.crs().authid()),
        ("pixels without map are transparent", layer.dataProvider().sourceNoDataValue(1) == 0, ""),
    ]


def check_picture(layer: QgsRasterLayer, classes: dict, dataset: gdal.Dataset) -> list:
    """Render the whole layer to a PNG: its colours are the legend's, all that are common enough."""
    job = render(layer, (dataset.RasterXSize, dataset.RasterYSize))
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "picture.png")
        saved = job.renderedImage().save(file, "PNG")
        size = os.path.getsize(file) if saved else 0
    colors = colors_of(job.renderedImage())
    wanted = {color for _, color in classes.values()}
    right = sum(count for color, count in colors.items() if color in wanted)
    share = right / max(1, sum(colors.values()))
    missing = common_colors(dataset, classes) - set(colors)
    return [
        ("picture is saved as PNG", size > 0, size),
        ("picture shows the legend's colours only", share > 0.99, f"{share:.1%} of it"),
        ("picture shows every common class", not missing, f"none of {missing}"),
    ]


def render(layer, sides: "tuple[float, float]") -> QgsMapRendererParallelJob:
    """The whole layer as a picture of these proportions."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setBackgroundColor(QColor(BACKGROUND))
    longer = max(sides)
    settings.setOutputSize(QSize(*(max(1, int(PICTURE * side // longer)) for side in sides)))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job


def colors_of(image) -> "Counter[str]":
    colors = Counter(
        image.pixelColor(x, y).name().lower()
        for x in range(0, image.width(), 2)
        for y in range(0, image.height(), 2)
    )
    colors.pop(BACKGROUND, None)
    return colors


def check_parcels(path: Path, classes: dict, title: str, picture: "Path | None") -> int:
    """Print a line per check of a layer of parcels. Returns: how many failed."""
    layer = QgsVectorLayer(str(path), path.stem, "ogr")
    results = [("layer is valid", layer.isValid(), "")]
    renderer = layer.renderer() if layer.isValid() else None
    if renderer is not None:
        kind = renderer.type()
        results.append(("renderer is categorized", kind == "categorizedSymbol", kind))
        results.append(("layer has a CRS", layer.crs().isValid(), layer.crs().authid()))
    if renderer is not None and renderer.type() == "categorizedSymbol":
        found = {
            str(c.value()): (c.label(), c.symbol().color().name().lower())
            for c in renderer.categories()
        }
        rest = found.pop("", ("", ""))[0]
        wanted = {str(code): value for code, value in classes.items()}
        results.append(("class names and colours are the legend's", found == wanted, found))
        results.append(("those without class have an entry", rest == "no decision", rest))
        results += check_drawn(layer, classes, picture)
    for what, holds, got in results:
        print(f"{'ok  ' if holds else 'FAIL'} {title}: {what}" + ("" if holds else f": got {got}"))
    return sum(not holds for _, holds, _ in results)


def check_drawn(layer: QgsVectorLayer, classes: dict, picture: "Path | None") -> list:
    """Render the parcels: every class of more than a hundredth of them is seen."""
    image = render(layer, (layer.extent().width(), layer.extent().height())).renderedImage()
    if picture:
        picture.mkdir(parents=True, exist_ok=True)
        image.save(str(picture / f"{layer.name()}.png"), "PNG")
    areas: Counter = Counter()
    for feature in layer.getFeatures():
        areas[feature["code"]] += feature.geometry().area() or 1  # points have none
    colors = colors_of(image)
    common = [code for code in classes if areas[code] > sum(areas.values()) / 100]
    missing = {classes[code][1] for code in common} - set(colors)
    return [("picture shows every common class", common and not missing, f"none of {missing}")]


def common_colors(dataset: gdal.Dataset, classes: dict) -> "set[str]":
    """Colours of classes that take more than a hundredth of the map."""
    longer = max(dataset.RasterXSize, dataset.RasterYSize, PICTURE)
    sides = (dataset.RasterXSize, dataset.RasterYSize)
    width, height = (max(1, PICTURE * side // longer) for side in sides)
    # Not by GetHistogram, which would write into the .aux.xml.
    counts = Counter(dataset.GetRasterBand(1).ReadRaster(buf_xsize=width, buf_ysize=height))
    total = sum(counts[code] for code in classes)
    return {color for code, (_, color) in classes.items() if counts[code] > total / 100}


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # QGIS may crash while Python takes it apart
