"""Drive a prediction of maps: plan which scenes need them, have them made, keep the record."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.maps import folder
from geoseg.maps.folder import FAILED, REFUSED
from geoseg.maps.layers import DISAGREEMENT, LAYERS
from geoseg.models import suitability
from geoseg.outputs.claims import claim
from geoseg.outputs.progress import Progress
from geoseg.prediction import writer
from geoseg.prediction.items import describe
from geoseg.prediction.network import WITH_FEATURES, Engine, TrainedNetwork
from geoseg.prediction.panels import SceneJob, cut
from geoseg.prediction.record import Record
from geoseg.prediction.report import PredictionReport
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.neighbours import places

if TYPE_CHECKING:
    from geoseg.prediction.backends.choice import Choice


@dataclass(frozen=True)
class MapPrediction:
    """Maps that a network makes of scenes in a folder; it goes on where an earlier call stopped."""

    network: TrainedNetwork
    tiling: Tiling
    """Of the windows."""
    record: Record
    report: PredictionReport

    @classmethod
    def begin(
        cls, network: TrainedNetwork, out: Path, tiling: Tiling, others: dict[str, Any],
        *, products: tuple[str, ...], overwrite: bool,
    ) -> MapPrediction:  # fmt: skip
        """Claim a folder, and take up its record.

        others: what decides on the pixels of the maps beside network, windows and scenes.
        products: names that may lie in the folder.
        Raises: InputError if it holds an output of other settings.
        """
        settings = settings_of(network, tiling) | others
        claim(out, settings, command="predict", products=products, overwrite=overwrite)
        record = Record(out, network.hash, settings, layers=network.running.chosen_layers)
        return cls(network, tiling, record, PredictionReport(out))

    def make(self, scenes: Sequence[AnyScene], engine: Engine | None = None) -> None:
        """Make the maps that are still to be made, and say and record what will have none."""
        report = self.report
        jobs = self._plan(scenes)
        names = {scene.name for scene in scenes} | set(report.refused)
        report.others = [name for name in self.record.scenes if name not in names]
        self._note(scenes)
        if jobs:
            self._do(jobs, engine or Engine())

    def finish(self, scenes: Sequence[AnyScene], *, stac: bool) -> PredictionReport:
        """Describe the maps by STAC items beside them, if that is wanted."""
        describe(scenes, self.record, self.report, wanted=stac)
        return self.report

    def _plan(self, scenes: Sequence[AnyScene]) -> list[SceneJob]:
        """What is to be done for each scene that suits the model and is not done."""
        network, report, running = self.network, self.report, self.network.running
        with raster.environment():
            found = [self._suited(scene) for scene in scenes]
        suited = [scene for scene in found if scene is not None]
        suitability.say_doubts(suited, network.card)
        jobs = []
        legend, layers, size = network.card.legend, running.chosen_layers, self.tiling.size
        undecided = _undecided(network)
        scores = 0 if network.knowing is None else network.knowing.score_planes
        room: dict[str, Any] = {
            "classes": len(legend) + len({DISAGREEMENT} & set(layers)) + scores,
            "memory": running.memory,
            "maps": 1 + sum(LAYERS[name].count(len(legend)) for name in layers),
        }
        layouts = places(suited, self.tiling, halo=running.halo)
        for scene, place in zip(suited, layouts, strict=True):
            if scene.name in report.failed:
                continue
            stamp = self.record.stamp(scene, place)
            if self.record.is_done(scene, stamp):
                report.before.append(scene.name)
                report.note_novel(scene.name, self.record)
                folder.complete(report.out, scene.name, legend)
                continue
            whole = tuple(cut(scene, place, size, **room))
            jobs.append(SceneJob(whole, whole, stamp, layers=layers, undecided=undecided))
        writer.sweep(report.out, jobs)
        return [writer.going_on(report.out, job) for job in jobs]

    def _suited(self, scene: AnyScene) -> AnyScene | None:
        """The scene with the model's bands; None, and the report says why, if it does not suit.

        A scene that can't be read keeps its place among the others: mended, it changes nobody's.
        """
        card, record, report = self.network.card, self.record, self.report
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
        """Say and record which scenes will have no map; one of before would contradict that."""
        by_name = {scene.name: scene for scene in scenes}
        for status, reasons in ((REFUSED, self.report.refused), (FAILED, self.report.failed)):
            for name, reason in reasons.items():
                print(f"geoseg predict: {status}: {reason}", file=sys.stderr)
                self.record.refuse(name, reason, status=status, scene=by_name.get(name))
                folder.remove(self.report.out, name)
        for name in by_name:
            for text in self.record.notes.get(name, ()):
                print(f"geoseg predict: WARNING: {text}", file=sys.stderr)
        self.record.save()

    def _do(self, jobs: Sequence[SceneJob], engine: Engine) -> None:
        """Have the jobs done by an engine."""
        network, record, report = self.network, self.record, self.report
        start = time.perf_counter()
        if network.wants_novelty and record.backend not in WITH_FEATURES:
            raise InputError(
                f"{report.out}: its maps were made by {record.backend}, which does not let anybody"
                " look at the network's features, and all maps of a folder are made alike; give"
                " another out=…, or set predict.backend=torch overwrite=true"
            )
        with Progress(len(jobs), sum(job.pixels for job in jobs)) as progress:
            ledger = Ledger(record, report, progress)
            ledger.expect(jobs)
            try:
                if engine.name == "dask":
                    from geoseg.prediction.dask import Cluster

                    with writer.finishing(report.out, jobs), Cluster(engine, network) as cluster:
                        if record.backend is None:
                            _settle(record, cluster.decide(jobs, report.out))
                        assert record.backend is not None
                        seconds = cluster.do(jobs, report.out, ledger, backend=record.backend)
                else:
                    # From here on torch is needed; what could be wrong without it has been said.
                    from geoseg.prediction.worker import Worker

                    worker = Worker(network)
                    if record.backend is None:
                        _settle(record, worker.decide(jobs))
                    assert record.backend is not None
                    ready = time.perf_counter() - start
                    seconds = worker.do(jobs, report.out, ledger, backend=record.backend)
                    seconds["build"] = seconds.get("build", 0.0) + ready
            finally:
                record.save()
        report.seconds = seconds | {"total": time.perf_counter() - start}


def settings_of(network: TrainedNetwork, tiling: Tiling) -> dict[str, Any]:
    """What decides on the pixels of maps, besides the scenes."""
    running, thresholds = network.running, network.thresholds
    # Named only where it is set, or outputs of older versions would be others.
    optional: dict[str, Any] = {}
    if thresholds is not None:
        optional["threshold"] = list(thresholds.values)
    for key in ("refuse_novel", "resample"):
        if getattr(running, key):
            optional[key] = True
    return optional | {
        "model": network.hash,
        "tiling": asdict(tiling),
        "precision": running.precision,
        "backend": running.wanted_backend,
        "tta": network.tta,
        "halo": running.halo,
        "smooth": running.smooth,
    }


def _undecided(network: TrainedNetwork) -> str:
    """By what pixels are left without decision; "" = none is."""
    said = [] if network.thresholds is None else [network.thresholds.said]
    return ", ".join([*said, *(["novelty"] if network.running.refuse_novel else [])])


class Ledger:
    """Keeps record, report and progress while maps are made."""

    def __init__(self, record: Record, report: PredictionReport, progress: Progress) -> None:
        self._record, self._report, self._progress = record, report, progress
        self._stamps: dict[str, str] = {}

    def expect(self, jobs: Sequence[SceneJob]) -> None:
        self._stamps |= {job.scene.name: job.stamp for job in jobs}

    def advance(self, pixels: int) -> None:
        self._progress.advance(pixels)

    def done(self, scene: AnyScene, seconds: float) -> None:
        self._record.done(scene, self._stamps[scene.name], seconds)
        megapixels = scene.grid.window.area / 1e6
        self._report.done.append(scene.name)
        self._report.note_novel(scene.name, self._record)
        self._report.megapixels += megapixels
        speed = megapixels / max(seconds, 1e-6)
        self._progress.scene(scene.name, f"{megapixels:.2f} Mpx, {speed:.2f} Mpx/s")

    def failed(self, scene: AnyScene, reason: str) -> None:
        self._report.failed[scene.name] = reason
        self._record.refuse(scene.name, reason, status=FAILED)
        self._progress.scene(scene.name, "failed")
        print(f"geoseg predict: {FAILED}: {reason}", file=sys.stderr)


def _settle(record: Record, choice: Choice) -> None:
    """Note the backend before the first map is made: a call that goes on takes the same."""
    for line in choice.notes:
        print(f"geoseg predict: {line}", file=sys.stderr)
    if choice.seconds:
        times = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in choice.seconds.items())
        print(f"backend: {choice.backend} (per batch of the first windows: {times})")
    record.backend = choice.backend
    record.save()
