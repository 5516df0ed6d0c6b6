"""Adapt a network to scenes of another place, and show what that changes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.adaptation.settings import INPUT, NORM, AdaptSettings
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import DESCRIPTION, Dataset, said_of_changes_since
from geoseg.dataset.unlabelled import SceneTile, measure
from geoseg.errors import Faults, InputError
from geoseg.models import suitability
from geoseg.models.card import ModelCard
from geoseg.models.novelty import Applicability
from geoseg.models.settings import FOREST
from geoseg.outputs.claims import claim, note_made, nothing_to_do
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import write_json
from geoseg.outputs.lock import held
from geoseg.outputs.stamp import stamps
from geoseg.outputs.summary import Summary
from geoseg.prediction.bands import bands_for
from geoseg.prediction.network import TrainedNetwork
from geoseg.samples.fitted import check_classes, check_units
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.scene import Scene, SceneFiles, find_scenes

MANY_CHANGED = 0.5
"""Share of pixels of another class than before from which on that is warned of."""
Confusions = tuple[np.ndarray, np.ndarray]
"""(K, K) each, rows labels, before and after."""


def adapt(
    network: TrainedNetwork,
    scenes: Any,
    out: str | Path,
    *,
    dataset: str | Path | None = None,
    settings: AdaptSettings | None = None,
    overwrite: bool = False,
) -> Summary:
    """Write a network whose normalisation is that of other scenes, with what that changes.

    scenes: folder, glob or list of GeoTIFFs, or `SceneFiles`.
    dataset: folder of geoseg.prepare with labels of the other place, only to judge by.
    A record lies beside the weights, as <out>.adapt.json.
    Returns: what was found, as a text for people.
    Raises: InputError if the scenes do not suit the network, or it has nothing to adapt.
    """
    settings, out = settings or AdaptSettings(), Path(out)
    faults = Faults()
    faults.attempt(_check, network, out, settings)
    suiting: list[Scene] = []
    notes: list[str] = []
    with faults.collect():
        suiting, notes = _find(network.card, SceneFiles.of(scenes))
    labelled = None if dataset is None else faults.attempt(_labelled, network.card, dataset)
    faults.raise_if_any()
    folder, name = out.parent, out.name
    files = sorted({path for scene in suiting for path in scene.inputs})
    inputs = [fingerprint(path) for path in files]
    if dataset is not None:
        inputs.append(fingerprint(Path(dataset) / DESCRIPTION))
    claimed = {"network": network.hash, "adapt": asdict(settings), "inputs": inputs}
    record = out.with_suffix(".adapt.json")
    with held(folder, "adapt", name=name):
        if done := nothing_to_do(out, folder, claimed, command="adapt", name=name):
            return done
        products = (record.name, name)
        claim(folder, claimed, command="adapt", products=products, overwrite=overwrite, name=name)
        found = _adapt(network, suiting, labelled, settings, out)
        note_made(folder, stamps(folder, (record, out)), command="adapt", name=name)
    summary = _summary(found, out, network.card)
    for note in (*notes, *([] if labelled is None else said_of_changes_since(labelled))):
        summary.warn(note)
    return summary


def _check(network: TrainedNetwork, out: Path, settings: AdaptSettings) -> None:
    """Raises: InputError for networks that can't be adapted."""
    faults = Faults()
    card, source = network.card, network.source
    if out.suffix != ".safetensors":
        faults.add(f"out={out}: must end in .safetensors; it is a file of weights")
    if network.others:
        faults.add("checkpoint: several networks; adapt one at a time, and predict with all")
    if card.adapted is not None:
        faults.add(
            f"checkpoint {source}: is adapted already, which this would undo; give the weights that"
            " the training made"
        )
    if not isinstance(source, Path):
        faults.add("checkpoint: a network that lies in a file can be adapted, no other")
    elif source.resolve() == out.resolve():
        faults.add(f"out={out}: is the checkpoint itself; give another name")
    if card.series is not None:
        faults.add("checkpoint: networks for series can't be adapted yet; give one for images")
    elif card.model.name == FOREST:
        faults.add(
            "checkpoint: a forest has no normalisation that could be measured anew; its thresholds"
            " are those of the training's values"
        )
    faults.raise_if_any()
    if NORM in settings.parts:
        from geoseg.adaptation.normalisation import batch_norms

        if not batch_norms(network.load()):
            raise InputError(
                f"checkpoint {source}: {card.model.title} has no batch normalisation; its input"
                " alone can be scaled anew: adapt.parts=[input]"
            )


def _find(card: ModelCard, files: SceneFiles) -> tuple[list[Scene], list[str]]:
    """Scenes that suit the network, and what is to be said of their values.

    Raises: InputError with all that do not suit.
    """
    faults = Faults()
    found: list[Scene] = []
    notes: list[str] = []
    for scene in find_scenes(files.spec, bands_for(card, files.bands)):
        with faults.collect():
            looked = suitability.check(scene, card)
            assert isinstance(looked.scene, Scene)
            found.append(looked.scene)
            notes += looked.notes
    faults.raise_if_any()
    return found, notes


def _labelled(card: ModelCard, folder: str | Path) -> Dataset:
    """A data set of the network's classes and bands. Raises: InputError."""
    loaded = Dataset.load(folder)
    check_classes(card.legend, loaded)
    if loaded.reference is not None:
        raise InputError(f"dataset={folder}: is one of dated maps; give one of images")
    scenes = tuple(suitability.fit(scene, card) for scene in loaded.scenes)
    check_units(loaded, card)
    return replace(loaded, scenes=scenes)


@dataclass(frozen=True)
class Found:
    """What came of an adaptation."""

    comparison: Any
    windows: int
    scenes: int
    confusions: Confusions | None
    flat: tuple[str, ...] = ()
    """Bands that do not vary in the windows, and keep the training's scaling."""

    def facts(self, names: Sequence[str]) -> dict[str, Any]:
        """As JSON values."""
        before, after = self.comparison.confidences
        facts: dict[str, Any] = {
            "windows": self.windows,
            "scenes": self.scenes,
            "pixels": self.comparison.pixels,
            "changed": round(self.comparison.changed_share, 6),
            "confidence": {"before": round(before, 6), "after": round(after, 6)},
            "shares": {
                when: dict(zip(names, np.round(row, 6).tolist(), strict=True))
                for when, row in zip(WHEN, self.comparison.shares, strict=True)
            },
        }
        if (novel := self.comparison.novel_shares) is not None:
            facts["novel"] = dict(zip(WHEN, (round(share, 6) for share in novel), strict=True))
        if self.confusions is not None:
            scores = [s.to_dict() for s in self.scores(names)]
            facts["scores"] = dict(zip(WHEN, scores, strict=True))
        return facts

    def scores(self, names: Sequence[str]) -> list[Any]:
        from geoseg.evaluation.accuracy import Scores

        return [Scores.of(matrix, list(names)) for matrix in self.confusions or ()]


WHEN = ("before", "after")


def _adapt(
    network: TrainedNetwork,
    scenes: Sequence[Scene],
    labelled: Dataset | None,
    settings: AdaptSettings,
    out: Path,
) -> Found:
    """Measure, compare and write."""
    from geoseg.adaptation.normalisation import renew
    from geoseg.adaptation.windows import Images, compare, draw
    from geoseg.models import checkpoint
    from geoseg.models.device import choose

    card = network.card
    device = choose(network.running.device, "32")
    tiles = draw(scenes, card.tiling.size, settings.windows)
    statistics, flat = card.statistics, np.zeros(len(card.bands), bool)
    if INPUT in settings.parts:
        statistics, flat = _rescaled(card.statistics, tiles, settings.share)
    before = device.place(network.load())
    after = copy.deepcopy(before)
    new = Images(tiles, statistics, device)
    if NORM in settings.parts:
        renew(after, (images for images, _ in new), share=settings.share)
    old = Images(tiles, card.statistics, device)
    known = network.novelty
    assert not isinstance(known, Applicability)  # of networks for series, which are refused
    compared = compare((before, after), (old, new), len(card.legend), known)
    confusions = None
    if labelled is not None:
        confusions = (
            _confusion(before, replace(labelled, statistics=card.statistics), device),
            _confusion(after, replace(labelled, statistics=statistics), device),
        )
    found = Found(compared, len(tiles), len(scenes), confusions, tuple(np.array(card.bands)[flat]))
    facts = found.facts(card.legend.names)
    adapted = {"copied_from": network.hash, **asdict(settings), **facts}
    write_json(out.with_suffix(".adapt.json"), adapted | {"names": [s.name for s in scenes]})
    scores = facts["scores"]["after"] if labelled is not None else {}
    # A calibration, and what a network knows, are of the place that it was trained on.
    made = replace(card, statistics=statistics, adapted=adapted, scores=scores, calibration=None)
    checkpoint.save(out, after, made)
    return found


def _rescaled(
    old: BandStatistics, tiles: Sequence[SceneTile], share: float
) -> tuple[BandStatistics, np.ndarray]:
    """Statistics of the bands in the windows, mixed with those of the training.

    Returns: also which bands (C,) do not vary in them, and keep the training's.
    """
    new = measure(tiles)
    flat = np.array(new.std) <= 0
    mixed = {}
    for name, was in asdict(old).items():
        now = share * np.array(getattr(new, name)) + (1 - share) * np.array(was)
        mixed[name] = np.where(flat, was, now).tolist()
    return BandStatistics.from_dict(mixed), flat


def _confusion(network: Any, dataset: Dataset, device: Any) -> np.ndarray:
    """Labels by map (K, K) over all tiles of a data set, whatever their split."""
    from torch.utils.data import DataLoader

    from geoseg.samples.tiles import ValTiles
    from geoseg.training.validation import count

    tiles = [tile for split in SPLITS for tile in dataset.tiles(split)]
    batches = DataLoader(ValTiles(dataset, tiles=tiles), 4)
    with device.autocast():
        matrix = count(network.eval(), batches, len(dataset.legend), device=device.torch)
    return np.asarray(matrix.cpu().numpy())


def _summary(found: Found, out: Path, card: ModelCard) -> Summary:
    summary = Summary()
    compared, names = found.comparison, card.legend.names
    before, after = compared.confidences
    rows = [["mean confidence", f"{before:.3f}", f"{after:.3f}"]]
    if compared.novel_shares is not None:
        rows.append(["novel pixels", *(f"{share:.1%}" for share in compared.novel_shares)])
    rows += [
        [f"share of {name}", f"{was:.1%}", f"{now:.1%}"]
        for name, was, now in zip(names, *compared.shares, strict=True)
    ]
    summary.table(f"{counted(found.windows, 'window')} of the other place", ["", *WHEN], rows)
    if found.confusions is not None:
        was, now = found.scores(names)
        rows = [["mean IoU", f"{was.miou:.4f}", f"{now.miou:.4f}"]]
        rows += [
            [f"IoU of {name}", _number(a), _number(b)]
            for name, a, b in zip(names, was.iou, now.iou, strict=True)
        ]
        summary.table("By its labels", ["", *WHEN], rows)
        if now.miou < was.miou:
            summary.warn(
                f"by the labels the adapted network is worse (mean IoU {was.miou:.4f} →"
                f" {now.miou:.4f}); go on with the weights of before, or try adapt.share=0.5 or"
                " adapt.parts=[input]"
            )
    if found.flat:
        summary.warn(
            f"band {', '.join(found.flat)}: one value in all windows, so that nothing could be"
            " measured, and the training's scaling stays; is it empty in these scenes?"
        )
    changed = compared.changed_share
    summary.note(
        f"{changed:.1%} of the pixels have another class than before, {1 - changed:.1%} agree"
    )
    if found.confusions is None:
        summary.note(
            "nothing here says that the map is better: look at both, or give labels of the place"
            " (dataset=<folder of geoseg.prepare>)"
        )
        if changed > MANY_CHANGED:
            summary.warn(
                f"{changed:.0%} of the pixels have another class than before: if the place shows"
                " far fewer classes than the training, its statistics say little of the sensor;"
                " try adapt.share=0.5 or adapt.parts=[input]"
            )
    if card.calibration is not None:
        summary.note(
            "the calibration of the weights of before holds for their own place, and is left out:"
            " calibrate what came out on labels of the other place (python -m geoseg.calibrate)"
        )
    summary.note(f"weights: {out}; record: {out.with_suffix('.adapt.json')}")
    return summary


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.4f}"
