"""Read the maps that are to be mended, with the record of how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.raster import Raster
from geoseg.maps import folder
from geoseg.maps.folder import DONE, FILES, NAME, map_paths
from geoseg.maps.landcover import UNDECIDED_TAG, ClassMap
from geoseg.maps.layers import LAYERS
from geoseg.outputs.claims.fingerprint import changed
from geoseg.outputs.counted import few
from geoseg.outputs.files import read_json
from geoseg.prediction.network import TrainedNetwork
from geoseg.scenes.scene import Scene


@dataclass(frozen=True)
class OldMap:
    """The map of a scene, as predict made it."""

    folder: Path
    scene: Scene
    map: ClassMap
    layers: tuple[str, ...]
    """What lies beside it."""
    undecided: str
    """By what pixels are left without decision; "" = none is."""

    @property
    def paths(self) -> tuple[Path, ...]:
        return map_paths(self.folder, self.scene.name, self.layers)

    @property
    def counts(self) -> list[int]:
        """Bands of class map and layers."""
        return [1, *(LAYERS[name].count(len(self.map.legend)) for name in self.layers)]

    def read(self, files: Sequence[Raster], window: Window) -> np.ndarray:
        """All bands (P, h, w) uint8: codes first, then those of the layers."""
        return np.concatenate([file.read(window)[0] for file in files])


@dataclass(frozen=True)
class OldMaps:
    """The output of a prediction."""

    folder: Path
    record: dict[str, Any]
    settings: dict[str, Any]
    """That decided on its pixels."""
    entries: dict[str, dict[str, Any]]
    """Of its scenes that are done."""

    @classmethod
    def read(cls, path: str | Path, network: TrainedNetwork) -> OldMaps:
        """Raises: InputError if it is no output of predict, or that of another network."""
        path = Path(path)
        if not (path / NAME).exists():
            raise InputError(
                f"maps={path}: no {NAME} in it; give the output folder of geoseg.predict"
            )
        record = read_json(path / NAME)
        entries = folder.entries(record, path / NAME)
        done = {name: entry for name, entry in entries.items() if entry.get("status") == DONE}
        faults = Faults()
        if not done:
            faults.add(f"{path / NAME}: no scene has a map; predict first")
        if record.get("model") != network.hash:
            faults.add(
                f"maps={path}: made by the network {record.get('model')}, but checkpoint"
                f" {network.source} is {network.hash}; give the network that made the maps, or"
                " predict with this one"
            )
        settings = record.get("settings")
        faults.raise_if_any()
        return cls(path, record, settings if isinstance(settings, dict) else {}, done)

    def stamp_of(self, scene: str) -> str:
        """What the map of a scene was made of."""
        return str(self.entries[scene].get("stamp", ""))

    def of(self, scenes: Sequence[Scene]) -> list[OldMap]:
        """The maps of scenes. Raises: InputError for one without, or with that of another grid."""
        faults = Faults()
        found = faults.each(self._one, scenes)
        faults.raise_if_any()
        return found

    def said_of_changes_since(self, old: Sequence[OldMap]) -> list[str]:
        """What is to be said of scenes that are others than when their maps were made."""
        inputs = [one for each in old for one in self.entries[each.scene.name].get("inputs", ())]
        found = changed(inputs)
        if not found:
            return []
        return [
            f"{few(found)}: changed since {self.folder} was predicted; around corrections the maps"
            " will be those of the new image: predict again first"
        ]

    def _one(self, scene: Scene) -> OldMap:
        if scene.name not in self.entries:
            known = ", ".join(list(self.entries)[:5])
            raise InputError(
                f"scene {scene.name}: has no map in {self.folder}, which has maps of {known};"
                " predict it first, or leave it out"
            )
        path = map_paths(self.folder, scene.name)[0]
        found = ClassMap.read(path)
        if not found.grid.coincides(scene.grid):
            raise InputError(
                f"{path}: {found.grid.width} × {found.grid.height} pixels, not those of scene"
                f" {scene.name} ({scene.grid.width} × {scene.grid.height}); predict it anew"
            )
        files = self.entries[scene.name].get(FILES, {})
        layers = tuple(name for name in LAYERS if f"{name}/{scene.name}.tif" in files)
        for beside in map_paths(self.folder, scene.name, layers)[1:]:
            grid = raster.info(beside).grid
            if grid is None or not grid.coincides(found.grid):
                raise InputError(f"{beside}: not on the grid of {path}; predict anew")
        undecided = found.tags.get(UNDECIDED_TAG, "")
        return OldMap(self.folder, scene, found, layers, undecided)
