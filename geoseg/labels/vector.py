"""Read vector files of labels window by window."""

from __future__ import annotations

from collections import Counter

import numpy as np
import shapely

from geoseg.errors import Faults
from geoseg.geo import extent
from geoseg.geo.extent import Bounds
from geoseg.geo.grid import Grid, Window, same_crs
from geoseg.geo.vector import KEEP, LABELS, Features, Layer
from geoseg.labels.shapes import (
    COLLECTION,
    LINE,
    MULTILINE,
    MULTIPOINT,
    MULTIPOLYGON,
    POINT,
    POLYGON,
    RING,
    finite,
    mend,
    metre,
    project,
    widen,
)
from geoseg.labels.values import Counts, Meaning, encoding_hint

REACH = 1024
"""Smaller windows share what was read for a square of this side in pixels."""
HELD = 3_000_000
"""Vertices kept ready for the next windows: about 150 MB."""
PAGE = 3000
"""What a page counts beside its vertices: many small scenes must not leave too many to search."""
LONG_WAY = 0.9
"""Of the way round the globe: of polygons that are no longer, most are meant so."""
STROKES = (LINE, RING, MULTILINE)


class VectorLabels:
    """Polygons, and lines with a width, of one layer."""

    def __init__(
        self,
        path: str,
        meaning: Meaning,
        *,
        layer: str | None = None,
        where: str | None = None,
        pages: Pages | None = None,
        keep: int = KEEP,
    ) -> None:
        """Open and check a vector file in one pass.

        pages: memory shared with other files. keep: see Layer.scan.
        Raises: InputError with all faults of the file.
        """
        self._meaning = meaning
        columns = [name for name in (meaning.field, meaning.width_field) if name]
        self._layer = Layer(
            path,
            name=layer,
            where=where,
            columns=tuple(columns),
            prefix=meaning.prefix,
            encoding=meaning.encoding,
        )
        self.path, self.crs = self._layer.path, self._layer.crs
        self.bounds: Bounds | None = None
        """Of all geometries, in the file's CRS; None if there is none."""
        self.notes: list[str] = []
        self._areas = np.empty(0, np.float32)
        self._widest = 0.0
        self._pages = Pages() if pages is None else pages
        self._check(keep)

    def _check(self, keep: int) -> None:
        seen: Counter[str] = Counter()
        unknown: Counts = Counter()
        boxes, areas = [], []
        for features in self._layer.scan(keep=keep):
            geometries = features.geometries
            kinds = shapely.get_type_id(geometries)
            empty = ~finite(geometries) | shapely.is_empty(geometries)
            lines = np.isin(kinds, STROKES) & ~empty
            seen["features"] += len(kinds)
            drawn = np.isin(kinds, (POLYGON, MULTIPOLYGON)) & ~empty
            areas.append(shapely.area(geometries[drawn]).astype(np.float32))
            seen["empty"] += int(empty.sum())
            seen["lines"] += int(lines.sum())
            seen["points"] += int((np.isin(kinds, (POINT, MULTIPOINT)) & ~empty).sum())
            seen["collections"] += int(((kinds == COLLECTION) & ~empty).sum())
            seen["around"] += int(self._around_the_globe(geometries[drawn]).sum())
            seen["invalid"] += int((~shapely.is_valid(geometries) & ~lines & ~empty).sum())
            if lines.any():
                widths = self._widths(features.take(lines))
                seen["widthless"] += int((~(widths > 0)).sum())
                self._widest = max(self._widest, float(np.nan_to_num(widths).max()))
            if not empty.all():
                boxes.append(shapely.total_bounds(geometries[~empty]))
            if self._meaning.field:
                unknown += self._meaning.codes(features.columns[self._meaning.field])[1]
        self._areas = np.concatenate(areas) if areas else self._areas
        if boxes:
            low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
            self.bounds = (float(low[0]), float(low[1]), float(high[2]), float(high[3]))
        self._judge(seen, unknown)

    def _around_the_globe(self, polygons: np.ndarray) -> np.ndarray:
        """Which polygons (N,) of a geographic CRS go the long way round: (N,) bool."""
        turn = extent.full_turn(self.crs)
        left, _, right, _ = shapely.bounds(polygons).T.reshape(4, -1)
        # What was cut at the antimeridian ends there.
        within = (left > -turn / 2) & (right < turn / 2)
        return np.asarray(within & (right - left > LONG_WAY * turn) & (turn > 0))

    @property
    def polygons(self) -> int:
        """How many polygons there are."""
        return len(self._areas)

    def smaller_than(self, square_m: float) -> int:
        """How many polygons are smaller than this many square metres on the ground."""
        if self.bounds is None or not len(self._areas):
            return 0
        left, bottom, right, top = self.bounds
        middle = np.array([[(left + right) / 2, (bottom + top) / 2]])
        units = abs(float(np.linalg.det(metre(self.crs, middle)[0])))
        return int(np.count_nonzero(self._areas < square_m * units))

    def _judge(self, seen: Counter[str], unknown: Counts) -> None:
        faults, path, prefix = Faults(), self.path, self._meaning.prefix
        if seen["points"]:
            chosen = f", or leave the points out with {prefix}where" * prefix.startswith(LABELS)
            faults.add(
                f"{path}: {seen['points']} of {seen['features']} geometries are points, which cover"
                f" no pixel; give polygons{chosen}"
            )
        if seen["widthless"]:
            faults.add(
                f"{path}: {seen['widthless']} of {seen['lines']} lines have no width; set"
                f" {prefix}width_m=<metres> or {prefix}width_field=<attribute with metres>"
                if prefix == LABELS
                else f"{path}: {seen['lines']} of {seen['features']} geometries are lines;"
                " only polygons can bound an area"
            )
        if unknown and not self._meaning.skip_unknown:
            hint = encoding_hint(unknown, self._meaning.lookup)
            faults.add(f"{path}: {self._meaning.describe(unknown, '×')}{hint}")
        faults.raise_if_any()
        if unknown:
            self.notes.append(f"{path}: {self._meaning.describe(unknown, '×')}")
        for what, said in (
            ("empty", "empty, null or broken geometries left out"),
            ("invalid", "geometries with invalid rings repaired"),
            ("collections", "geometries that are collections, of which only polygons count"),
            (
                "around",
                "polygons reach around the globe, as those do that cross the antimeridian and were"
                " not cut there: they would cover all but what was drawn; cut them:"
                " ogr2ogr -wrapdateline NEW.gpkg FILE (from the CRS that they were drawn in)",
            ),
        ):
            if seen[what]:
                self.notes.append(f"{path}: {seen[what]} of {seen['features']} {said}")
        if not seen["features"]:
            self.notes.append(f"{path}: holds no geometry")
        if self._layer.is_slow:
            self.notes.append(
                f"{path}: large and without a spatial index, so slow to read;"
                " make one: ogr2ogr -f GPKG NEW.gpkg FILE"
            )

    def _widths(self, features: Features) -> np.ndarray:
        """Width of each feature in metres (N,); NaN where there is none."""
        width = np.nan if self._meaning.width_m is None else self._meaning.width_m
        widths = np.full(len(features.geometries), width, float)
        if self._meaning.width_field:
            own = _numbers(features.columns[self._meaning.width_field])
            widths = np.where(own > 0, own, widths)
        return widths

    def shapes(self, grid: Grid, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Polygons (N,) in the grid's CRS that may touch the window, and their codes (N,) uint8."""
        if not self._places(self._around(grid, window)):
            return np.empty(0, object), np.empty(0, np.uint8)
        page = self._pages.find(self, grid, window)
        if page is None:
            page = self._load(grid, self._reach(grid, window))
            self._pages.add(self, page)
        found = np.sort(page.tree.query(shapely.box(*grid.bounds_of(window.grow(2)))))
        return page.polygons[found], page.codes[found]

    def _reach(self, grid: Grid, window: Window) -> Window:
        """What to read for a window: windows come in rows, so what lies right and below is next."""
        bottom, right = window.top + REACH, window.left + REACH
        if not same_crs(self.crs, grid.crs):
            # Cut for this scene, so of no use to another that lies beyond.
            bottom, right = min(bottom, grid.height), min(right, grid.width)
        height = max(bottom - window.top, window.height)
        width = max(right - window.left, window.width)
        return Window(window.top, window.left, height, width).grow(8)

    def _load(self, grid: Grid, window: Window) -> _Page:
        """Read a part of a scene; `grid` is that of the whole scene."""
        scene = None if same_crs(self.crs, grid.crs) else grid
        held = grid.crop(window)
        around = self._around(grid, window)
        if around is None:
            return _Page(held, np.empty(0, object), np.empty(0, np.uint8), scene=scene)
        # Cut by the whole scene, not by the window: on no window may a cut edge lie otherwise.
        # Only a window that lies far outside its scene may need more than that.
        room = self._around(grid, grid.window.grow(16))
        within = extent.union([room and extent.widen(room, 1), around]) or around
        drawn = [self._drawn(grid, box, within, by=by) for by, box in self._places(around)]
        polygons = np.concatenate([np.empty(0, object), *(parts for parts, _ in drawn)])
        codes = np.concatenate([np.empty(0, np.uint8), *(codes for _, codes in drawn)])
        return _Page(held, polygons, codes, scene=scene)

    def _drawn(
        self, grid: Grid, box: Bounds, within: Bounds, *, by: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Polygons (M,) in the grid's CRS of what lies in a box of the file's, and their codes.

        by: how far east of the scene the file counts the same longitudes. within: of the scene.
        """
        features = self._layer.read(box)
        codes = np.full(len(features.geometries), self._meaning.code, np.uint8)
        if self._meaning.field:
            codes, _ = self._meaning.codes(features.columns[self._meaning.field])
        widths = self._widths(features)
        parts, index = mend(features.geometries)
        if by:
            parts = shapely.transform(parts, lambda places: places - (by, 0.0))
            if not self._crosses(grid):
                # Most projections are torn there, and what reaches across would be torn with them.
                half = extent.full_turn(self.crs) / 2
                within = max(within[0], -half), within[1], min(within[2], half), within[3]
        pixel = min(grid.resolution)
        parts, origin = project(parts, self.crs, grid.crs, pixel=pixel, within=within)
        index = index[origin]
        lines = np.isin(shapely.get_type_id(parts), STROKES)
        parts[lines] = widen(parts[lines], widths[index][lines], grid.crs)
        # Again: another CRS bends edges, and a wide line may close upon itself.
        parts, origin = mend(parts)
        return parts, codes[index[origin]]

    def _places(self, around: Bounds | None) -> list[tuple[float, Bounds]]:
        """Where in the file something may lie that a box shows, as `extent.turned` gives it."""
        if around is None:
            return []
        places = extent.turned(around, self.crs)
        return [(by, box) for by, box in places if extent.cross(box, self.bounds)]

    def _crosses(self, grid: Grid) -> bool:
        """Whether the antimeridian goes through a scene, which is no edge in its own CRS."""
        return extent.across_antimeridian(grid.bounds, grid.crs, self.crs)

    def overlaps(self, grid: Grid) -> bool:
        """Whether the extents of the file and of a scene have an area in common."""
        inside = extent.bounds_beyond if self._crosses(grid) else extent.bounds_in
        return bool(self._places(inside(grid.bounds, grid.crs, self.crs)))

    def _around(self, grid: Grid, window: Window) -> Bounds | None:
        """Bounds in the file's CRS of all that may reach into a window.

        None where that CRS isn't defined: then nothing of the file lies there.
        """
        reach = 2.0
        if self._widest:
            middle = grid.transform @ (window.left + window.width / 2, window.top)
            units = np.abs(metre(grid.crs, np.array([middle]))).max()
            reach += self._widest / 2 * 1.2 * units / min(grid.resolution)
        if not np.isfinite(reach):
            return None
        outer = grid.bounds_of(window.grow(int(reach)))
        inside = extent.bounds_beyond if self._crosses(grid) else extent.bounds_in
        inner = inside(outer, grid.crs, self.crs)
        return inner and extent.widen(inner, 0.01)


class _Page:
    """What was read for a part of a grid, ready to burn.

    scene: the grid that the polygons were cut for: on another one they may be missing. None = they
    are whole, as they needed no other CRS, and good for all scenes.
    """

    def __init__(
        self, grid: Grid, polygons: np.ndarray, codes: np.ndarray, *, scene: Grid | None
    ) -> None:
        self.grid, self.polygons, self.codes, self.scene = grid, polygons, codes, scene
        self.tree = shapely.STRtree(polygons)
        self.vertices = int(shapely.get_num_coordinates(polygons).sum())

    def covers(self, grid: Grid, window: Window) -> bool:
        if self.scene is not None and grid != self.scene:
            return False
        if (grid.crs, grid.resolution) != (self.grid.crs, self.grid.resolution):
            return False
        left, bottom, right, top = grid.bounds_of(window.grow(2))
        x0, y0, x1, y1 = self.grid.bounds
        return x0 <= left and y0 <= bottom and x1 >= right and y1 >= top


class Pages:
    """What was read of some files of late; the oldest goes when there is too much."""

    def __init__(self) -> None:
        self._held: list[tuple[object, _Page]] = []

    def find(self, owner: object, grid: Grid, window: Window) -> _Page | None:
        for entry in reversed(self._held):
            if entry[0] is owner and entry[1].covers(grid, window):
                self._held.remove(entry)
                self._held.append(entry)
                return entry[1]
        return None

    def add(self, owner: object, page: _Page) -> None:
        self._held.append((owner, page))
        while len(self._held) > 1 and sum(p.vertices + PAGE for _, p in self._held) > HELD:
            del self._held[0]


def _numbers(values: np.ndarray) -> np.ndarray:
    """Values (N,) of any type as float; NaN where they aren't numbers."""
    if values.dtype.kind in "iuf":
        return values.astype(float)
    numbers = np.full(len(values), np.nan)
    for place, value in enumerate(values):
        try:
            numbers[place] = float(value)
        except (TypeError, ValueError):
            continue
    return numbers
