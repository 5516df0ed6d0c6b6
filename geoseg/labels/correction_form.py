"""Write an empty GeoPackage for corrections, with a form for QGIS in which classes are chosen."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from geoseg.geo.layer_styles import (
    add_style,
    by_class,
    document,
    rgba,
    symbol,
    text_edit,
    value_map,
)
from geoseg.geo.legend import Legend
from geoseg.geo.vector import Table, write_layers
from geoseg.labels.corrections import CLASS, WIDTH

LAYERS = {"polygons": "Polygon", "lines": "LineString", "points": "Point"}
"""Layer → kind of its geometries; the last lies on top."""
NONE = "choose one"
OPEN = "#ff00d4"
"""Of a correction whose class is still to be chosen."""
ALIASES = {
    CLASS: "class",
    WIDTH: "metres across that have the class (empty = one pixel)",
    "who": "who corrected",
}
DEFAULTS = {"who": "@user_full_name", "made": "format_date(now(), 'yyyy-MM-dd HH:mm:ss')"}
"""What QGIS fills in by itself."""


def write_form(path: str | Path, legend: Legend, crs: str) -> bool:
    """Write an empty file of corrections, unless there is one: what was drawn is never replaced.

    Returns: whether it was written. Raises: InputError if it can't be written.
    """
    path = Path(path)
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = {
        name: Table(_columns(name), np.empty(0, object), crs, kind=kind)
        for name, kind in LAYERS.items()
    }

    def styled(file: Path) -> None:
        for name in LAYERS:
            add_style(file, name, qml(legend, name), description="form for corrections")

    write_layers(path, tables, last=styled)
    return True


def _columns(layer: str) -> dict[str, np.ndarray]:
    text = np.empty(0, object)
    width = {} if layer == "polygons" else {WIDTH: np.empty(0)}
    return {CLASS: np.empty(0, np.int32), **width, "who": text, "made": text, "note": text}


def qml(legend: Legend, layer: str) -> str:
    """Style and form of a layer: classes as a list to choose from."""
    classes = {c.name: c.code for c in legend.classes}
    fields = [] if layer == "polygons" else [WIDTH]
    widgets = [
        '  <field name="fid"><editWidget type="Hidden"><config/></editWidget></field>\n',
        value_map(CLASS, classes, none=NONE),
        *(text_edit(name) for name in (*fields, "who", "made", "note")),
    ]
    aliases = "".join(
        f'<alias field="{name}" index="0" name={quoteattr(text)}/>'
        for name, text in ALIASES.items()
        if name in (CLASS, "who", *fields)
    )
    constraint = f'<constraint field="{CLASS}" constraints="1" notnull_strength="1"'
    constraint += ' unique_strength="0" exp_strength="0"/>'
    defaults = "".join(
        f'<default field="{name}" expression={quoteattr(text)} applyOnUpdate="0"/>'
        for name, text in DEFAULTS.items()
    )
    return document(
        by_class(CLASS, legend, partial(_symbol, layer), ("no class yet", OPEN)),
        f" <fieldConfiguration>\n{''.join(widgets)} </fieldConfiguration>\n"
        f" <aliases>{aliases}</aliases>\n <defaults>{defaults}</defaults>\n"
        f" <constraints>{constraint}</constraints>\n",
    )


def _symbol(layer: str, number: int, color: str, _: bool) -> str:
    edge = {"outline_color": rgba("#1d2730"), "outline_style": "solid"}
    edge |= {"outline_width": "0.3", "outline_width_unit": "MM"}
    if layer == "points":
        options = {"name": "circle", "color": rgba(color), "size": "3", "size_unit": "MM", **edge}
        return symbol(number, "marker", "SimpleMarker", options)
    if layer == "lines":
        options = {"line_color": rgba(color), "line_style": "solid", "line_width": "0.8"}
        return symbol(number, "line", "SimpleLine", options | {"line_width_unit": "MM"})
    # Hatched, so that the image is seen below.
    return symbol(
        number, "fill", "SimpleFill", {"color": rgba(color), "style": "f_diagonal", **edge}
    )
