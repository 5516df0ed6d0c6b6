"""Take the rows of scenes' maps as they come, and tell who listens how it goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.legend import Legend
from geoseg.prediction.panels import Broken, Panel, SceneJob
from geoseg.prediction.writer.scene_writer import SceneWriter, discard
from geoseg.scenes.dated import AnyScene

if TYPE_CHECKING:
    from geoseg.prediction.blend import Rows


class Listener(Protocol):
    """Who wants to know how the work goes on."""

    def advance(self, pixels: int) -> None:
        """That many pixels of maps are written."""

    def done(self, scene: AnyScene, seconds: float) -> None:
        """All panels of a job are written, and joined if that was asked for."""

    def failed(self, scene: AnyScene, reason: str) -> None:
        """There is no map, and nothing of it is left."""


class Collector:
    """Writes the maps of jobs that come one after the other."""

    def __init__(
        self, out: Path, jobs: Sequence[SceneJob], listener: Listener, *, legend: Legend, model: str
    ) -> None:
        self._out = out
        self._jobs = {job.scene.name: job for job in jobs}
        self._listener = listener
        self._legend = legend
        self._model = model
        self._writer: SceneWriter | None = None
        self._since = time.perf_counter()
        self._pixels = 0
        """Of the job at hand that are written."""
        self._failed: set[str] = set()
        self._session = ExitStack()
        self._began = False
        self.seconds = 0.0
        """Spent writing."""

    def wants(self, panel: Panel) -> bool:
        """Whether there is still a map to be made of the panel's scene."""
        return panel.scene.name not in self._failed

    def take(self, item: Rows | Broken) -> None:
        """Write rows, or note that a scene broke; a fault ends its scene, not the others."""
        if not self.wants(item.panel):
            return
        begin = time.perf_counter()
        job = self._jobs[item.panel.scene.name]
        try:
            if isinstance(item, Broken):
                raise item.error
            self._write(job, item)
        except (InputError, OSError) as error:
            self._fail(job, reason(error, self._out))
        self.seconds += time.perf_counter() - begin

    def close(self) -> None:
        """Remove what is not finished; in the thread that took the rows."""
        if self._writer is not None:
            self._writer.abort()
        self._session.close()

    def _write(self, job: SceneJob, rows: Rows) -> None:
        panel = rows.panel
        if not self._began:
            self._began = True
            self._session.enter_context(raster.environment())
        if self._writer is None:
            self._writer = SceneWriter(self._out, job, self._legend, self._model)
        # Waits in here for a GPU to get there, so that the network's thread does not.
        self._writer.write(rows)
        self._advance(rows.valid.size)
        if panel is job.panels[-1] and rows.top + len(rows.valid) == panel.scene.grid.height:
            if job.joins:
                self._writer.finish()
            self._writer = None
            self._pixels = 0
            self._listener.done(job.scene, self._lap())

    def _fail(self, job: SceneJob, why: str) -> None:
        self._failed.add(job.scene.name)
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
        discard(self._out, job)
        self._lap()
        self._advance(job.pixels - self._pixels)
        self._pixels = 0
        self._listener.failed(job.scene, why)

    def _advance(self, pixels: int) -> None:
        self._pixels += pixels
        self._listener.advance(pixels)

    def _lap(self) -> float:
        """Seconds since a scene ended last: scenes overlap at their ends, their times do not."""
        now = time.perf_counter()
        lap, self._since = now - self._since, now
        return lap


def reason(error: InputError | OSError, out: Path) -> str:
    """A fault in words."""
    if isinstance(error, InputError):
        return str(error)
    return f"{error.filename or out}: {error.strerror or error}"


def join(out: Path, job: SceneJob, listener: Listener, *, legend: Legend, model: str) -> None:
    """Make the map of a scene out of its panels, all of them written; faults are told."""
    begin = time.perf_counter()
    writer = SceneWriter(out, job, legend, model)
    try:
        writer.finish()
    except (InputError, OSError) as error:
        writer.abort()
        discard(out, job)
        listener.failed(job.scene, reason(error, out))
    else:
        listener.done(job.scene, time.perf_counter() - begin)
