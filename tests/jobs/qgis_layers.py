"""Check in real QGIS that layers and projects of geoseg open as they are meant, by pictures.

QT_QPA_PLATFORM=offscreen /usr/bin/python3 tests/jobs/qgis_layers.py FILE … [--pictures FOLDER]

FILE: a raster, a GeoPackage (each of its layers is checked) or a project (.qgz). Each is opened
with the style that comes with it, rendered, and the picture's colours are compared with those of
the style: outlines show no filling, and whatever is common on the ground is seen. Needs Debian's
python3-qgis, not geoseg. Each check is a line; the exit status is 0 if all hold.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

BACKGROUND = "#343a36"
"""Of the picture; a colour that no style has."""
MADE = "made.tif"
"""Rasters of map_layers.py, on whose slope each value has many pixels."""
SIDE = 700
"""Longer side of a picture in pixels."""
KINDS = {
    "raster": ("paletted", "singlebandpseudocolor", "multibandcolor", "singlebandgray"),
    "vector": ("categorizedSymbol", "graduatedSymbol", "singleSymbol"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    application = QgsApplication([], False)
    application.initQgis()
    failed = 0
    for path in given.files:
        for title, results in checks(path, given.pictures):
            for what, holds, got in results:
                tail = "" if holds else f": got {got}"
                print(f"{'ok  ' if holds else 'FAIL'} {title}: {what}{tail}")
                failed += not holds
    print(f"{failed} checks failed" if failed else "all open in QGIS as they are meant")
    return 1 if failed else 0


def checks(path: Path, pictures):
    """Title and results of each layer of a file."""
    if not path.exists():
        yield str(path), [("is there", False, "no such file")]
    elif path.suffix == ".qgz":
        yield str(path), check_project(path, pictures)
    elif path.suffix == ".gpkg":
        from osgeo import ogr

        source = ogr.Open(str(path))
        names = [source.GetLayer(i).GetName() for i in range(source.GetLayerCount())]
        for name in (name for name in names if name != "layer_styles"):
            layer = QgsVectorLayer(f"{path}|layername={name}", name, "ogr")
            if layer.isSpatial():
                yield f"{path} {name}", check_layer(layer, pictures, f"{path.stem}_{name}")
    else:
        layer = QgsRasterLayer(str(path), path.stem)
        yield str(path), check_layer(layer, pictures, f"{path.parent.name}_{path.stem}")


def check_layer(layer, pictures, name):
    if not layer.isValid():
        return [("layer is valid", False, layer.source())]
    raster = isinstance(layer, QgsRasterLayer)
    kind = layer.renderer().type()
    styled = "multibandcolor" if raster else "singleSymbol"
    results = [
        ("layer is valid", True, ""),
        ("layer has a CRS", layer.crs().isValid(), layer.crs().authid()),
        ("it comes with a style", kind in KINDS["raster" if raster else "vector"], kind),
    ]
    image = render([layer], layer)
    keep(image, pictures, name)
    wanted = raster_colors(layer) if raster else vector_colors(layer)
    results.append(("the style has colours", bool(wanted) or kind == styled, kind))
    seen = colors_of(image)
    total = sum(seen.values())
    results.append(("something is drawn", total > 0, total))
    if kind in ("paletted", "categorizedSymbol") and wanted:
        hits = sum(n for c, n in seen.items() if close(c, wanted.values()))
        least = 0.95 if kind == "paletted" else 0.0
        results.append(("it shows colours of the style", hits > least * total, f"{hits}/{total}"))
        labels = [label for label in wanted if not label.strip()]
        results.append(("all entries have names", not labels, labels))
    if kind == "singlebandpseudocolor":
        results.append(("the ramp shows several colours", len(seen) > 3, len(seen)))
        shader = layer.renderer().shader().rasterShaderFunction()
        ends = (shader.minimumValue(), shader.maximumValue())
        results.append(("the ramp goes from 0 to 100", ends == (0.0, 100.0), ends))
        units = [item.label for item in shader.colorRampItemList()]
        # Novelty is a rank, whose numbers stand for themselves.
        percent = "novelty" not in Path(layer.source()).parts
        said = all(("%" in u) == percent and u.strip() for u in units)
        results.append(("the ramp says its unit", said, units))
        if Path(layer.source()).name == MADE:
            results += check_ends(layer, image)
    if not raster and Path(layer.source().partition("|")[0]).name == "tiles.gpkg":
        results += check_outlines(layer, image, seen)
    return results


def check_ends(layer, image):
    """A ramp's first and last colours are seen where the raster's lowest and highest values are."""
    provider, shader = layer.dataProvider(), layer.renderer().shader().rasterShaderFunction()
    described = bool(layer.bandName(1).partition(":")[2].strip())
    named = described or "confidence" in Path(layer.source()).parts
    statistics = provider.bandStatistics(1)
    seen = {QColor(color).name() for color in colors_of(image)}
    missing = []
    for value in (statistics.minimumValue, statistics.maximumValue):
        red, green, blue = shader.shade(value)[1:4]
        color = QColor(red, green, blue).name()
        if not close(color, seen):
            missing.append((value, color))
    return [
        ("the band says what it is", named, layer.bandName(1)),
        ("its lowest and highest values have their colours", not missing, missing),
    ]


def check_outlines(layer, image, seen):
    """Tiles are outlined in the colour of their split, not filled."""
    splits = {feature["split"] for feature in layer.getFeatures()}
    colors = {c.value(): outline(c.symbol()) for c in layer.renderer().categories()}
    missing = {s for s in splits if not any(close(c, [colors.get(s, "")]) for c in seen)}
    drawn = sum(seen.values()) / (image.width() * image.height() / 4)
    return [
        ("each split is outlined in its colour", not missing, missing),
        ("tiles are not filled", drawn < 0.4, f"{drawn:.0%} of the picture is drawn on"),
    ]


def check_project(path: Path, pictures):
    project = QgsProject.instance()
    project.clear()
    if not project.read(str(path)):
        return [("project opens", False, project.error())]
    layers = project.mapLayers().values()
    broken = [layer.name() for layer in layers if not layer.isValid()]
    names = [layer.name() for layer in layers]
    shown = [n.layer() for n in project.layerTreeRoot().findLayers() if n.isVisible()]
    order = [layer for layer in project.layerTreeRoot().layerOrder() if layer in shown]
    images = [x for x in layers if x.renderer() and x.renderer().type() == "multibandcolor"]
    results = [
        ("all layers are valid", bool(names) and not broken, broken),
        ("it has a CRS", project.crs().isValid(), project.crs().authid()),
        ("the map is in it", any(n.startswith("map ") for n in names), names),
        ("confidence is in it", any(n.startswith("confidence ") for n in names), names),
    ]
    if path.name == "evaluation.qgz":
        results.append(("errors are in it", "errors" in names, names))
        results.append(("images are in it in colour", bool(images), names))
    image = render(order, order[0]) if order else None
    if image is not None:
        results.append(("something is drawn", bool(colors_of(image)), ""))
        keep(image, pictures, path.stem)
        if images:
            keep(render(list(images), images[0]), pictures, f"{path.stem}_images")
    for layer in layers:
        if isinstance(layer, QgsRasterLayer) and layer.renderer().type() == "paletted":
            results += [
                (f"{layer.name()}: {what}", holds, got)
                for what, holds, got in check_layer(layer, None, "")
            ]
    return results


def raster_colors(layer):
    """Label → colour of a raster's style."""
    if layer.renderer().type() == "paletted":
        return {c.label: c.color.name() for c in layer.renderer().classes()}
    if layer.renderer().type() == "singlebandpseudocolor":
        function = layer.renderer().shader().rasterShaderFunction()
        return {item.label: item.color.name() for item in function.colorRampItemList()}
    return {}


def vector_colors(layer):
    """Label → colour of a vector layer's style."""
    if layer.renderer().type() == "categorizedSymbol":
        return {c.label(): outline(c.symbol()) for c in layer.renderer().categories()}
    return {}


def outline(symbol) -> str:
    """The colour that is seen of a symbol: its filling, or its outline where it has none."""
    part = symbol.symbolLayer(0)
    properties = part.properties()
    empty = properties.get("style") == "no" or properties.get("color", "").startswith("0,0,0,0")
    return (part.strokeColor() if empty else symbol.color()).name()


def close(color: str, wanted) -> bool:
    a = QColor(color)
    return any(
        max(abs(a.red() - b.red()), abs(a.green() - b.green()), abs(a.blue() - b.blue())) <= 12
        for b in map(QColor, wanted)
    )


def render(layers, like):
    settings = QgsMapSettings()
    settings.setLayers(layers)
    settings.setDestinationCrs(like.crs())
    extent = like.extent()
    extent.scale(1.02)
    settings.setExtent(extent)
    settings.setBackgroundColor(QColor(BACKGROUND))
    longer = max(extent.width(), extent.height()) or 1
    sides = (extent.width(), extent.height())
    settings.setOutputSize(QSize(*(max(1, int(SIDE * side / longer)) for side in sides)))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def keep(image, pictures, name) -> None:
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        image.save(str(pictures / f"{name}.png"), "PNG")


def colors_of(image) -> "Counter[str]":
    found = Counter(
        image.pixelColor(x, y).name()
        for x in range(0, image.width(), 2)
        for y in range(0, image.height(), 2)
    )
    found.pop(BACKGROUND, None)
    return found


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # QGIS may crash while Python takes it apart
