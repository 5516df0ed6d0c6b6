"""Describe a trained network: bands, scaling, classes, and all that prediction needs.

Read without torch: a scene that does not fit is refused before anybody waits for a network.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.dataset.samples import UNITS
from geoseg.dataset.tiles import GROUND, ON_MAP
from geoseg.errors import Faults, InputError
from geoseg.geo.band_tags import BandTags
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.models.calibration import Calibration
from geoseg.models.settings import Model, without_unset
from geoseg.outputs.counted import counted
from geoseg.outputs.stamp import sha256
from geoseg.received import fields
from geoseg.received.tensor_file import TensorFile
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.calendar import anchor, anchor_of

KEY = "geoseg"
"""Name of the JSON text in the metadata of a safetensors file."""
BEST = "best.safetensors"
"""Name of the weights in a run folder."""
ENCODER_KEY = "geoseg_encoder"
"""Name of the JSON text in the metadata of an encoder's file."""
ENCODER = "encoder.safetensors"
"""Name of an encoder's weights in the folder of a pretraining."""
MOST = float(np.finfo(np.float32).max)
"""Largest number that networks compute with."""
NOT_JSON = ("nan", "inf", "-inf")
"""Numbers that stand as text in a card."""
LARGEST_WINDOW = 65_536
"""Side in pixels; the next one that is sensible fits in no memory."""
LEAST_STD = 1 / MOST * 4
"""Smallest deviation by which they can divide."""


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
        if self.calibration is None:
            del values["calibration"]
        if self.adapted is None:
            del values["adapted"]
        if not self.clicks:
            del values["clicks"]
        if self.thresholds is None:
            del values["thresholds"]
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Raises: InputError with all that is wrong; ValueError if it isn't JSON."""
        older: dict[str, Any] = {
            "series": None, "started_from": None, "pixel_size_on": ON_MAP, "tags": [],
            "partial": False, "calibration": None, "adapted": None, "clicks": False,
            "thresholds": None,
        }  # fmt: skip
        values: Any = _parsed(text)
        if isinstance(values, dict):
            values = older | values
            # Networks of before had no path at full resolution, for single pixels or for seasons.
            if isinstance(values.get("model"), dict):
                values["model"] = {"detail": 0, "pixels": 0, "season": 0} | values["model"]
        fields.check(cls, values)
        faults = Faults()
        parts: dict[str, Any] = {"bands": tuple(values["bands"])}
        with faults.collect():
            parts["model"] = _made(Model, values["model"], "model")
        with faults.collect():
            parts["statistics"] = _statistics(values["statistics"], values["bands"])
        with faults.collect():
            fields.check(Listed, values["legend"], "legend")
            parts["legend"] = Legend.from_dict(values["legend"])
        with faults.collect():
            parts["tiling"] = _made(Tiling, values["tiling"], "tiling")
            if parts["tiling"].size > LARGEST_WINDOW:
                faults.add(
                    f"tiling.size: {parts['tiling'].size}, expected {LARGEST_WINDOW} at most"
                )
        if values["series"] is not None:
            with faults.collect():
                fields.check(SeriesCard, values["series"], "series")
                parts["series"] = SeriesCard.from_dict(values["series"])
        with faults.collect():
            parts["tags"] = tuple(map(_tags, values["tags"]))
        if values["calibration"] is not None and "legend" in parts:
            with faults.collect():
                classes = len(parts["legend"])
                parts["calibration"] = Calibration.from_dict(values["calibration"], classes)
        if values["thresholds"] is not None and "legend" in parts:
            parts["thresholds"] = tuple(values["thresholds"])
            classes = len(parts["legend"])
            if len(parts["thresholds"]) != classes or not all(
                0 <= value <= 1 for value in parts["thresholds"]
            ):
                faults.add(
                    f"thresholds: {fields.shown(values['thresholds'])}, expected a probability for"
                    f" each of {classes} classes"
                )
        _check_values(values, faults)
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
            raise _unreadable(path, "a model card", error) from None


def whole_weights(path: Path) -> bool:
    """Whether a safetensors file is there, and as long as its header says."""
    try:
        file = TensorFile.open(path)
        return path.stat().st_size == file.size
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return False


@dataclass(frozen=True)
class Listed:
    """A legend in a card."""

    classes: list[dict[str, Any]]


def _parsed(text: Any) -> Any:
    """Raises: ValueError if it isn't JSON."""
    try:
        return json.loads(text)
    except (TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _unreadable(path: str | Path, what: str, error: Exception) -> InputError:
    """A fault of a card, in one sentence."""
    faults = "; ".join(error.faults) if isinstance(error, InputError) else str(error)
    return InputError(
        f"{path}: {what} that geoseg {__version__} can't read ({faults}); copy the file again, or"
        " take the version that trained it"
    )


def _made(kind: type, values: Any, where: str) -> Any:
    """Settings of a card. Raises: InputError."""
    fields.check(kind, values, where)
    return kind(**values)


def _tags(values: Any) -> BandTags:
    """Tags of a band. Raises: InputError."""
    known = isinstance(values, dict) and values.get("nodata") in NOT_JSON
    fields.check(BandTags, values | {"nodata": None} if known else values, "tags")
    return BandTags.from_dict(values)


def _statistics(values: Any, bands: Sequence[str]) -> BandStatistics:
    """Statistics of a card. Raises: InputError if they can't be those of its bands."""
    fields.check(BandStatistics, values, "statistics")
    faults = Faults()
    for name, column in values.items():
        if len(column) != len(bands):
            faults.add(
                f"statistics.{name}: {counted(len(column), 'value')} for"
                f" {counted(len(bands), 'band')}"
            )
        elif not all(map(_is_finite, column)):
            faults.add(f"statistics.{name}: not finite ({fields.shown(column)})")
    faults.raise_if_any()
    made = BandStatistics.from_dict(values)
    for band, std, low, high in zip(bands, made.std, made.low, made.high, strict=True):
        # A band that is constant has no deviation, and tells the network nothing.
        if not LEAST_STD <= std <= MOST and not std == 0 == high - low:
            faults.add(f"statistics.std: {std:g} of {band}, expected a deviation above 0")
    faults.raise_if_any()
    return made


def _check_values(values: dict[str, Any], faults: Faults) -> None:
    """Look at what has the right type."""
    _check_common(values, faults)
    nodata = values["nodata"]
    if isinstance(nodata, str) and nodata != "none":
        faults.add(f"nodata: {fields.shown(nodata)}, expected a number, none or null")
    if values["pixel_size_on"] not in (GROUND, ON_MAP):
        faults.add(f"pixel_size_on: {fields.shown(values['pixel_size_on'])}, unknown")


def _check_common(values: dict[str, Any], faults: Faults) -> None:
    """What the cards of networks and of encoders have in common."""
    bands = values["bands"]
    if not bands or not all(bands):
        faults.add(f"bands: {fields.shown(bands)}, expected a name for each")
    twice = [band for band, count in Counter(bands).items() if count > 1]
    if twice:
        faults.add(f"bands: {', '.join(twice[:3])} named more than once")
    try:
        real = np.dtype(values["dtype"]).kind in "uif"
    except TypeError:
        real = False
    if not real:
        faults.add(f"dtype: {fields.shown(values['dtype'])}, expected whole or real numbers")
    size = values["pixel_size_m"]
    if not _is_finite(size) or size < 0:
        faults.add(f"pixel_size_m: {size}, expected metres")


def _is_finite(value: float) -> bool:
    """Whether a number of any length is one that networks compute with."""
    return -MOST <= value <= MOST


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
        values = _parsed(text)
        fields.check(cls, values)
        faults = Faults()
        statistics = None
        with faults.collect():
            statistics = _statistics(values["statistics"], values["bands"])
        _check_common(values, faults)
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
            raise _unreadable(path, "an encoder's card", error) from None
    return ModelCard.read(path) if KEY in said else None


def find_weights(checkpoint: str | Path) -> Path:
    """Weights file named by itself or by its run folder. Raises: InputError."""
    path = Path(checkpoint)
    if path.is_dir():
        path = path / BEST
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; set checkpoint=<run folder or weights file of geoseg.train>"
        )
    return path


def weights_hash(path: str | Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a weights file: names the model in its maps."""
    return sha256(path)[:16]


MARGIN = 30
"""Days by which dates may lie outside those of the training: networks have seen their days moved
about."""
FARTHEST = 36_600
"""Days from the reference at most: a century is no series."""


@dataclass(frozen=True)
class SeriesCard:
    """The part of a model card that only networks for series have."""

    unit: str
    """parcel, pixel or map: what the network gives a class to."""
    reference: str
    """Month and day that days are counted from."""
    first_day: int
    """First day of the training's observations; with `fill`, where the regular grid begins."""
    last_day: int
    fill: str
    """none, or linear: gaps filled on a regular grid of days."""
    step: int
    """Days between the dates of a filled series."""
    shape_mean: tuple[float, ...]
    """Of the logarithms of the shape features."""
    shape_std: tuple[float, ...]
    min_clear: int
    """Fewest clear dates for a decision."""
    buffer_m: float = 0.0
    """Metres left out along the inner edge of the parcels."""
    max_pixels: int = 100
    """Pixels kept of a parcel."""
    masked: bool = False
    """Whether the training's images had masks of what is not clear."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.one_of(self, "series.", unit=UNITS, fill=("none", "linear"))
        with faults.collect():
            anchor_of(2001, self.reference)
        if not -FARTHEST <= self.first_day <= self.last_day <= FARTHEST:
            faults.add(f"series: days {self.first_day} to {self.last_day}, expected a period")
        if not 1 <= self.step <= FARTHEST:
            faults.add(f"series.step={self.step}: must be at least 1 day")
        for name in ("min_clear", "max_pixels", "buffer_m"):
            if not 0 <= getattr(self, name) < math.inf:
                faults.add(f"series.{name}={getattr(self, name)}: must not be negative")
        shapes = (*self.shape_mean, *self.shape_std)
        if len(self.shape_mean) != len(self.shape_std) or len(self.shape_std) not in (0, 4):
            faults.add("series: shape_mean and shape_std: expected 4 values each, or none")
        if not all(map(math.isfinite, shapes)) or any(std < 0 for std in self.shape_std):
            faults.add("series: shape_mean and shape_std: not finite, or a negative deviation")
        faults.raise_if_any()

    @property
    def grid(self) -> tuple[int, ...] | None:
        """Days of a filled series; None where the dates are taken as they are."""
        return self.days if self.fill == "linear" else None

    @property
    def days(self) -> tuple[int, ...]:
        """Days of a regular grid over the period of the training."""
        return tuple(range(self.first_day, self.last_day + self.step, self.step))

    def anchor(self, dates: Sequence[date] | np.ndarray, begin: date) -> date:
        """The day from which `dates` are counted, so that most get days that the training had.

        begin: first day of their period; of anchors that are as good, the usual one counts.
        """
        usual, given = anchor(begin, self.reference), np.asarray(dates, "datetime64[D]")
        if not len(given):
            return usual
        years = range(given.min().item().year - 1, given.max().item().year + 2)
        best, most = usual, self._count(given, usual)
        for year in years:
            other = anchor_of(year, self.reference)
            count = self._count(given, other)
            if count > most:
                best, most = other, count
        return best

    def _count(self, dates: np.ndarray, zero: date) -> int:
        days = (dates - np.datetime64(zero)).astype(int)
        return int(((self.first_day <= days) & (days <= self.last_day)).sum())

    def check_days(self, what: str, dates: np.ndarray, days: np.ndarray) -> None:
        """Raises: InputError if under half of the days are of the part of the year that was seen.

        what: whose they are. dates, days: (n,) datetime64[D], and the same counted from anchors.
        """
        near = (self.first_day - MARGIN <= days) & (days <= self.last_day + MARGIN)
        if not len(days) or near.mean() >= 0.5:
            return
        first = int(dates.argmin())
        zero: date = (dates[first] - np.timedelta64(int(days[first]), "D")).item()
        start, end = (zero + timedelta(day) for day in (self.first_day, self.last_day + 1))
        raise InputError(
            f"{what}: dates from {dates.min()} to {dates.max()} (days {days.min()} to {days.max()}"
            f" since {self.reference}), the model saw days {self.first_day} to {self.last_day}"
            f" (here {start} to {end - timedelta(1)}): {near.mean():.0%} of the dates lie there, at"
            f" least half must; give that part of the year: series.start={start} series.end={end},"
            " or train on such dates"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SeriesCard:
        shapes = {name: tuple(values[name]) for name in ("shape_mean", "shape_std")}
        return cls(**values | shapes)


LAST = "last.ckpt"
"""What a stopped training goes on from; plain tensors and numbers, never unpickled."""
