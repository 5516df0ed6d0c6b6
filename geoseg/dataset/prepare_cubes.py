"""Prepare a data set of windows through time from stacks and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from geoseg.dataset.audit import AUDIT, Audit, TileAudit
from geoseg.dataset.prepare import NOTHING, finish, is_made
from geoseg.dataset.sample_split import SampleSplit
from geoseg.dataset.split import Split
from geoseg.dataset.targets import burn, labels_of, made_of
from geoseg.dataset.tiles import DESCRIPTION, MAP, PRODUCTS, Dataset, pixel_size
from geoseg.errors import Faults
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.outputs.claims import claim
from geoseg.outputs.files import clearing
from geoseg.outputs.lock import alone
from geoseg.outputs.summary import Summary
from geoseg.scenes.bands import Bands
from geoseg.scenes.calendar import anchors
from geoseg.scenes.dated import dated
from geoseg.scenes.fill_values import partial_note
from geoseg.scenes.probe import probes
from geoseg.scenes.stack import Stack, check_stacks, first_dates, observed
from geoseg.series.settings import Series

SIZE = 64
"""Side of the windows unless told otherwise: holds several fields, and with all dates as many
values as some images of the usual 256."""


@dataclass
class MapSettings:
    """What a data set for maps is made with."""

    series: Series = field(default_factory=Series)
    bands: Bands = field(default_factory=Bands)
    tiling: Tiling = field(default_factory=lambda: Tiling(SIZE))
    split: SampleSplit = field(default_factory=SampleSplit)

    def split_of_windows(self) -> Split:
        """How the windows are split. Raises: InputError if samples are needed to split so."""
        faults, split = Faults(), self.split
        if split.by == "random":
            faults.add(
                "split.by=random: with unit=map each window would have neighbours in the other"
                " splits, and no score would be honest; set split.by=block, or split.by=column"
            )
        if split.by == "column" and split.column != "tile":
            faults.add(
                f"split.column={split.column}: with unit=map only split.column=tile is there"
            )
        if split.by == "column" and not (split.values("val") or split.values("test")):
            faults.add(
                "split.by=column: with unit=map name the tiles, split.val=[…] or split.test=[…]"
            )
        faults.raise_if_any()
        given = {name: split.values(name) or split.share(name) for name in ("val", "test")}
        return Split(**given, block_m=split.block_m, seed=split.seed)  # type: ignore[arg-type]


@alone("prepare_series", "dataset")
def prepare_map(
    stacks: Sequence[Stack],
    labels: Labels,
    legend: Legend,
    dataset: str | Path,
    *,
    settings: MapSettings | None = None,
    overwrite: bool = False,
) -> Summary:
    """Make a data set of windows of stacks in the folder `dataset`, or go on in it.

    Pixels with fewer clear dates than series.min_clear have no data, and teach nothing.
    Returns: what was found, as a text for people.
    Raises: InputError for stacks whose bands differ, labels that miss all of them, splits without
    tiles …
    """
    folder, settings = Path(dataset), settings or MapSettings()
    products = (*PRODUCTS, AUDIT)
    faults = Faults()
    faults.attempt(check_stacks, list(stacks))
    with faults.collect():
        split = settings.split_of_windows()
    if settings.series.fill != "none":
        faults.add(
            f"series.fill={settings.series.fill}: networks for unit=map take dates as they are;"
            " leave it out"
        )
    faults.raise_if_any()
    summary = Summary()
    planned = plan(stacks, legend, folder, settings=settings, labels=labels)
    with clearing(folder, (DESCRIPTION,)):
        split.check_names(scene.name for scene in planned.scenes)
        with labels_of(planned, labels) as source:
            made = made_of(planned, source)
            claim(folder, made, command="prepare_series", products=products, overwrite=overwrite)
            if is_made(folder, summary):
                return summary
            burn(planned, source, summary)
        audit(stacks, folder, summary)
        finish(planned, labels, split, summary)
    return summary


def plan(
    stacks: Sequence[Stack],
    legend: Legend,
    folder: Path,
    *,
    settings: MapSettings,
    labels: Labels,
) -> Dataset:
    """The data set before anything is burnt or measured."""
    series = settings.series
    begins = first_dates(stacks)
    reference = series.counted_from()
    since = dict.fromkeys(begins, series.period[0]) if series.start else begins
    found = anchors(since.values(), reference)
    zeros = {name: found[begin] for name, begin in since.items()}
    scenes = tuple(dated(stacks, zeros, min_clear=series.fewest()))
    told = asdict(replace(settings, series=series.settled())) | {
        "bands": settings.bands.settings(),
        "labels": asdict(labels),
        "unit": MAP,
    }
    return Dataset(
        folder, scenes, NOTHING, legend, settings.tiling, pixel_size(scenes), told, reference
    )


def audit(stacks: Sequence[Stack], folder: Path, summary: Summary) -> None:
    """Say, and write to audit.csv, how much each date shows, on windows spread over the stacks."""
    found, rows = Audit(), []
    summary.notes(note for stack in stacks for note in stack.notes)
    for stack in stacks:
        asked, clear = np.zeros((2, len(stack.dates)), np.int64)
        with stack.open() as reader:
            for window in probes(stack.grid):
                seen = observed(reader.read(window)).any(axis=1)
                asked += window.area
                clear += seen.sum(axis=(1, 2))
            share = reader.share_partial()
        if share:
            summary.warn(partial_note(stack.name, share, stack.partial, what="observations"))
        tile = TileAudit(stack.name, stack.dates, 0, int(asked[0]), asked, clear)
        shares = (f"{share:.0%}" for share in np.percentile(tile.shares(), (0, 50, 100)))
        rows.append([tile.name, len(tile.dates), tile.dates[0], tile.dates[-1], *shares])
        found.tiles.append(tile)
    header = ["tile", "dates", "first", "last", "clear, least", "median", "most"]
    summary.table("Series", header, rows)
    found.write(folder)
