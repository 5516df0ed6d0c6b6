"""The model card: everything but the weights that prediction needs, in the weights file's header.

Read without torch: a scene that does not fit is refused before anybody waits for a network.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.bands import BandStatistics
from geoseg.dataset import Dataset
from geoseg.errors import InputError
from geoseg.legend import Legend
from geoseg.output import parse_json
from geoseg.seriescard import SeriesCard
from geoseg.settings import Model
from geoseg.tiling import Tiling

KEY = "geoseg"
"""Name of the JSON text in the metadata of a safetensors file."""
BEST = "best.safetensors"
"""Name of the weights in a run folder."""
ENCODER_KEY = "geoseg_encoder"
"""Name of the JSON text in the metadata of an encoder's file."""
ENCODER = "encoder.safetensors"
"""Name of an encoder's weights in the folder of a pretraining."""


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
    legend: Legend
    tiling: Tiling
    scores: dict[str, Any]
    """Of the validation that chose these weights."""
    series: SeriesCard | None = None
    """Of networks for series only."""
    started_from: dict[str, str] | None = None
    """Name, hash and kept part of the weights that the training began with; None = random ones."""
    version: str = __version__

    @classmethod
    def of(cls, dataset: Dataset, model: Model, scores: dict[str, Any]) -> ModelCard:
        """The card of a network that is trained on a data set of images."""
        bands = dataset.settings["bands"]
        dtypes = sorted({scene.dtype for scene in dataset.scenes})
        return cls(
            model=model.trained(),
            bands=dataset.bands,
            statistics=dataset.statistics,
            dtype=dtypes[0],
            nodata=bands["nodata"],
            extra=bands["extra"],
            pixel_size_m=dataset.pixel_size_m,
            legend=dataset.legend,
            tiling=dataset.tiling,
            scores=scores,
        )

    def to_json(self) -> str:
        values = asdict(self) | {
            "bands": list(self.bands),
            "statistics": self.statistics.to_dict(),
            "legend": self.legend.to_dict(),
        }
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        values = {"series": None, "started_from": None} | parse_json(text)
        return cls(
            **values
            | {
                "model": Model(**values["model"]),
                "bands": tuple(values["bands"]),
                "statistics": BandStatistics.from_dict(values["statistics"]),
                "legend": Legend.from_dict(values["legend"]),
                "tiling": Tiling(**values["tiling"]),
                "series": SeriesCard.from_dict(values["series"]) if values["series"] else None,
            }
        )

    @classmethod
    def read(cls, path: str | Path) -> ModelCard:
        """Card of a weights file.

        Raises: InputError if the file is missing, cut short, or not made by geoseg.
        """
        path = Path(path)
        expected = "expected weights written by geoseg.train (.safetensors)"
        try:
            length, header = _header(path)
            size = path.stat().st_size
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; {expected}") from None
        except (OSError, ValueError, struct.error):
            raise InputError(f"{path}: not a safetensors file; {expected}") from None
        if not isinstance(header, dict) or KEY not in _metadata(header):
            raise InputError(f"{path}: safetensors, but without geoseg's model card; {expected}")
        metadata = header.pop("__metadata__")
        try:
            ends = [int(tensor["data_offsets"][1]) for tensor in header.values()]
        except (TypeError, KeyError, IndexError, ValueError):
            raise InputError(f"{path}: a damaged safetensors file; {expected}") from None
        whole = 8 + length + max(ends, default=0)
        if size != whole:
            raise InputError(f"{path}: cut short, {size} of {whole} bytes; copy it again")
        try:
            return cls.from_json(metadata[KEY])
        except (InputError, AttributeError, TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: a model card that geoseg {__version__} can't read ({error});"
                " take the version that trained it"
            ) from None


def _header(path: Path) -> tuple[int, Any]:
    """Length and content of a safetensors header. Raises: OSError, ValueError, struct.error."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return length, parse_json(file.read(min(length, 100_000_000)))


def _metadata(header: Any) -> dict[str, str]:
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


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
        values = parse_json(text)
        statistics = BandStatistics.from_dict(values["statistics"])
        return cls(**values | {"bands": tuple(values["bands"]), "statistics": statistics})


def find_card(path: str | Path) -> ModelCard | EncoderCard | None:
    """Card of a weights file, None if another program made it.

    Raises: InputError for a network of geoseg's that is cut short, or of another version.
    """
    try:
        _, header = _header(Path(path))
    except (OSError, ValueError, struct.error):
        return None
    said = _metadata(header)
    if ENCODER_KEY in said:
        try:
            return EncoderCard.from_json(said[ENCODER_KEY])
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"{path}: an encoder's card that geoseg {__version__} can't read ({error}); take"
                " the version that trained it"
            ) from None
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
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
