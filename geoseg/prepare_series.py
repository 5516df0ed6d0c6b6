"""Prepare a data set of parcels, points or windows from dated images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoseg.commands import conf, run
from geoseg.dataset.prepare_cubes import SIZE, MapSettings, prepare_map
from geoseg.dataset.sample_split import SampleSplit
from geoseg.dataset.samples import UNITS
from geoseg.dataset.settings import SampleSettings
from geoseg.errors import Faults, InputError
from geoseg.geo.legend import LegendSettings
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.parcels.prepare import FromStacks, FromTable, Source, prepare_series
from geoseg.scenes.bands import Bands
from geoseg.series.find import find_stacks
from geoseg.series.settings import DEMO_PARCELS, DEMO_SERIES, Series


@dataclass
class PrepareSeriesConfig:
    """Take the pixels of parcels or points out of dated images: the data set for training.

    unit=map burns labels for networks that see whole windows instead; only then is there tiling.
    """

    dataset: str = "data/demo/series_dataset"
    """Folder to write."""
    unit: str = "parcel"
    """parcel, pixel or map: what gets one label; pixel takes each pixel of a parcel for itself."""
    table: Any = None
    """CSV or Parquet file with a row per sample and date, instead of images and labels."""
    overwrite: bool = False
    """Replace a data set that was made with other settings."""
    series: Series = field(default_factory=Series)
    bands: Bands = field(default_factory=Bands)
    labels: Labels = field(default_factory=Labels)
    legend: LegendSettings = field(default_factory=LegendSettings)
    split: SampleSplit = field(default_factory=SampleSplit)
    samples: SampleSettings = field(default_factory=SampleSettings)
    tiling: Tiling = field(default_factory=lambda: Tiling(SIZE))

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise InputError(f"unit={self.unit}: choose from {', '.join(UNITS)}")
        if self.table is not None and self.unit == "map":
            raise InputError("table and unit=map: a table has no images; set unit=pixel")
        if self.table is not None and self.series.path is not None:
            raise InputError("table and series.path: give a table or images, not both")


def main(config: PrepareSeriesConfig) -> None:
    if (config.series.path, config.table, config.labels.path) == (None, None, None):
        config = _demo(config)
    if config.unit == "map":
        _prepare_map(config)
        return
    faults = Faults()
    with faults.collect():
        source = _source(config)
    usual = Tiling(SIZE)
    for key, value in vars(config.tiling).items():
        if value != getattr(usual, key):
            faults.add(f"tiling.{key}={value}: only unit=map has windows; leave it out")
    with faults.collect():
        legend = config.legend.load()
    faults.raise_if_any()
    options = {"unit": config.unit, "split": config.split, "overwrite": config.overwrite}
    print(prepare_series(source, legend, config.dataset, **options))  # type: ignore[arg-type]


def _demo(config: PrepareSeriesConfig) -> PrepareSeriesConfig:
    series = replace(config.series, **DEMO_SERIES)
    labels = replace(config.labels, path=DEMO_PARCELS, field="crop")
    legend = config.legend
    if not legend.is_given:
        legend = LegendSettings(path=str(conf.CONF / "legend" / "crops.yaml"))
    return replace(config, series=series, labels=labels, legend=legend)


def _prepare_map(config: PrepareSeriesConfig) -> None:
    """Targets and windows for networks that see whole maps: another kind of data set."""
    faults = Faults()
    default = vars(SampleSettings())
    for key, value in vars(config.samples).items():
        if value != default[key]:
            faults.add(
                f"samples.{key}={value}: unit=map has no samples but windows; leave it out"
                " (labels.ignore_border leaves out the pixels along borders)"
            )
    stacks = faults.attempt(find_stacks, config.series, config.bands) or []
    with faults.collect():
        legend = config.legend.load()
    faults.raise_if_any()
    settings = MapSettings(config.series, config.bands, config.tiling, config.split)
    options = {"settings": settings, "overwrite": config.overwrite}
    print(prepare_map(stacks, config.labels, legend, config.dataset, **options))  # type: ignore[arg-type]


def _source(config: PrepareSeriesConfig) -> Source:
    column = config.split.column
    if config.table is not None:
        if not Path(str(config.table)).is_file():
            raise InputError(f"table={config.table}: no such file; give a CSV or Parquet file")
        rooms = (config.labels, config.series, config.bands, config.samples)
        return FromTable(str(config.table), *rooms, column)
    return FromStacks.open(
        config.series,
        config.labels,
        bands=config.bands,
        samples=config.samples,
        column=column,
    )


if __name__ == "__main__":
    run.run("prepare_series", PrepareSeriesConfig, main)
