"""Projects for QGIS: relative paths, styles, the same bytes."""

import xml.etree.ElementTree as ET
import zipfile

from affine import Affine

from geoseg.geo.grid import Grid
from geoseg.maps.layers import SURE_IS_HIGH, qml_of_ramp
from geoseg.maps.qgis_layers import image_qml
from geoseg.maps.qgis_project import MOST, Group, ProjectLayer, write_project

GRID = Grid("EPSG:32632", Affine(10, 0, 500000, 0, -10, 5000000), 20, 30)


def root_of(path):
    with zipfile.ZipFile(path) as archive:
        return ET.fromstring(archive.read(f"{path.stem}.qgs"))


def test_layers_have_relative_paths_and_their_styles(tmp_path):
    image = str(tmp_path / "scenes" / "a & b.tif")
    ramp = qml_of_ramp(SURE_IS_HIGH)
    parts = [
        ProjectLayer(str(tmp_path / "out/e.gpkg"), "errors", GRID.crs, "<qgis>\n</qgis>", "e"),
        Group("confidence", [ProjectLayer(image, "c", GRID.crs, ramp)], visible=False),
        Group("images", [ProjectLayer(image, "i", GRID.crs, image_qml((3, 2, 1), [(0, 9)] * 3))]),
    ]
    path = tmp_path / "out" / "p.qgz"
    assert write_project(path, "x < y", GRID, parts) == 0
    before = path.read_bytes()
    write_project(path, "x < y", GRID, parts)
    assert path.read_bytes() == before
    root = root_of(path)
    sources = [node.text for node in root.iter("datasource")]
    assert sources == ["./e.gpkg|layername=e", *["../scenes/a & b.tif"] * 2]
    kinds = [node.get("type") for node in root.iter("rasterrenderer")]
    assert kinds == ["singlebandpseudocolor", "multibandcolor"]
    tree = {node.get("name"): node.get("checked") for node in root.iter("layer-tree-group")}
    assert tree["confidence"] == "Qt::Unchecked"
    assert tree["images"] == "Qt::Checked"
    ids = {node.get("id") for node in root.iter("layer-tree-layer")}
    assert ids == {node.text for node in root.iter("id")}
    assert "32632" in (root.find("projectCrs/spatialrefsys/wkt").text)


def test_too_many_layers_are_left_out_and_counted(tmp_path):
    layers = [
        ProjectLayer(str(tmp_path / f"{n}.tif"), str(n), GRID.crs, "<qgis></qgis>")
        for n in range(MOST + 3)
    ]
    path = tmp_path / "p.qgz"
    assert write_project(path, "many", GRID, [Group("images", layers)]) == 3
    assert len(list(root_of(path).iter("maplayer"))) == MOST
