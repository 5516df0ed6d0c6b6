"""Record what was done with each scene in predict.json."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.maps.folder import (
    DONE,
    FILES,
    NAME,
    NOVEL_SHARE,
    REFIT,
    REFUSED,
    _entries,
    _journalled,
    journal_of,
    map_paths,
    novel_share,
    remove_layers,
)
from geoseg.maps.layers import CONFIDENCE, LAYERS, NOVELTY
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.files import read_note, write_json
from geoseg.outputs.stamp import broken, is_whole, stamp_of, stamps
from geoseg.received import offline
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.neighbours import WindowLayout

FilesOf = Callable[[Path, str], tuple[Path, ...]]
"""Paths of the files of a scene in a folder."""
_PATIENCE = 100
"""A long record is written when this many times the duration of its last writing has passed."""


@dataclass(frozen=True)
class Verdict:
    """Whether an earlier call found that a scene suits the model."""

    reason: str = ""
    """Why not."""
    notes: tuple[str, ...] = ()
    """What must be known of its map."""
    nodata: float | None = None
    """Value that was taken as nodata though the scene does not say so."""

    @property
    def refused(self) -> bool:
        return bool(self.reason)


class Record:
    """What became of each scene, kept on disk all the while."""

    def __init__(
        self,
        out: Path,
        model: str,
        settings: dict[str, Any],
        *,
        layers: Sequence[str] = (CONFIDENCE,),
        name: str = NAME,
        paths: FilesOf | None = None,
    ) -> None:
        """Go on with the record of that name in `out`, if there is one.

        layers: beside each class map. paths: of the files of a scene, where these are no maps.
        """
        self._out = out
        self._layers = tuple(layers)
        self._paths_of = paths
        self._path = out / name
        self.model = model
        self.refit = False
        """Whether the network has learnt from val, too, so that this can't judge its maps."""
        self._settings = settings
        before = read_note(self._path) or {}
        scenes = before.get("scenes")
        self.scenes: dict[str, dict[str, Any]] = _entries(scenes)
        files = before.get(FILES)
        self.files: dict[str, str] = files if isinstance(files, dict) else {}
        """Stamps of what is made of all scenes together."""
        self.table: dict[str, Any] = {}
        """What became of a table, where there are no scenes."""
        self._journal = out / journal_of(name)
        self.scenes |= _journalled(self._journal)
        self.backend: str | None = before.get("backend")
        """What computes, once that is decided: all maps of an output are made alike."""
        self.notes: dict[str, list[str]] = {}
        """By scene: what must be known of its map."""
        self.nodata: dict[str, float | None] = {}
        """By scene: value that is taken as nodata though it does not say so."""
        self._written = self._took = 0.0
        self._files: dict[str, list[Any]] = {}

    @property
    def out(self) -> Path:
        """Folder of the maps."""
        return self._out

    def verdict(self, scene: AnyScene) -> Verdict | None:
        """What an earlier call found out about the same files; None if it did not."""
        entry = self.scenes.get(scene.name, {})
        if entry.get("status") not in (DONE, REFUSED) or entry.get("inputs") != self._inputs(scene):
            return None
        reason = entry["reason"] if entry["status"] == REFUSED else ""
        return Verdict(reason, tuple(entry.get("notes", ())), entry.get("nodata"))

    def stamp(self, scene: AnyScene, place: WindowLayout | None = None) -> str:
        """Names what a scene's files are made of: its own, those of its neighbours, windows."""
        parts: list[Any] = [self._inputs(scene)]
        if place is not None:
            beside = [self._inputs(neighbour.scene) for neighbour in place.neighbours]
            parts += [beside, place.rows, place.columns]
        text = json.dumps(parts)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def is_done(self, scene: AnyScene, stamp: str) -> bool:
        """Whether the files of a scene are whole, all of them, and made of what is there now."""
        entry = self.scenes.get(scene.name, {})
        return entry.get("stamp") == stamp and self.is_mapped(scene.name)

    def is_mapped(self, name: str) -> bool:
        """Whether the files of a scene are as they were when they were done."""
        entry = self.scenes.get(name, {})
        known = entry.get(FILES)
        if entry.get("status") != DONE or not isinstance(known, dict):
            return False
        wanted = [path.relative_to(self._out).as_posix() for path in self._paths(name)]
        if any(path not in known for path in wanted):
            return False
        return not broken(self._out, {path: known[path] for path in wanted})

    def is_written(self, *names: str) -> bool:
        """Whether these files of all scenes together are as they were when they were written."""
        return set(names) <= self.files.keys() and not broken(self._out, self.files)

    def _paths(self, name: str) -> tuple[Path, ...]:
        if self._paths_of is not None:
            return self._paths_of(self._out, name)
        return map_paths(self._out, name, self._layers)

    def stamps_of(self, name: str) -> dict[str, str]:
        """Stamps of the files of a scene, now that all are written."""
        return stamps(self._out, self._paths(name))

    def _others(self, name: str, stamp: str) -> dict[str, str]:
        """Stamps of layers that an earlier call made of the same; those of others are removed."""
        if self._paths_of is not None:
            return {}
        before = self.scenes.get(name, {})
        others = [layer for layer in LAYERS if layer not in self._layers]
        known = before.get(FILES)
        if before.get("stamp") == stamp and isinstance(known, dict):
            paths = {layer: f"{layer}/{name}.tif" for layer in others}
            kept = {p: known[p] for p in paths.values() if p in known}
            kept = {p: s for p, s in kept.items() if is_whole(self._out / p, s)}
            others = [layer for layer, path in paths.items() if path not in kept]
        else:
            kept = {}
        remove_layers(self._out, name, others)
        return kept

    def has(self, name: str, key: str, path: Path) -> bool:
        """Whether a further file of a scene is as it was when it was kept."""
        return is_whole(path, self.scenes.get(name, {}).get(key))

    def keep(self, name: str, key: str, path: Path) -> None:
        """Note a further file of a scene that is done."""
        self._note(name, self.scenes[name] | {key: stamp_of(path)})

    def done(self, scene: AnyScene, stamp: str, seconds: float, **facts: Any) -> None:
        """Note that all files of a scene are written. facts: further ones of it."""
        speed = scene.grid.window.area / 1e6 / max(seconds, 1e-6)
        entry: dict[str, Any] = {
            "status": DONE,
            "model": self.model,
            "backend": self.backend,
            "paths": [spelt(path) for path in scene.paths],
            "inputs": self._inputs(scene),
            "stamp": stamp,
            FILES: self.stamps_of(scene.name) | self._others(scene.name, stamp),
            "seconds": round(seconds, 3),
            "megapixels_per_second": round(speed, 3),
            "notes": self.notes.get(scene.name, []),
        }
        if f"{NOVELTY}/{scene.name}.tif" in entry[FILES]:
            path = map_paths(self._out, scene.name, (NOVELTY,))[1]
            entry[NOVEL_SHARE] = round(novel_share(path), 6)
        if (nodata := self.nodata.get(scene.name)) is not None:
            entry["nodata"] = nodata
        self._note(scene.name, entry | facts)

    def refuse(
        self, name: str, reason: str, *, status: str = REFUSED, scene: AnyScene | None = None
    ) -> None:
        """Note that there is no map of a scene, and why."""
        entry: dict[str, Any] = {"status": status, "reason": reason}
        if scene is not None:
            entry["inputs"] = self._inputs(scene)
        self._note(name, entry)

    def _note(self, name: str, entry: dict[str, Any]) -> None:
        """To write a long record for each scene would take longer than the scene."""
        self.scenes[name] = entry
        if time.monotonic() - self._written > _PATIENCE * self._took:
            self.save()
            return
        # A full disk is said where it costs more than being able to go on.
        with suppress(OSError), self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps({name: entry}, ensure_ascii=False) + "\n")

    def save(self) -> None:
        """Write the record. Raises: InputError if the disk is full."""
        begin = time.monotonic()
        values = {
            "model": self.model,
            "settings": self._settings,
            **({REFIT: True} if self.refit else {}),
            **({"table": self.table} if self.table else {}),
            **({} if self.table else {"backend": self.backend, "scenes": self.scenes}),
        }
        if self.files:
            values[FILES] = self.files
        write_json(self._path, values)
        self._journal.unlink(missing_ok=True)
        self._written = time.monotonic()
        self._took = self._written - begin

    def _inputs(self, scene: AnyScene) -> list[list[Any]]:
        """Path, size and time of each file of a scene."""
        for path in scene.inputs:
            if path not in self._files:
                # Of a file on a server it is taken that its address tells it.
                far = offline.is_remote(path)
                self._files[path] = [path] if far else fingerprint(spelt(path))
        return [self._files[path] for path in scene.inputs]


def spelt(path: str) -> str:
    """A path that holds wherever the command is given; an address as it is."""
    return path if offline.is_remote(path) else str(Path(path).absolute())
