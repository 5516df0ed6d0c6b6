"""Settings of labels."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from geoseg.errors import Faults

MATCHES = ("location", "name")
UNKNOWNS = ("error", "unlabelled")
VECTOR_ONLY = (
    *("field", "name", "layer", "where", "width_m", "width_field", "all_touched", "encoding"),
)


@dataclass
class Labels:
    """What was drawn, and how it is to be read."""

    path: Any = None
    """File, folder, glob or list of vector files (GPKG, Shapefile, GeoJSON …) or class rasters."""
    layer: str | None = None
    """Layer of the vector files, where they have several."""
    field: str | None = None
    """Attribute with the class, text or number; the legend's `values` say which is which."""
    name: str | None = None
    """Class of every geometry, instead of `field`."""
    background: str | None = None
    """Class of labelled area outside all geometries; without it that is unlabelled."""
    match: str = "location"
    """location, or name: a scene takes the label file of its own name."""
    width_m: float | None = None
    """Width of lines in metres."""
    width_field: str | None = None
    """Attribute with each line's width in metres; `width_m` where it holds none."""
    all_touched: bool = False
    """Burn each pixel that a geometry touches, not only those whose centre it covers."""
    area: Any = None
    """Vector file with the polygons within which labels count; outside all is unlabelled."""
    area_layer: str | None = None
    """Layer of `area`, where it has several."""
    area_where: str | None = None
    """OGR SQL condition on the polygons of `area`."""
    where: str | None = None
    """OGR SQL condition on the geometries: "year >= 2020"."""
    ignore_border: int = 0
    """Pixels on either side of a border between classes that become unlabelled."""
    encoding: str | None = None
    """Of the text in a Shapefile's attributes (UTF-8, CP1252 …), where its .cpg is missing or
    wrong."""
    unknown: str = "error"
    """error or unlabelled: what happens to values that the legend does not know."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.field is not None and self.name is not None:
            faults.add(
                f"labels.field={self.field} and labels.name={self.name}: give the attribute with"
                " the class, or the class of every geometry, not both"
            )
        faults.one_of(self, "labels.", match=MATCHES, unknown=UNKNOWNS)
        if self.width_m is not None and not self.width_m > 0:
            faults.add(f"labels.width_m={self.width_m}: must be above 0 metres")
        faults.at_least(self, "labels.", ignore_border=0)
        for key in ("area_layer", "area_where"):
            if getattr(self, key) is not None and self.area is None:
                faults.add(f"labels.{key}={getattr(self, key)}: needs labels.area=<file>")
        faults.raise_if_any()


def given(labels: Labels) -> dict[str, Any]:
    """What was set, as JSON values."""
    default = asdict(Labels())
    values = {key: value for key, value in asdict(labels).items() if value != default[key]}
    return dict(json.loads(json.dumps(values, default=str)))
