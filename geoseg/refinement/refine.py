"""Refine maps by corrections: learn from them window by window, and keep every step."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.labels.correction_form import write_form
from geoseg.labels.corrections import Corrections
from geoseg.maps import folder
from geoseg.models import suitability
from geoseg.models.card import ModelCard
from geoseg.models.resample import resampled
from geoseg.outputs.claims import check_apart, claim
from geoseg.outputs.counted import counted
from geoseg.outputs.lock import alone
from geoseg.outputs.progress import follow
from geoseg.outputs.summary import Summary
from geoseg.prediction.bands import bands_for
from geoseg.prediction.network import TrainedNetwork
from geoseg.refinement.adapt import check, way_of
from geoseg.refinement.again import training_commands
from geoseg.refinement.old_maps import OldMap, OldMaps
from geoseg.refinement.patch import Known, Patch
from geoseg.refinement.patches import Patcher
from geoseg.refinement.settings import Refining
from geoseg.refinement.steps import FOLDER, NAME, Journal, Step, keep_copy, marks
from geoseg.refinement.write import settle
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import Scene, find_scenes

WINDOWS = ".windows"
PRODUCTS = (*folder.FOLDERS, folder.NAME, NAME, WINDOWS)
"""Without the steps, which hold what a person drew."""
SIDE = 256
"""Pixels of a window at most: a correction tells little of what lies further away."""
FORM = "corrections.gpkg"


@dataclass(frozen=True)
class Inputs:
    """Network, maps and scenes that fit together."""

    network: TrainedNetwork
    maps: OldMaps
    old: tuple[OldMap, ...]
    """Of the scenes that were given."""

    @classmethod
    def open(
        cls, network: TrainedNetwork, scenes: Any, maps: str | Path, *, bands: Bands | None = None
    ) -> Inputs:
        """Raises: InputError with all that does not fit."""
        faults = Faults()
        faults.attempt(check, network)
        found: list[Scene] = []
        known = faults.attempt(OldMaps.read, maps, network)
        with faults.collect(), raster.environment():
            found = find_scenes(scenes, bands_for(network.card, bands))
        faults.raise_if_any()
        assert known is not None
        with raster.environment():
            fitting = faults.each(lambda scene: _fit(scene, network.card, known), found)
            with faults.collect():
                old = tuple(known.of(fitting))
        faults.raise_if_any()
        for text in known.said_of_changes_since(old):
            print(f"geoseg refine: WARNING: {text}", file=sys.stderr)
        return cls(network, known, old)

    @property
    def tiling(self) -> Tiling:
        """Of the windows that the network sees: as in the prediction, else as in the training."""
        said = self.maps.settings.get("tiling")
        return Tiling(**said) if isinstance(said, dict) else self.network.card.tiling


def _fit(scene: Scene, card: ModelCard, maps: OldMaps) -> Scene:
    """The scene as the prediction saw it. Raises: InputError if it does not suit the network."""
    if maps.settings.get("resample"):
        scene = resampled(scene, card)
    fitting = suitability.fit(scene, card)
    assert isinstance(fitting, Scene)
    entry = maps.entries.get(scene.name, {})
    nodata = entry.get("nodata")
    return fitting if nodata is None else fitting.with_nodata(nodata)


@alone("refine", "out")
def refine(
    inputs: Inputs,
    corrections: str | Path | None,
    out: str | Path,
    *,
    settings: Refining | None = None,
    undo: int | None = None,
    overwrite: bool = False,
) -> Summary:
    """Write maps with corrections worked into them, as a further step that can be undone.

    Without corrections, or with `undo`, no step is made: an empty file of corrections is written
    if there is none, maps that are not as the journal says are made good, and with `undo` they go
    back, or forth, to that step; 0 = as predicted.
    Raises: InputError for corrections that are faulty or lie beside all maps; another output there.
    """
    out, settings = Path(out), settings or Refining()
    way_of(inputs.network, settings)
    if out.resolve() == inputs.maps.folder.resolve():
        raise InputError(f"out={out}: holds the maps as predicted, which are kept; choose another")
    begin = time.perf_counter()
    grids = {old.scene.name: old.scene.grid for old in inputs.old}
    drawn = None
    if corrections is not None and undo is None:
        drawn = Corrections.read(corrections, inputs.network.card.legend)
        drawn.notes += drawn.check(grids, "maps")
    check_apart(out, PRODUCTS, (path for old in inputs.old for path in old.scene.inputs))
    made_of = {
        "model": inputs.network.hash,
        "maps": str(inputs.maps.folder.absolute()),
        "predict": inputs.maps.settings,
    }
    claim(out, made_of, command="refine", products=PRODUCTS, overwrite=overwrite)
    journal, summary = Journal.read(out), Summary()
    if not (out / NAME).exists() and (out / FOLDER).exists():
        aside = _aside(out / FOLDER)
        summary.note(f"{aside}: the corrections of the output that was replaced")
    if undo is not None:
        journal.go_to(undo, made_of)
    patches: dict[str, Patch] = {}
    if drawn is not None:
        summary.notes(drawn.notes)
        patches = _take_step(inputs, drawn, journal, settings, made_of)
        _warn_lost(journal, summary)
    elif not journal.steps:
        journal.save(made_of)
    if corrections is None and inputs.old:
        form = out / FORM
        if write_form(form, inputs.network.card.legend, inputs.old[0].map.grid.crs):
            summary.note(f"form: {form} (open it in QGIS, draw, choose a class for each)")
    written = settle(out, inputs.maps, journal, {old.scene.name: old for old in inputs.old})
    _describe(summary, journal, patches, written, seconds=time.perf_counter() - begin)
    step = journal.step
    if step is not None:
        summary.notes(training_commands(inputs.network, inputs.old, out, step))
    return summary


def _take_step(
    inputs: Inputs,
    drawn: Corrections,
    journal: Journal,
    settings: Refining,
    made_of: dict[str, Any],
) -> dict[str, Patch]:
    """Compute what the corrections change, and note it as a step. Returns: patch of each scene."""
    told, how = marks(drawn), asdict(settings) | {"device": None}
    touched = [old for old in inputs.old if drawn.within(old.scene.grid)]
    stamps = {old.scene.name: inputs.maps.stamp_of(old.scene.name) for old in touched}
    before = journal.step
    if before and (before.drawn, before.settings, before.stamps) == (told, how, stamps):
        return {}
    known = Known(journal.out / WINDOWS)
    patcher = patcher_of(inputs, settings, known)
    number = journal.next
    place = journal.folder_of(number)
    patches, files = {}, {}
    for old in follow(touched, "refine"):
        patch = patcher(old, drawn)
        path = place / f"{old.scene.name}.npz"
        patch.save(path)
        patches[old.scene.name] = patch
        files[old.scene.name] = path.relative_to(journal.out).as_posix()
    copied = place / FORM
    keep_copy(drawn, copied)
    corrections = copied.relative_to(journal.out).as_posix()
    journal.add(Step(number, corrections, len(drawn), files, told, how, stamps), made_of)
    known.prune()
    return patches


def patcher_of(inputs: Inputs, settings: Refining, known: Known) -> Patcher:
    """Raises: InputError if there is no such device."""
    size = min(SIDE, inputs.tiling.size)
    return Patcher(inputs.network, settings, inputs.maps.settings, known=known, size=size)


def _aside(steps: Path) -> Path:
    """Rename a folder of steps, so that others can be made in its place."""
    number = 1
    while (aside := steps.with_name(f"{steps.name}.{number}")).exists():
        number += 1
    steps.rename(aside)
    return aside


def _warn_lost(journal: Journal, summary: Summary) -> None:
    """Say which corrections of the step before are not in this one: a new file must not end them
    without a word."""
    if len(journal.steps) < 2 or journal.step is not journal.steps[-1]:
        return
    before, now = journal.steps[-2:]
    if lost := set(before.drawn) - set(now.drawn):
        summary.warn(
            f"{counted(len(lost), 'correction')} of step {before.number} "
            f"{'is' if len(lost) == 1 else 'are'} not in the file any more, and no longer in the"
            f" maps; undo={before.number} brings that step back, {before.corrections} holds them"
        )


def _describe(
    summary: Summary,
    journal: Journal,
    patches: dict[str, Patch],
    written: list[str],
    *,
    seconds: float,
) -> None:
    if patches:
        rows = [
            [name, patch.windows, patch.computed, patch.corrected, patch.learnt, patch.changed]
            for name, patch in patches.items()
        ]
        header = ["scene", "windows", "computed", "corrected px", "learnt", "changed px"]
        summary.table("Refined", header, rows)
        corrected = sum(patch.corrected for patch in patches.values())
        learnt = sum(patch.learnt for patch in patches.values())
        blank = sum(patch.blank for patch in patches.values())
        if corrected:
            summary.note(
                f"corrected pixels: all {corrected} are right in the maps; the network learnt"
                f" {learnt / corrected:.1%} of them by itself"
            )
        if blank:
            summary.warn(
                f"{counted(blank, 'corrected pixel', 'have')} no image, and"
                f" {'stays' if blank == 1 else 'stay'} without a class"
            )
    step = journal.step
    said = "as predicted" if step is None else f"{counted(step.count, 'correction')}"
    summary.note(
        f"step {journal.at} of {len(journal.steps)} ({said}): {counted(len(written), 'scene')}"
        f" written in {seconds:.1f} s; maps: {journal.out / folder.LANDCOVER}"
    )
    if journal.at:
        summary.note(f"undo={max(0, journal.at - 1)} takes this step back; none is ever removed")
