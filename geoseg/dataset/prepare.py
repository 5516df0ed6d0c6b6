"""Prepare a data set from scenes and labels.

Scenes are images or dated; for a command only the settings differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.dataset import retile as blocks
from geoseg.dataset.split import SPLITS, Region, Split, check_used, leakage_m
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
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import UNLABELLED, Legend
from geoseg.geo.raster import Raster, all_bands, any_band
from geoseg.geo.tiling import Tiling
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.labels.source import LabelSource
from geoseg.maps import landcover
from geoseg.outputs.claims import claim, fingerprint
from geoseg.outputs.files import clearing, read_note
from geoseg.outputs.lock import alone
from geoseg.outputs.summary import Summary
from geoseg.scenes.alpha import said_of_alpha
from geoseg.scenes.bands import Bands, BandStatistics, Measure, nominal_range
from geoseg.scenes.dated import MEMORY, AnyScene, DatedReader, DatedScene
from geoseg.scenes.inspection import Inspection
from geoseg.scenes.measure_units import remedy
from geoseg.scenes.scene import Scene, SceneReader, said_of_changes
from geoseg.scenes.stack import observed

STRIP = 1024
"""Rows that are burnt at a time; a multiple of the blocks of the written file."""
SLIVER = 8
"""Pixels; tiles narrower than this are named."""
MEASURED_TILES = 4000
"""Tiles measured for the statistics at most, drawn evenly: more change no digit that counts."""
MEASURED_SERIES = 400
"""The same for dated scenes, whose tiles hold all dates."""
NOTHING = BandStatistics((), (), (), (), (), ())
"""Statistics that are still to be measured."""


def burn(
    planned: Dataset,
    labels: Labels,
    summary: Summary,
    *,
    command: str,
    products: tuple[str, ...],
    overwrite: bool = False,
    corrections: str | None = None,
) -> bool:
    """Claim the folder of a planned data set for a command, and burn the targets in it.

    Scenes whose target is there are not burnt again. corrections: file of what was drawn over a
    map, to be burnt over the labels.
    Returns: whether there is more to do; no, if the data set is whole.
    Raises: InputError for labels that miss all scenes, unknown values, another data set there …
    """
    folder, scenes, legend = planned.folder, planned.scenes, planned.legend
    grids = {scene.name: scene.grid for scene in scenes}
    with open_labels(labels, legend, scenes=grids, corrections=corrections) as source:
        inputs = [fingerprint(path) for path in sorted({p for s in scenes for p in s.paths})]
        inputs += [fingerprint(path) for path in source.paths]
        claimed = planned.settings | {"legend": legend.to_dict(), "inputs": inputs}
        claim(folder, claimed, command=command, products=products, overwrite=overwrite)
        if is_made(folder, summary):
            return False
        looks = []
        for scene in scenes:
            look = Inspection.of(scene, scenes)
            path = planned.target(scene.name)
            if _is_burnt(path, scene):
                for _ in _valid(scene, look):
                    pass
            else:
                _write_target(scene, source, legend, path, look=look)
            landcover.complete(path, legend)
            looks.append(look)
        summary.notes(source.notes)
        for look in looks:
            for text in look.said(looks):
                summary.warn(text)
        images = [scene for scene in scenes if isinstance(scene, Scene)]
        summary.notes(said_of_changes(images, "most scenes"))
        if not planned.settings["bands"].get("names"):
            summary.notes(said_of_alpha((s.name, s.paths[0], s.bands) for s in images))
    return True


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
    names = ", ".join(lost[:5]) + (" …" if len(lost) > 5 else "")
    summary.note(f"{names}: gone, cut short or changed since; made again")
    for name in lost:
        (folder / name).unlink(missing_ok=True)
    description.unlink(missing_ok=True)
    return False


def _is_burnt(path: Path, scene: AnyScene) -> bool:
    """Whether an earlier call has burnt the target of a scene."""
    if not path.exists():
        return False
    try:
        grid = raster.info(path).grid
        raster.check_whole(path)
    except (InputError, *raster.READ_ERRORS):  # emptied or cut short since
        return False
    return grid is not None and grid.coincides(scene.grid)


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
    _check_labelled(tiles, labels, planned, split)
    write_tiles(folder, tiles, scenes, planned.legend)
    made = filled(replace(planned, statistics=measure(planned, summary)))
    made.save()
    _summarize(made, tiles, empty, summary)
    _warn_unused(made, tiles, regions, summary)
    summary.note(f"data set: {folder} (look at {folder / 'tiles.gpkg'} and targets/ in QGIS)")


def filled(made: Dataset) -> Dataset:
    """The data set with the bands' means where bands of its partial scenes have no data."""
    means = made.statistics.mean
    scenes = [scene.filled(means) for scene in made.scenes]
    return replace(made, scenes=tuple(scenes))


def _write_target(
    scene: AnyScene, source: LabelSource, legend: Legend, path: Path, *, look: Inspection
) -> None:
    """Burn the labels of one scene: codes, 255 where unlabelled, 0 where the scene has no data."""
    grid = scene.grid
    options = {"dtype": "uint8", "nodata": 0, "colors": legend.colors()}
    with raster.create(path, grid, **options) as writer:  # type: ignore[arg-type]
        for window, valid in _valid(scene, look):
            target = source.burn(grid, window, scene=scene.name)
            target[~valid] = 0
            writer.write(target, window)


def _valid(scene: AnyScene, look: Inspection) -> Iterator[tuple[Window, np.ndarray]]:
    """Windows that partition a scene, and where it is valid; it is inspected on the way."""
    with scene.open() as reader:
        for window in _windows(scene):
            if isinstance(reader, DatedReader):
                image, valid = reader.read(window)
                look.add_dates(image)
            else:
                image, holds = reader.read_each(window)
                look.add(image, holds, window)
                valid = (any_band if reader.scene.partial else all_bands)(holds)
            yield window, valid


def _windows(scene: AnyScene) -> Iterator[Window]:
    """Windows that partition a scene, small enough to hold."""
    if isinstance(scene, DatedScene):
        return scene.stack.windows(MEMORY)
    return strips(scene.grid)


def strips(grid: Grid) -> Iterator[Window]:
    """Windows of whole blocks, small enough to hold at any width of the grid."""
    for top in range(0, grid.height, STRIP):
        for left in range(0, grid.width, 4 * STRIP):
            yield Window(
                top, left, min(STRIP, grid.height - top), min(4 * STRIP, grid.width - left)
            )


def counter(made: Dataset) -> Callable[[str, Window], np.ndarray]:
    """A function (scene, window) → labelled pixels per class (K,), with few files open."""
    opened: dict[str, Raster] = {}

    def count(scene: str, window: Window) -> np.ndarray:
        if scene not in opened:
            for other in list(opened):
                opened.pop(other).close()
            opened[scene] = Raster(made.target(scene))
        codes, _ = opened[scene].read(window)
        return np.bincount(codes.ravel(), minlength=256)[made.legend.codes]

    return count


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


def _check_labelled(tiles: list[Tile], labels: Labels, made: Dataset, split: Split) -> None:
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


def _warn_unused(made: Dataset, tiles: list[Tile], regions: list[Region], summary: Summary) -> None:
    """Name scenes of which nothing is in a split, or that are narrower than a tile."""
    used = {tile.scene for tile in tiles}
    named = {region.scene for region in regions}
    unnamed = [scene for scene in made.scenes if scene.name not in named]
    unlabelled = [scene for scene in made.scenes if scene.name in named - used]
    for why, scenes in (
        ("no split names them, so they are not used", unnamed),
        ("nothing labelled of them is in a split", unlabelled),
    ):
        if scenes:
            summary.warn(f"scenes {_few([scene.name for scene in scenes])}: {why}")
    size = made.tiling.size
    narrow = [s for s in made.scenes if min(s.grid.height, s.grid.width) < size]
    if narrow:
        summary.note(
            f"scenes {_few([s.name for s in narrow])}: narrower than a tile of {size} pixels, so"
            " their tiles are smaller; a smaller tiling.size fits them"
        )
    slivers = [t for t in tiles if min(t.window.height, t.window.width) < SLIVER]
    if slivers:
        summary.note(
            f"{len(slivers)} of {len(tiles)} tiles are slivers narrower than {SLIVER} pixels, of"
            f" scenes {_few(sorted({t.scene for t in slivers}))}"
        )


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
    for scene in made.scenes:
        chosen = [tile for tile in tiles[::step] if tile.scene == scene.name]
        if not chosen:
            continue
        high = -np.inf
        with scene.open() as reader:
            for tile in chosen:
                parts = _observations(scene, reader, tile.window, together=together)
                for measure, (image, valid) in zip(measures, parts, strict=True):
                    measure.add(image, valid)
                    if valid.any():
                        high = max(high, float(image[:, valid].max()))
        highs[scene.name] = high
    ranges = {name: nominal_range(high) for name, high in highs.items() if np.isfinite(high)}
    if ranges and max(ranges.values()) >= 8 * min(ranges.values()):
        low, high_name = min(ranges, key=ranges.__getitem__), max(ranges, key=ranges.__getitem__)
        dtypes = {scene.name: scene.dtype for scene in made.scenes}
        one, two = ((highs[name], dtypes[name]) for name in (low, high_name))
        summary.warn(
            f"scenes differ in units: values of {low} reach {highs[low]:g}, of {high_name}"
            f" {highs[high_name]:g}; bring them to one scale ({remedy(one, two)}?)"
        )
    _check_measured(made, measures)
    return BandStatistics.joined([measure.result() for measure in measures])


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


def _summarize(made: Dataset, tiles: list[Tile], empty: dict[str, int], summary: Summary) -> None:
    """Tables of scenes, splits, classes and bands; what a person must know before training."""
    _scene_table(made, summary)
    counts = {
        name: np.array([t.counts for t in tiles if t.split == name]).sum(axis=0)
        for name in SPLITS
        if any(t.split == name for t in tiles)
    }
    present = {name: [t for t in tiles if t.split == name] for name in counts}
    rows = [
        [
            name,
            len(present[name]),
            empty[name],
            sum(t.window.area for t in present[name]),
            f"{counts[name].sum() / sum(t.window.area for t in present[name]):.1%}",
        ]
        for name in counts
    ]
    header = ["split", "tiles", "left out (no labelled pixel)", "pixels", "labelled"]
    summary.table("Splits", header, rows)
    rows = [
        [c.code, c.name, *(f"{n[i] / max(1, n.sum()):.2%}" for n in counts.values())]
        for i, c in enumerate(made.legend.classes)
    ]
    summary.table("Share of the labelled pixels", ["code", "class", *counts], rows)
    s = made.statistics
    columns = zip(made.bands, s.mean, s.std, s.p2, s.p98, strict=True)
    summary.table(
        "Bands over the train tiles",
        ["band", "mean", "std", "2 %", "98 %"],
        [[name, *(f"{value:.5g}" for value in values)] for name, *values in columns],
    )
    _warn(made, counts, present, summary)


def _scene_table(made: Dataset, summary: Summary) -> None:
    rows = []
    for scene in made.scenes:
        histogram = np.zeros(256, np.int64)
        with Raster(made.target(scene.name)) as target:
            for window in strips(scene.grid):
                histogram += np.bincount(target.read(window)[0].ravel(), minlength=256)
        area = max(1, scene.grid.window.area)
        rows.append(
            [
                scene.name,
                f"{scene.grid.width} × {scene.grid.height}",
                f"{scene.grid.pixel_size_m:.3g} m",
                _described(scene),
                f"{histogram[0] / area:.1%}",
                f"{histogram[UNLABELLED] / area:.1%}",
            ]
        )
        if histogram[0] == area:
            summary.warn(f"{scene.name}: no valid pixel at all")
        elif not histogram[made.legend.codes].sum():
            summary.warn(f"{scene.name}: no labelled pixel")
    summary.table(
        "Scenes", ["scene", "width × height", "pixel", "bands", "nodata", "unlabelled"], rows
    )


def _described(scene: AnyScene) -> str:
    """How many bands, and dates, of what type."""
    dates = f" × {len(scene.dates)} dates" if scene.dates else ""
    return f"{len(scene.bands_of_a_date)}{dates} {scene.dtype}"


def _warn(
    made: Dataset,
    counts: dict[str, np.ndarray],
    present: dict[str, list[Tile]],
    summary: Summary,
) -> None:
    warn_absent(made.legend, counts, summary)
    sizes = {scene.name: scene.grid.pixel_size_m for scene in made.scenes}
    if max(sizes.values()) > 1.2 * min(sizes.values()):
        summary.warn(
            f"pixel sizes differ: {min(sizes.values()):.3g} to {max(sizes.values()):.3g} m"
        )
    grids = {scene.name: scene.grid for scene in made.scenes}
    windows = {name: [(grids[t.scene], t.window) for t in ts] for name, ts in present.items()}
    for a, b in (("train", "test"), ("train", "val"), ("val", "test")):
        distance = leakage_m(windows, a, b)
        if distance is None:
            continue
        summary.note(f"leakage: {a} and {b} pixels are at least {distance:,.0f} m apart")
        if distance == 0:
            summary.warn(f"{a} and {b} touch or overlap: the scores of {b} will flatter")


def warn_absent(legend: Legend, counts: dict[str, np.ndarray], summary: Summary) -> None:
    """Say which classes lack from which splits. counts: split → amount of each class (K,)."""
    total = np.sum(list(counts.values()), axis=0)
    for place, name in enumerate(legend.names):
        if not total[place]:
            summary.warn(f"class {name} of the legend never occurs")
        elif not counts["train"][place]:
            summary.warn(f"class {name} never occurs in the train split: it can't be learnt")
        else:
            absent = [split for split, n in counts.items() if not n[place]]
            if absent:
                summary.warn(f"class {name} never occurs in {' and '.join(absent)}")


@alone("prepare", "dataset")
def prepare(
    scenes: tuple[Scene, ...],
    labels: Labels,
    legend: Legend,
    dataset: str | Path,
    *,
    bands: Bands | None = None,
    tiling: Tiling | None = None,
    split: Split | None = None,
    overwrite: bool = False,
    retile: bool = False,
    corrections: str | None = None,
) -> Summary:
    """Make a data set from scenes and labels in the folder `dataset`, or go on in it.

    retile: let it refer to tiled copies of those files that are slow to read by windows.
    corrections: file of what was drawn over a map, to be burnt over the labels.
    Returns: what was found, as a text for people.
    Raises: InputError for labels that miss all scenes, unknown values, splits without tiles …
    """
    tiling, split, bands = tiling or Tiling(), split or Split(), bands or Bands()
    settings: dict[str, Any] = {
        "labels": asdict(labels),
        "bands": bands.settings(),
        "tiling": asdict(tiling),
        "split": asdict(split),
    }
    if corrections is not None:  # named only where it is given, or older outputs would be others
        settings["corrections"] = str(corrections)
    if retile:
        settings["retile"] = True
        blocks.check_room(scenes, Path(dataset))
    planned = Dataset(Path(dataset), scenes, NOTHING, legend, tiling, pixel_size(scenes), settings)
    summary = Summary()
    split.check_names(scene.name for scene in scenes)
    with clearing(planned.folder, (DESCRIPTION,)):
        if burn(
            planned, labels, summary, command="prepare", products=PRODUCTS, overwrite=overwrite,
            corrections=corrections,
        ):  # fmt: skip
            if retile:
                scenes, said = blocks.retile(scenes, planned.folder, tiling.size)
                summary.notes(said)
            else:
                blocks.remove_copies(planned.folder, scenes)
            slow = blocks.complaint(scenes, tiling.size)
            if slow:
                summary.note(slow)
            finish(replace(planned, scenes=scenes), labels, split, summary)
    return summary
