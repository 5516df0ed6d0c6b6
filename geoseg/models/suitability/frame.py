"""Find the frame of nodata around a scene that does not declare it."""

from __future__ import annotations

import numpy as np

from geoseg.models.card import ModelCard
from geoseg.models.suitability.probes import Sample
from geoseg.scenes.dated import AnyScene
from geoseg.scenes.fill_values import (
    FRAME_SHARE,
    corners,
    frame_note,
    frame_values,
    stands_apart,
    touches_edge,
)
from geoseg.scenes.inspection import replaced_nodata, replaced_note


def with_frame(
    scene: AnyScene, card: ModelCard, samples: list[Sample], notes: list[str]
) -> tuple[list[Sample], float | None]:
    """The training's nodata value, if a scene has a frame of it and declares none; else None.

    In the training such pixels never were data, so the network can say nothing of them.
    Returns: also the samples, as they are with that value.
    """
    value = card.file_nodata
    if scene.nodata is not None or not scene.tags:
        return samples, None
    places = [n for n, band in enumerate(card.bands) if band not in card.extra]
    notes += _frames(scene, samples, places, known=value)
    if value is None:
        return samples, None
    frame = pixels = 0
    at_edge = False
    for image, holds, window in samples:
        equal = ((image[places] == value) & holds[places]).all(axis=0)
        frame, pixels = frame + int(equal.sum()), pixels + equal.size
        if scene.dates:  # they lie one below the other
            equal = equal.reshape(-1, window.height, window.width).any(axis=0)
        at_edge |= touches_edge(equal, window, scene.grid)
    share = frame / max(1, pixels)
    if share < FRAME_SHARE or not at_edge:
        return samples, None
    said = f"{scene.name}: {value:g} stands in all bands of {share:.1%} of the pixels, at its edge"
    declared = [tags.nodata for place, tags in enumerate(scene.tags) if place in places]
    if any(nodata is not None for nodata in declared):
        notes.append(
            f"{said}: nodata in the training, but not declared here, where another value is; these"
            f" pixels get classes; set bands.nodata={value:g} if they are no data"
        )
        return samples, None
    notes.append(
        f"{said}: nodata in the training, but not declared here; taken as nodata too (say so with"
        f" bands.nodata={value:g}, or bands.nodata=none if these are data)"
    )
    hidden = np.isin(np.arange(len(card.bands)), places)[:, None, None]
    return [
        (image, holds & ((image != value) | ~hidden), window) for image, holds, window in samples
    ], value


def said_of_replaced(scene: AnyScene, card: ModelCard, samples: list[Sample]) -> dict[float, str]:
    """What is to be said of values that a scene's files declare as nodata and that count as data,
    as the training's `bands.nodata` stands in their place; by value."""
    places = [n for n, band in enumerate(card.bands) if band not in card.extra]
    notes = {}
    for value in replaced_nodata(scene):
        equal = [((i[places] == value) & h[places]).all(axis=0) for i, h, _ in samples]
        share = sum(int(e.sum()) for e in equal) / max(1, sum(e.size for e in equal))
        windows = [window for _, _, window in samples]
        found = sum(corners(e, w, scene.grid) for e, w in zip(equal, windows, strict=True))
        if found and share >= FRAME_SHARE:
            whose = ", as in the training" if scene.nodata == card.nodata else ""
            notes[value] = (
                f"{replaced_note(scene, value, share)}{whose}: these pixels get classes; set"
                f" bands.nodata={value:g} if they are no data"
            )
    return notes


def _frames(
    scene: AnyScene, samples: list[Sample], places: list[int], *, known: float | None
) -> list[str]:
    """What is to be said of frames of a scene that nobody declares, the training neither.

    known: what meant nodata there.
    """
    if scene.dates or not places:
        return []
    notes = []
    for value in frame_values(scene.dtype, others=known):
        if len(places) == 1:  # there it may be a measurement
            held = np.concatenate([i[places][h[places]] for i, h, _ in samples])
            if not stands_apart(held, value):
                continue
        equal = [((i[places] == value) & h[places]).all(axis=0) for i, h, _ in samples]
        share = sum(int(e.sum()) for e in equal) / max(1, sum(e.size for e in equal))
        windows = [window for _, _, window in samples]
        found = sum(corners(e, w, scene.grid) for e, w in zip(equal, windows, strict=True))
        if found and FRAME_SHARE <= share < 1:
            notes.append(frame_note(value, {scene.name: share}))
    return notes
