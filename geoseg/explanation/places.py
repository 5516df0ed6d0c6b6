"""Explain places: what speaks for each class that the network maps there."""

from __future__ import annotations

import numpy as np

from geoseg.dataset.tiles import Tile
from geoseg.explanation import images
from geoseg.explanation.images import Goal, Place, Subject
from geoseg.explanation.result import Explained, Heat
from geoseg.explanation.settings import GRADCAM, GRADIENTS, OCCLUSION, ExplainSettings
from geoseg.models.device import enough_memory
from geoseg.outputs.progress import follow
from geoseg.scenes.bands import shown_bands

EMPTY = 238


def explain_places(
    subject: Subject, tiles: list[Tile], kinds: list[str], settings: ExplainSettings
) -> list[Explained]:
    """Those with the most even mixture of classes, without such as nothing is to be said of.

    tiles: of the subject. kinds: of occlusion, gradcam and gradients.
    """
    made = []
    with enough_memory("predict.batch_size", subject.batch):
        for number in follow(list(images.mixed(tiles, settings.places)), "places"):
            place, w = subject.place(number), tiles[number].window
            if some := images.goals(subject, place, settings.classes):
                stem = f"{tiles[number].scene}_{w.top}_{w.left}"
                made.append(_explained(subject, place, some, stem, (kinds, settings)))
    return made


def _explained(
    subject: Subject,
    place: Place,
    some: list[Goal],
    stem: str,
    how: tuple[list[str], ExplainSettings],
) -> Explained:
    kinds, settings = how
    heats: list[Heat] = []
    by_band: dict[str, dict[str, float]] = {}
    gap = 0.0
    codes = subject.card.legend.codes
    valid = place.valid[place.inner]

    def add(kind: str, values: list[np.ndarray]) -> None:
        for goal, found in zip(some, values, strict=True):
            code = codes[goal.index]
            heats.append(Heat.of(kind, goal.name, code, found[place.inner], valid))

    if OCCLUSION in kinds:
        add(OCCLUSION, images.occlusion(subject, place, some, settings.square))
    if GRADCAM in kinds:
        add(GRADCAM, images.grad_cam(subject, place, some))
    if GRADIENTS in kinds:
        found = images.integrated_gradients(subject, place, some, settings.steps)
        add(GRADIENTS, [one.values.sum(0) for one in found])
        gap = max(one.gap for one in found)
        for goal, one in zip(some, found, strict=True):
            sums = np.abs(one.values).sum((1, 2))
            shares = (sums / max(float(sums.sum()), 1e-12)).tolist()
            by_band[goal.name] = dict(zip(subject.card.bands, shares, strict=True))
    picture = _picture(subject, place)
    mapped = subject.mapped([place.image])[0][place.inner]
    return Explained(
        place.title, stem, place.grid, picture, _classes(subject, mapped, valid), tuple(heats),
        by_band, gap,
    )  # fmt: skip


def _picture(subject: Subject, place: Place) -> np.ndarray:
    """(3, h, w) uint8, in natural colours where the bands are named so."""
    bands = subject.card.bands
    places = [bands.index(name) for name in shown_bands(bands)]
    image, valid = place.image[places][:, place.inner[0], place.inner[1]], place.valid[place.inner]
    seen = image[:, valid]
    low, high = np.percentile(seen, (2, 98), axis=1) if seen.size else (np.zeros(1), np.ones(1))
    span = np.maximum(high - low, 1e-6)
    scaled = ((image - low[:, None, None]) / span[:, None, None]).clip(0, 1) * 255
    pixels = np.where(valid, scaled, EMPTY).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pixels, (3, *valid.shape)))


def _classes(subject: Subject, indices: np.ndarray, valid: np.ndarray) -> np.ndarray:
    legend = subject.card.legend
    colors = legend.colors()
    table = np.array([colors[code][:3] for code in legend.codes], np.uint8)
    picture = np.where(valid[..., None], table[indices], np.uint8(EMPTY))
    return np.ascontiguousarray(np.moveaxis(picture, 2, 0))
