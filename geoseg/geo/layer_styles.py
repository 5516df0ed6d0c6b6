"""Style vector layers for QGIS, in the legend's colours or by other values."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from geoseg.geo.legend import NO_DECISION, Legend
from geoseg.geo.vector import write_layer
from geoseg.outputs.files import put, unwritable

Draw = Callable[[int, str, bool], str]
"""A symbol by its number, its colour, and whether it stands for what has no class."""
GREY = "#d9d9d9"
"""Of what has no decision; hatched, so that it is not taken for a class."""
NULL = "{2839923C-8B7D-419E-B84B-CA2FE9B80EC7}"
"""What QGIS's value map calls no value."""
WRITTEN = "1970-01-01T00:00:00.000Z"
"""Time of a style: always the same, so that the file is."""
_FIELDS = """
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
    f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME
"""
"""Columns of QGIS' table of styles."""


def add_style(
    path: Path, layer: str, style: str, *, description: str = "classes of the legend"
) -> None:
    """Write a style into a GeoPackage, where QGIS finds it when it opens the layer.

    Raises: InputError if it can't be written.
    """
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("PRAGMA synchronous = OFF")  # who writes the file syncs it whole
            database.execute(f"CREATE TABLE IF NOT EXISTS layer_styles ({_FIELDS})")
            # Where other tables without geometry are registered, GDAL sees only such as are, too.
            database.execute(
                "INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier,"
                " last_change) SELECT 'layer_styles', 'attributes', 'layer_styles', ? WHERE EXISTS"
                " (SELECT 1 FROM gpkg_contents WHERE data_type = 'attributes')",
                (WRITTEN,),
            )
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


def qml(legend: Legend, *, points: bool = False, lines: bool = False) -> str:
    """QGIS style of a layer: one category per class by `code`, one for all without.

    points, lines: whether the layer holds these, not polygons.
    """
    draw = _marker if points else _line if lines else _fill
    return document(by_class("code", legend, draw, (NO_DECISION, GREY)))


def by_class(field: str, legend: Legend, draw: Draw, rest: tuple[str, str]) -> str:
    """Renderer by class codes. rest: name and colour of all without a category of their own."""
    values = [(str(c.code), "long", c.name, c.color) for c in legend.classes]
    # An empty value stands for these, NULL among them.
    values.append(("", "string", *rest))
    return _categorized(
        field,
        [(value, kind, name) for value, kind, name, _ in values],
        [draw(number, value[3], not value[0]) for number, value in enumerate(values)],
    )


def _categorized(field: str, values: Sequence[tuple[str, str, str]], symbols: Sequence[str]) -> str:
    """values: with type and label of each."""
    entries = [
        f'   <category value={quoteattr(value)} type="{kind}" symbol="{number}"'
        f' label={quoteattr(name)} render="true"/>'
        for number, (value, kind, name) in enumerate(values)
    ]
    return (
        f' <renderer-v2 type="categorizedSymbol" attr="{field}" symbollevels="0" forceraster="0"'
        ' enableorderby="0">\n'
        "  <categories>\n" + "\n".join(entries) + "\n  </categories>\n"
        "  <symbols>\n" + "\n".join(symbols) + "\n  </symbols>\n"
        " </renderer-v2>\n"
    )


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
    symbols = [_outline(number, color) for number, color in enumerate(values.values())]
    return document(_categorized(field, [(value, "string", value) for value in values], symbols))


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
    return document(
        f' <renderer-v2 type="graduatedSymbol" attr="{field}" graduatedMethod="GraduatedColor"'
        ' symbollevels="0" forceraster="0" enableorderby="0">\n'
        "  <ranges>\n" + "\n".join(entries) + "\n  </ranges>\n"
        "  <symbols>\n" + "\n".join(symbols) + "\n  </symbols>\n"
        " </renderer-v2>\n"
    )


def _outline(number: int, color: str) -> str:
    options = {"color": "0,0,0,0", "style": "no", "outline_color": rgba(color)}
    options |= {"outline_style": "solid", "outline_width": "0.6", "outline_width_unit": "MM"}
    return symbol(number, "fill", "SimpleFill", options)


def document(renderer: str, form: str = "") -> str:
    """A style of a layer. form: what is said of its fields, line by line."""
    parts = "Symbology|Fields|Forms" if form else "Symbology"
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="3.22" styleCategories="{parts}">\n{renderer}{form}</qgis>\n'
    )


def _fill(number: int, color: str, hatched: bool) -> str:
    options = {"color": rgba(color), "style": "b_diagonal" if hatched else "solid"}
    options |= {"outline_color": "80,80,80,255", "outline_style": "solid"}
    options |= {"outline_width": "0.1", "outline_width_unit": "MM"}
    return symbol(number, "fill", "SimpleFill", options)


def _marker(number: int, color: str, hatched: bool) -> str:
    options = {"name": "cross2" if hatched else "circle", "color": rgba(color)}
    options |= {"outline_color": rgba(color) if hatched else "80,80,80,255"}
    options |= {"outline_style": "solid", "size": "2", "size_unit": "MM"}
    return symbol(number, "marker", "SimpleMarker", options)


def _line(number: int, color: str, hatched: bool) -> str:
    # Half as bright as the class, so that it shows on the polygons of its class.
    options = {"line_color": rgba(color, 0.5), "line_style": "dash" if hatched else "solid"}
    options |= {"line_width": "0.6", "line_width_unit": "MM", "capstyle": "round"}
    return symbol(number, "line", "SimpleLine", options)


def symbol(number: int | str, kind: str, layer: str, options: dict[str, str]) -> str:
    """A symbol of one layer. kind: fill, line or marker. options: as QGIS names them."""
    # QGIS 3.26 and later reads <Option>, those before read <prop>.
    new = "".join(f'<Option name="{k}" type="QString" value="{v}"/>' for k, v in options.items())
    old = "".join(f'<prop k="{k}" v="{v}"/>' for k, v in options.items())
    return (
        f'   <symbol name="{number}" type="{kind}" alpha="1" clip_to_extent="1" force_rhr="0">\n'
        f'    <layer class="{layer}" enabled="1" locked="0" pass="0">\n'
        f'     <Option type="Map">{new}</Option>{old}\n'
        "    </layer>\n   </symbol>"
    )


def rgba(color: str, share: float = 1.0) -> str:
    """#rrggbb as QGIS writes it. share: of its brightness."""
    return ",".join(str(int(int(color[i : i + 2], 16) * share)) for i in (1, 3, 5)) + ",255"


def value_map(field: str, values: dict[str, int], *, none: str) -> str:
    """A field of a form in which one of some values is chosen. none: what no value is called."""
    entries = [(f"({none})", NULL), *values.items()]
    options = "".join(
        f'<Option type="Map"><Option name={quoteattr(name)} type="QString" value="{value}"/>'
        "</Option>"
        for name, value in entries
    )
    return (
        f'  <field name="{field}" configurationFlags="None"><editWidget type="ValueMap"><config>'
        f'<Option type="Map"><Option name="map" type="List">{options}</Option></Option>'
        "</config></editWidget></field>\n"
    )


def text_edit(field: str) -> str:
    """A field of a form in which a line is typed."""
    return (
        f'  <field name="{field}" configurationFlags="None"><editWidget type="TextEdit"><config>'
        '<Option type="Map"><Option name="IsMultiline" type="bool" value="false"/></Option>'
        "</config></editWidget></field>\n"
    )
