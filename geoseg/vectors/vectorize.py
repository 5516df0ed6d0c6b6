"""Turn a class map into a layer of polygons, with regular outlines and centre lines beside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg import __version__
from geoseg.errors import Faults, InputError
from geoseg.geo.ground import HECTARE, ground
from geoseg.geo.layer_styles import add_style, qml
from geoseg.maps.landcover import MODEL_TAG
from geoseg.maps.mosaic_note import relative
from geoseg.outputs.claims import claim, note_made, read_claim, read_made
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import make_folder, put, replacing, write_json
from geoseg.outputs.lock import held
from geoseg.outputs.stamp import broken, stamps
from geoseg.outputs.summary import Summary
from geoseg.vectors.components import UNIT, Components, Strips, components
from geoseg.vectors.feature_stream import Features, check_suffix, growing, write_stream
from geoseg.vectors.layers import BUILDINGS, LAYER, ROADS, Layers
from geoseg.vectors.merge import NO_DECISION, merge
from geoseg.vectors.polygons import RowDone, polygons
from geoseg.vectors.settings import VectorSettings
from geoseg.vectors.sources import Source, find_source, opened
from geoseg.vectors.unfinished import Unfinished, unfinished

MOST_POLYGONS = 20_000_000
"""Polygons of one file: about 10 GB in a GeoPackage."""


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
    counts: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    areas: np.ndarray = field(default_factory=lambda: np.zeros(256))
    """Polygons and m² of each code."""
    kept_as_drawn: int = 0

    def __post_init__(self) -> None:
        self.layers = Layers(self.source, self.settings)

    @property
    def report(self) -> Path:
        return self.out.with_name(f"{self.out.name}.vectorize.json")

    def path(self, layer: str) -> Path:
        """The file that a layer is in."""
        if layer == LAYER or self.out.suffix.lower() == ".gpkg":
            return self.out
        return self.out.with_name(f"{self.out.stem}_{layer}{self.out.suffix}")

    @property
    def products(self) -> list[Path]:
        """The file itself last: it is what says that all is there."""
        files = {self.path(layer) for layer in self.layers.names} - {self.out}
        if self.out.suffix.lower() != ".gpkg":
            files |= {self.path(layer).with_suffix(".qml") for layer in self.layers.names}
        return [*sorted(files), self.report, self.out]

    def run(self, *, overwrite: bool) -> Summary:
        """Make the layers, unless they are made already."""
        summary = Summary()
        folder, name = self.out.parent, self.out.name
        wanted = self._wanted()
        if not self._claim(wanted, overwrite):
            unfinished(self.out).unlink(missing_ok=True)
            summary.note(f"{self.out}: already made of this map with these settings; nothing to do")
            return summary
        make_folder(folder)
        with ExitStack() as stack:
            key = [wanted, self.settings.strip, __version__, shapely.geos_version_string]
            kept = stack.enter_context(Unfinished(self.out, json.dumps(key)))
            self._describe_kept(summary, kept)
            growing_ = {self.path(n): growing(self.path(n)) for n in self.layers.names}
            for temporary in growing_.values():
                # What a killed run left of a file can't grow on: what is kept is written again.
                temporary.unlink(missing_ok=True)
                stack.callback(temporary.unlink, missing_ok=True)
            told = self._write(growing_, kept)
            self._style(growing_)
            write_json(self.report, told)
            for path in sorted(growing_, key=lambda path: path == self.out):
                put(growing_[path], path)
            note_made(folder, stamps(folder, self.products), command="vectorize", name=name)
        self._describe(summary, told)
        return summary

    def _wanted(self) -> dict[str, Any]:
        """What the file is to be made of."""
        inputs = [[relative(p, self.out), *fingerprint(p)[1:]] for p in self.source.files]
        wanted = {"settings": self.settings.told(), "inputs": inputs}
        return dict(json.loads(json.dumps(wanted)))

    def _claim(self, wanted: dict[str, Any], overwrite: bool) -> bool:
        """Note what the file is made of; False if it is already made of just that."""
        folder, name = self.out.parent, self.out.name
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

    def _write(self, to: dict[Path, Path], kept: Unfinished) -> dict[str, Any]:
        """Write the layers. Returns: what vectorize.json tells."""
        with opened(self.source, self.settings.strip) as strips:
            regions, areas = kept.regions() or self._regions(strips, kept)
            made = {
                LAYER: self._polygons(strips, regions, kept),
                BUILDINGS: kept.features(BUILDINGS),
                ROADS: self._roads(strips, regions, kept),
            }
            layers = {}
            for name in self.layers.names:
                kind = self.layers.kind(name)
                features = self._counted(name, made[name])
                layers[name] = write_stream(to[self.path(name)], kind, features)
        codes = np.flatnonzero(self.counts)
        names = self.layers.class_names(codes).tolist()
        return {
            "map": relative(self.source.map.path, self.out),
            "model": self.source.map.tags.get(MODEL_TAG, "unknown"),
            "settings": self.settings.told(),
            "areas_in_map": areas,
            "layers": layers,
            "classes": [
                {
                    "code": code,
                    "name": name,
                    "polygons": int(self.counts[code]),
                    "hectares": round(float(self.areas[code]) / HECTARE, 4),
                }
                for code, name in zip(codes.tolist(), names, strict=True)
            ],
        }

    def _regions(self, strips: Strips, kept: Unfinished) -> tuple[Components, int]:
        """The regions of the map, and of how many areas they are made."""
        found = components(strips, self.settings.unsure)
        areas, tiny = len(found), int((found.measures.pixels == 1).sum())
        pixel_m2 = strips.grid.pixel_size_m**2
        minima = self.settings.minima(self.layers.legend)
        self._check_minima(minima, found.measures.size.sum() / UNIT * pixel_m2)
        keep = self.settings.codes("keep", self.layers.legend)
        regions = merge(strips, found, minima / pixel_m2, keep)
        self._check_count(len(regions), tiny)
        kept.add_regions(regions, areas)
        return regions, areas

    def _check_minima(self, minima: np.ndarray, total: float) -> None:
        used = {code: float(minima[code]) for code in (*self.layers.legend.codes, NO_DECISION)}
        larger = sorted({value for value in used.values() if value > total})
        if larger and total:
            raise InputError(
                f"vector.minimum_m2={larger[-1]:g}: larger than the whole map, which has"
                f" {total:.6g} m² with a class; give the least area of a polygon in m²"
            )

    def _check_count(self, count: int, tiny: int) -> None:
        """Before hours are spent on polygons that nobody can open."""
        if count <= MOST_POLYGONS:
            return
        raise InputError(
            f"{self.source.map.path}: {count:,} polygons, of at most {MOST_POLYGONS:,} that one"
            f" file may have; {tiny:,} of the map's areas are single pixels: merge small ones"
            " (vector.minimum_m2=…), smooth the map first (a mode filter), or cut it"
        )

    def _polygons(
        self, strips: Strips, regions: Components, kept: Unfinished
    ) -> Iterator[Features]:
        """Features of the land cover; regular outlines, of a layer of their own, are kept."""
        yield from kept.features(LAYER)
        tolerance = self.settings.simplify_m / strips.grid.pixel_size_m
        processes = self.settings.processes_for(strips.grid)
        made = polygons(
            strips, regions, tolerance, processes=processes, begin=kept.end, done=kept.rows()
        )
        for part in made:
            if isinstance(part, RowDone):
                kept.add_row(part)
                continue
            for layer, features in self.layers.polygons(part, regions):
                kept.add(layer, features)
                if layer == LAYER:
                    yield features

    def _roads(self, strips: Strips, regions: Components, kept: Unfinished) -> Iterator[Features]:
        yield from kept.features(ROADS)
        chosen = self.settings.codes("lines", self.layers.legend)
        chosen[kept.lines()] = False
        for code in np.flatnonzero(chosen).tolist():
            features = self.layers.center_lines(strips, regions, code)
            if features is not None:
                kept.add(ROADS, features)
                yield features
            kept.add_lines(code)

    def _counted(self, layer: str, features: Iterable[Features]) -> Iterator[Features]:
        """Features of a layer; what is to be told of them is counted."""
        for part in features:
            if layer == LAYER:
                codes = part.values("code")
                np.add.at(self.counts, codes, 1)
                np.add.at(self.areas, codes, part.values("area_m2"))
            elif layer == BUILDINGS:
                self.kept_as_drawn += int((~part.values("regular")).sum())
            yield part

    def _style(self, to: dict[Path, Path]) -> None:
        """Style inside a GeoPackage, beside other files."""
        for layer in self.layers.names:
            style = qml(self.layers.legend, lines=layer == ROADS)
            path = self.path(layer)
            if self.out.suffix.lower() == ".gpkg":
                add_style(to[path], layer, style)
                continue
            with replacing(path.with_suffix(".qml")) as temporary:
                temporary.write_text(style, encoding="utf-8")

    def _describe_kept(self, summary: Summary, kept: Unfinished) -> None:
        """Say what of a run that was stopped is gone on with."""
        if kept.is_void:
            summary.note(
                f"{self.out}: what a run that was stopped had done was of other settings, another"
                " map or another version of geoseg: begun anew"
            )
        elif kept.end:
            height = self.source.map.grid.height
            summary.note(f"went on after row {kept.end} of {height}, where a run was stopped")
        elif kept.has_regions:
            summary.note("went on after the merging of small areas, where a run was stopped")

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
        if ground(self.source.map.grid.crs).is_local:
            summary.note("areas: by the unit of the map's CRS, which is tied to no place on Earth")
        others = "".join(f", {n} {layer}" for layer, n in told["layers"].items() if layer != LAYER)
        summary.note(f"polygons: {self.out}{others} (open it in QGIS: it brings its style)")
