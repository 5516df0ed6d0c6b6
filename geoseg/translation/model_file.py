"""Write and read the file of a translation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg import __version__
from geoseg.errors import InputError
from geoseg.received.tensor_file import CHECKSUM, TensorFile
from geoseg.scenes.bands import BandStatistics

if TYPE_CHECKING:
    from geoseg.translation.networks import Generator

NAME = "translate.safetensors"
KEY = "geoseg_translate"
"""Of the card in the file's metadata."""


@dataclass(frozen=True)
class TranslationCard:
    """What a file says of its network."""

    bands: tuple[str, ...]
    here: BandStatistics
    """Of the scenes that are translated."""
    there: BandStatistics
    """Of those that they are to look like."""
    dtype: str
    """Of those that they are to look like."""
    pixel_size_m: float
    """Of the scenes that are translated."""
    width: int
    found: dict[str, Any] = field(default_factory=dict)
    """What the training came to."""
    hash: str = ""
    """Of its weights."""

    def to_json(self) -> str:
        facts = {
            "version": __version__, "bands": list(self.bands), "here": self.here.to_dict(),
            "there": self.there.to_dict(), "dtype": self.dtype, "pixel_size_m": self.pixel_size_m,
            "width": self.width, "found": self.found,
        }  # fmt: skip
        return json.dumps(facts, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, weights: str) -> TranslationCard:
        """Raises: ValueError, TypeError or KeyError if it is damaged."""
        facts = json.loads(text)
        here, there = (BandStatistics.from_dict(facts[name]) for name in ("here", "there"))
        return cls(
            tuple(facts["bands"]), here, there, facts["dtype"], float(facts["pixel_size_m"]),
            int(facts["width"]), dict(facts["found"]), weights,
        )  # fmt: skip


def save(path: Path, network: Generator, card: TranslationCard) -> None:
    """Write network and card, whole or not at all. Raises: InputError."""
    from geoseg.models.checkpoint import save_other

    save_other(path, network, {KEY: card.to_json()})


def path_of(checkpoint: str | Path) -> Path:
    """The file that a folder of a translation, or the file itself, stands for."""
    path = Path(checkpoint)
    return path / NAME if path.is_dir() else path


def read_card(checkpoint: str | Path) -> TranslationCard:
    """The card of a file. Raises: InputError if it is none of a translation."""
    path = path_of(checkpoint)
    expected = f"expected {NAME} as geoseg.translate trains it"
    file = TensorFile.open_with(path, KEY, lacks="holds no translation", expected=expected)
    try:
        return TranslationCard.from_json(file.metadata[KEY], file.metadata.get(CHECKSUM, ""))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path}: a damaged card ({error!r}); {expected}") from None


def load(checkpoint: str | Path, card: TranslationCard) -> Generator:
    """The network of a file. Raises: InputError if it is damaged."""
    from geoseg.models.checkpoint import load_other
    from geoseg.translation.networks import Generator

    network = Generator(len(card.bands), card.width)
    load_other(path_of(checkpoint), network)
    return network
