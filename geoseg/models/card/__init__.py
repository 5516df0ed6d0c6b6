"""Model cards: what a trained network expects and what its output means.

Read without torch: a scene that does not fit is refused before anybody waits for a network.
"""

from geoseg.models.card.files import (
    BEST,
    ENCODER,
    ENCODER_KEY,
    JUDGED,
    KEY,
    LAST,
    find_weights,
    weights_hash,
    whole_weights,
)
from geoseg.models.card.model import EncoderCard, ModelCard, find_card
from geoseg.models.card.series import SeriesCard

__all__ = [
    "BEST",
    "ENCODER",
    "ENCODER_KEY",
    "JUDGED",
    "KEY",
    "LAST",
    "EncoderCard",
    "ModelCard",
    "SeriesCard",
    "find_card",
    "find_weights",
    "weights_hash",
    "whole_weights",
]
