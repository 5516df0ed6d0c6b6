"""Write the maps of a scene, panel after panel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import IGNORED, NODATA, UNDECIDED, Legend
from geoseg.geo.raster import BLOCK
from geoseg.maps import landcover
from geoseg.maps.folder import FOLDERS, map_paths, remove, write_side_files
from geoseg.maps.layers import LAYERS, SECOND
from geoseg.outputs import files
from geoseg.prediction.panels import Panel, SceneJob
from geoseg.prediction.writer.map_writer import MapWriter

if TYPE_CHECKING:
    from geoseg.prediction.blend import Rows

PANEL_TAG = "GEOSEG_PANEL"
"""Of a panel: what it is made of."""


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
