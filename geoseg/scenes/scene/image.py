"""Describe and read a scene: one acquisition in one or several files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.band_tags import (
    NO_CHANGE,
    BandTags,
    Change,
)
from geoseg.geo.grid import Grid, Window
from geoseg.outputs.closing import Closing
from geoseg.outputs.counted import counted
from geoseg.received import offline
from geoseg.received.spelling import relative
from geoseg.scenes.bands import in_order, is_nameless
from geoseg.scenes.layers import Mask, MaskReader


@dataclass(frozen=True)
class Source:
    """Bands of one file (or of the mosaic of several) that belong to a scene."""

    paths: tuple[str, ...]
    """Files; where several hold data at a pixel, the first one counts."""
    bands: tuple[int, ...]
    """Numbers of the bands to read, from 1."""
    own_nodata: bool = False
    """Whether nodata is what the files say, whatever replaces it in the scene's other bands."""


@dataclass(frozen=True)
class Scene:
    """One acquisition on one grid; holds no pixels and no open file."""

    name: str
    """File name without extension, or what bands.pattern calls `scene`."""
    grid: Grid
    """Of its first file; others are warped onto it."""
    sources: tuple[Source, ...]
    bands: tuple[str, ...]
    """Names in the order in which `read` stacks them."""
    dtype: str
    """Of the stack."""
    nodata: float | str | None = None
    """Replaces the files' nodata value; "none" = no value means nodata."""
    order: tuple[int, ...] = ()
    """Places of the stacked source bands in the order of `bands`."""
    tags: tuple[BandTags, ...] = ()
    """What the files say of each of `bands`; empty = unknown."""
    changes: tuple[Change, ...] = ()
    """What brings the numbers of each of `bands` to the scale and offset of the other scenes or of
    the training; empty = they are right as they are."""
    partial: bool = False
    """Whether a pixel is valid if some of its bands have data; else all must."""
    fill: tuple[float, ...] = ()
    """What then stands where a band has none: its mean; empty = 0."""
    resampling: str = "bilinear"
    """How files are warped that are not on the scene's grid; for reading only, data sets don't keep
    it."""
    taken: tuple[datetime, datetime] | None = None
    """From when to when, in UTC, as its STAC item or cube says; data sets don't keep it."""
    unheeded: tuple[str, ...] = ()
    """What its STAC item or cube has to tell clouds by, which nothing looks at; data sets don't
    keep it."""
    mask: str | None = None
    """File that says where clouds and the like hide the ground, as its STAC item or cube names it;
    there the scene is not valid."""
    mask_values: tuple[int, ...] = ()
    """Values of the mask that say so."""

    adjoins = True
    dates: ClassVar[tuple[date, ...]] = ()
    days: ClassVar[tuple[int, ...]] = ()

    @property
    def bands_of_a_date(self) -> tuple[str, ...]:
        return self.bands

    def open(self) -> SceneReader:
        """Open the files. Raises: InputError."""
        return SceneReader(self)

    @property
    def paths(self) -> tuple[str, ...]:
        """Files of its bands."""
        return tuple(path for source in self.sources for path in source.paths)

    @property
    def inputs(self) -> tuple[str, ...]:
        """All files that what it shows depends on."""
        return self.paths if self.mask is None else (*self.paths, self.mask)

    def select(self, names: Iterable[str]) -> Scene:
        """The scene with these bands in this order. Raises: InputError, naming what is missing."""
        names = tuple(names)
        missing = [name for name in names if name not in self.bands]
        if missing:
            raise InputError(
                f"{self.paths[0]}: no band {', '.join(missing)}; it has {', '.join(self.bands)}"
            )
        places = [self.bands.index(name) for name in names]

        def picked(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[place] for place in places) if values else ()

        return replace(
            self,
            bands=names,
            order=picked(self.order),
            tags=picked(self.tags),
            changes=picked(self.changes),
            fill=picked(self.fill),
        )

    def select_bands(self, names: tuple[str, ...]) -> Scene:
        """As `fit_bands`."""
        return fit_bands(self, names)

    def filled(self, means: tuple[float, ...]) -> Scene:
        """The scene with what stands where bands of its partial pixels have no data."""
        return replace(self, fill=means if self.partial else ())

    def with_nodata(self, nodata: float | None) -> Scene:
        """The scene with a value that means nodata, None = as its files say."""
        return self if nodata is None else replace(self, nodata=nodata)

    def highest(self, values: np.ndarray) -> float:
        """The highest of the values of a band."""
        return float(values.max())

    def changed(self, made: Sequence[Change]) -> Scene:
        """The scene with its numbers brought to another scale and offset, per band."""
        if all(one == NO_CHANGE for one in made):
            return self
        # In whole numbers what falls below 0 would be lost.
        return replace(self, changes=tuple(made), dtype="float32")

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """JSON values; paths relative to `folder`, so that a project can move as a whole."""
        return {
            "name": self.name,
            "grid": self.grid.to_dict(),
            "sources": [
                {"paths": [relative(p, folder) for p in s.paths], "bands": list(s.bands)}
                | ({"own_nodata": True} if s.own_nodata else {})
                for s in self.sources
            ],
            "bands": list(self.bands),
            "dtype": self.dtype,
            "nodata": self.nodata if self.nodata == self.nodata else "nan",
            "order": list(self.order),
            "tags": [tags.to_dict() for tags in self.tags],
            "changes": [list(made) for made in self.changes],
            "partial": self.partial,
            "fill": list(self.fill),
        } | self._mask_to_dict(folder)

    def _mask_to_dict(self, folder: Path) -> dict[str, Any]:
        """Nothing of a scene without: older data sets stay what they are."""
        if self.mask is None:
            return {}
        return {"mask": relative(self.mask, folder), "mask_values": list(self.mask_values)}

    @classmethod
    def from_dict(cls, values: dict[str, Any], folder: Path) -> Scene:
        sources = tuple(
            Source(
                tuple(offline.local(p, folder) for p in s["paths"]),
                tuple(s["bands"]),
                s.get("own_nodata", False),
            )
            for s in values["sources"]
        )
        nodata = values["nodata"]
        return cls(
            values["name"],
            Grid.from_dict(values["grid"]),
            sources,
            tuple(values["bands"]),
            values["dtype"],
            float("nan") if nodata == "nan" else nodata,
            tuple(values["order"]),
            tuple(map(BandTags.from_dict, values.get("tags", ()))),
            tuple((float(factor), float(add)) for factor, add in values.get("changes", ())),
            values.get("partial", False),
            tuple(values.get("fill", ())),
            mask=offline.local(values["mask"], folder) if "mask" in values else None,
            mask_values=tuple(values.get("mask_values", ())),
        )


class SceneReader(Closing):
    """An open scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._stack = ExitStack()
        self._files: list[list[raster.Raster]] = []
        sources, self._order = _needed(scene)
        for source in sources:
            files = []
            for path in source.paths:
                opened = raster.Raster(
                    path,
                    bands=source.bands,
                    grid=scene.grid,
                    resampling=scene.resampling,
                    nodata=None if source.own_nodata else scene.nodata,
                )
                files.append(self._stack.enter_context(opened))
            self._files.append(files)
        self._check_type()
        self._mask = Mask(scene.mask, scene.grid, scene.mask_values) if scene.mask else None
        self._clear: MaskReader | None = None
        if self._mask is not None:
            self._clear = self._mask.open()
            self._stack.callback(self._clear.close)
        self.block_height = max(file.block[0] for files in self._files for file in files)
        """Rows that are read at once best: of the largest block of its files."""

    def _check_type(self) -> None:
        """Raises: InputError for numbers that the scene's type can't hold: they would wrap."""
        for file in (file for files in self._files for file in files):
            if self.scene.dtype != "float32" and not np.can_cast(file.dtype, self.scene.dtype):
                self.close()
                raise InputError(
                    f"{file.path}: is of {file.dtype}, and was of {self.scene.dtype} when it was"
                    " looked at; it has changed since: prepare or predict anew"
                )

    def read(
        self, window: Window, *, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Image (C, height, width) in the scene's dtype and valid (height, width) of a window.

        Pixels outside the scene are 0 and not valid. A pixel is valid if all of the scene's bands
        have data there; of a `partial` scene, if any has, and `fill` stands for those that lack.
        What the scene's mask hides is not valid.
        shape: height and width to decimate to, for windows inside the scene.
        Raises: InputError if a file is damaged.
        """
        image, holds = self.read_each(window, shape=shape)
        if not self.scene.partial or holds.ndim == 2:
            return image, raster.all_bands(holds)
        means = self.scene.fill or (0.0,) * len(image)
        for band, here, mean in zip(image, holds, means, strict=True):
            band[~here] = mean
        return image, raster.any_band(holds)

    def read_each(
        self, window: Window, *, shape: tuple[int, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `read`, but with where each band by itself has data, and nothing filled.

        Returns: image, and (C, height, width) bool; (height, width) if it is the same of all bands.
        """
        parts, held = [], []
        for files in self._files:
            data, here = files[0].read_each(window, shape=shape)
            for file in files[1:]:
                if here.all():
                    break
                more, there = file.read_each(window, shape=shape)
                here = _each(here, data.shape) | False
                fill = _each(there, data.shape) & ~here
                data = data.astype(np.result_type(data, more), copy=False)
                data[fill] = more[fill]
                here |= fill
            parts.append(data)
            held.append(here)
        image = parts[0] if len(parts) == 1 else np.concatenate(parts)
        holds = held[0]
        if len(held) > 1:
            if all(here.ndim == 2 and here.all() for here in held):
                holds = held[0]
            else:
                pairs = zip(held, parts, strict=True)
                holds = np.concatenate([_each(here, part.shape) for here, part in pairs])
        if self._order is not None:
            image = image[self._order]
            holds = holds if holds.ndim == 2 else holds[self._order]
        image = image.astype(self.scene.dtype, copy=False)
        for band, (factor, add) in zip(image, self.scene.changes, strict=False):
            band *= np.float32(factor)
            band += np.float32(add)
        if self._mask is not None and self._clear is not None:
            thin = shape and self._mask.clear(*self._mask.thinned(window, shape))
            holds = holds & (self._clear.read(window) if thin is None else thin)
        return image, holds

    def close(self) -> None:
        self._stack.close()


def _needed(scene: Scene) -> tuple[list[Source], list[int] | None]:
    """The sources with just the bands that a scene has, and the places of these in their stack.

    What a band holds that nobody asked for does not count, and need not be read.
    """
    kept: list[Source] = []
    place: dict[int, int] = {}
    before = 0
    for source in scene.sources:
        mine = [n for n in range(len(source.bands)) if before + n in scene.order]
        place |= {before + n: len(place) + count for count, n in enumerate(mine)}
        if mine:
            kept.append(replace(source, bands=tuple(source.bands[n] for n in mine)))
        before += len(source.bands)
    order = [place[number] for number in scene.order]
    return kept, None if order == list(range(len(place))) else order


def _each(holds: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.broadcast_to(holds, shape)


def fit_bands(scene: Scene, names: tuple[str, ...]) -> Scene:
    """The scene with the bands that a data set or a model has, picked and ordered by name.

    Bands without a name on one side (band_1, Band 2 …) are taken as they come, if there are
    equally many.
    Raises: InputError with both lists.
    """
    if scene.bands == names:
        return scene
    if set(names) <= set(scene.bands) and not any(map(is_nameless, names)):
        return scene.select(names)
    if in_order(scene.bands, names):
        return replace(scene, bands=names)  # their tags come along as they come
    remedy = "set bands.order or bands.names, or give the missing file"
    if len(scene.bands) + 1 == len(names) and raster.info(scene.paths[0]).alpha:
        remedy = "if what it calls alpha is data, name all its bands in bands.names"
    raise InputError(
        f"{scene.paths[0]}: {counted(len(scene.bands), 'band')} ({', '.join(scene.bands)}),"
        " expected"
        f" {len(names)} ({', '.join(names)}); {remedy}"
    )
