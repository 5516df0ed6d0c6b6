"""Keep what corrections change in a map, and what windows came to."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.geo.raster import BLOCK
from geoseg.outputs.files import replacing
from geoseg.refinement.adapt import Adapted

HELD = 32
"""Windows that are held in memory at a time."""


@dataclass
class Patch:
    """What changes in the rasters of a scene."""

    blocks: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]
    """By row and column of blocks: where something changes (h, w) bool, and all bands (P, h, w)."""
    corrected: int = 0
    """Pixels that were corrected."""
    learnt: int = 0
    """Of these, those that the network got right by itself."""
    changed: int = 0
    """Pixels of the class map that are others than before."""
    blank: int = 0
    """Pixels that were drawn on, but have no image."""
    windows: int = 0
    computed: int = 0
    """Of the windows, those that were not known from before."""

    def save(self, path: Path) -> None:
        """Raises: InputError if it can't be written."""
        arrays: dict[str, Any] = {"told": np.array([self.corrected, self.learnt, self.changed])}
        for (row, column), (mask, bands) in self.blocks.items():
            arrays[f"{row}_{column}_mask"] = np.packbits(mask)
            arrays[f"{row}_{column}"] = bands * mask
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: Path) -> Patch:
        """Raises: InputError if it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as file:
                blocks = {}
                for name in file.files:
                    if name == "told" or name.endswith("_mask"):
                        continue
                    row, column = map(int, name.split("_"))
                    bands = file[name]
                    bits = np.unpackbits(file[f"{name}_mask"], count=bands[0].size)
                    blocks[row, column] = bits.reshape(bands.shape[1:]).astype(bool), bands
                corrected, learnt, changed = file["told"].tolist()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path}: can't be read ({error}); it is damaged: refine again with overwrite=true"
            ) from None
        return cls(blocks, corrected, learnt, changed)

    def apply(self, bands: np.ndarray, window: Window) -> np.ndarray:
        """Bands (P, h, w) of a window of whole blocks with what changes in them."""
        for (row, column), (mask, new) in self.blocks.items():
            place = Window(row * BLOCK, column * BLOCK, *mask.shape)
            common = place.intersect(window)
            if common is None:
                continue
            inside = (slice(None), *common.within(window))
            part = common.within(place)
            bands[inside] = np.where(mask[part], new[(slice(None), *part)], bands[inside])
        return bands


class Known:
    """Keeps on disk what windows came to, so that a further correction computes only its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: set[str] = set()
        self._sound: set[str] = set()

    def has(self, key: str) -> bool:
        """Whether a window is known. Each is read once, for it may be damaged, and then only looked
        for: a further click must not cost as much as there are clicks."""
        self._used.add(f"{key}.npz")
        if key in self._sound:
            return (self._folder / f"{key}.npz").exists()
        return self.get(key) is not None

    def get(self, key: str) -> Adapted | None:
        self._used.add(f"{key}.npz")
        try:
            with np.load(self._folder / f"{key}.npz", allow_pickle=False) as file:
                pair = file["pair"].astype(np.float32) / 255
                self._sound.add(key)
                return Adapted(pair[0], pair[1], int(file["steps"]))
        except (OSError, ValueError, KeyError):
            return None

    def put(self, key: str, made: Adapted) -> None:
        """Raises: InputError if the disk is full."""
        pair = np.rint(np.stack([made.before, made.after]) * 255).astype(np.uint8)
        with replacing(self._folder / f"{key}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, pair=pair, steps=made.steps)
        self._sound.add(key)

    def prune(self) -> None:
        """Remove what was not asked for."""
        for path in self._folder.glob("*.npz") if self._folder.is_dir() else ():
            if path.name not in self._used:
                path.unlink(missing_ok=True)


class Shares:
    """What windows came to, a few of them in memory at a time."""

    def __init__(self, known: Known, keys: dict[Window, str]) -> None:
        self.keys = keys
        self._known = known
        self._held: OrderedDict[Window, Adapted] = OrderedDict()

    def __getitem__(self, window: Window) -> Adapted:
        """Raises: InputError if somebody removed it meanwhile."""
        if window not in self._held:
            found = self._known.get(self.keys[window])
            if found is None:
                raise InputError("what windows came to was removed meanwhile; refine again")
            self._held[window] = found
            if len(self._held) > HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(window)
        return self._held[window]
