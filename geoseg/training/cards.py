"""Describe networks that are to be trained by the data they learn from, without torch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from geoseg.dataset.arrays import common_dtype
from geoseg.dataset.samples import Samples, SeriesDataset
from geoseg.dataset.statistics import shape_statistics
from geoseg.dataset.tiles import MAP, Dataset
from geoseg.dataset.unlabelled import Imagery
from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models.card import ModelCard, SeriesCard
from geoseg.models.settings import FOREST, Model
from geoseg.models.suitability import median_ratio
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.dated import DatedScene
from geoseg.training.settings import TrainingSettings

REGULAR = ("tempcnn", FOREST)
"""What reads series on a grid of days."""


def card_of(dataset: Dataset, model: Model) -> ModelCard:
    """The card of a network for images, or for windows through time."""
    bands, dtypes = dataset.settings["bands"], {scene.dtype for scene in dataset.scenes}
    dated = dataset.reference is not None
    return ModelCard(
        model=model.trained(),
        bands=dataset.bands,
        statistics=dataset.statistics,
        dtype=common_dtype(dtypes) if dated else min(dtypes),
        nodata=bands["nodata"],
        extra={} if dated else bands["extra"],
        pixel_size_m=dataset.pixel_size_m,
        legend=dataset.legend,
        tiling=dataset.tiling,
        scores={},
        series=_windows(dataset, dataset.reference) if dataset.reference else None,
        tags=dataset.tags,
        partial=bool(bands.get("partial")),
        pixel_ratio=median_ratio(dataset.scenes),
    )


def _windows(dataset: Dataset, reference: str) -> SeriesCard:
    """What a card says of windows through time."""
    scenes = [scene for scene in dataset.scenes if isinstance(scene, DatedScene)]
    trained = {tile.scene for tile in dataset.tiles("train")}
    days = [day for scene in scenes if scene.name in trained for day in scene.days]
    return SeriesCard(
        unit=MAP,
        reference=reference,
        first_day=min(days),
        last_day=max(days),
        fill="none",
        step=1,
        shape_mean=(),
        shape_std=(),
        min_clear=scenes[0].min_clear,
        masked=any(scene.stack.masks for scene in scenes),
        mask_values=_mask_values(dataset.settings["series"]),
    )


def _mask_values(series: dict[str, Any]) -> tuple[int, ...]:
    """What masks that somebody gave mean by not clear; those of products explain themselves."""
    return () if series.get("masks") is None else tuple(series.get("mask_values", ()))


def card_of_samples(
    dataset: SeriesDataset,
    study: TrainingSettings,
    statistics: BandStatistics,
    train: Samples | None = None,
) -> ModelCard:
    """The card of a network that is trained on a data set of series, or on some of its samples."""
    said, kept, bands = (dataset.settings[room] for room in ("series", "samples", "bands"))
    fill, regular = study.series.fill, study.model.name in REGULAR
    if fill == "auto":
        fill = "linear" if regular else said["fill"]
    if fill == "none" and regular:
        raise InputError(
            f"series.fill=none: model={study.model.name} needs regular series; set"
            " series.fill=linear"
        )
    shape = (dataset.shape_mean, dataset.shape_std) if train is None else shape_statistics(train)
    return ModelCard(
        model=study.model.trained(),
        bands=dataset.bands,
        statistics=statistics,
        dtype=dataset.dtype,
        nodata=bands["nodata"],
        extra={},
        pixel_size_m=dataset.pixel_size_m,
        pixel_size_on=dataset.pixel_size_on,
        legend=dataset.legend,
        tiling=Tiling(128, 0),
        scores={},
        tags=dataset.tags,
        partial=bool(bands.get("partial")),
        series=SeriesCard(
            unit=dataset.unit,
            reference=dataset.reference,
            first_day=dataset.days[0],
            last_day=dataset.days[1],
            fill=fill,
            step=study.series.step or said["step"],
            shape_mean=shape[0],
            shape_std=shape[1],
            min_clear=said["min_clear"],
            buffer_m=kept["buffer_m"],
            max_pixels=kept["max_pixels"],
            masked=dataset.settings.get("masked", False),
            mask_values=_mask_values(said),
        ),
    )


def card_of_imagery(source: Imagery, model: Model) -> ModelCard:
    """The card of a network that fills in what is hidden: the bands are its classes.

    Without what single pixels tell: it would be trained for nothing, as the encoder alone is kept.
    """
    classes = [{"code": n + 1, "name": b, "color": "#000000"} for n, b in enumerate(source.bands)]
    return ModelCard(
        model=replace(model.trained(), pixels=0),
        bands=source.bands,
        statistics=source.statistics,
        dtype=source.dtype,
        nodata=None,
        extra={},
        pixel_size_m=source.pixel_size_m,
        legend=Legend.parse(classes, "bands"),
        tiling=Tiling(source.side, 0),
        scores={},
    )
