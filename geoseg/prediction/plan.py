"""Plan which scenes need maps, and have them made."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.maps import folder
from geoseg.maps.folder import FAILED, NAME, NOVEL_SHARE, REFUSED
from geoseg.maps.layers import DISAGREEMENT, LAYERS, NOVELTY
from geoseg.models import suitability
from geoseg.models.card import ModelCard
from geoseg.models.novelty import LARGEST_SHARE
from geoseg.outputs.progress import Progress
from geoseg.prediction import writer
from geoseg.prediction.network import WITH_FEATURES, Engine, TrainedNetwork
from geoseg.prediction.panels import SceneJob, cut
from geoseg.prediction.record import Record
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.neighbours import places

if TYPE_CHECKING:
    from geoseg.prediction.backends.choice import Choice


@dataclass
class PredictionReport:
    """What became of the scenes."""

    out: Path
    done: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    """Those that an earlier call had done."""
    refused: dict[str, str] = field(default_factory=dict)
    """Those that do not suit the model, and why."""
    failed: dict[str, str] = field(default_factory=dict)
    """Those that could not be read or written to their end, and why."""
    others: list[str] = field(default_factory=list)
    """Those of earlier calls whose maps lie in the same folder."""
    novel: dict[str, float] = field(default_factory=dict)
    """Of scenes with novelty: the share of their pixels that is beyond all that is known."""
    megapixels: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    """In all (total); of these: build (the network's program), wait (for the reader), network,
    blend; beside: read, write."""

    def __str__(self) -> str:
        total = self.seconds.get("total", 0.0)
        text = f"{len(self.done)} scene{'s' * (len(self.done) != 1)} done"
        if self.done and total:
            text += f" ({self.megapixels:.1f} Mpx in {total:.1f} s)"
        if self.before:
            text += f", {len(self.before)} were done before"
        if self.others:
            text += f", {len(self.others)} more are of earlier calls ({_some(self.others)})"
        text += f"; maps: {self.out / folder.LANDCOVER}, record: {self.out / NAME}"
        return f"{text}\n{self._novel()}" if self.novel else text

    def _novel(self) -> str:
        """How much of the scenes is novel."""
        most = sorted(self.novel, key=lambda name: -self.novel[name])
        shown = ", ".join(f"{name} {self.novel[name]:.1%}" for name in most[:5])
        mean = sum(self.novel.values()) / len(self.novel)
        text = f"novel: {mean:.1%} of a scene in the mean ({shown}{' …' if len(most) > 5 else ''})"
        far = [name for name in most if self.novel[name] > LARGEST_SHARE]
        if far:
            text += (
                f"\nWARNING: {len(far)} of {len(self.novel)} scenes show much that the network"
                f" does not know ({_some(far)}): more than {LARGEST_SHARE:.0%} of their pixels are"
                f" beyond that; look at {self.out / NOVELTY} before you trust their maps"
            )
        return text

    def note_novel(self, name: str, record: Record) -> None:
        """Take over how novel a scene is that is done."""
        share = record.scenes[name].get(NOVEL_SHARE)
        if share is not None:
            self.novel[name] = share

    def raise_if_incomplete(self) -> None:
        """Raises: InputError if a scene that was asked for has no map; the reasons were given."""
        parts = [
            f"{len(scenes)} {what} ({_some(list(scenes))})"
            for what, scenes in (("refused", self.refused), ("failed", self.failed))
            if scenes
        ]
        if parts:
            raise InputError(f"scenes without map: {', '.join(parts)}; see {self.out / NAME}")


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


def plan(
    scenes: Sequence[AnyScene],
    network: TrainedNetwork,
    tiling: Tiling,
    record: Record,
    report: PredictionReport,
) -> list[SceneJob]:
    """What is to be done for each scene that suits the model and is not done."""
    with raster.environment():
        verdicts = {scene.name: _suited(scene, network.card, record, report) for scene in scenes}
    suited = [scene for scene in verdicts.values() if scene is not None]
    suitability.say_doubts(suited, network.card)
    jobs = []
    legend, layers = network.card.legend, network.running.chosen_layers
    undecided = _undecided(network)
    scores = 0 if network.knowing is None else network.knowing.score_planes
    room: dict[str, Any] = {
        "classes": len(legend) + len({DISAGREEMENT} & set(layers)) + scores,
        "memory": network.running.memory,
        "maps": 1 + sum(LAYERS[name].count(len(legend)) for name in layers),
    }
    for scene, place in zip(suited, places(suited, tiling, halo=network.running.halo), strict=True):
        if scene.name in report.failed:
            continue
        stamp = record.stamp(scene, place)
        if record.is_done(scene, stamp):
            report.before.append(scene.name)
            report.note_novel(scene.name, record)
            folder.complete(report.out, scene.name, legend)
            continue
        whole = tuple(cut(scene, place, tiling.size, **room))
        jobs.append(SceneJob(whole, whole, stamp, layers=layers, undecided=undecided))
    writer.sweep(report.out, jobs)
    return [writer.going_on(report.out, job) for job in jobs]


def _undecided(network: TrainedNetwork) -> str:
    """By what pixels are left without decision; "" = none is."""
    said = [] if network.thresholds is None else [network.thresholds.said]
    return ", ".join([*said, *(["novelty"] if network.running.refuse_novel else [])])


def _suited(
    scene: AnyScene, card: ModelCard, record: Record, report: PredictionReport
) -> AnyScene | None:
    """The scene with the model's bands; None, and the report says why, if it does not suit.

    A scene that can't be read keeps its place among the others: mended, it changes nobody's.
    """
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


def map_scenes(
    network: TrainedNetwork,
    scenes: Sequence[AnyScene],
    tiling: Tiling,
    record: Record,
    report: PredictionReport,
    engine: Engine | None,
) -> None:
    """Make the maps that are still to be made, and say and record what will have none."""
    jobs = plan(scenes, network, tiling, record, report)
    names = {scene.name for scene in scenes} | set(report.refused)
    report.others = [name for name in record.scenes if name not in names]
    note(record, report, scenes)
    if jobs:
        make_maps(network, jobs, record, report, engine)


def note(record: Record, report: PredictionReport, scenes: Sequence[AnyScene] = ()) -> None:
    """Say and record which scenes will have no map; one of before would contradict that."""
    by_name = {scene.name: scene for scene in scenes}
    for status, reasons in ((REFUSED, report.refused), (FAILED, report.failed)):
        for name, reason in reasons.items():
            print(f"geoseg predict: {status}: {reason}", file=sys.stderr)
            record.refuse(name, reason, status=status, scene=by_name.get(name))
            folder.remove(report.out, name)
    for name in by_name:
        for text in record.notes.get(name, ()):
            print(f"geoseg predict: WARNING: {text}", file=sys.stderr)
    record.save()


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


def make_maps(
    network: TrainedNetwork,
    jobs: Sequence[SceneJob],
    record: Record,
    report: PredictionReport,
    engine: Engine | None = None,
) -> None:
    """Have the jobs done by an engine."""
    start = time.perf_counter()
    engine = engine or Engine()
    if network.wants_novelty and record.backend not in WITH_FEATURES:
        raise InputError(
            f"{report.out}: its maps were made by {record.backend}, which does not let anybody look"
            " at the network's features, and all maps of a folder are made alike; give another"
            " out=…, or set predict.backend=torch overwrite=true"
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


def _settle(record: Record, choice: Choice) -> None:
    """Note the backend before the first map is made: a call that goes on takes the same."""
    for line in choice.notes:
        print(f"geoseg predict: {line}", file=sys.stderr)
    if choice.seconds:
        times = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in choice.seconds.items())
        print(f"backend: {choice.backend} (per batch of the first windows: {times})")
    record.backend = choice.backend
    record.save()


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
