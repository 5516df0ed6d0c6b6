"""Prepare a data set from scenes and labels.

Scenes are images or dated; for a command only the settings differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.dataset import retile as blocks
from geoseg.dataset.report import said_of_extremes, summarize, warn_unused
from geoseg.dataset.split import SPLITS, Region, Split, check_used
from geoseg.dataset.targets import burn, counter, labels_of, made_of, strips
from geoseg.dataset.tiles import (
    DESCRIPTION,
    FILES,
    PRODUCTS,
    Dataset,
    Tile,
    broken_files,
    pixel_size,
    write_tiles,
)
from geoseg.errors import Faults, InputError
from geoseg.geo.grid import Window
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.outputs.claims import claim
from geoseg.outputs.counted import first
from geoseg.outputs.files import clearing, read_note
from geoseg.outputs.lock import alone
from geoseg.outputs.summary import Summary
from geoseg.scenes.bands import Bands, BandStatistics, Measure, nominal_range
from geoseg.scenes.dated import AnyScene, DatedReader
from geoseg.scenes.measure_units import BRIGHTER, remedy
from geoseg.scenes.scene import Scene, SceneReader
from geoseg.scenes.stack import observed

MEASURED_TILES = 4000
"""Tiles measured for the statistics at most, drawn evenly: more change no digit that counts."""
MEASURED_SERIES = 400
"""The same for dated scenes, whose tiles hold all dates."""
BRIGHT_STEP = 16
"""Of the pixels, one in so many tells what is bright."""
NOTHING = BandStatistics((), (), (), (), (), ())
"""Statistics that are still to be measured."""


def is_made(folder: Path, summary: Summary) -> bool:
    """Whether a data set is whole, and says so; what is broken of it is removed, to be made again.

    dataset.json comes last. If it can't be read, nobody knows whether the others are whole.
    """
    description = folder / DESCRIPTION
    if not description.exists():
        return False
    known = FILES in (read_note(description) or {})
    lost = broken_files(folder) if known else [DESCRIPTION]
    if not lost:
        summary.note(f"{folder}: already made with these settings; nothing to do")
        return True
    summary.note(f"{first(lost)}: gone, cut short or changed since; made again")
    for name in lost:
        (folder / name).unlink(missing_ok=True)
    description.unlink(missing_ok=True)
    return False


def finish(planned: Dataset, labels: Labels, split: Split, summary: Summary) -> None:
    """Cut tiles and measure bands, now that the targets are burnt, and save the data set.

    Raises: InputError for splits without a labelled tile, bands without an observation.
    """
    folder, scenes = planned.folder, planned.scenes
    grids = {scene.name: scene.grid for scene in scenes}
    count = counter(planned)
    total = sum(count(s.name, window) for s in scenes for window in strips(s.grid))
    if not np.any(total):
        raise InputError(_nothing(planned, labels))
    check_classes(planned.legend, total, labels)
    regions = split.regions(grids, planned.tiling.size, count)
    check_used(regions, split)
    tiles, empty = _tiles(planned, regions)
    _check_labelled(tiles, split)
    write_tiles(folder, tiles, scenes, planned.legend)
    made = filled(replace(planned, statistics=measure(planned, summary)))
    made.save()
    summarize(made, tiles, empty, summary)
    warn_unused(made, tiles, regions, summary)
    summary.note(f"data set: {folder} (look at {folder / 'tiles.gpkg'} and targets/ in QGIS)")


def filled(made: Dataset) -> Dataset:
    """The data set with the bands' means where bands of its partial scenes have no data."""
    means = made.statistics.mean
    scenes = [scene.filled(means) for scene in made.scenes]
    return replace(made, scenes=tuple(scenes))


def _tiles(made: Dataset, regions: list[Region]) -> tuple[list[Tile], dict[str, int]]:
    """Tiles with a labelled pixel, and how many were left out, per split."""
    count = counter(made)
    tiles: list[Tile] = []
    empty = dict.fromkeys(SPLITS, 0)
    for region in sorted(regions, key=lambda r: (r.scene, r.window.top, r.window.left)):
        for window in made.tiling.tiles(region.window):
            counts = tuple(int(n) for n in count(region.scene, window))
            if sum(counts):
                tiles.append(Tile(region.scene, region.split, window, region.window, counts))
            else:
                empty[region.split] += 1
    return tiles, empty


def _check_labelled(tiles: list[Tile], split: Split) -> None:
    """Raises: InputError if a split that was asked for has no labelled tile."""
    faults = Faults()
    present = {tile.split for tile in tiles}
    asked = {"train"} | {name for name in ("val", "test") if getattr(split, name)}
    for name in SPLITS:
        if name in asked and name not in present:
            faults.add(f"split.{name}: none of its tiles has a labelled pixel; choose other scenes")
    faults.raise_if_any()


def _nothing(made: Dataset, labels: Labels) -> str:
    """The fault of labels that touch scenes and leave no pixel labelled."""
    grids = {scene.name: scene.grid for scene in made.scenes}
    with open_labels(labels, made.legend, scenes=grids) as source:
        small = source.small_objects(list(grids.values()))
    look = "look at targets/ in QGIS, and check labels.field, labels.area and the scenes' nodata"
    return (
        f"{labels.path}: no labelled pixel on any scene ({', '.join(grids)}), though the extents"
        f" overlap; {'; '.join([*small, look])}"
    )


def check_classes(legend: Legend, counts: npt.ArrayLike, labels: Labels) -> None:
    """Refuse labels of one class: there would be nothing to tell it from.

    counts: amount of each class (K,).
    Raises: InputError with the remedy.
    """
    if len(legend) == 1:
        (name,) = legend.names
        raise InputError(
            f"legend: {name} is its only class, and a network needs one to tell it from; add a"
            " class for all else, say {code: 2, name: other, color: grey}, before it, and set"
            " labels.background=other"
        )
    amounts = np.asarray(counts).tolist()
    found = [name for name, amount in zip(legend.names, amounts, strict=True) if amount]
    if len(found) > 1:
        return
    others = ", ".join(name for name in legend.names if name not in found)
    remedy = (
        f"set labels.background=<{others}> for what lies outside the polygons"
        if labels.background is None
        else f"labels.background={labels.background} fills all: check where the polygons lie"
    )
    raise InputError(
        f"{labels.path}: all that is labelled is {found[0]}, and nothing of {others}: there is"
        f" nothing to tell it from; {remedy}, or give labels of other classes"
    )


def measure(made: Dataset, summary: Summary) -> BandStatistics:
    """Statistics of the bands over the train tiles."""
    tiles = made.tiles("train")
    step = max(1, -(-len(tiles) // (MEASURED_TILES if made.reference is None else MEASURED_SERIES)))
    if step > 1:
        summary.note(f"statistics: from {len(tiles[::step])} of {len(tiles)} train tiles")
    # Bands of an image are valid together; of a date, or of a partial image, some may be missing.
    together = made.reference is None and not any(scene.partial for scene in made.scenes)
    counts = [len(made.bands)] if together else [1] * len(made.bands)
    measures = [Measure(count) for count in counts]
    highs: dict[str, float] = {}
    usual: dict[str, float] = {}
    for scene in made.scenes:
        chosen = [tile for tile in tiles[::step] if tile.scene == scene.name]
        if not chosen:
            continue
        high = bright = -np.inf
        with scene.open() as reader:
            for tile in chosen:
                parts = _observations(scene, reader, tile.window, together=together)
                for measure, (image, valid) in zip(measures, parts, strict=True):
                    measure.add(image, valid)
                    if valid.any():
                        seen = image[:, valid]
                        high = max(high, float(seen.max()))
                        bright = max(bright, float(np.percentile(seen[:, ::BRIGHT_STEP], 98)))
        highs[scene.name], usual[scene.name] = high, bright
    ranges = {name: nominal_range(high) for name, high in highs.items() if np.isfinite(high)}
    # Single pixels, as a mast in a radar image, are in no other unit than all the others.
    most = [nominal_range(usual[name]) for name in ranges]
    if ranges and min(max(of) / min(of) for of in (ranges.values(), most)) >= BRIGHTER:
        low, high_name = min(ranges, key=ranges.__getitem__), max(ranges, key=ranges.__getitem__)
        dtypes = {scene.name: scene.dtype for scene in made.scenes}
        one, two = ((highs[name], dtypes[name]) for name in (low, high_name))
        summary.warn(
            f"scenes differ in units: values of {low} reach {highs[low]:g}, of {high_name}"
            f" {highs[high_name]:g}; bring them to one scale ({remedy(one, two)}?)"
        )
    _check_measured(made, measures)
    made_of = BandStatistics.joined([measure.result() for measure in measures])
    stretched = [
        number + place for number, measure in enumerate(measures) for place in measure.stretched
    ]
    for text in said_of_extremes(made.bands, made_of, stretched):
        summary.warn(text)
    return made_of


def _observations(
    scene: AnyScene, reader: SceneReader | DatedReader, window: Window, *, together: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """An image (C, H, W) with its valid (H, W), or of each band (1, H, W) and (H, W).

    Of dated scenes each band's are (1, T, H, W) and (T, H, W).
    """
    if isinstance(reader, DatedReader):
        image, _ = reader.read(window)
        values = image.reshape(len(scene.dates), -1, *image.shape[1:])
        seen = observed(values)
        return [(values[None, :, band], seen[:, band]) for band in range(values.shape[1])]
    if together:
        return [reader.read(window)]
    image, holds = reader.read_each(window)
    each = np.broadcast_to(holds, image.shape)
    return [(image[band][None], each[band]) for band in range(len(image))]


def _check_measured(made: Dataset, measures: list[Measure]) -> None:
    """Raises: InputError if a band of dated scenes was never observed."""
    if len(measures) < len(made.bands):
        return
    empty = [band for band, each in zip(made.bands, measures, strict=True) if not each.count]
    if empty:
        raise InputError(
            f"band {', '.join(empty)}: not one clear observation in the train tiles; leave it out"
            " with bands.order, or check the masks and bands.nodata"
        )


@dataclass(frozen=True)
class PrepareSettings:
    """How scenes and labels become a data set."""

    bands: Bands = field(default_factory=Bands)
    tiling: Tiling = field(default_factory=Tiling)
    split: Split = field(default_factory=Split)
    retile: bool = False
    """Let it refer to tiled copies of those files that are slow to read by windows."""
    corrections: str | None = None
    """File of what was drawn over a map, to be burnt over the labels."""

    def told(self, labels: Labels) -> dict[str, Any]:
        """For the description of the data set."""
        told: dict[str, Any] = {
            "labels": asdict(labels),
            "bands": self.bands.settings(),
            "tiling": asdict(self.tiling),
            "split": asdict(self.split),
        }
        # Named only where they are given, or older outputs would be others.
        if self.corrections is not None:
            told["corrections"] = str(self.corrections)
        if self.retile:
            told["retile"] = True
        return told


@alone("prepare", "dataset")
def prepare(
    scenes: tuple[Scene, ...],
    labels: Labels,
    legend: Legend,
    dataset: str | Path,
    *,
    settings: PrepareSettings | None = None,
    overwrite: bool = False,
) -> Summary:
    """Make a data set from scenes and labels in the folder `dataset`, or go on in it.

    Returns: what was found, as a text for people.
    Raises: InputError for labels that miss all scenes, unknown values, splits without tiles …
    """
    settings = settings or PrepareSettings()
    tiling, split = settings.tiling, settings.split
    if settings.retile:
        blocks.check_room(scenes, Path(dataset))
    told = settings.told(labels)
    planned = Dataset(Path(dataset), scenes, NOTHING, legend, tiling, pixel_size(scenes), told)
    summary = Summary()
    split.check_names(scene.name for scene in scenes)
    with clearing(planned.folder, (DESCRIPTION,)):
        with labels_of(planned, labels, settings.corrections) as source:
            made = made_of(planned, source)
            claim(planned.folder, made, command="prepare", products=PRODUCTS, overwrite=overwrite)
            if is_made(planned.folder, summary):
                return summary
            burn(planned, source, summary)
        if settings.retile:
            scenes, said = blocks.retile(scenes, planned.folder, tiling.size)
            summary.notes(said)
        else:
            blocks.remove_copies(planned.folder, scenes)
        if slow := blocks.complaint(scenes, tiling.size):
            summary.note(slow)
        finish(replace(planned, scenes=scenes), labels, split, summary)
    return summary
