"""Style vector layers in the legend's colours for QGIS."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from xml.sax.saxutils import quoteattr

from geoseg.geo.legend import Legend
from geoseg.outputs.files import unwritable

NO_DECISION = "no decision"
"""Name of what no class was given."""
GREY = "#d9d9d9"
"""Of what has no decision; hatched, so that it is not taken for a class."""
WRITTEN = "1970-01-01T00:00:00.000Z"
"""Time of the style: always the same, so that the file is."""
_FIELDS = """
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256),
    f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30), update_time DATETIME
"""
"""Columns of QGIS' table of styles."""


def qml(legend: Legend, *, points: bool = False, lines: bool = False) -> str:
    """QGIS style of a layer: one category per class by `code`, one for all without.

    points, lines: whether the layer holds these, not polygons.
    """
    # An empty value stands for all that have no category of their own, NULL among them.
    values = [(str(c.code), "long", c.name, c.color) for c in legend.classes]
    values.append(("", "string", NO_DECISION, GREY))
    draw = _marker if points else _line if lines else _fill
    categories, symbols = [], []
    for number, (value, kind, name, color) in enumerate(values):
        categories.append(
            f'   <category value="{value}" type="{kind}" symbol="{number}"'
            f' label={quoteattr(name)} render="true"/>'
        )
        symbols.append(draw(number, color, hatched=not value))
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.22" styleCategories="Symbology">\n'
        ' <renderer-v2 type="categorizedSymbol" attr="code" symbollevels="0" forceraster="0"'
        ' enableorderby="0">\n'
        "  <categories>\n" + "\n".join(categories) + "\n  </categories>\n"
        "  <symbols>\n" + "\n".join(symbols) + "\n  </symbols>\n"
        " </renderer-v2>\n</qgis>\n"
    )


def add_style(path: Path, layer: str, style: str) -> None:
    """Write a style into a GeoPackage, where QGIS finds it when it opens the layer.

    Raises: InputError if it can't be written.
    """
    try:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(f"CREATE TABLE IF NOT EXISTS layer_styles ({_FIELDS})")
            (geometry,) = database.execute(
                "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,)
            ).fetchone()
            database.execute(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name,"
                " f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description,"
                " owner, ui, update_time) VALUES ('', '', ?, ?, ?, ?, '', 1, ?, '', NULL, ?)",
                (layer, geometry, layer, style, "classes of the legend", WRITTEN),
            )
    except sqlite3.Error as error:
        raise unwritable(path, error) from None


def _fill(number: int, color: str, *, hatched: bool) -> str:
    options = {"color": _rgba(color), "style": "b_diagonal" if hatched else "solid"}
    options |= {"outline_color": "80,80,80,255", "outline_style": "solid"}
    options |= {"outline_width": "0.1", "outline_width_unit": "MM"}
    return _symbol(number, "fill", "SimpleFill", options)


def _marker(number: int, color: str, *, hatched: bool) -> str:
    options = {"name": "cross2" if hatched else "circle", "color": _rgba(color)}
    options |= {"outline_color": _rgba(color) if hatched else "80,80,80,255"}
    options |= {"outline_style": "solid", "size": "2", "size_unit": "MM"}
    return _symbol(number, "marker", "SimpleMarker", options)


def _line(number: int, color: str, *, hatched: bool) -> str:
    # Half as bright as the class, so that it shows on the polygons of its class.
    options = {"line_color": _rgba(color, 0.5), "line_style": "dash" if hatched else "solid"}
    options |= {"line_width": "0.6", "line_width_unit": "MM", "capstyle": "round"}
    return _symbol(number, "line", "SimpleLine", options)


def _symbol(number: int, kind: str, layer: str, options: dict[str, str]) -> str:
    # QGIS 3.26 and later reads <Option>, those before read <prop>.
    new = "".join(f'<Option name="{k}" type="QString" value="{v}"/>' for k, v in options.items())
    old = "".join(f'<prop k="{k}" v="{v}"/>' for k, v in options.items())
    return (
        f'   <symbol name="{number}" type="{kind}" alpha="1" clip_to_extent="1" force_rhr="0">\n'
        f'    <layer class="{layer}" enabled="1" locked="0" pass="0">\n'
        f'     <Option type="Map">{new}</Option>{old}\n'
        "    </layer>\n   </symbol>"
    )


def _rgba(color: str, share: float = 1.0) -> str:
    return ",".join(str(int(int(color[i : i + 2], 16) * share)) for i in (1, 3, 5)) + ",255"
