"""Predict the class of parcels, as a GeoPackage and as maps."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geoseg.dataset.samples import PIXELS, Collected, pixels_path, save_array
from geoseg.errors import Faults
from geoseg.geo.layer_styles import add_style, qml
from geoseg.geo.legend import NODATA, Legend
from geoseg.geo.vector import write_layer
from geoseg.labels.shapes import MULTIPOINT, POINT
from geoseg.maps import folder
from geoseg.maps.folder import DONE, FILES, JOURNAL, NAME
from geoseg.maps.layers import CONFIDENCE
from geoseg.models import suitability
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import clearing, put, replacing
from geoseg.outputs.lock import alone
from geoseg.outputs.progress import Progress
from geoseg.outputs.stamp import stamps
from geoseg.outputs.summary import Summary
from geoseg.parcels.burn import Drawing, write_maps
from geoseg.parcels.classify import (
    Classifier,
    Decisions,
    Dissimilarity,
    check_asked,
    decide,
    settings_of,
)
from geoseg.parcels.gather import collect
from geoseg.parcels.outlines import footprint
from geoseg.parcels.parcels import Parcels
from geoseg.parcels.periods import When
from geoseg.prediction.bands import bands_for, told
from geoseg.prediction.driver import Output
from geoseg.prediction.record import Record, spelt
from geoseg.prediction.series import SeriesImages, dated_scenes, said_of_images, settled
from geoseg.scenes.stack import Stack, check_stacks

if TYPE_CHECKING:
    from geoseg.models.card import ModelCard
    from geoseg.prediction.network import TrainedNetwork
    from geoseg.series.settings import Series

LAYER = "parcels"
PARCELS, STYLE = f"{LAYER}.gpkg", f"{LAYER}.qml"
WORK = ".pixels"
"""Folder for the parcels' pixels and their probabilities, until all is done."""
PRODUCTS = (folder.LANDCOVER, CONFIDENCE, PARCELS, STYLE, NAME, JOURNAL, WORK)


@alone("predict", "out")
def predict_parcels(
    network: TrainedNetwork,
    images: SeriesImages,
    parcels: Parcels,
    out: str | Path,
    *,
    threshold: float = 0.0,
    overwrite: bool = False,
) -> Summary:
    """Write parcels.gpkg and the maps of the tiles; goes on where an earlier call stopped.

    A parcel of less confidence than `threshold`, or of fewer clear dates than series.min_clear,
    gets no class; one outside all tiles neither.
    Returns: what was done, as a text for people.
    Raises: InputError if the stacks don't suit the model, no parcel lies on them, a file is
    damaged, or `out` holds an output of other settings.
    """
    out, card = Path(out), network.card
    assert card.series is not None
    series = settled(images.series, card)
    stacks, said = _suited(images.stacks, card, series, parcels, threshold)
    said += said_of_images(card, images)
    kept = {"buffer_m": card.series.buffer_m, "max_pixels": card.series.max_pixels}
    samples = replace(parcels.samples, **kept)  # type: ignore[arg-type]
    parcels = replace(parcels, samples=samples)
    settings = {
        "model": network.hash,
        "series": asdict(series),
        "bands": told(bands_for(card, images.bands)),
        "samples": asdict(samples),
        "parcels": list(parcels.paths),
        **settings_of(network, threshold),
    }
    with clearing(out, (*PRODUCTS[:-1], f"{WORK}/{PIXELS}")):
        inputs = _inputs(stacks, parcels)
        record = Output(out, network.hash, settings, PRODUCTS, inputs).take(overwrite=overwrite)
        job = _Job(out, network, stacks, parcels, record, said)
        if job.is_done():
            job.clean()
            return Summary.of_note(
                f"{out}: already made of these files with these settings; nothing to do"
            )
        chosen = _near(parcels, stacks)
        found = collect(
            stacks, chosen, np.zeros(len(chosen), np.uint8), out / WORK,
            series=series, card=card.series,
        )  # fmt: skip
    job.seconds["reading"] = time.perf_counter() - job.since
    job.predict(found, threshold=threshold, min_clear=series.fewest())
    job.write()
    job.clean()
    return job.summary()


def _suited(
    stacks: list[Stack], card: ModelCard, series: Series, parcels: Parcels, threshold: float
) -> tuple[list[Stack], list[str]]:
    """The stacks with the model's bands, and what must be known of their values.

    Raises: InputError with all that does not suit.
    """
    assert card.series is not None
    faults = Faults()
    faults.attempt(check_asked, card.series, threshold, "leave out parcels=… to get maps")
    suited: list[Stack] = []
    said: list[str] = []
    scenes = dated_scenes(stacks, card, series)
    for scene in scenes:
        with faults.collect():
            fits = suitability.check(scene, card, days=not parcels.own_periods)
            suited.append(fits.scene.stack)  # type: ignore[attr-defined]
            said += fits.notes
    if parcels.own_periods:
        with faults.collect():
            said += When(stacks, series, parcels, card.series).check(parcels)
    faults.raise_if_any()
    check_stacks(suited)
    suitability.say_doubts(scenes, card)
    return suited, said


def _near(parcels: Parcels, stacks: list[Stack]) -> Parcels:
    """The parcels that touch a tile: a file may hold those of a whole country."""
    near = np.zeros(len(parcels), bool)
    for stack in stacks:
        outline = footprint(stack.grid, parcels.crs)
        if outline is not None:
            near |= shapely.intersects(outline, parcels.geometry)
    # If there is none, `collect` says so, and where they lie instead.
    return parcels.take(near) if near.any() else parcels


def _inputs(stacks: list[Stack], parcels: Parcels) -> list[Any]:
    """What tells whether an earlier output was made of the same images and parcels."""
    paths = sorted({path for stack in stacks for path in (*stack.paths, *stack.masks)})
    digest = hashlib.sha256()
    for values in (parcels.id, parcels.start.astype(str), parcels.end.astype(str)):
        digest.update("\n".join(values.tolist()).encode())
    for geometry in shapely.to_wkb(parcels.geometry):
        digest.update(geometry)
    return [*(fingerprint(spelt(path)) for path in paths), digest.hexdigest()]


@dataclass
class _Job:
    """Parcels on their way to classes and maps."""

    out: Path
    network: TrainedNetwork
    stacks: list[Stack]
    parcels: Parcels
    record: Record
    said: list[str]
    """What must be known of the values."""
    since: float = field(default_factory=time.perf_counter)
    seconds: dict[str, float] = field(default_factory=dict)
    """By what they were spent on."""
    took: dict[str, float] = field(default_factory=dict)
    """Seconds in the network by tile."""
    tile: np.ndarray = field(init=False)
    """(N,) text, None for parcels without a pixel."""
    pixels: np.ndarray = field(init=False)
    decisions: Decisions = field(init=False)
    dissimilarity: Dissimilarity | None = field(default=None, init=False)

    @property
    def legend(self) -> Legend:
        return self.network.card.legend

    def is_done(self) -> bool:
        """Whether an earlier call has done everything."""
        mapped = all(self.record.is_mapped(stack.name) for stack in self.stacks)
        return mapped and self.record.is_written(PARCELS, STYLE)

    def predict(self, found: Collected, *, threshold: float, min_clear: int) -> None:
        """Decide on all parcels."""
        begin = time.perf_counter()
        samples = found.samples
        count = len(self.parcels)
        place = {name: number for number, name in enumerate(self.parcels.id.tolist())}
        index = np.array([place[name] for name in samples.id.tolist()], np.int64)
        self.tile = np.full(count, None, object)
        self.pixels, clear = np.zeros(count, np.int64), np.zeros(count)
        probabilities = np.full((count, self._columns_of_network), np.nan, np.float32)
        self.tile[index], self.pixels[index] = samples.tile, samples.pixels
        clear[index] = np.round(samples.clear, 2)
        probabilities[index] = self._probabilities(found)
        self.decisions, self.dissimilarity = decide(
            self.network, probabilities, clear, threshold=threshold, min_clear=min_clear
        )
        self.seconds["network"] = time.perf_counter() - begin

    @property
    def _columns_of_network(self) -> int:
        """Probabilities, and the dissimilarity index if that is asked for."""
        return len(self.legend) + (0 if self.network.knowing is None else 1)

    def _probabilities(self, found: Collected) -> np.ndarray:
        """(N, K) of the samples, or (N, K + 1); of tiles that were predicted before it is read."""
        samples, classifier = found.samples, None
        whole = np.zeros((len(samples), self._columns_of_network), np.float32)
        with Progress(len(self.stacks), int(samples.pixels.sum())) as progress:
            for stack in self.stacks:
                rows = np.flatnonzero(samples.tile == stack.name)
                path = pixels_path(self.out / WORK, f".{stack.name}.probabilities")
                mine = samples.take(rows)
                before = _kept(path, (len(rows), whole.shape[1]))
                wanted = len(rows) > 0 and before is None
                if wanted and classifier is None:
                    classifier = Classifier(self.network)
                begin = time.perf_counter()
                if before is not None:
                    whole[rows] = before
                elif wanted:
                    assert classifier is not None
                    first = 0
                    for part in classifier.probabilities(self.out / WORK, mine):
                        whole[rows[first : first + len(part)]] = part
                        progress.advance(int(mine.pixels[first : first + len(part)].sum()))
                        first += len(part)
                    save_array(path, whole[rows])
                self.took[stack.name] = max(time.perf_counter() - begin, 1e-6)
                speed = len(rows) / self.took[stack.name]
                progress.scene(stack.name, f"{counted(len(rows), 'parcel')}, {speed:.0f} parcels/s")
        return whole

    def write(self) -> None:
        """Write maps and parcels. Raises: InputError if the disk is full."""
        begin = time.perf_counter()
        made = self.decisions
        # Where parcels overlap, the most confident is on top, as in a mosaic, and those without
        # decision below all others.
        shown = np.flatnonzero(made.is_observed)
        rank = np.where(made.code != NODATA, made.confidence, -1.0)
        order = shown[np.argsort(rank[shown], kind="stable")]
        drawing = Drawing(
            self.parcels.geometry[order],
            self.parcels.crs,
            made.map_code[order],
            made.percent[order],
        )
        for stack in self.stacks:
            if not self.record.is_mapped(stack.name):
                self._map(stack, drawing)
        if not self.record.is_written(PARCELS, STYLE):
            self._write_parcels()
            self.record.files = stamps(self.out, [self.out / PARCELS, self.out / STYLE])
        self.record.save()
        self.seconds["writing"] = time.perf_counter() - begin

    def _map(self, stack: Stack, drawing: Drawing) -> None:
        begin = time.perf_counter()
        write_maps(
            self.out, stack.name, stack.grid, drawing,
            legend=self.legend, model=self.network.hash,
        )  # fmt: skip
        seconds = self.took[stack.name] + time.perf_counter() - begin
        count = int((self.tile == stack.name).sum())
        paths = [spelt(path) for path in stack.paths]
        self.record.scenes[stack.name] = {
            "status": DONE,
            "paths": paths,
            "inputs": [fingerprint(path) for path in paths],
            FILES: self.record.stamps_of(stack.name),
            "parcels": count,
            "seconds": round(seconds, 3),
            "parcels_per_second": round(count / seconds, 1),
            "notes": [note for note in self.said if note.startswith(f"{stack.name}: ")],
        }
        self.record.save()

    def _write_parcels(self) -> None:
        """Write parcels.gpkg with its style inside, and the style beside it."""
        points = np.isin(shapely.get_type_id(self.parcels.geometry), (POINT, MULTIPOINT))
        style = qml(self.legend, points=bool(points.all()))
        growing = self.out / WORK / PARCELS
        write_layer(
            growing, self._columns(), layer=LAYER,
            geometries=self.parcels.geometry, crs=self.parcels.crs,
        )  # fmt: skip
        add_style(growing, LAYER, style, description="classes of the legend")
        put(growing, self.out / PARCELS)
        with replacing(self.out / STYLE) as temporary:
            temporary.write_text(style, encoding="utf-8")

    def _columns(self) -> dict[str, Any]:
        import pandas

        made = self.decisions

        def code(values: np.ndarray) -> Any:
            return pandas.arrays.IntegerArray(values.astype(np.int32), values == NODATA)

        return {
            "id": self.parcels.id,
            "code": code(made.code),
            "name": made.names(self.legend),
            "confidence": made.confidence,
            "code2": code(made.code2),
            "name2": made.names2(self.legend),
            "confidence2": made.confidence2,
            "clear": made.clear,
            "pixels": self.pixels.astype(np.int32),
            "tile": self.tile,
        } | self._novelty()

    def _novelty(self) -> dict[str, Any]:
        """Columns that say how dissimilar parcels are from those of the training, if asked for."""
        import pandas

        found = self.dissimilarity
        if found is None:
            return {}
        unseen = np.isnan(found.index)
        novel = pandas.arrays.IntegerArray(found.novel.astype(np.int32), unseen)
        return {"dissimilarity": found.index, "novel": novel}

    def clean(self) -> None:
        """Remove what was only needed on the way; write side files again that are gone."""
        for stack in self.stacks:
            folder.complete(self.out, stack.name, self.legend)
        shutil.rmtree(self.out / WORK, ignore_errors=True)

    def summary(self) -> Summary:
        """What was done, as a text for people."""
        summary, made = Summary(), self.decisions
        count = len(made)
        made.tell(summary, self.legend, "parcels")
        for warning in self.said:
            summary.warn(warning)
        notes = [note for stack in self.stacks for note in stack.notes]
        summary.notes(dict.fromkeys([*notes, *self.parcels.notes]))
        self._explain(summary)
        if self.dissimilarity is not None:
            self.dissimilarity.tell(summary, "parcels")
        total = time.perf_counter() - self.since
        parts = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in self.seconds.items())
        summary.note(
            f"{counted(count, 'parcel')} in {total:.1f} s ({count / total:.0f} per second: {parts})"
        )
        summary.note(f"parcels: {self.out / PARCELS} (open it in QGIS: its colours come with it)")
        summary.note(f"maps: {self.out / folder.LANDCOVER}, record: {self.out / NAME}")
        return summary

    def _explain(self, summary: Summary) -> None:
        """Say why parcels have no class."""
        nowhere = int((self.pixels == 0).sum())
        undecided = int((self.decisions.code == NODATA).sum()) - nowhere
        if nowhere:
            summary.warn(
                f"{counted(nowhere, 'parcel', 'have')} no clear pixel on any tile: no decision"
                " (outside of all, or without data or under clouds on all dates)"
            )
        if undecided:
            few = counted(undecided, "parcel", "have")
            summary.note(
                f"{few} too few clear dates (series.min_clear) or too little confidence"
                " (threshold): no decision; the best guess is in code2"
            )


def _kept(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Probabilities that a call that was killed has left; None if there are none, or not all."""
    try:
        found: np.ndarray = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape else None
