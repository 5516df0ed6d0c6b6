"""Write a QGIS project that shows images, maps and what belongs to them in one go.

Plain XML in a zip: QGIS itself is not needed. Paths are relative to the project, so that a folder
may be moved or sent as a whole. Read by QGIS 3.22 and later.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import zipfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from geoseg.geo.grid import Grid
from geoseg.outputs.files import replacing
from geoseg.received import offline

MOST = 60
"""Layers of a group: QGIS takes long to open hundreds."""
_WHEN = (1980, 1, 1, 0, 0, 0)
"""Time in the zip: always the same, so that the file is."""


@dataclass(frozen=True)
class ProjectLayer:
    """A raster, or a layer of a GeoPackage, with its style."""

    path: str
    name: str
    """For people."""
    crs: str
    style: str
    """Of QGIS, as in a .qml."""
    layer: str = ""
    """Of a GeoPackage; empty = a raster."""
    geometry: str = "Polygon"
    """Of a layer of a GeoPackage: Point, Line or Polygon."""
    visible: bool = True

    @property
    def provider(self) -> str:
        return "ogr" if self.layer else "gdal"

    def source(self, project: Path) -> str:
        """Where it lies, seen from the project."""
        found = _relative(self.path, project.parent)
        return f"{found}|layername={self.layer}" if self.layer else found

    def id(self, project: Path) -> str:
        """The same whenever it is written."""
        digest = hashlib.sha256(self.source(project).encode()).hexdigest()[:16]
        return re.sub(r"\W+", "_", self.name) + f"_{digest}"


@dataclass(frozen=True)
class Group:
    """Layers that are shown and hidden together."""

    name: str
    layers: Sequence[ProjectLayer]
    visible: bool = True


def write_project(path: Path, title: str, grid: Grid, parts: Sequence[Group | ProjectLayer]) -> int:
    """Write a project (.qgz). parts: what lies on top comes first. grid: what it shows at first.

    Returns: how many layers were left out, of groups of more than MOST.
    Raises: InputError if it can't be written.
    """
    kept = [_cut(part) for part in parts]
    layers = [layer for part in kept for layer in _layers(part)]
    text = (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="3.22.0-Białowieża" projectname={quoteattr(title)}>\n'
        f" <title>{escape(title)}</title>\n"
        f" <projectCrs>{_crs(grid.crs)}</projectCrs>\n"
        " <layer-tree-group>\n" + "".join(_branch(part, path) for part in kept) + " "
        "</layer-tree-group>\n"
        f"{_canvas(grid)}"
        " <projectlayers>\n" + "".join(_layer(layer, path) for layer in layers) + " "
        "</projectlayers>\n"
        ' <properties>\n  <Paths><Absolute type="bool">false</Absolute></Paths>\n'
        '  <SpatialRefSys><ProjectionsEnabled type="int">1</ProjectionsEnabled></SpatialRefSys>\n'
        " </properties>\n"
        "</qgis>\n"
    )
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        entry = zipfile.ZipInfo(f"{path.stem}.qgs", _WHEN)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, text.encode("utf-8"))
    return sum(len(_layers(part)) for part in parts) - len(layers)


def style_of(path: Path, layer: str) -> str:
    """The style that a GeoPackage of geoseg holds for a layer."""
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as file:
        wanted = "SELECT styleQML FROM layer_styles WHERE f_table_name = ? AND useAsDefault"
        (found,) = file.execute(wanted, (layer,)).fetchone()
    return str(found)


def _layers(part: Group | ProjectLayer) -> Sequence[ProjectLayer]:
    return part.layers if isinstance(part, Group) else [part]


def _cut(part: Group | ProjectLayer) -> Group | ProjectLayer:
    if isinstance(part, Group):
        return Group(part.name, part.layers[:MOST], part.visible)
    return part


def _branch(part: Group | ProjectLayer, project: Path) -> str:
    """Of the tree of layers."""
    if isinstance(part, ProjectLayer):
        return _leaf(part, project, expanded=True)
    leaves = "".join(_leaf(layer, project, expanded=False) for layer in part.layers)
    return (
        f"  <layer-tree-group name={quoteattr(part.name)} {_checked(part.visible)}"
        f' expanded="{int(len(part.layers) < 2)}">\n{leaves}  </layer-tree-group>\n'
    )


def _leaf(layer: ProjectLayer, project: Path, *, expanded: bool) -> str:
    return (
        f"  <layer-tree-layer id={quoteattr(layer.id(project))} name={quoteattr(layer.name)}"
        f" source={quoteattr(layer.source(project))} providerKey={quoteattr(layer.provider)}"
        f' {_checked(layer.visible)} expanded="{int(expanded)}"/>\n'
    )


def _checked(visible: bool) -> str:
    return f'checked="Qt::{"Checked" if visible else "Unchecked"}"'


def _layer(layer: ProjectLayer, project: Path) -> str:
    kind = f'vector" geometry="{layer.geometry}' if layer.layer else "raster"
    body = re.sub(r"(?s)^.*?<qgis[^>]*>|</qgis>.*$", "", layer.style)
    return (
        f'  <maplayer type="{kind}" hasScaleBasedVisibilityFlag="0">\n'
        f"   <id>{escape(layer.id(project))}</id>\n"
        f"   <datasource>{escape(layer.source(project))}</datasource>\n"
        f"   <layername>{escape(layer.name)}</layername>\n"
        f"   <srs>{_crs(layer.crs)}</srs>\n"
        f'   <provider encoding="UTF-8">{layer.provider}</provider>\n'
        f"{body}   <blendMode>0</blendMode>\n"
        "  </maplayer>\n"
    )


def _canvas(grid: Grid) -> str:
    left, bottom, right, top = grid.bounds
    corners = {"xmin": left, "ymin": bottom, "xmax": right, "ymax": top}
    sides = "".join(f"<{name}>{value!r}</{name}>" for name, value in corners.items())
    return (
        f' <mapcanvas name="theMapCanvas"><extent>{sides}</extent><rotation>0</rotation>'
        f"<destinationsrs>{_crs(grid.crs)}</destinationsrs></mapcanvas>\n"
    )


def _crs(wkt: str) -> str:
    return f'<spatialrefsys nativeFormat="Wkt"><wkt>{escape(_as_wkt(wkt))}</wkt></spatialrefsys>'


def _as_wkt(crs: str) -> str:
    """WKT of a CRS that may be told as EPSG:…"""
    if "[" in crs:
        return crs
    import pyproj

    return pyproj.CRS.from_user_input(crs).to_wkt()


def _relative(path: str, folder: Path) -> str:
    """A path as QGIS writes relative ones; addresses, and other drives, stay as they are."""
    if offline.is_remote(path):
        return path
    try:
        found = Path(os.path.relpath(path, folder.absolute())).as_posix()
    except ValueError:  # on another drive of Windows
        return Path(path).absolute().as_posix()
    return found if found.startswith("../") else f"./{found}"
