"""Record: predict.json, what was done with each scene, and what need not be done again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from geoseg.datedscene import AnyScene
from geoseg.maps import is_there
from geoseg.output import fingerprint, read_json, write_json

NAME = "predict.json"
DONE, REFUSED, FAILED = "done", "refused", "failed"
_PATIENCE = 20
"""A long record is written when this many times the duration of its last writing has passed."""


class Record:
    """What became of each scene, kept on disk all the while."""

    def __init__(self, out: Path, model: str, settings: dict[str, Any]) -> None:
        """Go on with the record in `out`, if there is one."""
        self._out = out
        self._path = out / NAME
        self.model = model
        self._settings = settings
        before = read_json(self._path) if self._path.exists() else {}
        self.scenes: dict[str, dict[str, Any]] = before.get("scenes", {})
        self._written = self._took = 0.0

    def is_done(self, scene: AnyScene) -> bool:
        """Whether the maps of a scene are there and were made of the files that it has now."""
        entry = self.scenes.get(scene.name, {})
        return (
            entry.get("status") == DONE
            and entry.get("inputs") == inputs(scene)
            and is_there(self._out, scene.name)
        )

    def done(self, scene: AnyScene, seconds: float) -> None:
        speed = scene.grid.window.area / 1e6 / max(seconds, 1e-6)
        self.scenes[scene.name] = {
            "status": DONE,
            "paths": [str(Path(path).absolute()) for path in scene.paths],
            "inputs": inputs(scene),
            "seconds": round(seconds, 3),
            "megapixels_per_second": round(speed, 3),
        }
        now = time.monotonic()
        if now - self._written > _PATIENCE * self._took:
            self.save()

    def refuse(self, name: str, reason: str, *, status: str = REFUSED) -> None:
        """Note that there is no map of a scene, and why."""
        self.scenes[name] = {"status": status, "reason": reason}

    def save(self) -> None:
        begin = time.monotonic()
        values = {"model": self.model, "settings": self._settings, "scenes": self.scenes}
        write_json(self._path, values)
        self._written = time.monotonic()
        self._took = self._written - begin


def inputs(scene: AnyScene) -> list[list[Any]]:
    """Path, size and time of each file of a scene."""
    return [fingerprint(Path(path).absolute()) for path in scene.paths]
