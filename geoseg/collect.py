"""Collecting: final rows become maps, maps entries of the record, behind the network."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.datedscene import AnyScene
from geoseg.errors import InputError
from geoseg.legend import Legend
from geoseg.maps import SceneWriter, remove
from geoseg.panels import Broken, Panel
from geoseg.progress import Progress
from geoseg.record import FAILED, Record

if TYPE_CHECKING:
    from geoseg.blend import Rows


class Collector:
    """Writes the maps of scenes that come one after the other, and notes what became of each."""

    def __init__(
        self,
        out: Path,
        jobs: list[list[Panel]],
        *,
        legend: Legend,
        record: Record,
        progress: Progress,
    ) -> None:
        self._out = out
        self._jobs = {panels[0].scene.name: panels for panels in jobs}
        self._legend = legend
        self._record = record
        self._progress = progress
        self._writer: SceneWriter | None = None
        self._since = time.perf_counter()
        self._pixels = 0
        """Of the scene at hand that are written."""
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.megapixels = 0.0
        self.seconds = 0.0
        """Spent writing."""

    def wants(self, panel: Panel) -> bool:
        """Whether there is still a map to be made of the panel's scene."""
        return panel.scene.name not in self.failed

    def take(self, item: Rows | Broken) -> None:
        """Write rows, or note that a scene broke; a fault ends its scene, not the others."""
        if not self.wants(item.panel):
            return
        begin = time.perf_counter()
        try:
            if isinstance(item, Broken):
                raise item.error
            self._write(item)
        except InputError as error:
            self._fail(item.panel.scene, str(error))
        except OSError as error:
            self._fail(
                item.panel.scene, f"{error.filename or self._out}: {error.strerror or error}"
            )
        self.seconds += time.perf_counter() - begin

    def close(self) -> None:
        """Remove what is not finished, and bring the record up to date."""
        if self._writer is not None:
            self._writer.abort()
        self._record.save()

    def _write(self, rows: Rows) -> None:
        panel = rows.panel
        panels = self._jobs[panel.scene.name]
        if self._writer is None:
            self._writer = SceneWriter(self._out, panels, self._legend, self._record.model)
        # Waits here for a GPU to get there, so that the network's thread does not.
        indices, confidence = rows.indices.cpu().numpy(), rows.confidence.cpu().numpy()
        self._writer.write(panel, indices, confidence, rows.valid)
        self._advance(indices.size)
        if panel is panels[-1] and rows.top + len(indices) == panel.scene.grid.height:
            self._writer.finish()
            self._writer = None
            self._finish(panel.scene)

    def _finish(self, scene: AnyScene) -> None:
        megapixels, seconds = scene.grid.window.area / 1e6, self._lap()
        self._pixels = 0
        self._record.done(scene, seconds)
        self.done.append(scene.name)
        self.megapixels += megapixels
        speed = megapixels / max(seconds, 1e-6)
        self._progress.scene(scene.name, f"{megapixels:.2f} Mpx, {speed:.2f} Mpx/s")

    def _fail(self, scene: AnyScene, reason: str) -> None:
        self.failed[scene.name] = reason
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
        remove(self._out, scene.name)
        self._lap()
        self._advance(scene.grid.window.area - self._pixels)
        self._pixels = 0
        self._record.refuse(scene.name, reason, status=FAILED)
        self._progress.scene(scene.name, "failed")
        print(f"geoseg predict: {FAILED}: {reason}", file=sys.stderr)

    def _advance(self, pixels: int) -> None:
        self._pixels += pixels
        self._progress.advance(pixels)

    def _lap(self) -> float:
        """Seconds since a scene ended last: scenes overlap at their ends, their times do not."""
        now = time.perf_counter()
        lap, self._since = now - self._since, now
        return lap
