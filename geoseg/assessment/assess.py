"""Assess a map with an interpreted sample: accuracy and areas with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoseg.assessment.by_zone import by_zone
from geoseg.assessment.cautions import cautions, unseen_bound
from geoseg.assessment.estimate import Estimate, Observations, Sample, Strata
from geoseg.assessment.figures import (
    Assessment,
    ClassFigures,
    Interpreters,
)
from geoseg.assessment.intervals import Interval, interval
from geoseg.assessment.measure import Measured, Read, measure, reopened
from geoseg.assessment.references import NAMED, References, at_points
from geoseg.assessment.sampling.sample_file import SampleFile
from geoseg.errors import InputError
from geoseg.geo.legend import IGNORED, NODATA, UNLABELLED
from geoseg.geo.raster import Raster
from geoseg.labels.source import LabelSource
from geoseg.labels.zones import Zones
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.counted import counted, few

COVERED = 0.999
"""Share of the area that labels must cover for their own areas to be shown."""


def assess(
    sample: SampleFile,
    references: References,
    *,
    other: ClassMap | None = None,
    zones: Zones | None = None,
    labels: LabelSource | None = None,
    level: float = 0.95,
) -> Assessment:
    """Estimate accuracy and areas of a map from an interpreted sample.

    other: another map of the same ground, instead of the one that was sampled. zones: parts to
    estimate besides. labels: where the references are from, if from labels: to compare areas.
    Raises: InputError if too few points are interpreted, or the map lies elsewhere.
    """
    codes = sample.key.code if other is None else _codes_of(other, sample)
    observed = _sample(sample, references, codes)
    measured = _measured(sample, other, zones, labels)
    made = Assessment(
        sample=sample,
        map=str(sample.about["map"]) if other is None else other.path,
        references=references,
        level=level,
        overall=interval(observed.overall(), level),
        classes=_classes(sample, observed, measured, other, level),
        counts=_counts(observed.observations, len(sample.legend)),
        cells=[
            [interval(observed.cell(i, j), level) for j in range(len(sample.legend))]
            for i in (*range(len(sample.legend)), -1)
        ],
        interpreters=_interpreters(sample, references, level),
        cautions=cautions(observed, sample, level=level),
        codes=codes,
    )
    none = observed.observations.mapped < 0
    if none.any():
        share = observed.ratio(none, np.ones(len(none)))
        made.undecided = interval(share, level)
    if sample.about["design"] == "cluster":
        made.effective = _effective(made.overall)
    if zones is not None and measured is not None:
        where = at_points(zones.burn, sample.key.row, sample.key.column)[references.done]
        made.zones = by_zone(
            observed, zones.names, where=where, measured=measured, codes=sample.legend.codes,
            level=level,
        )  # fmt: skip
    made.notes = [
        *references.warnings,
        *_remarks(made, None if other is None else other.path),
        *(zones.notes if zones is not None else ()),
        *(_empty(zones, made) if zones is not None else ()),
        *_skipped(sample, references),
    ]
    return made


def _empty(zones: Zones, made: Assessment) -> Iterator[str]:
    """What is to be said of zones that have no figures."""
    held = {zone.name for zone in made.zones}
    if without := [name for name in zones.names if name not in held]:
        yield (
            f"{zones.path}: nothing of what was sampled lies in {counted(len(without), 'zone')}"
            f" ({few(without, NAMED)}), of which so nothing is said"
        )


def _remarks(made: Assessment, other: str | None) -> Iterator[str]:
    """What must be known of the figures. other: path of the map that was not sampled."""
    design = made.sample.about["design"]
    if design == "cluster":
        yield "blocks were drawn, not points: the standard errors are those between blocks"
    if design == "systematic":
        yield (
            "the points lie on a grid: the standard errors are those of random points, which is"
            " mostly too large rather than too small"
        )
    bare = int((made.codes[made.references.done] == NODATA).sum())
    if other is not None and bare:
        yield (
            f"{other} has nothing at {bare} of {made.done} interpreted points: its accuracy is"
            " that of the ground it covers, while areas are of all that was sampled"
        )


def _codes_of(other: ClassMap, sample: SampleFile) -> np.ndarray:
    """What another map has at the points, in codes of the sample's legend. Raises: InputError."""
    translate = _translation(other, sample)
    with Raster(other.path, grid=sample.grid, resampling="nearest", nodata=0) as file:
        codes = other.plain(at_points(file.codes, sample.key.row, sample.key.column))
    strange = sorted(set(codes[(translate[codes] == 0) & (codes != NODATA)].tolist()))
    if strange:
        raise InputError(
            f"{other.path}: holds code {', '.join(map(str, strange))}, which its legend"
            f" ({', '.join(f'{c.code} {c.name}' for c in other.legend.classes)}) does not know; set"
            " legend.path=<the legend of this map>"
        )
    found = translate[codes]
    if not (found > 0).any():
        raise InputError(
            f"{other.path}: has no class at any of the {len(codes)} points of {sample.path}; give a"
            " map of the ground that was sampled"
        )
    return found


def _translation(other: ClassMap, sample: SampleFile) -> np.ndarray:
    """Codes of another map → codes of the sample's legend, by the names of classes."""
    own = {c.name: c.code for c in sample.legend.classes}
    missing = [name for name in other.legend.names if name not in own]
    if missing:
        raise InputError(
            f"{other.path}: has classes that the sample's legend does not know"
            f" ({', '.join(missing)}); it has {', '.join(own)}. Give a map of the same classes"
        )
    table = np.zeros(256, np.int64)
    for c in other.legend.classes:
        table[c.code] = own[c.name]
    table[UNLABELLED] = UNLABELLED
    return table


def _sample(sample: SampleFile, references: References, codes: np.ndarray) -> Sample:
    """Observations at the interpreted points. Raises: InputError if there are too few."""
    done = references.done
    if not done.any():
        raise InputError(
            f"{sample.path}: no point is interpreted; open it in QGIS, layer points, and fill"
            " `reference` (or give points=<file with the filled points>)"
        )
    place = {part.number: i for i, part in enumerate(sample.parts)}
    stratum = np.array([place[k] for k in sample.key.stratum.tolist()])
    cluster = sample.about["design"] == "cluster"
    if not cluster:
        _check_strata(sample, stratum, done)
    mapped = sample.legend.encode(codes.astype(np.uint8)).astype(int)
    mapped[mapped == IGNORED] = -1
    block = sample.key.block[done]
    pixels = np.ones(len(block))
    if cluster:
        _, inverse, counts = np.unique(block, return_inverse=True, return_counts=True)
        pixels = sample.key.block_pixels[done] / counts[inverse.ravel()]
    else:
        block = np.arange(len(block))
    observations = Observations(
        stratum[done],
        mapped[done],
        references.index[done],
        sample.key.hectares[done],
        block,
        pixels,
    )
    units = np.array([part.units for part in sample.parts], float)
    try:
        return Sample(Strata(units, corrected=not cluster), observations)
    except ValueError:
        seen = np.array(
            [len(np.unique(block[stratum[done] == i])) for i in range(len(sample.parts))]
        )
        poor = [part.name for part, n in zip(sample.parts, seen, strict=True) if n < 2]
        raise InputError(
            f"{sample.path}: fewer than 2 blocks are interpreted in {', '.join(poor)}, which gives"
            " no variance; interpret more, in the order of `order`"
        ) from None


def _check_strata(sample: SampleFile, stratum: np.ndarray, done: np.ndarray) -> None:
    """Raises: InputError for strata with one interpreted point or none; says what to add."""
    poor, last, short = [], 0, []
    for place, part in enumerate(sample.parts):
        inside = stratum == place
        seen, least = int((inside & done).sum()), min(2, part.units)
        if seen >= least:
            continue
        poor.append(f"{part.name} {seen} of {int(inside.sum())}")
        open_ = np.sort(sample.key.id[inside & ~done])
        if len(open_) < least - seen:
            short.append(part.name)
        else:
            last = max(last, int(open_[least - seen - 1]))
    # Which points are of which stratum is not told: who interprets them must not know.
    remedies = [f"interpret on in their order, at least to point {last}"] if last else []
    if short:
        names = ", ".join(short)
        remedies.append(f"draw more points in {names} (sample.minimum, sample.size)")
    if poor:
        raise InputError(
            f"{sample.path}: too few points are interpreted: {', '.join(poor)}; a stratum needs 2"
            f" for a variance: {'; '.join(remedies)}"
        )


def _measured(
    sample: SampleFile,
    other: ClassMap | None,
    zones: Zones | None,
    labels: LabelSource | None,
) -> Measured | None:
    """Areas that must be read from rasters; None where the sample knows all there is to know."""
    if other is None and zones is None and labels is None:
        return None
    readers: dict[str, Read] = {}
    if labels is not None:
        scene = Path(str(sample.about["map"])).stem
        readers["labels"] = lambda window: labels.burn(sample.grid, window, scene=scene)
    with reopened(sample) as population:
        if other is None:
            return measure(population, readers, zones=zones.burn if zones else None)
        table = _translation(other, sample).astype(np.uint8)
        with Raster(other.path, grid=sample.grid, resampling="nearest", nodata=0) as file:
            readers["map"] = lambda window: table[other.plain(file.codes(window))]
            return measure(population, readers, zones=zones.burn if zones else None)


def _mapped(sample: SampleFile, measured: Measured | None) -> dict[int, float]:
    """Hectares of each class in the map."""
    if measured is not None:
        return measured.values["map"]
    return {entry["code"]: entry["hectares"] for entry in sample.about["classes"]}


def _classes(
    sample: SampleFile,
    observed: Sample,
    measured: Measured | None,
    other: ClassMap | None,
    level: float,
) -> list[ClassFigures]:
    whole = float(sample.about["hectares"])
    mapped = _mapped(sample, measured)
    labels = measured.values.get("labels") if measured else None
    if labels is not None:
        said = sum(labels.get(code, 0.0) for code in sample.legend.codes)
        labels = labels if said >= COVERED * whole else None
    by_class = other is None and sample.about["sample"]["strata"] == "class"
    by_class &= sample.about["design"] != "cluster" and not sample.about["sample"]["buffer"]
    most = unseen_bound(observed, None, level)
    figures = []
    for index, c in enumerate(sample.legend.classes):
        area = mapped.get(c.code, 0.0)
        with_map = None
        if not by_class:
            found = observed.difference(index, area / whole)
            with_map = interval(found, level).times(whole)
        figures.append(
            ClassFigures(
                name=c.name,
                code=c.code,
                color=c.color,
                mapped=area,
                area=interval(observed.share(index), level, most_unseen=most).times(whole),
                with_map=with_map,
                labels=labels.get(c.code, 0.0) if labels is not None else None,
                users=interval(observed.users(index), level),
                producers=interval(observed.producers(index), level),
                f1=interval(observed.f1(index), level),
            )
        )
    return figures


def _counts(given: Observations, classes: int) -> np.ndarray:
    rows = np.where(given.mapped < 0, classes, given.mapped)
    counts = np.zeros((classes + 1, classes), int)
    np.add.at(counts, (rows, given.reference), 1)
    return counts


def _interpreters(sample: SampleFile, references: References, level: float) -> Interpreters | None:
    both = (references.index >= 0) & (references.second >= 0)
    if not both.any():
        return None
    first, second = references.index[both], references.second[both]
    same = first == second
    share, n = float(same.mean()), len(same)
    se = (share * (1 - share) / (n - 1)) ** 0.5 if n > 1 else 0.0
    names = sample.legend.names
    pairs = Counter((names[a], names[b]) for a, b in zip(first[~same], second[~same], strict=True))
    return Interpreters(
        n,
        int(same.sum()),
        interval(Estimate(share, se, n), level),
        tuple((a, b, count) for (a, b), count in pairs.most_common()),
    )


def _effective(overall: Interval) -> float | None:
    """Independent points that would give the same standard error."""
    if not overall.se > 0:
        return None
    return overall.value * (1 - overall.value) / overall.se**2


def _skipped(sample: SampleFile, references: References) -> list[str]:
    """What is to be said of points that were left out while later ones were interpreted."""
    done = references.done
    last = int(np.flatnonzero(done).max())  # ids are in the order of interpretation
    skipped = int((~done[: last + 1]).sum())
    left = len(done) - last - 1
    notes = []
    if skipped:
        notes.append(
            f"{skipped} points before the last interpreted one are empty: if those are the hard"
            " ones, the map looks better than it is"
        )
    if left:
        notes.append(
            f"{left} points after the last interpreted one are still open (those in reserve among"
            " them); as the order is random, the others are a sample all the same"
        )
    unsure = int((references.sure[done] == 3).sum())
    if unsure:
        notes.append(f"at {unsure} of {int(done.sum())} points the interpreter was unsure")
    return notes
