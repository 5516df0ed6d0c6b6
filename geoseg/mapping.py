"""Mapping: class map and confidence of every scene, by a trained network."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg import maps, suitability
from geoseg.bands import scale
from geoseg.card import ModelCard, find_weights, weights_hash
from geoseg.collect import Collector
from geoseg.datedscene import AnyScene, DatedScene
from geoseg.errors import Faults, InputError
from geoseg.panels import Panel, cut
from geoseg.progress import Progress
from geoseg.record import FAILED, NAME, REFUSED, Record
from geoseg.settings import PRECISIONS
from geoseg.threads import Behind, ahead, timed
from geoseg.tiling import Tiling

if TYPE_CHECKING:
    from torch import nn

BATCH_PIXELS = {"cpu": 4 * 256**2, "cuda": 64 * 256**2, "mps": 8 * 256**2}
"""Pixels of a batch by default: enough to keep the device busy, little enough for its memory."""


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
class Network:
    """A trained network, loaded when it is first needed, and how it is to run."""

    card: ModelCard
    hash: str
    """Names the model in its maps."""
    source: Path | nn.Module
    """Weights file, or the network itself: what a network of its kind takes → logits."""
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

    def for_windows(self) -> nn.Module:
        """The network as a function of windows: (B, C, H, W) float32 → logits (B, K, H, W)."""
        if self.card.series is None:
            return self.load()
        from geoseg.models.windows import CubeWindows, PixelWindows
        from geoseg.samples.series import View

        view, bands = View(self.card.statistics, self.card.series), len(self.card.bands)
        if self.card.series.unit == "map":
            return CubeWindows(self.load(), bands)
        return PixelWindows(self.load(), view, len(self.card.legend))

    def see(self, panel: Panel, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """What the network sees of a window of a panel's scene."""
        if isinstance(panel.scene, DatedScene):
            return panel.scene.see(image, self.card.statistics)
        return scale(image, valid, self.card.statistics)


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


def plan(
    scenes: Sequence[AnyScene],
    network: Network,
    tiling: Tiling,
    record: Record,
    report: Report,
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


def note(record: Record, report: Report) -> None:
    """Say and record which scenes will have no map; one of before would contradict that."""
    for status, reasons in ((REFUSED, report.refused), (FAILED, report.failed)):
        for name, reason in reasons.items():
            print(f"geoseg predict: {status}: {reason}", file=sys.stderr)
            record.refuse(name, reason, status=status)
            maps.remove(report.out, name)
    record.save()


def make_maps(network: Network, jobs: list[list[Panel]], record: Record, report: Report) -> None:
    """Read ahead, predict and blend, write behind: each in a thread of its own."""
    # From here on torch is needed; whatever could be wrong without it has been said.
    from geoseg import blend
    from geoseg.device import choose
    from geoseg.samples.windows import batches

    card, running = network.card, network.running
    device = choose(running.device, running.precision)
    module = device.place(network.for_windows())
    size = jobs[0][0].size
    batch_size = running.batch_size or max(1, BATCH_PIXELS[device.torch.type] // size**2)
    if card.series is not None:
        batch_size = 1  # windows of several places have dates of their own
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
            network.see,
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
