"""`python -m geoseg.predict`: class map and confidence of every scene, by a trained network."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg import command, maps, suitability
from geoseg.bands import Bands
from geoseg.card import ModelCard, find_weights, weights_hash
from geoseg.collect import Collector
from geoseg.errors import Faults, InputError
from geoseg.output import claim
from geoseg.panels import Panel, cut
from geoseg.progress import Progress
from geoseg.raster import SUFFIXES
from geoseg.record import FAILED, NAME, REFUSED, Record
from geoseg.scene import Scene, find_files, find_scenes
from geoseg.settings import PRECISIONS
from geoseg.threads import Behind, ahead, timed
from geoseg.tiling import Tiling

if TYPE_CHECKING:
    from torch import nn

PRODUCTS = (maps.LANDCOVER, maps.CONFIDENCE, NAME)
ENGINES = ("local",)
BATCH_PIXELS = {"cpu": 4 * 256**2, "cuda": 64 * 256**2, "mps": 8 * 256**2}
"""Pixels of a batch by default: enough to keep the device busy, little enough for its memory."""


@dataclass
class TilingChoice:
    """Windows of the prediction; what is not given is as in the training."""

    size: int | None = None
    """Height and width of a window in pixels."""
    overlap: int | None = None
    """Pixels shared by neighbouring windows; of another size a quarter, if not given."""

    def over(self, tiling: Tiling) -> Tiling:
        """The given values over those of another tiling."""
        if self.size not in (None, tiling.size):
            return Tiling(self.size, self.overlap)
        return tiling if self.overlap is None else replace(tiling, overlap=self.overlap)


@dataclass
class Running:
    """How the network runs."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:<n> or mps."""
    precision: str = "auto"
    """auto (bfloat16 where the hardware has it), 32, bf16 or 16."""
    batch_size: int | None = None
    """Windows per forward pass; by default what suits the device."""
    memory: float = 1.0
    """GB for the buffers of a panel: wider scenes are done in several panels."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.precision not in PRECISIONS:
            faults.add(f"predict.precision={self.precision}: choose from {', '.join(PRECISIONS)}")
        if self.batch_size is not None and self.batch_size < 1:
            faults.add(f"predict.batch_size={self.batch_size}: must be at least 1")
        if not self.memory > 0:
            faults.add(f"predict.memory={self.memory}: must be above 0")
        faults.raise_if_any()


@dataclass
class PredictConfig:
    """Make maps of scenes: a class map and its confidence for each."""

    checkpoint: str | None = None
    """Run folder or weights (.safetensors) of geoseg.train; none = the demo's."""
    scenes: Any = None
    """Folder, glob or list of GeoTIFFs; none = the demo's."""
    out: str | None = None
    """Folder for landcover/, confidence/ and predict.json."""
    bands: Bands = field(default_factory=Bands)
    tiling: TilingChoice = field(default_factory=TilingChoice)
    predict: Running = field(default_factory=Running)
    engine: str = "local"
    """What does the work: local."""
    overwrite: bool = False
    """Replace an output that was made with other settings."""


def main(cfg: PredictConfig) -> None:
    if cfg.engine not in ENGINES:
        raise InputError(f"engine={cfg.engine}: not there yet; use engine=local")
    given = [value for value in (cfg.checkpoint, cfg.scenes) if value is not None]
    if not given:
        checkpoint, scenes, out = "runs/demo", "data/demo/scenes", cfg.out or "maps/demo"
    else:
        checkpoint, scenes, out = _all_given(cfg)
    network = Network.open(checkpoint, cfg.predict)
    report = predict(
        network,
        scenes,
        out,
        bands=cfg.bands,
        tiling=cfg.tiling.over(network.card.tiling),
        overwrite=cfg.overwrite,
    )
    print(report)
    report.raise_if_incomplete()


def _all_given(cfg: PredictConfig) -> tuple[str, Any, str]:
    faults = Faults()
    for name, example in (
        ("checkpoint", "<run folder or .safetensors>"),
        ("scenes", "<folder, glob or list of GeoTIFFs>"),
        ("out", "<folder>"),
    ):
        if getattr(cfg, name) is None:
            faults.add(f"{name}: none given; set {name}={example}")
    faults.raise_if_any()
    assert cfg.checkpoint is not None
    assert cfg.out is not None
    return cfg.checkpoint, cfg.scenes, cfg.out


@dataclass
class Network:
    """A trained network, loaded when it is first needed, and how it is to run."""

    card: ModelCard
    hash: str
    """Names the model in its maps."""
    source: Path | nn.Module
    """Weights file, or the network itself: (B, C, H, W) float32 → logits (B, K, H, W)."""
    running: Running = field(default_factory=Running)

    @classmethod
    def open(cls, checkpoint: str | Path, running: Running | None = None) -> Network:
        """Of a run folder or a weights file. Raises: InputError if it isn't whole."""
        path = find_weights(checkpoint)
        return cls(ModelCard.read(path), weights_hash(path), path, running or Running())

    def load(self) -> nn.Module:
        """The network in evaluation mode. Raises: InputError if the file is damaged."""
        if isinstance(self.source, Path):
            from geoseg import checkpoint

            self.source, _ = checkpoint.load(self.source)
        return self.source.eval()


@dataclass
class Report:
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
    megapixels: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    """In all (total); of these: wait (for the reader), network, blend; beside: read, write."""

    def __str__(self) -> str:
        total = self.seconds.get("total", 0.0)
        text = f"{len(self.done)} scene{'s' * (len(self.done) != 1)} done"
        if self.done and total:
            text += f" ({self.megapixels:.1f} Mpx in {total:.1f} s)"
        if self.before:
            text += f", {len(self.before)} were done before"
        if self.others:
            text += f", {len(self.others)} more are of earlier calls ({_some(self.others)})"
        return f"{text}; maps: {self.out / maps.LANDCOVER}, record: {self.out / NAME}"

    def raise_if_incomplete(self) -> None:
        """Raises: InputError if a scene that was asked for has no map; the reasons were given."""
        parts = [
            f"{len(scenes)} {what} ({_some(list(scenes))})"
            for what, scenes in (("refused", self.refused), ("failed", self.failed))
            if scenes
        ]
        if parts:
            raise InputError(f"scenes without map: {', '.join(parts)}; see {self.out / NAME}")


def predict(
    network: Network,
    scenes: Any,
    out: str | Path,
    *,
    bands: Bands | None = None,
    tiling: Tiling | None = None,
    overwrite: bool = False,
) -> Report:
    """Write class maps and confidence of scenes; goes on where an earlier call stopped.

    scenes: folder, glob or list of GeoTIFFs. bands: what the files do not say of their bands.
    tiling: of the windows; by default that of the training.
    Scenes that do not suit the model, or can't be read, are reported; the others are done.
    Raises: InputError if there are no scenes, or `out` holds an output of other settings.
    """
    out, card = Path(out), network.card
    tiling = tiling or card.tiling
    refused: dict[str, InputError] = {}
    wanted = bands_for(card, bands)
    found = find_scenes(scenes, wanted, refused=refused)
    settings = {
        "model": network.hash,
        "tiling": asdict(tiling),
        # As text: JSON knows no NaN.
        "bands": asdict(wanted) | {"nodata": None if wanted.nodata is None else str(wanted.nodata)},
        "precision": network.running.precision,
    }
    claim(out, settings, command="predict", products=PRODUCTS, overwrite=overwrite)
    record = Record(out, network.hash, settings)
    report = Report(out, refused={name: str(error) for name, error in refused.items()})
    jobs = _plan(found, network, tiling, record, report)
    names = {scene.name for scene in found} | set(refused)
    report.others = [name for name in record.scenes if name not in names]
    _note(record, report)
    if jobs:
        _run(network, jobs, record, report)
    return report


def bands_for(card: ModelCard, bands: Bands | None = None) -> Bands:
    """How the bands of new scenes are found: as given, else as in the training.

    Raises: InputError if an added raster of the training is gone and no other is given.
    """
    bands = bands or Bands()
    faults = Faults()
    for name in set(card.extra) - set(bands.extra):
        try:
            find_files(card.extra[name], SUFFIXES, "rasters")
        except InputError:
            faults.add(
                f"bands.extra.{name}: the model was trained with this raster, and it is not at"
                f" {card.extra[name]} any more; set bands.extra.{name}=<file, folder or glob>"
            )
    faults.raise_if_any()
    wanted = replace(
        bands,
        nodata=card.nodata if bands.nodata is None else bands.nodata,
        extra=dict(card.extra) | dict(bands.extra),
    )
    if bands.pattern is not None and not bands.order:
        # Files of other bands must neither be missed nor decide on the grid.
        wanted = replace(wanted, order=list(card.bands))
    return wanted


def _plan(
    scenes: list[Scene], network: Network, tiling: Tiling, record: Record, report: Report
) -> list[list[Panel]]:
    """Panels of each scene that suits the model and is not done."""
    jobs = []
    classes, memory = len(network.card.legend), network.running.memory
    for scene in scenes:
        if record.is_done(scene):
            report.before.append(scene.name)
            continue
        try:
            suited = suitability.check(scene, network.card)
        except suitability.UnreadableError as error:
            report.failed[scene.name] = str(error)
        except InputError as error:
            report.refused[scene.name] = str(error)
        else:
            jobs.append(cut(suited, tiling, classes=classes, memory=memory))
    return jobs


def _note(record: Record, report: Report) -> None:
    """Say and record which scenes will have no map; one of before would contradict that."""
    for status, reasons in ((REFUSED, report.refused), (FAILED, report.failed)):
        for name, reason in reasons.items():
            print(f"geoseg predict: {status}: {reason}", file=sys.stderr)
            record.refuse(name, reason, status=status)
            maps.remove(report.out, name)
    record.save()


def _run(network: Network, jobs: list[list[Panel]], record: Record, report: Report) -> None:
    """Read ahead, predict and blend, write behind: each in a thread of its own."""
    # From here on torch is needed; whatever could be wrong without it has been said.
    from geoseg import blend
    from geoseg.device import choose
    from geoseg.samples.windows import batches

    card, running = network.card, network.running
    device = choose(running.device, running.precision)
    module = device.place(network.load())
    size = jobs[0][0].size
    batch_size = running.batch_size or max(1, BATCH_PIXELS[device.torch.type] // size**2)
    start = time.perf_counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    pixels = sum(panels[0].scene.grid.window.area for panels in jobs)
    with Progress(len(jobs), pixels) as progress:
        collector = Collector(
            report.out, jobs, legend=card.legend, record=record, progress=progress
        )
        panels = [panel for job in jobs for panel in job]
        reading = batches(
            panels,
            card.statistics,
            batch_size=batch_size,
            pin=device.torch.type == "cuda",
            wanted=collector.wants,
        )
        with (
            Behind(collector.close) as behind,
            closing(ahead(timed(reading, seconds, "read"))) as waiting,
        ):
            blend.run(
                waiting,
                module,
                classes=len(card.legend),
                device=device,
                emit=lambda item: behind.do(lambda: collector.take(item)),
                seconds=seconds,
            )
    report.done, report.megapixels = collector.done, collector.megapixels
    report.failed |= collector.failed
    total = time.perf_counter() - start
    report.seconds = dict(seconds) | {"write": collector.seconds, "total": total}


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


if __name__ == "__main__":
    command.run("predict", PredictConfig, main)
