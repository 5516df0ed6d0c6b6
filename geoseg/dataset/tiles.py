"""Store and load data sets of tiles: scenes, targets, split and statistics.

That of prepare_series for unit=map is the same, its scenes being dated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.errors import Faults, InputError, shown
from geoseg.geo.band_tags import BandTags, usual
from geoseg.geo.grid import Window
from geoseg.geo.layer_styles import categories, write_styled
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.outputs.claims import noted_inputs
from geoseg.outputs.claims.fingerprint import DATABASES, changed
from geoseg.outputs.counted import counted, few, first
from geoseg.outputs.files import read_json, read_note, write_json
from geoseg.outputs.stamp import broken, stamps
from geoseg.received import sqlite_file
from geoseg.received.fields import check_types, plain_name
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.dated import AnyScene, DatedScene
from geoseg.scenes.scene import Scene

DESCRIPTION = "dataset.json"
GROUND, ON_MAP = "ground", "map"
"""Where a pixel size was measured; older data sets and cards, which don't say it, mean the map."""
FILES = "files"
"""Key in it of the stamps of all other files."""
MAP = "map"
"""The unit of a data set of dated scenes."""
TILES = "tiles.gpkg"
COLORS = {"train": "#00b7ff", "val": "#ffb000", "test": "#ff3df2"}
"""Of the outlines of tiles, by split: colours that images rarely have."""
TARGETS = "targets"
PRODUCTS = (TARGETS, TILES, DESCRIPTION)
_COLUMNS = (
    *("scene", "split", "top", "left", "height", "width"),
    *("home_top", "home_left", "home_height", "home_width"),
)


@dataclass(frozen=True)
class Tile:
    """One training sample: a window of a scene, all of one split."""

    scene: str
    split: str
    window: Window
    home: Window
    """The part of the scene around it that is of the same split; a moved window stays in it."""
    counts: tuple[int, ...]
    """Labelled pixels per class of the legend."""

    @property
    def mixture(self) -> float:
        """Entropy of its classes: the higher, the more even."""
        counts = np.array(self.counts, np.float64)
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * np.log(shares)).sum())


@dataclass(frozen=True)
class Dataset:
    """A folder made by prepare, or by prepare_series for unit=map."""

    folder: Path
    scenes: tuple[AnyScene, ...]
    """All with dates, or all without."""
    statistics: BandStatistics
    """Of the train split."""
    legend: Legend
    tiling: Tiling
    pixel_size_m: float
    settings: dict[str, Any]
    """What prepare was told; `labels` and `bands` among it."""
    reference: str | None = None
    """Month and day that the days of dated scenes are counted from; None = scenes without dates."""
    own: tuple[Tile, ...] | None = None
    """Tiles that count in the place of those in tiles.gpkg, as of a fold; never saved."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Of an image, or of each date."""
        return self.scenes[0].bands_of_a_date

    @property
    def tags(self) -> tuple[BandTags, ...]:
        """What the files say of each band: the scale and offset that all values are brought to."""
        found = [scene.tags for scene in self.scenes if scene.tags]
        return usual(found) if found else ()

    def target(self, scene: str) -> Path:
        """Path of the burnt labels of a scene."""
        return self.folder / TARGETS / f"{scene}.tif"

    def tiles(self, split: str) -> list[Tile]:
        """Tiles of a split in a fixed order. Raises: InputError if the table can't be read."""
        if self.own is not None:
            return [tile for tile in self.own if tile.split == split]
        path = self.folder / TILES
        counts = [f"px_{code}" for code in self.legend.codes]
        where = 'WHERE "split" = ?'
        rows = sqlite_file.select(path, "tiles", (*_COLUMNS, *counts), where=where, given=(split,))
        try:
            found = [
                Tile(r[0], r[1], Window(*r[2:6]), Window(*r[6:10]), tuple(map(int, r[10:])))
                for r in rows
            ]
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: can't be read ({error}); run geoseg.prepare again") from None
        for tile in found:
            check_types(tile, f"{path}, tile of {shown(tile.scene)}")
        return found

    def with_splits(self, **tiles: Sequence[Tile]) -> Dataset:
        """The data set with these tiles, by split, in the place of its own."""
        dealt = (replace(tile, split=split) for split, some in tiles.items() for tile in some)
        return replace(self, own=tuple(dealt))

    def save(self) -> None:
        """Write dataset.json; it comes last, and so says that the folder is whole."""
        folder = self.folder.absolute()
        dated = {} if self.reference is None else {"unit": MAP, "reference": self.reference}
        write_json(
            self.folder / DESCRIPTION,
            {
                "version": __version__,
                "scenes": [scene.to_dict(folder) for scene in self.scenes],
                "statistics": self.statistics.to_dict(),
                "legend": self.legend.to_dict(),
                "tiling": asdict(self.tiling),
                "pixel_size_m": self.pixel_size_m,
                "pixel_size_on": GROUND,
                "tags": [tags.to_dict() for tags in self.tags],
                "settings": self.settings,
                FILES: stamps(self.folder, self._files()),
            }
            | dated,
        )

    def _files(self) -> list[Path]:
        """What prepare has written here."""
        inside = self.folder.absolute()
        paths = sorted({Path(path).absolute() for scene in self.scenes for path in scene.paths})
        copies = [path.relative_to(inside) for path in paths if path.parent.parent == inside]
        targets = [self.target(scene.name) for scene in self.scenes]
        return [*targets, self.folder / TILES, *(self.folder / copy for copy in copies)]

    def _check(self) -> None:
        """Raises: InputError for values that prepare does not write."""
        source = str(self.folder / DESCRIPTION)
        check_types(self, source)
        faults = Faults()
        if not self.scenes:
            faults.add(f"{source}: no scenes")
        for scene in self.scenes:
            faults.attempt(plain_name, scene.name, f"{source}, name of a scene")
            if min(scene.grid.height, scene.grid.width) < 1:
                faults.add(f"{source}: {scene.name}: {scene.grid.height} × {scene.grid.width}")
        if self.scenes and len(self.statistics.mean) != len(self.bands):
            count = len(self.statistics.mean)
            faults.add(
                f"{source}: statistics of {counted(count, 'band')}, scenes of {len(self.bands)}"
            )
        faults.raise_if_any()

    @classmethod
    def load(cls, folder: str | Path) -> Dataset:
        """Raises: InputError if this isn't a folder that prepare finished."""
        folder = Path(folder)
        if not (folder / DESCRIPTION).is_file():
            raise InputError(
                f"{folder}: no {DESCRIPTION} in this folder; make it with"
                " python -m geoseg.prepare … dataset=<this folder>"
            )
        values = read_json(folder / DESCRIPTION)
        absolute = folder.absolute()
        if values.get("unit") not in (None, MAP):
            raise InputError(
                f"{folder}: series, one per {values['unit']}, without targets; expected a folder"
                " of geoseg.prepare, or of geoseg.prepare_series unit=map"
            )
        reference = values.get("reference")
        kind = Scene if reference is None else DatedScene
        try:
            scenes = tuple(kind.from_dict(scene, absolute) for scene in values["scenes"])
            size = values["pixel_size_m"]
            if values.get("pixel_size_on") != GROUND:
                size = pixel_size(scenes)
            found = cls(
                folder,
                scenes,
                BandStatistics.from_dict(values["statistics"]),
                Legend.from_dict(values["legend"]),
                Tiling(**values["tiling"]),
                size,
                values["settings"],
                reference,
            )
            found._check()
            return found
        except OTHERWISE as error:
            raise InputError(
                f"{folder / DESCRIPTION}: not as geoseg {__version__} writes it"
                f" ({shown(error, 300)}); run geoseg.prepare again"
            ) from None


OTHERWISE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)
"""What is raised by values of other types than those that were written."""


def pixel_size(scenes: Sequence[AnyScene]) -> float:
    """Metres on the ground: that of most scenes."""
    return median(scene.grid.pixel_size_m for scene in scenes)


def broken_files(folder: Path) -> list[str]:
    """Names of the files of a data set that are no longer as they were when it was made."""
    return broken(folder, (read_note(folder / DESCRIPTION) or {}).get(FILES))


def check_whole(folder: Path, command: str) -> None:
    """Raises: InputError if files of a data set are gone or were changed. command: that made it."""
    if found := broken_files(folder):
        raise InputError(
            f"{folder}: {first(found, 3)}: gone, cut short or changed since {command} made"
            f" {'it' if len(found) == 1 else 'them'}; run the same {command} again, which makes"
            " only that anew"
        )


def said_of_changes_since(dataset: Dataset) -> list[str]:
    """What is to be said of files that are others than when the data set was prepared.

    Not of GeoPackages, which QGIS changes when somebody looks at them, nor of files that lie
    elsewhere now.
    """
    noted = noted_inputs(dataset.folder, command="prepare")
    found = [path for path in changed(noted) if not path.lower().endswith(DATABASES)]
    if not found:
        return []
    return [
        f"{few(found)}: changed since geoseg.prepare looked at it; nodata, statistics and"
        " targets are of before: run the same prepare again"
    ]


def write_tiles(
    folder: Path, tiles: list[Tile], scenes: tuple[AnyScene, ...], legend: Legend
) -> None:
    """Write tiles.gpkg: the table that training reads and QGIS shows, outlined by split."""
    from geoseg.labels.outlines import outlines  # it brings shapely, which training needs not

    grids = {scene.name: scene.grid for scene in scenes}
    rows: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for tile in tiles:
        w, h = tile.window, tile.home
        numbers = (w.top, w.left, w.height, w.width, h.top, h.left, h.height, h.width)
        for name, value in zip(_COLUMNS, (tile.scene, tile.split, *numbers), strict=True):
            rows[name].append(value)
    for place, code in enumerate(legend.codes):
        rows[f"px_{code}"] = [tile.counts[place] for tile in tiles]
    drawn, crs = outlines([(grids[tile.scene], tile.window) for tile in tiles])
    style = categories("split", COLORS)
    write_styled(folder / TILES, rows, geometries=drawn, crs=crs, style=style)
