"""Name the rasters that lie beside a class map, and style them for QGIS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import Faults, shown
from geoseg.geo.legend import NODATA, Legend
from geoseg.outputs.files import replacing

CONFIDENCE, ENTROPY, MARGIN, SECOND = "confidence", "entropy", "margin", "second"
DISAGREEMENT, PROBABILITIES, NOVELTY = "disagreement", "probabilities", "novelty"

SURE_IS_HIGH = ("#a50026", "#fdae61", "#ffffbf", "#a6d96a", "#006837")
SURE_IS_LOW = SURE_IS_HIGH[::-1]
NOVEL_IS_HIGH = ("#f7f7f7", "#d9d9d9", "#fee08b", "#f46d43", "#7a0177")
BEYOND = 100
"""Novelty of a pixel that is beyond all that its network knows."""
NOVEL_STOPS = (1, 50, 90, 99, 100)
"""Half of known ground lies below 50: only what is rare there has a colour."""


@dataclass(frozen=True)
class Layer:
    """A uint8 raster beside a class map, on its grid."""

    name: str
    """Of its folder, too."""
    meaning: str
    """Of its values, for the band's description."""
    ramp: tuple[str, ...] = ()
    """Colours from 0 to 100, #rrggbb; () = those of the classes."""
    stops: tuple[float, ...] = ()
    """Values that the colours of the ramp belong to; () = equal steps from 0 to 100."""
    unit: str = " %"
    """After the values in the legend of the ramp."""
    nodata: int = NODATA
    """Where there is no image. Elsewhere a value is at least 1, so that none is taken for it."""
    by_class: bool = False
    """Whether there is a band for each class."""

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name}: {self.meaning}"

    def bands(self, legend: Legend) -> tuple[str, ...]:
        """Descriptions of its bands; none where it has been a file without for long."""
        if self.name == CONFIDENCE:
            return ()
        if self.by_class:
            return tuple(f"{c.code} {c.name}" for c in legend.classes)
        return (self.meaning,)

    def count(self, classes: int) -> int:
        """Number of its bands."""
        return classes if self.by_class else 1

    def side_files(self, path: Path) -> tuple[Path, ...]:
        """What lies beside the raster: a style for QGIS, and names where it holds classes."""
        if self.ramp:
            return (path.with_suffix(".qml"),)
        return path.with_name(f"{path.name}.aux.xml"), path.with_suffix(".qml")

    def write_side_files(self, path: Path, legend: Legend) -> None:
        """Raises: InputError if they can't be written."""
        style = self.style(legend)
        texts = (style,) if self.ramp else (legend.aux_xml(), style)
        for beside, text in zip(self.side_files(path), texts, strict=True):
            with replacing(beside) as temporary:
                temporary.write_text(text, encoding="utf-8")

    def style(self, legend: Legend) -> str:
        """For QGIS."""
        if not self.ramp:
            return legend.qml()
        return qml_of_ramp(self.ramp, self.stops, unit=self.unit)

    def complete(self, path: Path, legend: Legend) -> None:
        """Write the side files again, if one is gone or empty. Raises: InputError."""
        beside = self.side_files(path)
        if not all(file.is_file() and file.stat().st_size for file in beside):
            self.write_side_files(path, legend)


LAYERS = {
    layer.name: layer
    for layer in (
        Layer(CONFIDENCE, "probability of the class, percent", SURE_IS_HIGH),
        Layer(ENTROPY, "entropy of the probabilities, percent of the largest", SURE_IS_LOW),
        Layer(MARGIN, "probability of the class less that of the second, percent", SURE_IS_HIGH),
        Layer(SECOND, "code of the second most probable class"),
        Layer(
            DISAGREEMENT,
            "disagreement of the networks or turns (mutual information), percent of the largest",
            SURE_IS_LOW,
        ),
        Layer(
            PROBABILITIES,
            "probability of each class, percent",
            SURE_IS_HIGH,
            nodata=255,
            by_class=True,
        ),
        Layer(
            NOVELTY,
            "novelty: rank among known pixels, percent; 100 = beyond all of them",
            NOVEL_IS_HIGH,
            NOVEL_STOPS,
            unit="",
        ),
    )
}
"""By name."""


def parse(value: Any, key: str = "predict.layers") -> tuple[str, ...]:
    """Names of layers, each once, in the order of `LAYERS`.

    Raises: InputError for unknown names, with those that there are.
    """
    names = [value] if isinstance(value, str) else value
    faults = Faults()
    if not isinstance(names, Sequence):
        faults.add(f"{key}={shown(value)}: give a list, as [{CONFIDENCE},{ENTROPY}]")
        faults.raise_if_any()
    for name in names:
        if name not in LAYERS:
            faults.add(f"{key}: {shown(name)} is unknown; choose from {', '.join(LAYERS)}")
    faults.raise_if_any()
    return tuple(name for name in LAYERS if name in names)


def qml_of_ramp(
    ramp: Sequence[str], stops: Sequence[float] = (), *, unit: str = " %", low: int = 0
) -> str:
    """QGIS style of a raster of percent: a linear ramp of colours from `low` to 100.

    stops: values of the colours; by default equal steps. unit: after the values in the legend.
    """
    step = (100 - low) / (len(ramp) - 1)
    values = stops or [low + number * step for number in range(len(ramp))]
    items = "\n".join(
        f'     <item value="{value:g}" color="{color}" alpha="255" label="{value:g}{unit}"/>'
        for value, color in zip(values, ramp, strict=True)
    )
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        '<qgis version="3.22" styleCategories="Symbology">\n <pipe>\n'
        '  <rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1"'
        f' classificationMin="{low}" classificationMax="100">\n'
        "   <rastershader>\n"
        '    <colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0"'
        f' minimumValue="{low}" maximumValue="100">\n'
        f"{items}\n"
        f'     <rampLegendSettings minimumLabel="" maximumLabel="" prefix="" suffix="{unit}"'
        ' direction="0" orientation="2" useContinuousLegend="1"/>\n'
        "    </colorrampshader>\n   </rastershader>\n"
        "  </rasterrenderer>\n </pipe>\n</qgis>\n"
    )
