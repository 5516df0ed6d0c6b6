"""Put a QGIS style into a GeoPackage, where QGIS finds it with the layer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from geoseg.geo.vector import write_layer
from geoseg.outputs.files import put, unwritable

WRITTEN = "1970-01-01T00:00:00.000Z"
"""Time of the style: always the same, so that the file is."""
_FIELDS = """
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
    f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME
"""
"""Columns of QGIS' table of styles."""


def add_style(path: Path, layer: str, style: str, *, description: str) -> None:
    """Write a style into a GeoPackage, where QGIS finds it when it opens the layer.

    Raises: InputError if it can't be written.
    """
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(f"CREATE TABLE layer_styles ({_FIELDS})")
            (geometry,) = database.execute(
                "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
            ).fetchone()
            database.execute(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name,"
                " f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description,"
                " owner, ui, update_time) VALUES ('', '', ?, ?, ?, ?, '', 1, ?, '', NULL, ?)",
                (layer, geometry, layer, style, description, WRITTEN),
            )
    except sqlite3.Error as error:
        raise unwritable(path, error) from None


def write_styled(
    path: Path, columns: dict[str, Any], *, geometries: np.ndarray, crs: str, style: str
) -> None:
    """Write a GeoPackage of one layer with its style, whole or not at all.

    columns: name → N values. geometries: (N,) shapely. The layer is named as the file.
    Raises: InputError if it can't be written.
    """
    growing = path.with_name(f".{path.stem}.growing.gpkg")
    try:
        write_layer(growing, columns, layer=path.stem, geometries=geometries, crs=crs)
        add_style(growing, path.stem, style, description=path.stem)
        put(growing, path)
    finally:
        growing.unlink(missing_ok=True)


def categories(field: str, values: dict[str, str]) -> str:
    """Style of polygons by a text attribute; values: what it holds → outline colour (#rrggbb).

    Only outlines, so that the map beneath is seen.
    """
    entries, symbols = [], []
    for number, (value, color) in enumerate(values.items()):
        entries.append(
            f'   <category value={quoteattr(value)} type="string" symbol="{number}"'
            f' label={quoteattr(value)} render="true"/>'
        )
        symbols.append(_outline(number, color))
    return _document(
        f' <renderer-v2 type="categorizedSymbol" attr="{field}" symbollevels="0" forceraster="0"'
        ' enableorderby="0">\n'
        "  <categories>\n" + "\n".join(entries) + "\n  </categories>\n"
        "  <symbols>\n" + "\n".join(symbols) + "\n  </symbols>\n"
    )


def ranges(field: str, bounds: list[tuple[float, float, str, str]]) -> str:
    """Style of polygons by a number; bounds: from, to, label and fill colour (#rrggbb)."""
    entries, symbols = [], []
    for number, (low, high, label, color) in enumerate(bounds):
        entries.append(
            f'   <range lower="{low:.15g}" upper="{high:.15g}" symbol="{number}"'
            f' label={quoteattr(label)} render="true"/>'
        )
        options = {"color": rgba(color), "style": "solid", "outline_color": "80,80,80,255"}
        options |= {"outline_style": "solid", "outline_width": "0.2", "outline_width_unit": "MM"}
        symbols.append(symbol(number, "fill", "SimpleFill", options))
    return _document(
        f' <renderer-v2 type="graduatedSymbol" attr="{field}" graduatedMethod="GraduatedColor"'
        ' symbollevels="0" forceraster="0" enableorderby="0">\n'
        "  <ranges>\n" + "\n".join(entries) + "\n  </ranges>\n"
        "  <symbols>\n" + "\n".join(symbols) + "\n  </symbols>\n"
    )


def _outline(number: int, color: str) -> str:
    options = {"color": "0,0,0,0", "style": "no", "outline_color": rgba(color)}
    options |= {"outline_style": "solid", "outline_width": "0.6", "outline_width_unit": "MM"}
    return symbol(number, "fill", "SimpleFill", options)


def _document(renderer: str) -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="3.22" styleCategories="Symbology">\n{renderer} </renderer-v2>\n</qgis>\n'
    )


def symbol(number: int, kind: str, layer: str, options: dict[str, str]) -> str:
    """A symbol of one layer, by its number in the style."""
    # QGIS 3.26 and later reads <Option>, those before read <prop>.
    new = "".join(f'<Option name="{k}" type="QString" value="{v}"/>' for k, v in options.items())
    old = "".join(f'<prop k="{k}" v="{v}"/>' for k, v in options.items())
    return (
        f'   <symbol name="{number}" type="{kind}" alpha="1" clip_to_extent="1" force_rhr="0">\n'
        f'    <layer class="{layer}" enabled="1" locked="0" pass="0">\n'
        f'     <Option type="Map">{new}</Option>{old}\n'
        "    </layer>\n   </symbol>"
    )


def rgba(color: str) -> str:
    """A colour (#rrggbb) as QGIS writes it."""
    return ",".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5)) + ",255"
