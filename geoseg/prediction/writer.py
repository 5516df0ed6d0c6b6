"""Write the maps of scenes, whole blocks at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import IGNORED, NODATA, Legend
from geoseg.geo.raster import BLOCK
from geoseg.maps import landcover
from geoseg.maps.folder import CONFIDENCE, LANDCOVER, map_paths, remove
from geoseg.outputs.files import partial
from geoseg.outputs.threads import BackgroundFile
from geoseg.prediction.panels import Broken, Panel, SceneJob
from geoseg.scenes.dated import AnyScene

if TYPE_CHECKING:
    from geoseg.prediction.blend import Rows

PANEL_TAG = "GEOSEG_PANEL"
"""Of a panel: what it is made of."""


class PairWriter:
    """The two rasters of a grid, side by side; rows come from top to bottom in any heights."""

    def __init__(
        self, paths: tuple[Path, Path], grid: Grid, legend: Legend, tags: dict[str, str]
    ) -> None:
        """Raises: InputError if they can't be written."""
        self._grid = grid
        self._codes, confidence = (
            raster.create(path, grid, dtype="uint8", nodata=NODATA, colors=colors, tags=tags)
            for path, colors in zip(paths, (legend.colors(), None), strict=True)
        )
        self._confidence = BackgroundFile(confidence)
        self._file = self._codes.__enter__()
        try:
            self._confidence.enter()
        except BaseException:
            self._codes.__exit__(*_GIVEN_UP)
            raise
        self._waiting: list[np.ndarray] = []
        self._top = 0
        self._bottom = 0
        self._left = False

    def write(self, codes: np.ndarray, confidence: np.ndarray) -> None:
        """Add rows (n, W) uint8. Raises: InputError if the disk is full."""
        self._waiting.append(np.stack((codes, confidence)))
        self._bottom += len(codes)
        # A block that is written twice is compressed twice, and leaves a hole in the file.
        last = self._bottom == self._grid.height
        end = self._bottom if last else self._bottom // BLOCK * BLOCK
        if end == self._top:
            return
        rows = np.concatenate(self._waiting, axis=1)
        window = Window(self._top, 0, end - self._top, self._grid.width)
        self.put(rows[0, : window.height], rows[1, : window.height], window)
        self._waiting = [rows[:, window.height :]]
        self._top = end

    def put(self, codes: np.ndarray, confidence: np.ndarray, window: Window) -> None:
        """Write a window; they come row of blocks by row of blocks, and in it from the left.

        Raises: InputError if the disk is full.
        """
        beside = self._confidence.do(lambda file: file.write(confidence, window))
        self._file.write(codes, window)
        beside.result()

    @property
    def is_full(self) -> bool:
        return self._top == self._grid.height

    def close(self) -> None:
        """Give the files their names. Raises: InputError if they are not whole."""
        self._left = True
        beside = self._confidence.leave()
        try:
            self._codes.__exit__(None, None, None)
        finally:
            beside.result()

    def abort(self) -> None:
        """Remove what there is; nothing, if it was closed, well or not."""
        if self._left:
            return
        self._left = True
        beside = self._confidence.leave(*_GIVEN_UP)
        self._codes.__exit__(*_GIVEN_UP)
        beside.result()


class _GiveUpError(Exception):
    """Makes `raster.create` remove its file."""


_GIVEN_UP = (_GiveUpError, _GiveUpError(), None)


class SceneWriter:
    """The maps of a scene, panel after panel.

    Panels of several are kept in files of their own until all are there: blocks that are not
    written row by row would lie in another order, and the same map would be other bytes.
    """

    def __init__(self, out: Path, job: SceneJob, legend: Legend, model: str) -> None:
        self._job = job
        self._scene = job.scene
        self._out = out
        self._legend = legend
        self._model = model
        self._writer: PairWriter | None = None

    def write(
        self, panel: Panel, indices: np.ndarray, confidence: np.ndarray, valid: np.ndarray
    ) -> None:
        """Add the next rows (n, W) of a panel. Raises: InputError if the disk is full."""
        if self._writer is None:
            grid = self._scene.grid.crop(
                Window(0, panel.left, self._scene.grid.height, panel.width)
            )
            self._writer = self._open(panel, grid)
        if (valid & (indices == IGNORED)).any():
            raise InputError(no_number(f"scene {self._scene.name}"))
        codes = self._legend.decode(indices)
        if not valid.all():
            codes, confidence = np.where(valid, codes, NODATA), np.where(valid, confidence, NODATA)
        self._writer.write(codes, confidence)
        if self._writer.is_full:
            self._writer.close()
            self._writer = None

    def _open(self, panel: Panel, grid: Grid) -> PairWriter:
        tags = landcover.tags(self._legend, self._model)
        if len(self._job.whole) == 1:
            return PairWriter(map_paths(self._out, self._scene.name), grid, self._legend, tags)
        tags[PANEL_TAG] = _panel_stamp(self._job, panel)
        return PairWriter(_panel_paths(self._out, panel), grid, self._legend, tags)

    def finish(self) -> None:
        """Give the maps their names, once all panels are written. Raises: InputError."""
        paths = map_paths(self._out, self._scene.name)
        if len(self._job.whole) > 1:
            self._join(paths)
            _remove_panels(self._out, self._job)
        landcover.write_side_files(paths[0], self._legend)

    def abort(self) -> None:
        """Remove what is not finished; panels that are whole stay for the next try."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _join(self, paths: tuple[Path, Path]) -> None:
        grid = self._scene.grid
        tags = landcover.tags(self._legend, self._model)
        self._writer = PairWriter(paths, grid, self._legend, tags)
        with ExitStack() as stack:
            files = [
                [stack.enter_context(raster.Raster(path)) for path in _panel_paths(self._out, p)]
                for p in self._job.whole
            ]
            for top in range(0, grid.height, BLOCK):
                height = min(BLOCK, grid.height - top)
                for panel, pair in zip(self._job.whole, files, strict=True):
                    part = Window(top, 0, height, panel.width)
                    codes, confidence = (file.read(part)[0][0] for file in pair)
                    self._writer.put(codes, confidence, part.shift(0, panel.left))
        self._writer.close()
        self._writer = None


@contextmanager
def finishing(out: Path, jobs: Sequence[SceneJob]) -> Iterator[None]:
    """If the block ends with an error, remove what workers that were killed had begun to write."""
    try:
        yield
    except BaseException:
        for job in jobs:
            paths = list(map_paths(out, job.scene.name))
            if len(job.whole) > 1:
                paths += [path for panel in job.whole for path in _panel_paths(out, panel)]
            for path in paths:
                partial(path).unlink(missing_ok=True)
        raise


def no_number(what: str) -> str:
    """What is to be said of a network that gives NaN. what: to what it does, or near it."""
    return (
        f"{what}: the network gives no number (NaN) here; its weights or the values that it sees"
        " are beyond what it computes with: try predict.precision=32, or train again"
    )


def discard(out: Path, job: SceneJob) -> None:
    """Remove the maps of a scene, and its panels."""
    _remove_panels(out, job)
    remove(out, job.scene.name)


def going_on(out: Path, job: SceneJob) -> SceneJob:
    """The job without the panels of a divided scene that an earlier call has written."""
    if len(job.whole) == 1:
        return job
    return replace(job, panels=tuple(p for p in job.panels if not _is_written(out, job, p)))


def _is_written(out: Path, job: SceneJob, panel: Panel) -> bool:
    paths = _panel_paths(out, panel)
    stamp = _panel_stamp(job, panel)
    return all(p.is_file() and raster.tags(p).get(PANEL_TAG) == stamp for p in paths)


def sweep(out: Path, jobs: Iterable[SceneJob]) -> None:
    """Remove panels that an earlier call left, and that none of these jobs will use or replace."""
    names, used = set(), set()
    for job in jobs:
        names.add(job.scene.name)
        if len(job.whole) > 1:
            used |= {path.name for panel in job.whole for path in _panel_paths(out, panel)}
    for folder in (out / LANDCOVER, out / CONFIDENCE):
        for path in folder.glob(".*.panel*") if folder.is_dir() else ():
            whole = path.name.removesuffix(".part").lstrip(".")
            if f".{whole}" not in used and whole.rpartition(".panel")[0] in names:
                path.unlink(missing_ok=True)


def _remove_panels(out: Path, job: SceneJob) -> None:
    if len(job.whole) > 1:
        for panel in job.whole:
            for path in _panel_paths(out, panel):
                path.unlink(missing_ok=True)


def _panel_paths(out: Path, panel: Panel) -> tuple[Path, Path]:
    return map_paths(out, f".{panel.scene.name}.panel{panel.number}")


def _panel_stamp(job: SceneJob, panel: Panel) -> str:
    return f"{job.stamp} {panel.left}..{panel.right}"


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
        self, out: Path, jobs: Sequence[SceneJob], told: Listener, *, legend: Legend, model: str
    ) -> None:
        self._out = out
        self._jobs = {job.scene.name: job for job in jobs}
        self._told = told
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
        # Waits here for a GPU to get there, so that the network's thread does not.
        indices, confidence = rows.indices.cpu().numpy(), rows.confidence.cpu().numpy()
        self._writer.write(panel, indices, confidence, rows.valid)
        self._advance(indices.size)
        if panel is job.panels[-1] and rows.top + len(indices) == panel.scene.grid.height:
            if job.joins:
                self._writer.finish()
            self._writer = None
            self._pixels = 0
            self._told.done(job.scene, self._lap())

    def _fail(self, job: SceneJob, why: str) -> None:
        self._failed.add(job.scene.name)
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
        discard(self._out, job)
        self._lap()
        self._advance(job.pixels - self._pixels)
        self._pixels = 0
        self._told.failed(job.scene, why)

    def _advance(self, pixels: int) -> None:
        self._pixels += pixels
        self._told.advance(pixels)

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


def join(out: Path, job: SceneJob, told: Listener, *, legend: Legend, model: str) -> None:
    """Make the map of a scene out of its panels, all of them written; faults are told."""
    begin = time.perf_counter()
    writer = SceneWriter(out, job, legend, model)
    try:
        writer.finish()
    except (InputError, OSError) as error:
        writer.abort()
        discard(out, job)
        told.failed(job.scene, reason(error, out))
    else:
        told.done(job.scene, time.perf_counter() - begin)
