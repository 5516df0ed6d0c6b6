"""Write and read the file of a network for points."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg import __version__
from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.points.gather import FEATURES
from geoseg.points.settings import PointNetSettings
from geoseg.received.tensor_file import CHECKSUM, TensorFile

if TYPE_CHECKING:
    from geoseg.points.network import PointNet

NAME = "pointnet.safetensors"
KEY = "geoseg_pointnet"
"""Of the card in the file's metadata."""
SEES = ("tile_m", "points", "width", "reach_m", "outlier")
"""Settings that a network keeps from its training: it was shown points so."""


@dataclass(frozen=True)
class PointCard:
    """What a file says of its network."""

    legend: Legend
    sees: dict[str, Any]
    """Settings of its training, as SEES."""
    scores: dict[str, Any] = field(default_factory=dict)
    hash: str = ""
    """Of its weights."""

    def settings(self, given: PointNetSettings) -> PointNetSettings:
        """The settings to predict by: the training's where the network depends on them."""
        return PointNetSettings(**(asdict(given) | self.sees))


def save(path: Path, network: PointNet, card: PointCard) -> None:
    """Write network and card, whole or not at all. Raises: InputError."""
    from geoseg.models.checkpoint import save_other

    facts = {
        "version": __version__, "legend": card.legend.to_dict(), "sees": card.sees,
        "features": list(FEATURES), "scores": card.scores,
    }  # fmt: skip
    save_other(path, network, {KEY: json.dumps(facts, ensure_ascii=False)})


def read_card(path: str | Path) -> PointCard:
    """The card of a file. Raises: InputError if it is none of a network for points."""
    path = Path(path)
    if path.is_dir():
        path = path / NAME
    expected = f"expected {NAME} as geoseg.pointnet trains it"
    file = TensorFile.open_with(path, KEY, lacks="holds no network for points", expected=expected)
    try:
        facts = json.loads(file.metadata[KEY])
        sees = {name: facts["sees"][name] for name in SEES}
        features, legend = facts["features"], Legend.from_dict(facts["legend"], str(path))
        PointNetSettings(**sees)
        scores = dict(facts["scores"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path}: a damaged card ({error!r}); {expected}") from None
    if features != list(FEATURES):
        raise InputError(
            f"{path}: trained on {features} of each point, this version of geoseg knows"
            f" {list(FEATURES)}; train it anew"
        )
    return PointCard(legend, sees, scores, file.metadata.get(CHECKSUM, ""))


def load(path: str | Path, card: PointCard) -> PointNet:
    """The network of a file, ready to predict. Raises: InputError if it is damaged."""
    from geoseg.models.checkpoint import load_other
    from geoseg.points.network import PointNet

    path = Path(path)
    network = PointNet(len(FEATURES), len(card.legend), card.sees["width"])
    load_other(path / NAME if path.is_dir() else path, network)
    return network
