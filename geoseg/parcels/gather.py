"""Gather the pixels of parcels out of the stacks they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from geoseg.dataset.arrays import common_dtype, count_clear, write_arrays
from geoseg.dataset.audit import Audit, TileAudit
from geoseg.dataset.samples import Collected, Samples, load_pixels
from geoseg.dataset.settings import SampleSettings
from geoseg.errors import InputError
from geoseg.geo import extent
from geoseg.outputs.counted import counted, first
from geoseg.parcels.outlines import footprint, layers, outlines, overlaps, shape_features
from geoseg.parcels.parcels import Parcels
from geoseg.parcels.periods import When
from geoseg.parcels.pixel_sets import PixelSets, pixel_sets, points_together
from geoseg.scenes.fill_values import census_of, partial_note, said_of_fill
from geoseg.scenes.stack import Stack, check_stacks
from geoseg.series.masks import shares, told

if TYPE_CHECKING:
    from geoseg.models.card import SeriesCard
    from geoseg.series.settings import Series


SAME = 1e-3
"""Of a parcel's area: footprints are drawn to some metres, a difference below decides nothing."""


def collect(
    stacks: list[Stack],
    parcels: Parcels,
    codes: np.ndarray,
    folder: Path,
    *,
    series: Series,
    card: SeriesCard | None = None,
) -> Collected:
    """Find the pixels of all parcels, write the arrays of each tile, and say what was found.

    codes: (N,) class code of each parcel. card: of the network that parcels are predicted with; it
    says what days are counted from. A tile whose arrays are there is not read again.
    Raises: InputError if the stacks don't fit each other, or most parcels lie outside.
    """
    check_stacks(stacks)
    audit = Audit(notes=[note for stack in stacks for note in stack.notes] + parcels.notes)
    audit.notes += _said_of_periods(parcels, series)
    tile, others = _tiles(parcels, stacks)
    audit.add("outside", parcels.id[tile < 0].tolist())
    _check_outside(parcels, stacks, audit)
    dtype = common_dtype({stack.dtype for stack in stacks})
    when = When(stacks, series, parcels, card)
    parts, rows = [], []
    best, clear = tile.copy(), np.zeros(len(parcels))
    for number, stack in enumerate(stacks):
        # Tiles overlap, and one may be empty where another is not: at the edge of a swath.
        again = others[number][clear[others[number]] < series.fewest()]
        chosen = np.union1d(np.flatnonzero(tile == number), again)
        job = _Tile(stack, parcels.take(chosen), codes[chosen], parcels.samples)
        found, used = job.collect(folder, when, dtype, audit)
        mine = chosen[used]
        better = found.clear > clear[mine]
        best[mine[better]], clear[mine[better]] = number, found.clear[better]
        parts.append(found)
        rows.append(mine)
    whole, index = _joined(parts, rows, best)
    audit.settle(whole)
    audit.notes += _said_of_moved(int((best != tile).sum()), series)
    _check_outside(parcels, stacks, audit)
    if not len(whole):
        raise InputError(f"{parcels.named}: no parcel has a clear pixel; {_why_blind(stacks)}")
    audit.add("short", whole.id[whole.clear < series.fewest()].tolist())
    sizes = [stack.grid.pixel_size_m for stack in stacks]
    made = Collected(
        whole,
        parcels.geometry[index],
        parcels.crs,
        tuple(stacks[0].bands),
        dtype,
        when.reference,
        float(np.median(sizes)),
        stacks[0].tags,
    )
    audit.report(made.summary, len(whole))
    audit.write(folder)
    if max(sizes) > 1.2 * min(sizes):
        made.summary.warn(f"pixel sizes differ: {min(sizes):.3g} to {max(sizes):.3g} m")
    return made


def _said_of_moved(count: int, series: Series) -> list[str]:
    """What is to be said of samples that another tile than the first shows more often."""
    if not count:
        return []
    return [
        f"{counted(count, 'sample')} taken from another tile that holds them: the first one shows"
        f" them on fewer than {counted(series.fewest(), 'clear date')}"
    ]


def _said_of_periods(parcels: Parcels, series: Series) -> list[str]:
    if parcels.own_periods and (series.start or series.end):
        return ["series.start, series.end: passed over for samples that have a period of their own"]
    return []


def _joined(
    parts: list[Samples], rows: list[np.ndarray], best: np.ndarray
) -> tuple[Samples, np.ndarray]:
    """The samples of all tiles, each from its best, and the number of the parcel of each.

    rows: of each tile's samples, the numbers of their parcels. best: (N,) tile of each parcel.
    """
    kept = [best[mine] == number for number, mine in enumerate(rows)]
    chosen = [part.take(use) for part, use in zip(parts, kept, strict=True)]
    index = np.concatenate([mine[use] for mine, use in zip(rows, kept, strict=True)])
    columns = {
        name: np.concatenate([vars(part)[name] for part in chosen]) for name in vars(parts[0])
    }
    return Samples(**columns), index


def _why_blind(stacks: list[Stack]) -> str:
    """Where to look if nothing is clear: what the masks hold, and what of it counts as clear."""
    paths = sorted({path for stack in stacks for path in stack.masks})
    if not paths:
        return "do the images show them at all, and is bands.nodata right?"
    values = stacks[0].mask_values
    means = f"{', '.join(map(str, values))} mean" if values else "all but 0 means"
    return (
        f"the masks hold the values {told(shares(paths))}, of which {means} not clear; set"
        " series.mask_values to those that do"
    )


@dataclass
class _Tile:
    """The parcels of one tile on their way to samples."""

    stack: Stack
    parcels: Parcels
    codes: np.ndarray
    settings: SampleSettings

    def collect(
        self, folder: Path, when: When, dtype: str, audit: Audit
    ) -> tuple[Samples, np.ndarray]:
        """Samples of this tile, and the place of each among its parcels."""
        stack, parcels = self.stack, self.parcels
        shapes = outlines(parcels.geometry, parcels.crs, stack.grid)
        features = shape_features(shapes, stack.grid)
        pairs = overlaps(shapes)
        of, found = when.periods(stack, parcels)
        sets = pixel_sets(
            shapes,
            stack.grid,
            self.settings,
            ids=parcels.id,
            layer=layers(len(parcels), pairs),
        )
        counts = np.bincount(sets.owner, minlength=len(parcels))
        dated = np.array([len(one.index) > 1 for one in found], bool)[of]
        audit.add("dateless", parcels.id[~dated & (counts > 0)].tolist())
        sets = _keep(sets, dated)
        counts[~dated] = 0
        self._note(sets, counts, dated, audit)
        a, b = parcels.id[pairs].reshape(-1, 2).T
        audit.add("overlap", [f"{one} and {other}" for one, other in zip(a, b, strict=True)])
        same = points_together(sets, shapes.point_owner, of)
        codes = np.where(np.diff(self.codes[same]).any(axis=1), " of another class", "")
        a, b = parcels.id[same].T
        audit.add("together", [f"{x} and {y}{z}" for x, y, z in zip(a, b, codes, strict=True)])
        small = (features[:, 1] > 0) & (features[:, 1] < stack.grid.pixel_size_m**2)
        audit.add("small", parcels.id[small & (counts > 0)].tolist())
        if not len(sets.pixel):
            audit.notes.append(f"{stack.name}: no sample lies on this tile")
            return self._samples(features, counts, counts.astype(float), np.empty(0, np.int64))
        periods = when.spread(of, found, counts)
        if share := write_arrays(folder, stack, sets.pixel, periods=periods, dtype=dtype):
            audit.warnings.append(
                partial_note(stack.name, share, stack.partial, what="observations")
            )
        pixels, _ = load_pixels(folder, stack.name)
        audit.warnings += said_of_fill(stack.name, census_of(pixels, stack.bands))
        clear, asked, seen = count_clear(folder, stack.name, periods, len(stack.dates))
        total = np.bincount(sets.owner, weights=clear, minlength=len(parcels))
        mean = total / np.maximum(counts, 1)
        used = np.flatnonzero((counts > 0) & (mean > 0))
        audit.add("blind", parcels.id[(counts > 0) & (mean == 0)].tolist())
        audit.tiles.append(
            TileAudit(stack.name, tuple(stack.dates), len(used), len(sets.pixel), asked, seen)
        )
        return self._samples(features, counts, mean, used)

    def _note(self, sets: PixelSets, counts: np.ndarray, dated: np.ndarray, audit: Audit) -> None:
        ids, has = self.parcels.id, counts > 0
        drops = self.settings.tiny == "drop"
        lost = ~has & dated
        audit.add("dropped", ids[lost & sets.touched & drops].tolist())
        audit.add("outside", ids[lost & ~(sets.touched & drops)].tolist())
        audit.add("touched", ids[has & sets.touched].tolist())
        audit.add("unbuffered", ids[has & sets.unbuffered].tolist())

    def _samples(
        self, features: np.ndarray, counts: np.ndarray, clear: np.ndarray, used: np.ndarray
    ) -> tuple[Samples, np.ndarray]:
        parcels = self.parcels.take(used)
        centre = shapely.centroid(parcels.geometry)
        first = np.cumsum(counts) - counts
        name = self.stack.name
        samples = Samples(
            id=parcels.id,
            tile=np.full(len(used), name, object),
            split=np.full(len(used), "", object),
            code=self.codes[used].astype(np.int64),
            first=first[used].astype(np.int64),
            pixels=counts[used].astype(np.int64),
            group=parcels.group,
            fold_by=np.where(parcels.column == "", name, parcels.column).astype(object),
            x=shapely.get_x(centre),
            y=shapely.get_y(centre),
            clear=clear[used].astype(np.float64),
            shape=features[used],
        )
        return samples, used


def _keep(sets: PixelSets, chosen: np.ndarray) -> PixelSets:
    """Without the pixels of parcels that are not chosen (N,) bool."""
    use = chosen[sets.owner]
    return PixelSets(sets.owner[use], sets.pixel[use], sets.touched, sets.unbuffered)


def _tiles(parcels: Parcels, stacks: list[Stack]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The tile (N,) that holds most of each parcel, of equals the first; -1 = none.

    Returns: also, of each tile, the parcels that it holds as well as their tile does, which comes
    before it.
    """
    best = np.zeros(len(parcels))
    tile = np.full(len(parcels), -1, np.int64)
    tree = shapely.STRtree(parcels.geometry)
    shares: list[tuple[np.ndarray, np.ndarray]] = []
    for number, stack in enumerate(stacks):
        outline = footprint(stack.grid, parcels.crs)
        if outline is None:
            shares.append((np.empty(0, np.int64), np.empty(0)))
            continue
        near = np.sort(tree.query(outline, predicate="intersects"))
        share = np.ones(len(near))
        cut = ~shapely.contains_properly(_prepared(outline), parcels.geometry[near])
        geometries = parcels.geometry[near][cut]
        mended = np.where(shapely.is_valid(geometries), geometries, shapely.buffer(geometries, 0))
        areas = shapely.area(mended)
        shared = shapely.area(shapely.intersection(mended, outline))
        share[cut] = np.where(areas > 0, shared / np.where(areas > 0, areas, 1), 1)
        better = (share > best[near] + SAME) | ((tile[near] < 0) & (share > 0))
        tile[near[better]] = number
        best[near[better]] = share[better]
        shares.append((near, share))
    others = [
        near[(share >= best[near] - SAME) & (tile[near] >= 0) & (tile[near] < number)]
        for number, (near, share) in enumerate(shares)
    ]
    return tile, others


def _prepared(outline: shapely.Geometry) -> shapely.Geometry:
    shapely.prepare(outline)
    return outline


def _check_outside(parcels: Parcels, stacks: list[Stack], audit: Audit) -> None:
    """Raises: InputError if more than half of the parcels lie outside all tiles."""
    outside = audit.names.get("outside", [])
    if len(outside) <= len(parcels) / 2:
        return
    left, bottom, right, top = shapely.total_bounds(parcels.geometry)
    own = extent.bounds_in((left, bottom, right, top), parcels.crs, extent.WGS84)
    theirs = extent.union(
        extent.bounds_in(stack.grid.bounds, stack.grid.crs, extent.WGS84) for stack in stacks
    )
    swapped = extent.cross(extent.swapped(own), theirs) and not extent.cross(own, theirs)
    hint = "x and y look swapped in the labels" if swapped else "is the CRS of either wrong?"
    raise InputError(
        f"{parcels.named}: {len(outside)} of {len(parcels)} samples outside all tiles"
        f" ({first(outside)}): samples at {extent.degrees(own)}; tiles at"
        f" {extent.degrees(theirs)}; {hint}"
    )
