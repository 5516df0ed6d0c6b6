"""Turn a class map into a layer of polygons, with regular outlines and centre lines beside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.errors import Faults, InputError
from geoseg.geo.ground import HECTARE, ground
from geoseg.geo.layer_styles import add_style, qml
from geoseg.geo.legend import NO_DECISION as NO_DECISION_NAME
from geoseg.geo.legend import Legend
from geoseg.maps.landcover import MODEL_TAG
from geoseg.maps.mosaic_note import relative
from geoseg.outputs.claims import claim, fingerprint, note_made, read_claim, read_made
from geoseg.outputs.counted import counted
from geoseg.outputs.files import make_folder, put, replacing, write_json
from geoseg.outputs.lock import held
from geoseg.outputs.stamp import broken, stamps
from geoseg.outputs.summary import Summary
from geoseg.vectors.center_lines import center_lines, skeleton
from geoseg.vectors.components import UNIT, Components, Measures, Strips, components
from geoseg.vectors.feature_stream import Batch, LayerKind, check_suffix, growing, write_stream
from geoseg.vectors.label_rows import label_rows
from geoseg.vectors.measures import measured, placed
from geoseg.vectors.merge import Regions, merge
from geoseg.vectors.merging import NO_DECISION
from geoseg.vectors.outlines import Pieces
from geoseg.vectors.polygons import BLOCK, polygons
from geoseg.vectors.regular import squared
from geoseg.vectors.settings import VectorSettings
from geoseg.vectors.sources import Source, find_source, opened

LAYER, BUILDINGS, ROADS = "landcover", "buildings_regular", "roads"
"""Layers of the output; beside a file that holds one layer only, files of these names' ends."""
MOST_POLYGONS = 20_000_000
"""Polygons of one file: about 10 GB in a GeoPackage."""
_CLASS = {"code": "int32", "name": "string"}
_POLYGON = {**_CLASS, "area_m2": "float64", "perimeter_m": "float64"}
_CONFIDENCE = {"confidence": "float64", "confidence_min": "float64", "share_unsure": "float64"}
_LINE = {**_CLASS, "width_m": "float64", "length_m": "float64"}


def vectorize(
    map_: str | Path,
    out: str | Path,
    *,
    settings: VectorSettings | None = None,
    maps: str | Path | None = None,
    overwrite: bool = False,
) -> Summary:
    """Write the areas of a class map as polygons that share their edges.

    out: .gpkg, .fgb or .parquet. maps: output folder of predict, for the confidences; None = that
    which the map comes from.
    Returns: what was done, as a text for people.
    Raises: InputError for a map without legend or with codes it does not know, classes that the
    legend has not, a minimum larger than the map, an `out` of other settings, a full disk …
    """
    out, settings = Path(out), settings or VectorSettings()
    faults = Faults()
    with faults.collect():
        check_suffix(out)
        beside = next((p for p in map(out.with_suffix, (".tif", ".tiff")) if p.exists()), None)
        if beside is not None and out.suffix.lower() != ".gpkg":
            raise InputError(
                f"out={out}: its style would replace that of {beside}, which has the same name;"
                " choose another name, or .gpkg, which holds its style inside"
            )
    if out.is_dir():
        faults.add(f"out={out}: is a folder; give the name of the file to write")
    source = None
    with faults.collect():
        source = find_source(str(map_), None if maps is None else str(maps))
    if source is not None:
        settings.check(source.map.legend, faults)
    faults.raise_if_any()
    assert source is not None
    with held(out.parent, "vectorize", name=out.name):
        return _Job(source, out, settings).run(overwrite=overwrite)


@dataclass
class _Job:
    source: Source
    out: Path
    settings: VectorSettings
    squares: list[Batch] = field(default_factory=list)
    """Regular outlines, waiting for their layer."""
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    areas: np.ndarray = field(default_factory=lambda: np.zeros(256))
    """Polygons and m² of each code."""
    kept_as_drawn: int = 0

    @property
    def legend(self) -> Legend:
        return self.source.map.legend

    @property
    def crs(self) -> str:
        return self.source.map.grid.crs

    @property
    def report(self) -> Path:
        return self.out.with_name(f"{self.out.name}.vectorize.json")

    def path(self, layer: str) -> Path:
        """The file that a layer is in."""
        if layer == LAYER or self.out.suffix.lower() == ".gpkg":
            return self.out
        return self.out.with_name(f"{self.out.stem}_{layer}{self.out.suffix}")

    @property
    def layers(self) -> list[str]:
        regular, lines = bool(self.settings.regular), bool(self.settings.lines)
        return [LAYER, *([BUILDINGS] * regular), *([ROADS] * lines)]

    @property
    def products(self) -> list[Path]:
        """The file itself last: it is what says that all is there."""
        files = {self.path(layer) for layer in self.layers} - {self.out}
        if self.out.suffix.lower() != ".gpkg":
            files |= {self.path(layer).with_suffix(".qml") for layer in self.layers}
        return [*sorted(files), self.report, self.out]

    def run(self, *, overwrite: bool) -> Summary:
        """Make the layers, unless they are made already."""
        summary = Summary()
        folder, name = self.out.parent, self.out.name
        if not self._claim(overwrite):
            summary.note(f"{self.out}: already made of this map with these settings; nothing to do")
            return summary
        make_folder(folder)
        with ExitStack() as stack:
            growing_ = {self.path(layer): growing(self.path(layer)) for layer in self.layers}
            for temporary in growing_.values():
                # What a killed run left is worth nothing: it begins anew.
                temporary.unlink(missing_ok=True)
                stack.callback(temporary.unlink, missing_ok=True)
            told = self._write(growing_)
            self._style(growing_)
            write_json(self.report, told)
            for path in sorted(growing_, key=lambda path: path == self.out):
                put(growing_[path], path)
        note_made(folder, stamps(folder, self.products), command="vectorize", name=name)
        self._describe(summary, told)
        return summary

    def _claim(self, overwrite: bool) -> bool:
        """Note what the file is made of; False if it is already made of just that."""
        folder, name = self.out.parent, self.out.name
        inputs = [[relative(p, self.out), *fingerprint(p)[1:]] for p in self.source.files]
        wanted = json.loads(json.dumps({"settings": self.settings.told(), "inputs": inputs}))
        made = read_made(folder, command="vectorize", name=name)
        before = read_claim(folder, command="vectorize", name=name) or {}
        if before == wanted and name in made and not broken(folder, made):
            return False
        products = tuple(path.name for path in self.products)
        follows = before.get("settings") == wanted["settings"]
        claim(
            folder,
            wanted,
            command="vectorize",
            products=products,
            overwrite=overwrite or follows,
            name=name,
        )
        return True

    def _write(self, to: dict[Path, Path]) -> dict[str, Any]:
        """Write the layers. Returns: what vectorize.json tells."""
        grid = self.source.map.grid
        with opened(self.source, self.settings.strip) as strips:
            found = components(strips, self.settings.unsure)
            pixel_m2 = grid.pixel_size_m**2
            minima = self.settings.minima(self.legend)
            self._check_minima(minima, found.measures.size.sum() / UNIT * pixel_m2)
            keep = self.settings.codes("keep", self.legend)
            regions = merge(strips, found, minima / pixel_m2, keep)
            self._check_count(found, len(regions))
            measures = found.measures.summed(regions.of[1:] - 1, len(regions))
            batches = self._polygons(strips, found, regions, measures)
            layers = {LAYER: self._stream(LAYER, _polygon_columns(self.source), batches, to)}
            if BUILDINGS in self.layers:
                squares = iter(self.squares)
                columns = {**_POLYGON, "regular": "bool"}
                layers[BUILDINGS] = self._stream(BUILDINGS, columns, squares, to)
            if ROADS in self.layers:
                layers[ROADS] = self._stream(ROADS, _LINE, self._roads(strips, found, regions), to)
        return {
            "map": relative(self.source.map.path, self.out),
            "model": self.source.map.tags.get(MODEL_TAG, "unknown"),
            "settings": self.settings.told(),
            "areas_in_map": len(found.code),
            "layers": layers,
            "classes": [
                {
                    "code": code,
                    "name": self._name(code),
                    "polygons": int(self.counts[code]),
                    "hectares": round(float(self.areas[code]) / HECTARE, 4),
                }
                for code in np.flatnonzero(self.counts).tolist()
            ],
        }

    def _check_minima(self, minima: np.ndarray, total: float) -> None:
        used = {code: float(minima[code]) for code in (*self.legend.codes, NO_DECISION)}
        larger = sorted({value for value in used.values() if value > total})
        if larger and total:
            raise InputError(
                f"vector.minimum_m2={larger[-1]:g}: larger than the whole map, which has"
                f" {total:.6g} m² with a class; give the least area of a polygon in m²"
            )

    def _check_count(self, found: Components, count: int) -> None:
        """Before hours are spent on polygons that nobody can open."""
        if count <= MOST_POLYGONS:
            return
        tiny = int((found.measures.pixels == 1).sum())
        raise InputError(
            f"{self.source.map.path}: {count:,} polygons, of at most {MOST_POLYGONS:,} that one"
            f" file may have; {tiny:,} of the map's areas are single pixels: merge small ones"
            " (vector.minimum_m2=…), smooth the map first (a mode filter), or cut it"
        )

    def _stream(
        self, layer: str, columns: dict[str, str], batches: Iterator[Batch], to: dict[Path, Path]
    ) -> int:
        kind = LayerKind(layer, "LineString" if layer == ROADS else "Polygon", columns, self.crs)
        return write_stream(to[self.path(layer)], kind, batches)

    def _name(self, code: int) -> str:
        return str(self._names(np.array([code]))[0])

    def _names(self, codes: np.ndarray) -> np.ndarray:
        """Names (N,) of classes."""
        names = np.full(256, NO_DECISION_NAME, object)
        for known in self.legend.classes:
            names[known.code] = known.name
        return np.asarray(names[codes])

    def _polygons(
        self, strips: Strips, found: Components, regions: Regions, measures: Measures
    ) -> Iterator[Batch]:
        grid = strips.grid
        tolerance = self.settings.simplify_m / grid.pixel_size_m
        square = self.settings.codes("regular", self.legend)
        processes = self.settings.processes_for(grid)
        for pieces in polygons(strips, found, regions, tolerance, processes):
            index = pieces.region - 1
            codes = regions.code[index]
            on_map = placed(pieces.polygons, grid)
            area, perimeter = measured(on_map, grid)
            np.add.at(self.counts, codes, 1)
            np.add.at(self.areas, codes, area)
            chosen = square[codes]
            if chosen.any():
                self._square(Pieces(on_map[chosen], codes[chosen]))
            columns = {
                "code": codes,
                "name": self._names(codes),
                "area_m2": area,
                "perimeter_m": perimeter,
            }
            if self.source.pairs:
                columns |= _confidences(measures, index)
            if self.source.scene is not None:
                columns["scene"] = [self.source.scene] * len(codes)
            yield on_map, columns

    def _square(self, buildings: Pieces) -> None:
        """Keep the regular outlines of buildings; the region of each is its code here."""
        grid = self.source.map.grid
        pixel = grid.pixel_size_m
        own = ground(grid.crs)
        centers = shapely.get_coordinates(shapely.centroid(buildings.polygons))
        planes = own.plane(centers)
        made, regular = [], []
        for polygon, center, plane in zip(buildings.polygons, centers, planes, strict=True):
            square = None
            if np.isfinite(plane).all():
                local = shapely.transform(polygon, lambda c, o=center, p=plane: (c - o) @ p.T)
                square = squared(local, pixel)
            regular.append(square is not None)
            if square is None:
                made.append(polygon)
                continue
            back = np.linalg.inv(plane)
            made.append(shapely.transform(square, lambda c, o=center, p=back: c @ p.T + o))
        self.kept_as_drawn += regular.count(False)
        outlines = np.array(made, object)
        area, perimeter = measured(outlines, grid)
        codes = buildings.region
        columns = {"code": codes, "name": self._names(codes), "area_m2": area}
        columns |= {"perimeter_m": perimeter, "regular": np.array(regular, bool)}
        self.squares.append((outlines, columns))

    def _roads(self, strips: Strips, found: Components, regions: Regions) -> Iterator[Batch]:
        grid = strips.grid
        side = grid.pixel_size_m
        for code in np.flatnonzero(self.settings.codes("lines", self.legend)).tolist():
            is_road = np.r_[False, regions.code == code]
            rows = label_rows(strips, found, BLOCK, regions.of)
            blocks = ((top, is_road[labels]) for top, labels in rows)
            lines, widths = center_lines(skeleton(blocks), grid.width)
            if not len(lines):
                continue
            lines = shapely.simplify(lines, max(self.settings.simplify_m / side, 0.0))
            on_map = placed(lines, grid)
            yield (
                on_map,
                {
                    "code": np.full(len(lines), code),
                    "name": [self._name(code)] * len(lines),
                    "width_m": widths * side,
                    "length_m": _lengths(on_map, self.crs),
                },
            )

    def _style(self, to: dict[Path, Path]) -> None:
        """Style inside a GeoPackage, beside other files."""
        for layer in self.layers:
            style = qml(self.legend, lines=layer == ROADS)
            path = self.path(layer)
            if self.out.suffix.lower() == ".gpkg":
                add_style(to[path], layer, style)
                continue
            with replacing(path.with_suffix(".qml")) as temporary:
                temporary.write_text(style, encoding="utf-8")

    def _describe(self, summary: Summary, told: dict[str, Any]) -> None:
        rows = [(c["name"], c["polygons"], f"{c['hectares']:.2f}") for c in told["classes"]]
        summary.table("polygons", ("class", "polygons", "hectares"), rows)
        areas, count = told["areas_in_map"], told["layers"][LAYER]
        summary.note(f"{counted(areas, 'connected area')} in the map, {counted(count, 'polygon')}")
        if self.kept_as_drawn:
            summary.note(
                f"{BUILDINGS}: {counted(self.kept_as_drawn, 'outline', 'are')} like no shape with"
                " square corners: kept as drawn (regular = false)"
            )
        if ground(self.crs).is_local:
            summary.note("areas: by the unit of the map's CRS, which is tied to no place on Earth")
        others = "".join(f", {n} {layer}" for layer, n in told["layers"].items() if layer != LAYER)
        summary.note(f"polygons: {self.out}{others} (open it in QGIS: it brings its style)")


def _polygon_columns(source: Source) -> dict[str, str]:
    columns = dict(_POLYGON)
    if source.pairs:
        columns |= _CONFIDENCE
    if source.scene is not None:
        columns["scene"] = "string"
    return columns


def _confidences(measures: Measures, index: np.ndarray) -> dict[str, Any]:
    """Columns of regions; NaN, which is written as NULL, of those without any confidence."""
    sure = measures.sure[index]
    known = sure > 0
    safe = np.maximum(sure, 1)
    return {
        "confidence": np.where(known, measures.confidence[index] / safe / 100, np.nan),
        "confidence_min": np.where(known, measures.least[index] / 100, np.nan),
        "share_unsure": np.where(known, measures.unsure[index] / safe, np.nan),
    }


def _lengths(lines: np.ndarray, crs: str) -> np.ndarray:
    """Metres on the ground of lines (N,) in map coordinates."""
    coordinates, owner = shapely.get_coordinates(lines, return_index=True)
    steps = ground(crs).distance(coordinates[:-1], coordinates[1:])
    within = owner[1:] == owner[:-1]
    return np.bincount(owner[1:][within], weights=steps[within], minlength=len(lines))
