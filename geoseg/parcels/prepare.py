"""Prepare a data set of samples from stacks or from a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from geoseg.dataset.audit import AUDIT
from geoseg.dataset.prepare import is_made
from geoseg.dataset.report import tell_bands, warn_absent
from geoseg.dataset.sample_split import SampleSplit, assign, has_places, said_of_parted
from geoseg.dataset.samples import PRODUCTS, Collected, Samples, SeriesDataset, write_samples
from geoseg.dataset.settings import SampleSettings
from geoseg.dataset.split import SPLITS
from geoseg.dataset.statistics import day_range, measure, shape_statistics
from geoseg.dataset.tiles import DESCRIPTION
from geoseg.errors import Faults, InputError
from geoseg.geo.legend import UNLABELLED, Legend
from geoseg.labels.settings import Labels
from geoseg.outputs.claims import claim
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.files import clearing
from geoseg.outputs.lock import alone
from geoseg.outputs.summary import Summary
from geoseg.parcels.gather import collect
from geoseg.parcels.parcels import Parcels, codes_of, read_parcels
from geoseg.scenes.bands import Bands
from geoseg.scenes.stack import Stack, check_stacks
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series

FEW_HELD = 0.2
"""Share of the samples held back from which it is said what that costs."""


class Source(Protocol):
    """A way into a series data set."""

    @property
    def masked(self) -> bool:
        """Whether masks say what is not clear."""

    def settings(self) -> dict[str, Any]:
        """What the samples depend on, as JSON values."""

    def inputs(self) -> list[Any]:
        """Fingerprints of the files."""

    def collect(self, legend: Legend, folder: Path) -> Collected:
        """Write the pixel arrays. Raises: InputError."""


@dataclass
class FromStacks:
    """Dated images, with parcels or points on them."""

    stacks: Sequence[Stack]
    parcels: Parcels
    labels: Labels
    series: Series
    samples: SampleSettings
    bands: Bands = field(default_factory=Bands)

    def __post_init__(self) -> None:
        self.series = self.series.settled()

    @property
    def masked(self) -> bool:
        return any(stack.masks for stack in self.stacks)

    @classmethod
    def open(
        cls,
        series: Series,
        labels: Labels,
        *,
        bands: Bands | None = None,
        samples: SampleSettings | None = None,
        column: str | None = None,
    ) -> FromStacks:
        """Find images and parcels. column: attribute that a split goes by.

        Raises: InputError with the faults of both.
        """
        faults = Faults()
        stacks: list[Stack] = []
        samples, bands = samples or SampleSettings(), bands or Bands()
        with faults.collect():
            stacks = find_stacks(series, bands)
            check_stacks(stacks)
        with faults.collect():
            parcels = read_parcels(labels, samples, column=column)
        faults.raise_if_any()
        return cls(stacks, parcels, labels, series, samples, bands)

    def settings(self) -> dict[str, Any]:
        return _settings(self)

    def inputs(self) -> list[Any]:
        paths = sorted({path for s in self.stacks for path in (*s.paths, *s.masks)})
        return [fingerprint(path) for path in [*paths, *self.parcels.paths]]

    def collect(self, legend: Legend, folder: Path) -> Collected:
        codes, said = codes_of(self.parcels, self.labels, legend)
        known = codes != UNLABELLED
        parcels = replace(
            self.parcels.take(known), notes=[*self.parcels.notes, *said], samples=self.samples
        )
        return collect(list(self.stacks), parcels, codes[known], folder, series=self.series)


@dataclass
class FromTable:
    """A long table: one row per sample and date."""

    path: str
    labels: Labels
    series: Series
    bands: Bands
    samples: SampleSettings
    column: str | None = None
    masked: bool = False

    def __post_init__(self) -> None:
        self.series = self.series.settled()

    def settings(self) -> dict[str, Any]:
        return _settings(self) | {"table": str(self.path)}

    def inputs(self) -> list[Any]:
        return [fingerprint(self.path)]

    def collect(self, legend: Legend, folder: Path) -> Collected:
        # Imported late: it brings pandas, and nobody should wait for that to see --help.
        from geoseg.parcels.table import LongTable
        from geoseg.parcels.table_samples import collect_table

        column = None if self.column == "tile" else self.column
        table = LongTable(self.path, self.samples, self.series, self.bands)
        return collect_table(table, legend, folder, labels=self.labels, column=column)


def _settings(source: FromStacks | FromTable) -> dict[str, Any]:
    rooms = {name: asdict(getattr(source, name)) for name in ("labels", "series", "samples")}
    return rooms | {"bands": source.bands.settings()}


@alone("prepare_series", "dataset")
def prepare_series(
    source: Source,
    legend: Legend,
    dataset: str | Path,
    *,
    unit: str = "parcel",
    split: SampleSplit | None = None,
    overwrite: bool = False,
) -> Summary:
    """Make a series data set in the folder `dataset`, or go on in it.

    source: FromStacks or FromTable. unit: parcel or pixel.
    Returns: what was found, as a text for people.
    Raises: InputError for labels that the legend doesn't know, parcels outside the tiles …
    """
    folder, split = Path(dataset), split or SampleSplit()
    settings = source.settings() | {"split": asdict(split), "unit": unit}
    products = (*PRODUCTS, AUDIT)
    with clearing(folder, (DESCRIPTION,)):
        claimed = settings | {"legend": legend.to_dict(), "inputs": source.inputs()}
        claim(folder, claimed, command="prepare_series", products=products, overwrite=overwrite)
        before = Summary()
        if is_made(folder, before):
            return before
        found = source.collect(legend, folder)
        present = sorted(set(found.samples.code.tolist()))
        if len(present) == 1:
            name = next(c.name for c in legend.classes if c.code == present[0])
            found.summary.warn(
                f"all samples are {name}: there is nothing to tell it from, and every score will be"
                " perfect; give samples of other classes"
            )
        samples = _split(found, split, by_pixel=unit == "pixel")
        write_samples(folder, samples, legend, geometries=found.geometries, crs=found.crs)
        settings = settings | {"masked": source.masked}
        made = _describe(folder, found, samples, legend, unit=unit, settings=settings)
        made.save()
    found.summary.notes(before.said)
    _summarize(made, samples, found.summary)
    found.summary.note(f"data set: {folder} (look at {folder / 'samples.gpkg'} in QGIS)")
    return found.summary


def _split(found: Collected, split: SampleSplit, *, by_pixel: bool) -> Samples:
    """The samples with their split; at random, and said so, where blocks need coordinates."""
    samples = found.samples
    if split.by == "block" and not has_places(samples, found.crs):
        split = replace(split, by="random")
        lost = int((~(np.isfinite(samples.x) & np.isfinite(samples.y))).sum())
        who = (
            "the samples have" if lost == len(samples) else f"{lost} of {len(samples)} samples have"
        )
        found.summary.warn(
            f"{who} no coordinates, so all were split at random, not by blocks of the"
            " ground: scores will promise more than a map keeps; split.by=column goes by an"
            " attribute"
        )
    drawn = assign(samples, split, crs=found.crs, by_pixel=by_pixel)
    for text in said_of_parted(samples, drawn, "splits"):
        found.summary.warn(text)
    return replace(samples, split=drawn)


def _describe(
    folder: Path,
    found: Collected,
    samples: Samples,
    legend: Legend,
    *,
    unit: str,
    settings: dict[str, Any],
) -> SeriesDataset:
    """The data set, with the statistics of its train split."""
    train = samples.take(samples.split == "train")
    if not len(train):
        raise InputError("split: no sample in the train split; lower split.val and split.test")
    mean, std = shape_statistics(train)
    return SeriesDataset(
        folder,
        unit,
        found.bands,
        found.dtype,
        legend,
        measure(folder, train, found.bands),
        mean,
        std,
        found.reference,
        day_range(folder, train),
        found.pixel_size_m,
        found.crs,
        settings,
        tags=found.tags,
    )


def _summarize(made: SeriesDataset, samples: Samples, summary: Summary) -> None:
    """Tables of splits, classes and bands; what a person must know before training."""
    present = [name for name in SPLITS if (samples.split == name).any()]
    counts = {
        name: np.array(
            [((samples.split == name) & (samples.code == code)).sum() for code in made.legend.codes]
        )
        for name in present
    }
    rows = []
    for name in present:
        mine = samples.split == name
        groups = len(set(samples.group[mine]))
        rows.append([name, int(mine.sum()), groups, int(samples.pixels[mine].sum())])
    summary.table("Splits", ["split", "samples", "groups", "pixels"], rows)
    summary.table(
        "Samples per class",
        ["code", "class", *present],
        [
            [c.code, c.name, *(int(n[i]) for n in counts.values())]
            for i, c in enumerate(made.legend.classes)
        ],
    )
    tell_bands(made.bands, made.statistics, "train samples", summary)
    summary.note(
        f"days {made.days[0]} to {made.days[1]}, counted from {made.reference} (month-day)"
    )
    held = (samples.split != "train").mean()
    if "val" in present and held > FEW_HELD:
        summary.note(
            f"{1 - held:.0%} of the samples train, {(samples.split == 'val').mean():.0%} are val;"
            " fit.refit=true trains on val too, at last"
        )
    warn_absent(made.legend, counts, summary)
