"""Calibrate a network on left-out blocks, and write its weights with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.calibration import page
from geoseg.calibration.fit import THRESHOLDS, Judged, Pixels, described, judge, risk
from geoseg.calibration.settings import CalibrationSettings
from geoseg.dataset.samples import SeriesDataset, holds_samples
from geoseg.dataset.tiles import Dataset, said_of_changes_since
from geoseg.errors import Faults
from geoseg.models.calibration import NONE, VECTOR, Calibration
from geoseg.models.card import JUDGED
from geoseg.models.novelty import LARGEST_SHARE
from geoseg.models.settings import FOREST
from geoseg.outputs.claims import claim, follows, note_made, nothing_to_do
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import write_json
from geoseg.outputs.lock import held
from geoseg.outputs.stamp import stamps
from geoseg.outputs.summary import Summary
from geoseg.prediction.network import TrainedNetwork
from geoseg.samples.fitted import check_kind, files_of

if TYPE_CHECKING:
    from geoseg.calibration.novelty import Found

SAMPLES = "samples"


@dataclass(frozen=True)
class Outputs:
    """The files of a calibration."""

    weights: Path

    @property
    def report(self) -> Path:
        return self.weights.with_suffix(".calibration.html")

    @property
    def record(self) -> Path:
        return self.weights.with_suffix(".calibration.json")

    @property
    def all(self) -> tuple[Path, ...]:
        """The weights last: they are what others go on with."""
        return self.report, self.record, self.weights


def calibrate(  # noqa: PLR0913 one keyword per key of the command, as notebooks call it
    network: TrainedNetwork,
    dataset: str | Path,
    out: str | Path,
    *,
    split: str = "val",
    settings: CalibrationSettings | None = None,
    novelty: bool = False,
    overwrite: bool = False,
) -> Summary:
    """Fit temperature or vector scaling on a split, keep it if left-out blocks say so.

    Writes the weights again, with the calibration in their card, a page and a record beside them.
    novelty: also learn from train what ground the network knows, and rank val by that.
    Returns: what was found, as a text for people.
    Raises: InputError if the data set does not suit the network, nothing is labelled, or `out` was
    made with other settings.
    """
    settings, files = settings or CalibrationSettings(), Outputs(Path(out))
    _check(network, files.weights, split, novelty=novelty)
    claimed = {
        "networks": [member.hash_alone for member in network.members],
        "tta": network.tta,
        "smooth": network.smooth,
        "dataset": str(dataset),
        "split": split,
        "calibrate": asdict(settings),
        **({"novelty": True} if novelty else {}),
    }
    folder, name = files.weights.parent, files.weights.name
    with held(folder, "calibrate", name=name):
        claimed |= {"inputs": [fingerprint(path) for path in _inputs(dataset)]}
        if done := nothing_to_do(out, folder, claimed, command="calibrate", name=name):
            return done
        products = tuple(path.name for path in files.all)
        overwrite = overwrite or follows(folder, claimed, command="calibrate", name=name)
        claim(
            folder, claimed, command="calibrate", products=products, overwrite=overwrite, name=name
        )
        pixels, known = _collect(network, dataset, split, settings, novelty)
        judged = judge(pixels, settings.method)
        made = _calibration(network, pixels, judged, settings, f"{split} of {dataset}")
        _write(network, files, made, (pixels, judged), known)
        note_made(folder, stamps(folder, files.all), command="calibrate", name=name)
    others = [member.source for member in network.others]
    what = _what(network)
    summary = _summary(files, made, (pixels, judged), known, others=others, what=what)
    if not holds_samples(dataset):
        for text in said_of_changes_since(Dataset.load(dataset)):
            summary.warn(text)
    # Of refit weights only adapted ones come here with val.
    learnt = ("train", "val") if any(m.card.refit for m in network.members) else ("train",)
    if split in learnt:
        summary.warn(
            f"split={split}: a network is surer of what it has learnt than of other ground; unless"
            " it was trained on another data set, take a split that it has not learnt from"
        )
    return summary


def _check(network: TrainedNetwork, out: Path, split: str, *, novelty: bool) -> None:
    faults = Faults()
    if novelty and network.card.model.name == FOREST:
        faults.add(
            "novelty=true: a forest has no features by which ground is known or new; leave it out"
        )
    if out.suffix != ".safetensors":
        faults.add(f"out={out}: must end in .safetensors; it is a file of weights")
    for member in network.members:
        if member.card.calibration is not None:
            faults.add(
                f"checkpoint {member.source}: is calibrated already; give the weights that the"
                " training made"
            )
        # What was adapted to another place is calibrated on that one's labels.
        if member.card.refit and member.card.adapted is None and split == "val":
            faults.add(
                f"checkpoint {member.source}: has learnt from val too (fit.refit=true), and is"
                " surer of its labels than of others; give split=test, or the weights of before,"
                f" which are {JUDGED} in the run's folder"
            )
        if not isinstance(member.source, Path):
            faults.add("checkpoint: a network that lies in a file can be calibrated, no other")
        elif member.source.resolve() == out.resolve():
            faults.add(f"out={out}: is the checkpoint itself; give another name")
    series = network.card.series
    if series is not None and series.unit == "map":
        faults.add(
            "checkpoint: networks for dated maps (unit=map) can't be calibrated yet;"
            " predict.threshold works without a calibration"
        )
    faults.raise_if_any()


def _inputs(dataset: str | Path) -> list[Path]:
    """Files that say what the data set is."""
    kind = SeriesDataset if holds_samples(dataset) else Dataset
    return [path for path in files_of(kind.load(dataset)) if path.is_file()]


def _collect(
    network: TrainedNetwork,
    dataset: str | Path,
    split: str,
    settings: CalibrationSettings,
    novelty: bool,
) -> tuple[Pixels, Found | None]:
    """Pixels or samples of the split, and what the network knows if that is asked for."""
    check_kind(dataset, network.card)
    if network.card.series is not None:
        from geoseg.calibration.samples import collect_samples

        found = SeriesDataset.load(dataset)
        pixels = collect_samples(network, found, split)
        if not novelty:
            return pixels, None
        from geoseg.calibration.novelty import learn_samples

        return pixels, learn_samples(network, found, split)
    # From here on torch is needed; what could be wrong without it has been said.
    from geoseg.calibration.collect import collect

    loaded = Dataset.load(dataset)
    part: dict[str, Any] = {"side": settings.block, "most": settings.pixels}
    if not novelty:
        return collect(network, loaded, split, **part), None
    from geoseg.calibration.novelty import learn_features, rank_features, replace_known

    learnt = learn_features(network, loaded, side=settings.block)
    pixels = collect(replace_known(network, learnt), loaded, split, **part)
    return pixels, rank_features(learnt, pixels)


def _calibration(
    network: TrainedNetwork,
    pixels: Pixels,
    judged: Judged,
    settings: CalibrationSettings,
    fitted_on: str,
) -> Calibration:
    return Calibration(
        method=settings.method if judged.kept else NONE,
        scale=judged.scales.scale.tolist(),
        bias=judged.scales.bias.tolist(),
        copied_from=network.hash_alone,
        pooled=[member.hash_alone for member in network.members],
        tta=network.tta,
        smooth=network.smooth,
        fitted_on=fitted_on,
        blocks=pixels.blocks,
        pixels=len(pixels),
        scores=described(judged, pixels),
        thresholds=THRESHOLDS.tolist(),
        risk=np.round(risk(judged.after, pixels), 8).tolist(),
    )


def _write(
    network: TrainedNetwork,
    files: Outputs,
    made: Calibration,
    found: tuple[Pixels, Judged],
    known: Found | None,
) -> None:
    from geoseg.models import checkpoint

    page.write(files.report, made, *found, legend=network.card.legend, what=_what(network))
    facts = {} if known is None else {"novelty": known.facts}
    write_json(files.record, asdict(made) | facts)
    assert isinstance(network.source, Path)
    checkpoint.copy(
        network.source, files.weights, replace(network.card, calibration=made, smooth=made.smooth),
        beside=None if known is None else known.novelty.tensors(),
    )  # fmt: skip


def _what(network: TrainedNetwork) -> str:
    """What the network gives a class each."""
    series = network.card.series
    return SAMPLES if series is not None and series.unit == "parcel" else "pixels"


def _summary(
    files: Outputs,
    made: Calibration,
    found: tuple[Pixels, Judged],
    known: Found | None,
    *,
    others: Sequence[Any],
    what: str,
) -> Summary:
    """others: files of the networks that are averaged with the calibrated one. what: they see."""
    summary, (pixels, judged) = Summary(), found
    rows = []
    for name, label in (("ece", "ECE"), ("nll", "NLL"), ("brier", "Brier score")):
        before, after = (f"{made.scores[when][name]:.4f}" for when in ("before", "after"))
        rows.append([label, before, after])
    rows.insert(1, ["ECE of chance alone", *(f"{made.scores[w]['ece_null']:.4f}" for w in WHEN)])
    summary.table("On blocks that were left out", ["", "before", "after"], rows)
    if judged.kept:
        scaled = "scales per class" if made.method == VECTOR else f"T = {made.temperature:.3f}"
        summary.note(f"{scaled}: {judged.why}")
    elif made.scores["tried"]:
        summary.warn(judged.why)
    else:
        summary.note(judged.why)
    count = f"{len(pixels)} {what} of {counted(made.blocks, 'block')}"
    promise = (
        f"; predict.undecided can promise {1 / (made.blocks + 1):.3g} or more, as long as new"
        " ground is like these blocks"
    )
    # Samples have a threshold that somebody sets, and no promise.
    summary.note(count if what == SAMPLES else count + promise)
    if known is not None:
        from geoseg.calibration.novelty import said

        summary.notes(said(known, LARGEST_SHARE))
    if others:
        # The very files: of a run that was grown again on val these are its weights of before.
        given = ",".join(map(str, [files.weights, *others]))
        smooth = f" predict.smooth={made.smooth}" if made.smooth else ""
        summary.note(f"predict with checkpoint=[{given}] and tta={made.tta}{smooth}")
    summary.note(f"weights: {files.weights}; report: {files.report} (open it in a browser)")
    return summary


WHEN = ("before", "after")
