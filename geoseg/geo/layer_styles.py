"""Write styles of QGIS into GeoPackages, and the symbols that they are made of."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from geoseg.outputs.files import unwritable

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


def rgba(color: str) -> str:
    """#rrggbb as QGIS writes it."""
    return ",".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5)) + ",255"
