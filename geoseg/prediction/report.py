"""Report what became of the scenes that were to be predicted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.errors import InputError
from geoseg.maps.folder import LANDCOVER, NAME, NOVEL_SHARE
from geoseg.maps.layers import NOVELTY
from geoseg.models.novelty import LARGEST_SHARE
from geoseg.outputs.counted import counted, first
from geoseg.prediction.record import Record


@dataclass
class PredictionReport:
    """What became of the scenes."""

    out: Path
    made: str = "maps"
    folder: str = LANDCOVER
    """Where they lie in the output."""
    record: str = NAME
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
    tiles: dict[str, dict[str, int]] = field(default_factory=dict)
    """Of networks for whole tiles, by scene: tiles of each class."""
    notes: list[str] = field(default_factory=list)
    """What was decided by rule of the images of series, one sentence each."""
    smooth: int = 0
    """Side of the squares over which probabilities were averaged without anybody asking for it."""
    megapixels: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    """In all (total); of these: build (the network's program), wait (for the reader), network,
    blend; beside: read, write."""

    def __str__(self) -> str:
        total = self.seconds.get("total", 0.0)
        text = f"{counted(len(self.done), 'scene')} done"
        if self.done and total:
            text += f" ({self.megapixels:.1f} Mpx in {total:.1f} s)"
        if self.tiles:
            every = Counter[str]()
            for found in self.tiles.values():
                every.update(found)
            text += f", tiles of {', '.join(f'{name} {n}' for name, n in every.items() if n)}"
        if self.before:
            text += f", {len(self.before)} were done before"
        if self.others:
            text += f", {len(self.others)} more are of earlier calls ({first(self.others)})"
        text += f"; {self.made}: {self.out / self.folder}, record: {self.out / self.record}"
        if self.smooth:
            text += (
                f"\nprobabilities are averaged over {self.smooth} × {self.smooth} pixels, which"
                " gained on val in the training (predict.smooth=0: not)"
            )
        return "\n".join([*self.notes, text, *([self._novel()] if self.novel else [])])

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
                f" does not know ({first(far)}): more than {LARGEST_SHARE:.0%} of their pixels are"
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
            f"{len(scenes)} {what} ({first(list(scenes))})"
            for what, scenes in (("refused", self.refused), ("failed", self.failed))
            if scenes
        ]
        if parts:
            lack = "map" if self.made == "maps" else self.made
            text = f"scenes without {lack}: {', '.join(parts)}; see {self.out / self.record}"
            raise InputError(text)
