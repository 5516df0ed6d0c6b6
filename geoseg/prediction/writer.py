"""Write the maps of scenes, whole blocks at a time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import IGNORED, NODATA, UNDECIDED, Legend
from geoseg.geo.raster import BLOCK, Writer
from geoseg.maps import landcover
from geoseg.maps.folder import FOLDERS, map_paths, remove, write_side_files
from geoseg.maps.layers import CONFIDENCE, LAYERS, SECOND
from geoseg.outputs import files
from geoseg.outputs.threads import BackgroundFile
from geoseg.prediction.panels import Broken, Panel, SceneJob
from geoseg.scenes.dated import AnyScene

if TYPE_CHECKING:
    from geoseg.prediction.blend import Rows

PANEL_TAG = "GEOSEG_PANEL"
"""Of a panel: what it is made of."""


class MapWriter:
    """The rasters of a grid, side by side; rows come from top to bottom in any heights."""

    def __init__(
        self,
        paths: Sequence[Path],
        grid: Grid,
        legend: Legend,
        tags: dict[str, str],
        layers: Sequence[str] = (CONFIDENCE,),
    ) -> None:
        """paths: of the class map and of each layer. Raises: InputError if one can't be written."""
        self._grid = grid
        self._counts = (1, *(LAYERS[name].count(len(legend)) for name in layers))
        self._codes = raster.create(
            paths[0], grid, dtype="uint8", nodata=NODATA, colors=legend.colors(), tags=tags
        )
        self._file = self._codes.__enter__()
        self._beside: list[BackgroundFile[Writer]] = []
        try:
            for path, name in zip(paths[1:], layers, strict=True):
                file = BackgroundFile(_open_layer(path, grid, name, legend, tags))
                file.enter()
                self._beside.append(file)
        except BaseException:
            self._give_up()
            raise
        self._waiting: list[np.ndarray] = []
        self._top = 0
        self._bottom = 0
        self._left = False

    def write(self, codes: np.ndarray, *layers: np.ndarray) -> None:
        """Add rows (n, W) uint8, or (bands, n, W). Raises: InputError if the disk is full."""
        rows = [part if part.ndim == 3 else part[None] for part in (codes, *layers)]
        self._waiting.append(np.concatenate(rows))
        self._bottom += len(codes)
        # A block that is written twice is compressed twice, and leaves a hole in the file.
        last = self._bottom == self._grid.height
        end = self._bottom if last else self._bottom // BLOCK * BLOCK
        if end == self._top:
            return
        bands = np.concatenate(self._waiting, axis=1)
        window = Window(self._top, 0, end - self._top, self._grid.width)
        self.put(bands[:, : window.height], window)
        self._waiting = [bands[:, window.height :]]
        self._top = end

    def put(self, bands: np.ndarray, window: Window) -> None:
        """Write a window of all bands (P, h, w); they come row of blocks by row, from the left.

        Raises: InputError if the disk is full.
        """
        codes, *layers = np.split(bands, np.cumsum(self._counts)[:-1])
        beside = [
            file.do(partial(_write, layer, window))
            for file, layer in zip(self._beside, layers, strict=True)
        ]
        self._file.write(codes[0], window)
        for written in beside:
            written.result()

    @property
    def is_full(self) -> bool:
        return self._top == self._grid.height

    def close(self) -> None:
        """Give the files their names. Raises: InputError if they are not whole."""
        self._left = True
        beside = [file.leave() for file in self._beside]
        try:
            self._codes.__exit__(None, None, None)
        finally:
            for left in beside:
                left.result()

    def abort(self) -> None:
        """Remove what there is; nothing, if it was closed, well or not."""
        if not self._left:
            self._left = True
            self._give_up()

    def _give_up(self) -> None:
        beside = [file.leave(*_GIVEN_UP) for file in self._beside]
        self._codes.__exit__(*_GIVEN_UP)
        for left in beside:
            left.result()


def _open_layer(
    path: Path, grid: Grid, name: str, legend: Legend, tags: dict[str, str]
) -> AbstractContextManager[Writer]:
    layer = LAYERS[name]
    return raster.create(
        path,
        grid,
        dtype="uint8",
        count=layer.count(len(legend)),
        nodata=layer.nodata,
        colors=None if layer.ramp else legend.colors(),
        tags=tags,
        names=layer.bands(legend),
    )


def _write(layer: np.ndarray, window: Window, file: Writer) -> None:
    file.write(layer if len(layer) > 1 else layer[0], window)


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
        self._writer: MapWriter | None = None

    def write(self, rows: Rows) -> None:
        """Add the next rows of a panel. Raises: InputError if the disk is full."""
        panel, valid = rows.panel, rows.valid
        if self._writer is None:
            grid = self._scene.grid.crop(
                Window(0, panel.left, self._scene.grid.height, panel.width)
            )
            self._writer = self._open(panel, grid)
        indices = rows.indices.cpu().numpy()
        if (valid & (indices == IGNORED)).any():
            raise InputError(no_number(f"scene {self._scene.name}"))
        codes = self._legend.decode(indices)
        if rows.undecided is not None:
            codes = np.where(rows.undecided.cpu().numpy(), np.uint8(UNDECIDED), codes)
        layers = [self._layer(name, rows.layers[name].cpu().numpy()) for name in self._job.layers]
        if not valid.all():
            codes = np.where(valid, codes, np.uint8(NODATA))
            layers = [
                np.where(valid, layer, np.uint8(LAYERS[name].nodata))
                for name, layer in zip(self._job.layers, layers, strict=True)
            ]
        self._writer.write(codes, *layers)
        if self._writer.is_full:
            self._writer.close()
            self._writer = None

    def _layer(self, name: str, values: np.ndarray) -> np.ndarray:
        return self._legend.decode(values) if name == SECOND else values

    def _tags(self) -> dict[str, str]:
        return landcover.tags(self._legend, self._model, undecided=self._job.undecided)

    def _open(self, panel: Panel, grid: Grid) -> MapWriter:
        tags, layers = self._tags(), self._job.layers
        if len(self._job.whole) == 1:
            paths = map_paths(self._out, self._scene.name, layers)
            return MapWriter(paths, grid, self._legend, tags, layers)
        tags[PANEL_TAG] = _panel_stamp(self._job, panel)
        return MapWriter(
            _panel_paths(self._out, self._job, panel), grid, self._legend, tags, layers
        )

    def finish(self) -> None:
        """Give the maps their names, once all panels are written. Raises: InputError."""
        name, layers = self._scene.name, self._job.layers
        if len(self._job.whole) > 1:
            self._join(map_paths(self._out, name, layers))
            _remove_panels(self._out, self._job)
        undecided = bool(self._job.undecided)
        write_side_files(self._out, name, self._legend, layers=layers, undecided=undecided)

    def abort(self) -> None:
        """Remove what is not finished; panels that are whole stay for the next try."""
        if self._writer is not None:
            self._writer.abort()
            self._writer = None

    def _join(self, paths: Sequence[Path]) -> None:
        grid, layers = self._scene.grid, self._job.layers
        self._writer = MapWriter(paths, grid, self._legend, self._tags(), layers)
        with ExitStack() as stack:
            panels = [
                [
                    stack.enter_context(raster.Raster(path))
                    for path in _panel_paths(self._out, self._job, panel)
                ]
                for panel in self._job.whole
            ]
            for top in range(0, grid.height, BLOCK):
                height = min(BLOCK, grid.height - top)
                for panel, parts in zip(self._job.whole, panels, strict=True):
                    part = Window(top, 0, height, panel.width)
                    bands = np.concatenate([file.read(part)[0] for file in parts])
                    self._writer.put(bands, part.shift(0, panel.left))
        self._writer.close()
        self._writer = None


@contextmanager
def finishing(out: Path, jobs: Sequence[SceneJob]) -> Iterator[None]:
    """If the block ends with an error, remove what workers that were killed had begun to write."""
    try:
        yield
    except BaseException:
        for job in jobs:
            paths = list(map_paths(out, job.scene.name, job.layers))
            if len(job.whole) > 1:
                paths += [path for panel in job.whole for path in _panel_paths(out, job, panel)]
            for path in paths:
                files.partial(path).unlink(missing_ok=True)
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
    paths = _panel_paths(out, job, panel)
    stamp = _panel_stamp(job, panel)
    return all(p.is_file() and raster.tags(p).get(PANEL_TAG) == stamp for p in paths)


def sweep(out: Path, jobs: Iterable[SceneJob]) -> None:
    """Remove panels that an earlier call left, and that none of these jobs will use or replace."""
    names, used = set(), set()
    for job in jobs:
        names.add(job.scene.name)
        if len(job.whole) > 1:
            used |= {path.name for panel in job.whole for path in _panel_paths(out, job, panel)}
    for name in FOLDERS:
        folder = out / name
        for path in folder.glob(".*.panel*") if folder.is_dir() else ():
            whole = path.name.removesuffix(".part").lstrip(".")
            if f".{whole}" not in used and whole.rpartition(".panel")[0] in names:
                path.unlink(missing_ok=True)


def _remove_panels(out: Path, job: SceneJob) -> None:
    if len(job.whole) > 1:
        for panel in job.whole:
            for path in _panel_paths(out, job, panel):
                path.unlink(missing_ok=True)


def _panel_paths(out: Path, job: SceneJob, panel: Panel) -> tuple[Path, ...]:
    return map_paths(out, f".{panel.scene.name}.panel{panel.number}", job.layers)


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
        # Waits in here for a GPU to get there, so that the network's thread does not.
        self._writer.write(rows)
        self._advance(rows.valid.size)
        if panel is job.panels[-1] and rows.top + len(rows.valid) == panel.scene.grid.height:
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
