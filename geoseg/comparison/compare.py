"""Compare two maps, and write transitions, the map of changes and the page."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.comparison import tables
from geoseg.comparison.bands import Bands
from geoseg.comparison.count import Counter
from geoseg.comparison.pair import MapPair
from geoseg.comparison.report import Report
from geoseg.comparison.result import Asked, Comparison
from geoseg.comparison.small import SmallChanges
from geoseg.comparison.strips import UNDECIDED, UNSURE, Reader, Strip, check_compared
from geoseg.evaluation.pairs import PairCodes, PairNumbers, blend
from geoseg.geo.grid import Window
from geoseg.geo.legend import UNLABELLED, LegendClass
from geoseg.labels.zones import Zones
from geoseg.maps import landcover
from geoseg.maps.cog.write import Running
from geoseg.outputs.claims import claim
from geoseg.outputs.files import clearing, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.progress import follow

CHANGE, PAGE = "change.tif", "change.html"
PRODUCTS = (
    *(CHANGE, f"{CHANGE}.aux.xml", "change.qml", tables.TRANSITIONS, tables.FIGURES),
    *(tables.ZONES, PAGE),
)
PALE = 0.75
"""How much white is in the colours of what did not change."""


@alone("compare", "out")
def compare(
    pair: MapPair,
    out: str | Path,
    *,
    zones: Zones | None = None,
    asked: Asked | None = None,
    overwrite: bool = False,
) -> Comparison:
    """Compare two maps of the same ground and write what became of what to a folder.

    Pixels count where both maps have a class; those without decision (255) are counted apart.
    Raises: InputError if nothing can be compared, a file is damaged, or `out` was made with other
    settings.
    """
    out, asked = Path(out), asked or Asked()
    settings: dict[str, Any] = {
        "before": pair.before.path,
        "after": pair.after.path,
        "zones": zones and zones.settings,
        "minimum_m2": asked.minimum_m2,
        "confidence": asked.confidence,
    }
    with clearing(out, PRODUCTS):
        claim(out, settings, command="compare", products=PRODUCTS, overwrite=overwrite)
        made = _Making(pair, zones, asked).write(out / CHANGE)
    tables.write_transitions(out / tables.TRANSITIONS, pair.names, made.counts)
    if zones is not None:
        tables.write_zones(out / tables.ZONES, pair.names, zones, made.counts)
    origin = settings | {
        "minimum_m2": asked.minimum_m2 or None,
        "compared_by_geoseg": __version__,
    }
    write_json(out / tables.FIGURES, figures(made, origin))
    Report(made, out / CHANGE).write(out / PAGE, origin=origin)
    return made


class _Making:
    """One comparison in the making."""

    def __init__(self, pair: MapPair, zones: Zones | None, asked: Asked) -> None:
        self._pair, self._zones, self._asked = pair, zones, asked
        self._reader = Reader(pair, confidence=asked.confidence)
        pairs = self._reader.pairs
        self._counter = Counter(self._reader.grid, pairs, zones)
        self._small = (
            SmallChanges(self._reader.grid, pairs, asked.minimum_m2) if asked.minimum_m2 else None
        )
        self._codes: PairCodes | None = None
        """Known before the last pass where the numbers of pairs are no codes."""
        self._made: Comparison | None = None

    def write(self, path: Path) -> Comparison:
        """Write the map of changes, and count on the way."""
        if self._small or self._reader.pairs.dtype.itemsize > 1:
            self._look_first()
        grid = self._reader.grid
        with closing(Bands(self._strips(), grid)) as bands:
            running = Running(progress=partial(follow, what="comparing"), tally=False)
            landcover.write_then(path, grid, bands.read, self._describe, running=running)
        assert self._made is not None
        return self._made

    def _look_first(self) -> None:
        pairs = self._reader.pairs
        total = np.zeros(pairs.count, np.int64)
        for strip in self._reader.read():
            total += pairs.counts(strip[1])
            if self._small:
                self._small.learn(strip)
        if self._small:
            self._small.decide()
        if pairs.dtype.itemsize > 1:
            self._codes = codes_of(pairs.split(total), self._pair.classes)

    def _strips(self) -> Generator[tuple[Window, np.ndarray], None, None]:
        """Codes of the map of changes."""
        pairs = self._reader.pairs
        table = _table(pairs, self._codes)
        strips: Iterator[Strip] = self._reader.read()
        if self._small:
            strips = self._small.drop(strips)
        for strip in strips:
            window, numbers = strip
            self._counter.add(strip)
            coded = self._codes is None and int(numbers.max()) <= pairs.size**2
            yield window, numbers if coded else pairs.look_up(table, numbers)

    def _describe(self) -> tuple[Any, dict[str, str]]:
        counts = self._counter.finish()
        check_compared(int(counts.pixels.sum()), self._pair)
        if self._codes is None:
            codes = codes_of(counts.pixels, self._pair.classes)
        else:
            codes = self._codes.only(counts.pixels)
        small = self._small
        self._made = Comparison(
            *(self._pair, self._asked, counts, codes),
            self._counter.places.most(self._asked.pictures),
            self._zones,
            small.dropped if small else None,
            small.count if small else 0,
        )
        return codes.legend, landcover.tags(codes.legend, None, undecided="none in one of the maps")


def codes_of(weights: np.ndarray, classes: Sequence[LegendClass]) -> PairCodes:
    """Codes, names and colours of a map of changes. weights: (K, K) rows before, columns after."""

    def name(i: int, j: int) -> str:
        return f"{classes[i].name} {'unchanged' if i == j else f'to {classes[j].name}'}"

    def color(i: int, j: int) -> str:
        if i == j:
            return blend(classes[i].color, "#ffffff", PALE)
        return blend(classes[j].color, classes[i].color, 0.25)

    return PairCodes.of(weights, name=name, color=color, other="other change")


def _table(pairs: PairNumbers, codes: PairCodes | None) -> np.ndarray:
    """Code of the map of changes by number of a pair."""
    if codes is None:
        size = pairs.size
        numbers = np.arange(1, size * size + 1, dtype=np.uint8).reshape(size, size)
        table = pairs.table(numbers)
    else:
        table = pairs.table(codes.table)
    for reason in (UNDECIDED, UNSURE):
        table[pairs.reason(reason)] = UNLABELLED
    return table


def figures(made: Comparison, origin: dict[str, Any]) -> dict[str, Any]:
    """Content of change.json."""
    counts, names = made.counts, made.pair.names
    dropped = made.dropped
    return {
        "classes": names,
        "difference": made.difference.to_dict(names),
        "compared": {"pixels": int(counts.pixels.sum()), "hectares": float(counts.hectares.sum())},
        "changed": dict(zip(("pixels", "hectares"), counts.changed, strict=True)),
        "one_pixel_wide": {
            **dict(zip(("pixels", "hectares"), counts.thin, strict=True)),
            "share_of_change": None if np.isnan(counts.thin_share) else counts.thin_share,
        },
        "left_out": {
            why: {"pixels": pixels, "hectares": area}
            for why, (pixels, area) in counts.left_out.items()
        },
        "below_minimum": {
            "patches": made.dropped_patches,
            "hectares": 0.0 if dropped is None else float(dropped.sum()),
        },
        "transitions": {"pixels": counts.pixels.tolist(), "hectares": counts.hectares.tolist()},
        "zones": tables.zone_entries(made.zones, names, counts),
        "notes": list(made.notes),
        "origin": origin,
    }
