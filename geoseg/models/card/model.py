"""Describe a trained network, or an encoder: bands, scaling, classes, all that is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.dataset.tiles import GROUND, ON_MAP
from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import BandTags
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models.calibration import Calibration
from geoseg.models.card.files import ENCODER_KEY, KEY
from geoseg.models.card.series import SeriesCard
from geoseg.models.card.values import (
    check_common,
    check_values,
    read_legend,
    read_model,
    read_statistics,
    read_tags,
    read_thresholds,
    read_tiling,
    unreadable,
)
from geoseg.models.settings import Model, without_unset
from geoseg.outputs.files import parse_json
from geoseg.received import fields
from geoseg.received.tensor_file import TensorFile
from geoseg.scenes.bands import BandStatistics

UNSET: dict[str, Any] = {
    "calibration": None, "adapted": None, "clicks": False, "thresholds": None, "refit": False,
    "smooth": 0, "pixel_ratio": 1.0,
}  # fmt: skip
"""What a card leaves out where it is so: older versions of geoseg do not know it."""
OLDER: dict[str, Any] = {
    "series": None, "started_from": None, "pixel_size_on": ON_MAP, "tags": [], "partial": False,
}  # fmt: skip
"""What cards of older versions mean by leaving it out."""


@dataclass(frozen=True)
class ModelCard:
    """What a trained network expects and what its output means."""

    model: Model
    bands: tuple[str, ...]
    """In the order of the network's channels."""
    statistics: BandStatistics
    """Of the train split: the scaling of the input."""
    dtype: str
    """Of the training scenes."""
    nodata: float | str | None
    """bands.nodata of the training: None = as the files say."""
    extra: dict[str, str]
    """bands.extra of the training: names of added rasters."""
    pixel_size_m: float
    """As `pixel_size_on` says; 0 for tables, which don't."""
    legend: Legend
    tiling: Tiling
    scores: dict[str, Any]
    """Of the validation that chose these weights."""
    series: SeriesCard | None = None
    """Of networks for series only."""
    tags: tuple[BandTags, ...] = ()
    """What most files of the training said of each band: nodata, scale and offset."""
    partial: bool = False
    """bands.partial of the training: whether pixels count of which some bands have no data."""
    started_from: dict[str, str] | None = None
    """Name, hash and kept part of the weights that the training began with; None = random ones."""
    version: str = __version__
    pixel_size_on: str = GROUND
    """Where the pixels were measured: on the ground, or, by older versions, on the map."""
    calibration: Calibration | None = None
    """What geoseg.calibrate found, None without."""
    adapted: dict[str, Any] | None = None
    """What geoseg.adapt changed in weights of before, and how; None without."""
    clicks: bool = False
    """Whether the network can be shown clicks, as geoseg.refine does."""
    thresholds: tuple[float, ...] | None = None
    """Of a network that says of each class whether it is in a tile: the probability from which on
    it is, by class; None = it gives one class."""
    refit: bool = False
    """Whether it has learnt from the val split as well, the scores being those of before."""
    pixel_ratio: float = 1.0
    """Height of the training's pixels by their width, on the ground; 1 where they are about
    squares, as those of degrees are not."""
    smooth: int = 0
    """Side in pixels of the squares over which its probabilities are to be averaged, as gained on
    val; 0 = none."""

    @property
    def file_nodata(self) -> float | None:
        """The one value that meant nodata in the training's images; None if none or several did."""
        mine = zip(self.bands, self.tags, strict=False)
        values = {tags.nodata for band, tags in mine if band not in self.extra}
        (value,) = values if len(values) == 1 else (None,)
        return None if value is None or value != value else value

    def to_json(self) -> str:
        values = asdict(self) | {
            "bands": list(self.bands),
            "statistics": self.statistics.to_dict(),
            "legend": self.legend.to_dict(),
            "tags": [tags.to_dict() for tags in self.tags],
            # As older versions know it, where they can use it.
            "model": without_unset(asdict(self.model)),
        }
        left_out = [name for name, unset in UNSET.items() if getattr(self, name) == unset]
        for name in left_out:
            del values[name]
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Raises: InputError with all that is wrong; ValueError if it isn't JSON."""
        values: Any = parse_json(text)
        if isinstance(values, dict):
            values = OLDER | UNSET | values
            # Networks of before had no path at full resolution, for single pixels or for seasons.
            if isinstance(values.get("model"), dict):
                values["model"] = {"detail": 0, "pixels": 0, "season": 0} | values["model"]
        fields.check(cls, values)
        reads: dict[str, Callable[[Any], Any]] = {
            "bands": tuple,
            "model": read_model,
            "statistics": partial(read_statistics, values["bands"]),
            "legend": read_legend,
            "tiling": read_tiling,
            "series": lambda series: None if series is None else SeriesCard.read(series),
            "tags": lambda tags: tuple(map(read_tags, tags)),
        }
        faults = Faults()
        parts: dict[str, Any] = {}
        for name, read in reads.items():
            with faults.collect():
                parts[name] = read(values[name])
        if "legend" in parts:
            classes = len(parts["legend"])
            if values["calibration"] is not None:
                with faults.collect():
                    parts["calibration"] = Calibration.from_dict(values["calibration"], classes)
            if values["thresholds"] is not None:
                with faults.collect():
                    parts["thresholds"] = read_thresholds(values["thresholds"], classes)
        check_values(values, faults)
        faults.raise_if_any()
        return cls(**values | parts)

    @classmethod
    def read(cls, path: str | Path) -> ModelCard:
        """Card of a weights file.

        Raises: InputError if the file is missing, cut short, damaged, or not made by geoseg.
        """
        path = Path(path)
        expected = "expected weights written by geoseg.train (.safetensors)"
        lacks = "safetensors, but without geoseg's model card"
        file = TensorFile.open_with(path, KEY, lacks=lacks, expected=expected)
        try:
            whole, size = file.size, path.stat().st_size
        except ValueError:
            raise InputError(f"{path}: a damaged safetensors file; {expected}") from None
        if size != whole:
            raise InputError(f"{path}: cut short, {size} of {whole} bytes; copy it again")
        try:
            return cls.from_json(file.metadata[KEY])
        except (InputError, ValueError) as error:
            raise unreadable(path, "a model card", error) from None


@dataclass(frozen=True)
class EncoderCard:
    """What the encoder of a pretraining knows, in the header of its file."""

    encoder: str
    bands: tuple[str, ...]
    """In the order of its channels."""
    statistics: BandStatistics
    """Of the scenes: the scaling of the input."""
    dtype: str
    pixel_size_m: float
    scores: dict[str, Any]
    version: str = __version__

    def to_json(self) -> str:
        values = asdict(self) | {
            "bands": list(self.bands),
            "statistics": self.statistics.to_dict(),
        }
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> EncoderCard:
        """Raises: InputError with all that is wrong; ValueError if it isn't JSON."""
        values = parse_json(text)
        fields.check(cls, values)
        faults = Faults()
        statistics = faults.attempt(read_statistics, values["bands"], values["statistics"])
        check_common(values, faults)
        faults.raise_if_any()
        return cls(**values | {"bands": tuple(values["bands"]), "statistics": statistics})


def find_card(path: str | Path) -> ModelCard | EncoderCard | None:
    """Card of a weights file, None if another program made it.

    Raises: InputError for a network of geoseg's that is cut short, damaged, or of another version.
    """
    try:
        said = TensorFile.open(Path(path)).metadata
    except (OSError, ValueError):
        return None
    if ENCODER_KEY in said:
        try:
            return EncoderCard.from_json(said[ENCODER_KEY])
        except (InputError, ValueError) as error:
            raise unreadable(path, "an encoder's card", error) from None
    return ModelCard.read(path) if KEY in said else None
