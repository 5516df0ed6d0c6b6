"""Make the maps of scenes: plan their windows, and have an engine do them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import InputError
from geoseg.geo.tiling import Tiling
from geoseg.maps import folder
from geoseg.maps.layers import DISAGREEMENT, LAYERS
from geoseg.models.card import ModelCard
from geoseg.outputs.progress import Progress
from geoseg.prediction.driver import Ledger, Output, Prediction
from geoseg.prediction.network import WITH_FEATURES, Engine, TrainedNetwork
from geoseg.prediction.panels import SceneJob, cut
from geoseg.prediction.record import Record
from geoseg.prediction.report import PredictionReport
from geoseg.prediction.writer.scene_writer import finishing, going_on, sweep
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.neighbours import places, wide_enough

if TYPE_CHECKING:
    from geoseg.prediction.backends.choice import Choice


@dataclass(frozen=True)
class Maps:
    """Class map and layers of scenes, by a network for their pixels."""

    network: TrainedNetwork
    tiling: Tiling
    """Of the windows."""
    engine: Engine = field(default_factory=Engine)

    @property
    def card(self) -> ModelCard:
        return self.network.card

    def begin(
        self, out: Path, others: dict[str, Any], *, products: tuple[str, ...], overwrite: bool
    ) -> Prediction:
        """Claim a folder for the maps.

        others: what decides on their pixels beside network, windows and scenes.
        Raises: InputError if it holds an output of other settings.
        """
        network = self.network
        settings, layers = self._settings() | others, network.running.chosen_layers
        refit = any(member.card.refit for member in network.members)
        output = Output(out, network.hash, settings, products, layers=layers, refit=refit)
        smooth = network.smooth if network.running.smooth is None else 0
        report = PredictionReport(out, smooth=smooth)
        return Prediction(self, output.take(overwrite=overwrite), report)

    def _settings(self) -> dict[str, Any]:
        """What decides on the pixels of maps, besides the scenes."""
        running, thresholds = self.network.running, self.network.thresholds
        # Named only where it is set, or outputs of older versions would be others.
        optional: dict[str, Any] = {}
        if thresholds is not None:
            optional["threshold"] = list(thresholds.values)
        for key in ("refuse_novel", "resample"):
            if getattr(running, key):
                optional[key] = True
        return optional | {
            "model": self.network.hash,
            "tiling": asdict(self.tiling),
            "precision": running.precision,
            "backend": running.wanted_backend,
            "tta": self.network.tta,
            "halo": running.halo,
            "smooth": self.network.smooth,
        }

    def plan(self, scenes: list[AnyScene], run: Prediction) -> list[SceneJob]:
        """What is to be done for each scene that is not done."""
        network, report, running = self.network, run.report, self.network.running
        legend, layers = self.card.legend, running.chosen_layers
        scores = 0 if network.knowing is None else network.knowing.score_planes
        room: dict[str, Any] = {
            "classes": len(legend) + len({DISAGREEMENT} & set(layers)) + scores,
            "memory": running.memory,
            "maps": 1 + sum(LAYERS[name].count(len(legend)) for name in layers),
        }
        undecided, jobs = self._undecided(), []
        layouts = places(scenes, self.tiling, halo=running.halo)
        for scene, place in zip(scenes, layouts, strict=True):
            if scene.name in report.failed:
                continue
            scene = wide_enough(scene, place)
            stamp = run.record.stamp(scene, place)
            if run.record.is_done(scene, stamp):
                report.before.append(scene.name)
                report.note_novel(scene.name, run.record)
                folder.complete(report.out, scene.name, legend)
                continue
            whole = tuple(cut(scene, place, self.tiling.size, **room))
            jobs.append(SceneJob(whole, whole, stamp, layers=layers, undecided=undecided))
        sweep(report.out, jobs)
        return [going_on(report.out, job) for job in jobs]

    def _undecided(self) -> str:
        """By what pixels are left without decision; "" = none is."""
        thresholds = self.network.thresholds
        said = [] if thresholds is None else [thresholds.said]
        return ", ".join([*said, *(["novelty"] if self.network.running.refuse_novel else [])])

    def do(self, jobs: Sequence[SceneJob], run: Prediction) -> None:
        """Have the jobs done by the engine."""
        network, record, report = self.network, run.record, run.report
        start = time.perf_counter()
        if network.wants_novelty and record.backend not in WITH_FEATURES:
            raise InputError(
                f"{report.out}: its maps were made by {record.backend}, which does not let anybody"
                " look at the network's features, and all maps of a folder are made alike; give"
                " another out=…, or set predict.backend=torch overwrite=true"
            )
        with Progress(len(jobs), sum(job.pixels for job in jobs)) as progress:
            ledger = Ledger(run, progress, {job.scene.name: job.stamp for job in jobs})
            if self.engine.name == "dask":
                from geoseg.prediction.dask import Cluster

                with finishing(report.out, jobs), Cluster(self.engine, network) as cluster:
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
        report.seconds = seconds | {"total": time.perf_counter() - start}

    def remove(self, out: Path, scene: str) -> None:
        folder.remove(out, scene)


def _settle(record: Record, choice: Choice) -> None:
    """Note the backend before the first map is made: a call that goes on takes the same."""
    for line in choice.notes:
        print(f"geoseg predict: {line}", file=sys.stderr)
    if choice.seconds:
        times = ", ".join(f"{name} {1000 * s:.0f} ms" for name, s in choice.seconds.items())
        print(f"backend: {choice.backend} (per batch of the first windows: {times})")
    record.backend = choice.backend
    record.save()
