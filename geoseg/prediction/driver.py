"""Drive a prediction: claim its folder, take up its record, and have a product made of scenes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.maps.folder import FAILED, NAME, REFUSED
from geoseg.maps.layers import CONFIDENCE
from geoseg.models import suitability
from geoseg.models.card import ModelCard
from geoseg.outputs.claims import claim, follows
from geoseg.outputs.progress import Progress
from geoseg.prediction.items import describe
from geoseg.prediction.record import FilesOf, Record
from geoseg.prediction.report import PredictionReport
from geoseg.scenes.dated import AnyScene


@dataclass(frozen=True)
class Output:
    """A folder that predict writes into, whatever it makes there."""

    folder: Path
    model: str
    """Hash of the network."""
    settings: dict[str, Any]
    """What decides on the files, besides what they are made of."""
    products: tuple[str, ...]
    """Names that may lie in the folder."""
    inputs: list[Any] | None = None
    """What all is made of, where that is one thing: if it changes, all is made anew."""
    record: str = NAME
    layers: tuple[str, ...] = (CONFIDENCE,)
    """Beside each class map."""
    paths: FilesOf | None = None
    """The files of a scene, where these are no maps."""
    refit: bool = False
    """Whether the network has learnt from val, too."""

    def take(self, *, overwrite: bool) -> Record:
        """Claim the folder and take up its record.

        Raises: InputError if it holds an output of other settings.
        """
        out, claimed = self.folder, self.settings
        if self.inputs is not None:
            claimed = claimed | {"inputs": self.inputs}
            overwrite = overwrite or follows(out, claimed, command="predict")
        claim(out, claimed, command="predict", products=self.products, overwrite=overwrite)
        record = Record(
            out, self.model, self.settings, layers=self.layers, name=self.record, paths=self.paths
        )
        record.refit = self.refit
        return record


class Product(Protocol):
    """What a network makes of scenes: maps of their pixels, classes of their tiles."""

    @property
    def card(self) -> ModelCard: ...

    def plan(self, scenes: list[AnyScene], run: Prediction) -> Sequence[Any]:
        """Jobs for what is not done; scenes: those that suit, and those that can't be read."""

    def do(self, jobs: Sequence[Any], run: Prediction) -> None:
        """Do the jobs, and keep record and report."""

    def remove(self, out: Path, scene: str) -> None:
        """Remove what there is of a scene."""


@dataclass(frozen=True)
class Prediction:
    """A product made of scenes in a folder; it goes on where an earlier call stopped."""

    product: Product
    record: Record
    report: PredictionReport

    def make(self, scenes: Sequence[AnyScene]) -> None:
        """Make what is still to be made, and say and record for what that can't be."""
        report = self.report
        with raster.environment():
            found = [self._suited(scene) for scene in scenes]
        suited = [scene for scene in found if scene is not None]
        suitability.say_doubts(suited, self.product.card)
        named = [one for one, fits in zip(scenes, found, strict=True) if fits is not None]
        suitability.say_order(named, self.product.card)
        jobs = self.product.plan(suited, self)
        names = {scene.name for scene in scenes} | set(report.refused)
        report.others = [name for name in self.record.scenes if name not in names]
        self._note(scenes)
        if jobs:
            try:
                self.product.do(jobs, self)
            finally:
                self.record.save()

    def finish(self, scenes: Sequence[AnyScene], *, stac: bool) -> PredictionReport:
        """Describe the maps by STAC items beside them, if that is wanted."""
        describe(scenes, self.record, self.report, wanted=stac)
        return self.report

    def _suited(self, scene: AnyScene) -> AnyScene | None:
        """The scene with the model's bands; None, and the report says why, if it does not suit.

        A scene that can't be read keeps its place among the others: mended, it changes nobody's.
        """
        card, record, report = self.product.card, self.record, self.report
        known = record.verdict(scene)
        if known is not None and known.refused:
            report.refused[scene.name] = known.reason
            return None
        try:
            fitting = suitability.fit(scene, card)
        except InputError as error:
            report.refused[scene.name] = str(error)
            return None
        if known is not None:
            record.notes[scene.name], record.nodata[scene.name] = list(known.notes), known.nodata
            return fitting.with_nodata(known.nodata)
        try:
            found = suitability.check_values(fitting, card)
            fitting = found.scene
            record.notes[scene.name] = list(found.notes)
            record.nodata[scene.name] = found.nodata
        except suitability.UnreadableError as error:
            report.failed[scene.name] = str(error)
        except InputError as error:
            report.refused[scene.name] = str(error)
            return None
        return fitting

    def _note(self, scenes: Sequence[AnyScene]) -> None:
        """Say and record what will not be made of scenes; what is there would contradict that."""
        by_name = {scene.name: scene for scene in scenes}
        for status, reasons in ((REFUSED, self.report.refused), (FAILED, self.report.failed)):
            for name, reason in reasons.items():
                print(f"geoseg predict: {status}: {reason}", file=sys.stderr)
                self.record.refuse(name, reason, status=status, scene=by_name.get(name))
                self.product.remove(self.report.out, name)
        for name in by_name:
            for text in self.record.notes.get(name, ()):
                print(f"geoseg predict: WARNING: {text}", file=sys.stderr)
        self.record.save()


class Ledger:
    """Keeps record, report and progress while scenes are predicted."""

    def __init__(self, run: Prediction, progress: Progress, stamps: dict[str, str]) -> None:
        """stamps: by scene, what its files are made of."""
        self._run, self._progress, self._stamps = run, progress, stamps

    def advance(self, pixels: int) -> None:
        self._progress.advance(pixels)

    def done(self, scene: AnyScene, seconds: float, **facts: Any) -> None:
        """All files of a scene are written. facts: further ones for the record."""
        record, report = self._run.record, self._run.report
        record.done(scene, self._stamps[scene.name], seconds, **facts)
        megapixels = scene.grid.window.area / 1e6
        report.done.append(scene.name)
        report.note_novel(scene.name, record)
        report.megapixels += megapixels
        speed = megapixels / max(seconds, 1e-6)
        self._progress.scene(scene.name, f"{megapixels:.2f} Mpx, {speed:.2f} Mpx/s")

    def failed(self, scene: AnyScene, reason: str) -> None:
        """There is nothing of a scene, and nothing of it is left."""
        self._run.report.failed[scene.name] = reason
        self._run.record.refuse(scene.name, reason, status=FAILED)
        self._progress.scene(scene.name, "failed")
        print(f"geoseg predict: {FAILED}: {reason}", file=sys.stderr)
