"""Hold what a person corrects on the page, and have the maps follow, for all tabs alike."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Condition, Thread
from typing import Any

import numpy as np

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.raster import BLOCK, Raster
from geoseg.labels.correction_file import CorrectionFile
from geoseg.labels.corrections import Corrections
from geoseg.outputs.counted import counted
from geoseg.page.layers import Pictures, block_hectares, hectares
from geoseg.refinement.patch import Known
from geoseg.refinement.patches import Followed, Patcher
from geoseg.refinement.refine import FORM, WINDOWS, Inputs, patcher_of, refine
from geoseg.refinement.settings import Refining
from geoseg.refinement.steps import Journal, marks
from geoseg.refinement.suggest import Suggesting, Suggestion, ranked

LOOK = 1.0
"""Seconds between looks whether QGIS has saved to the same file."""
STRIP = 4 * BLOCK
"""Rows that are counted at a time."""


@dataclass
class State:
    """What all tabs show; a further version whenever something changes."""

    version: int = 1
    busy: str = ""
    """What is being done; "" = nothing."""
    looking: str = "counting areas"
    """What is being done besides, when the page was opened."""
    error: str = ""
    note: str = ""
    unsaved: bool = False
    """Whether there are corrections that are not in the written maps."""
    suggestions: list[Suggestion] = field(default_factory=list)
    no_suggestions: str = ""
    """Why there are none."""


class Session:
    """The scenes, the file of corrections, and a thread that computes."""

    def __init__(
        self, inputs: Inputs, out: Path, file: CorrectionFile, *, settings: Refining
    ) -> None:
        self.out, self.file, self.settings = out, file, settings
        self.inputs = inputs
        self.scenes = tuple(Pictures(old) for old in inputs.old)
        self.state = State()
        self.tiles = [1] * len(self.scenes)
        """Of each scene, how often its map changed: browsers keep tiles of one number."""
        self.corrections: Corrections | None = None
        self._areas: list[np.ndarray | None] = [None] * len(self.scenes)
        self._gains: list[dict[tuple[int, int], np.ndarray]] = [{} for _ in self.scenes]
        self._changed = Condition()
        self._wanted: set[str] = {"follow"}
        self._seen: Any = None
        self._stopped = False
        self._patcher: Patcher | None = None
        self._thread = Thread(target=self._work, name="geoseg-page", daemon=True)
        # Apart, for a click is not to wait until a large map is counted.
        self._looking = Thread(target=self._look_apart, name="geoseg-page-look", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._looking.start()

    def stop(self) -> None:
        """Return when the thread has ended."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def stopped(self) -> bool:
        return self._stopped

    def ask(self, wish: str) -> None:
        """Have the thread do something: follow (the file), save."""
        with self._changed:
            self._wanted.add(wish)
            self._changed.notify_all()

    def settle(self, seconds: float = 60) -> None:
        """Return when all that was asked for is done. Raises: TimeoutError."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: not (self._wanted or self.state.busy or self.state.looking), timeout=seconds
            )
        if not done:
            raise TimeoutError(f"still busy after {seconds} s: {self.state.busy}")

    def told(self) -> dict[str, Any]:
        """The state, for JSON."""
        with self._changed:
            state, tiles, areas = replace(self.state), list(self.tiles), self.areas()
        return {
            "version": state.version,
            "busy": state.busy or state.looking,
            "error": state.error,
            "note": state.note,
            "unsaved": state.unsaved,
            "tiles": tiles,
            "areas": areas,
            "suggestions": len(state.suggestions),
            "noSuggestions": state.no_suggestions,
            "corrections": 0 if self.corrections is None else len(self.corrections),
        }

    def areas(self) -> list[dict[str, list[float]] | None]:
        """Of each scene, hectares by class as predicted and now; None = not yet counted."""
        found: list[dict[str, list[float]] | None] = []
        for before, gains in zip(self._areas, self._gains, strict=True):
            if before is None:
                found.append(None)
                continue
            now = before + sum(gains.values(), np.zeros_like(before))
            found.append(
                {"predicted": np.round(before, 4).tolist(), "now": np.round(now, 4).tolist()}
            )
        return found

    @contextmanager
    def _change(self) -> Iterator[State]:
        with self._changed:
            yield self.state
            self.state.version += 1
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._wanted, timeout=LOOK)
                if self._stopped:
                    return
                wanted = set(self._wanted)
                if self.file.stamp != self._seen:
                    wanted.add("follow")
            for wish, do in (("follow", self._follow), ("save", self._save)):
                if wish in wanted:
                    with self._changed:
                        self._wanted.discard(wish)
                        self.state.busy = "computing"
                    self._guarded(do)
                    with self._change() as state:
                        state.busy = ""

    def _look_apart(self) -> None:
        self._guarded(self._look)
        with self._change() as state:
            state.looking = ""

    def _guarded(self, do: Callable[[], None]) -> None:
        """Raises nothing: what went wrong is for the page to tell."""
        try:
            do()
        except InputError as error:
            with self._change() as state:
                state.error = str(error)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            with self._change() as state:
                state.error = f"{type(error).__name__}: {error} (a fault of geoseg's own)"

    def _follow(self) -> None:
        """Read the corrections, and compute what they change."""
        self._seen = self.file.stamp
        found = self._read()
        with self._change() as state:
            self.corrections = found
            state.error = ""
        for number, pictures in enumerate(self.scenes):
            made = self._changes(pictures, found)
            if made is not pictures.changes:
                self._count(number, made)
                with self._change():
                    pictures.changes = made
                    self.tiles[number] += 1
        with self._change() as state:
            state.unsaved = self.is_unsaved()

    def _read(self) -> Corrections | None:
        if not self.file.count():
            return None
        return Corrections.read(self.file.path, self.inputs.network.card.legend)

    def _changes(self, pictures: Pictures, corrections: Corrections | None) -> Followed:
        before = pictures.changes
        if corrections is None or not corrections.within(pictures.grid):
            return before if not before.keys else Followed()
        if self._patcher is None:
            known = Known(self.out / WINDOWS)
            self._patcher = patcher_of(self.inputs, self.settings, known)
        made = self._patcher.follow(pictures.old, corrections, before)
        return made if made.touched else before

    def _count(self, number: int, made: Followed) -> None:
        """Note how many hectares each class gains in what was computed."""
        pictures = self.scenes[number]
        gains = {at: gain for at, gain in self._gains[number].items() if at in made.blocks}
        for at, (mask, bands) in made.blocks.items():
            if at not in gains or at in made.touched:
                place = Window(at[0] * BLOCK, at[1] * BLOCK, *mask.shape)
                gains[at] = block_hectares(pictures.old, bands[0], mask, place)
        self._gains[number] = gains

    def look_again(self) -> None:
        """Read the corrections once more, when nothing is followed any longer: the last one may
        have been drawn, or saved by QGIS, just before the end. Raises: InputError."""
        self.corrections = self._read()

    def is_unsaved(self) -> bool:
        """Whether the written maps lack corrections, or hold some that were taken back."""
        step = Journal.read(self.out).step
        drawn = [] if self.corrections is None else marks(self.corrections)
        return drawn != ([] if step is None else step.drawn)

    def _save(self) -> None:
        """Write the maps, as a step of the refinement."""
        with self._change() as state:
            state.busy, state.error, state.note = "writing the maps", "", ""
        self.save()
        with self._change() as state:
            state.unsaved = False
            state.note = f"saved: {self.out}"

    def save(self) -> str:
        """Write the maps with all corrections, and say what was done. Raises: InputError."""
        if self.file.count():
            made = refine(self.inputs, self.file.path, self.out, settings=self.settings)
        else:
            made = refine(self.inputs, None, self.out, settings=self.settings, undo=0)
        return str(made)

    def _look(self) -> None:
        """Count the areas, and choose what is worth a look."""
        for number, pictures in enumerate(self.scenes):
            found = np.zeros(len(pictures.legend))
            grid = pictures.grid
            with raster.environment(), Raster(pictures.old.paths[0]) as file:
                for window in grid.window.blocks(STRIP):
                    if self._stopped:
                        return
                    codes = file.read(window)[0][0]
                    found += hectares(codes, grid, window, pictures.legend)
            with self._change():
                self._areas[number] = found
        if self.state.suggestions:  # a file's, which the page was opened with
            return
        with self._change() as state:
            state.looking = "looking for what is worth a look"
        size = min(256, *(min(p.grid.height, p.grid.width) for p in self.scenes))
        chosen: list[Suggestion] = []
        why = ""
        try:
            maps = [pictures.old.map for pictures in self.scenes]
            chosen = ranked(maps, Suggesting(size=max(8, size)))
        except InputError as error:
            why = str(error)
        with self._change() as state:
            state.suggestions = chosen
            state.no_suggestions = why or ("" if chosen else "the maps hold no class")


def open_session(
    inputs: Inputs,
    corrections: str | Path | None,
    out: Path,
    *,
    settings: Refining,
    overwrite: bool = False,
) -> Session:
    """A session with the file of corrections, which is written if there is none.

    Raises: InputError for a file that is not as refine writes it, or holds faults.
    """
    if not inputs.old:
        raise InputError("scenes: none has a map; give those that were mapped")
    path = out / FORM if corrections is None else Path(corrections)
    if corrections is not None and not path.exists():
        raise InputError(f"corrections={path}: no such file; leave it out to begin a new one")
    # Claims the output, and makes good what a call before left.
    refine(inputs, None, out, settings=settings, overwrite=overwrite)
    legend = inputs.network.card.legend
    file = CorrectionFile.open(path, legend, inputs.old[0].map.grid.crs)
    if file.count():
        found = Corrections.read(path, legend)
        found.check({old.scene.name: old.scene.grid for old in inputs.old}, "maps")
    return Session(inputs, out, file, settings=settings)


def summary_of(session: Session) -> str:
    """How many corrections there are, and where, for the terminal."""
    return f"{counted(session.file.count(), 'correction')} in {session.file.path}"
