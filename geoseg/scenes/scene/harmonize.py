"""Bring scenes to the same bands, on one scale and offset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from geoseg.errors import Faults
from geoseg.geo.band_tags import (
    Change,
    changes,
    describe,
    some,
)
from geoseg.scenes.bands import in_order, is_nameless
from geoseg.scenes.scene.image import Scene, fit_bands


def harmonize(scenes: Sequence[Scene]) -> tuple[Scene, ...]:
    """The scenes with the bands of the first one, in its order, all of one scale and offset.

    Raises: InputError for bands that a scene lacks, and for scales that some files say and others
    do not.
    """
    faults = Faults()
    fitted = faults.each(lambda scene: fit_bands(scene, scenes[0].bands), scenes)
    faults.raise_if_any()
    if not all(scene.tags for scene in fitted):
        return tuple(fitted)
    names = [scene.name for scene in fitted]
    _, made = changes(names, [scene.tags for scene in fitted], what="scenes")
    return tuple(scene.changed(one) for scene, one in zip(fitted, made, strict=True))


def said_of_names(scenes: Sequence[Scene]) -> list[str]:
    """What is to be said of scenes, as they are found, of which some name their bands."""
    first = scenes[0]
    others = [
        scene
        for scene in scenes[1:]
        if scene.bands != first.bands
        and in_order(scene.bands, first.bands)
        and not all(map(is_nameless, (*scene.bands, *first.bands)))
    ]
    if not others:
        return []
    names = some([scene.name for scene in others])
    return [
        f"{names}: bands called {', '.join(others[0].bands)}, in {first.name}"
        f" {', '.join(first.bands)}: taken for each other as they come; name them by bands.names,"
        " or reorder the files, if their order is another"
    ]


def said_of_changes(scenes: Iterable[Scene]) -> list[str]:
    """What is to be said of scenes whose numbers are changed, for people."""
    by_change: dict[tuple[Change, ...], list[str]] = {}
    for scene in scenes:
        if scene.changes:
            by_change.setdefault(scene.changes, []).append(scene.name)
    return [
        f"{some(names)}: scale and offset in the files are not those of most scenes; the values"
        f" are brought to these ({', '.join(dict.fromkeys(describe(one) for one in made))})"
        for made, names in by_change.items()
    ]
