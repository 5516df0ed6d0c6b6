"""Style sample points for QGIS, with a form in which an interpreter chooses classes."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from geoseg.geo.layer_styles import by_class, document, rgba, symbol, text_edit, value_map
from geoseg.geo.legend import Legend

OPEN = "not yet interpreted"
SURE = {"sure": 1, "fairly sure": 2, "unsure": 3}
READ_ONLY = ("id", "order", "x", "y", "twice", "reserve")
ALIASES = {
    "reference": "class",
    "reference2": "class, by a second person",
    "sure": "how sure",
    "who": "interpreter",
    "twice": "to be interpreted twice",
    "reserve": "in reserve, for one that can't be interpreted",
}


def qml(legend: Legend) -> str:
    """Style and form of the points: classes as a list to choose from, hollow where still open."""
    classes = {c.name: c.code for c in legend.classes}
    widgets = [
        '  <field name="fid"><editWidget type="Hidden"><config/></editWidget></field>\n',
        value_map("reference", classes, none=OPEN),
        value_map("reference2", classes, none=OPEN),
        value_map("sure", SURE, none=OPEN),
        *(text_edit(name) for name in (*READ_ONLY, "who", "note")),
    ]
    editable = "".join(f'<field name="{name}" editable="0"/>' for name in READ_ONLY)
    aliases = "".join(
        f'<alias field="{field}" index="0" name={quoteattr(name)}/>'
        for field, name in ALIASES.items()
    )
    return document(
        _renderer(legend),
        f" <fieldConfiguration>\n{''.join(widgets)} </fieldConfiguration>\n"
        f" <aliases>{aliases}</aliases>\n"
        f" <editable>{editable}</editable>\n",
    )


def classes_qml(legend: Legend) -> str:
    """Style of points in the colours of their reference, without a form."""
    return document(_renderer(legend))


def outline_qml() -> str:
    """Style of the pixels or blocks around the points: an outline only."""
    options = {"color": "0,0,0,0", "style": "no", "outline_color": rgba("#ffd500")}
    options |= {"outline_style": "solid", "outline_width": "0.4", "outline_width_unit": "MM"}
    return document(
        ' <renderer-v2 type="singleSymbol" symbollevels="0" forceraster="0" enableorderby="0">\n'
        f"  <symbols>\n{symbol(0, 'fill', 'SimpleFill', options)}\n  </symbols>\n"
        " </renderer-v2>\n"
    )


def _renderer(legend: Legend) -> str:
    return by_class("reference", legend, _symbol, (OPEN, "#ff00d4"))


def _symbol(number: int, color: str, hollow: bool) -> str:
    options = {"name": "circle", "color": "0,0,0,0" if hollow else rgba(color)}
    options |= {"outline_color": rgba(color if hollow else "#1d2730")}
    options |= {"outline_style": "solid", "outline_width": "0.5" if hollow else "0.2"}
    options |= {"outline_width_unit": "MM", "size": "3", "size_unit": "MM"}
    return symbol(number, "marker", "SimpleMarker", options)
