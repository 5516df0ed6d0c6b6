"""Style parcels in the legend's colours for QGIS."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from geoseg.geo.layer_styles import rgba, symbol
from geoseg.geo.legend import Legend
from geoseg.parcels.classify import NO_DECISION

GREY = "#d9d9d9"
"""Of parcels without decision; hatched, so that it is not taken for a class."""


def qml(legend: Legend, *, points: bool = False) -> str:
    """QGIS style of a layer: one category per class by `code`, one for all without.

    points: whether the layer holds points, not polygons.
    """
    # An empty value stands for all that have no category of their own, NULL among them.
    values = [(str(c.code), "long", c.name, c.color) for c in legend.classes]
    values.append(("", "string", NO_DECISION, GREY))
    draw = _marker if points else _fill
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


def _fill(number: int, color: str, *, hatched: bool) -> str:
    options = {"color": rgba(color), "style": "b_diagonal" if hatched else "solid"}
    options |= {"outline_color": "80,80,80,255", "outline_style": "solid"}
    options |= {"outline_width": "0.1", "outline_width_unit": "MM"}
    return symbol(number, "fill", "SimpleFill", options)


def _marker(number: int, color: str, *, hatched: bool) -> str:
    options = {"name": "cross2" if hatched else "circle", "color": rgba(color)}
    options |= {"outline_color": rgba(color) if hatched else "80,80,80,255"}
    options |= {"outline_style": "solid", "size": "2", "size_unit": "MM"}
    return symbol(number, "marker", "SimpleMarker", options)
