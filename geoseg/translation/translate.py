"""Learn how another archive looks, and write scenes so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoseg.errors import Faults, InputError
from geoseg.geo import raster
from geoseg.models.device import choose, enough_memory
from geoseg.outputs.claims import claim, note_made, read_made
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import read_note, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.progress import follow
from geoseg.outputs.stamp import are_whole, stamps
from geoseg.outputs.summary import Summary
from geoseg.scenes.scene import Scene, SceneFiles, find_scenes, fit_bands, harmonize
from geoseg.translation import apply, picture
from geoseg.translation.archive import Archive, check_pixel_size, check_units
from geoseg.translation.model_file import NAME, TranslationCard, load, read_card, save
from geoseg.translation.settings import TranslateSettings
from geoseg.translation.train import train

SCENES = "scenes"
EXAMPLES = "examples.png"
DONE = ".done"
"""Folder with what was found of each scene that is whole."""
PRODUCTS = (NAME, EXAMPLES, SCENES, DONE)
MUCH = 1.0
"""Deviations by which a network changes pixels on average from which on that is warned of."""


@dataclass(frozen=True)
class Source:
    """What says how scenes are to look: scenes, or a network that was trained on such."""

    like: Any = None
    """Folder, glob or list of GeoTIFFs."""
    checkpoint: str | Path | None = None
    """Folder of an earlier call, or its translate.safetensors."""


@alone("translate", "out")
def translate(
    scenes: Any,
    out: str | Path,
    source: Source,
    *,
    settings: TranslateSettings | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Summary:  # fmt: skip
    """Write `out`/scenes/<name>.tif: scenes as others look; and the network, if trained here.

    scenes: folder, glob or list of GeoTIFFs, or `SceneFiles`, whose bands count for both.
    A call that was killed in training begins anew, later it goes on with what is missing.
    Returns: what was found, as a text for people.
    Raises: InputError for scenes of other bands or pixel sizes, damaged ones …
    """
    settings, out = settings or TranslateSettings(), Path(out)
    found, others, card = _open(SceneFiles.of(scenes), source, out)
    files = sorted({path for scene in (*found, *others) for path in scene.inputs})
    made: dict[str, Any] = {
        "inputs": [fingerprint(path) for path in files],
        "checkpoint": None if card is None else card.hash,
    }
    if card is None:
        made |= {"translate": asdict(settings) | {"device": None}, "seed": seed}
    device = choose(settings.device, "32").torch
    claim(out, made, command="translate", products=PRODUCTS, overwrite=overwrite)
    weights = source.checkpoint
    if card is None:
        weights = out / NAME
        if not are_whole(out, read_made(out, command="translate")):
            archives = Archive.of("scenes", found), Archive.of("like", others)
            with enough_memory("translate.batch", settings.batch):
                _train(archives, out, settings, device=device, seed=seed)
        card = read_card(weights)
    assert weights is not None
    network = load(weights, card).to(device)
    filled = [scene.filled(card.here.mean) for scene in found]
    for scene in follow([one for one in filled if not _is_done(out, one)], "translate"):
        path = out / SCENES / f"{scene.name}.tif"
        changed = apply.write(scene, network, card, path)
        note = {"changed": round(changed, 6), "files": stamps(out, [path])}
        write_json(out / DONE / f"{scene.name}.json", note)
    return _summary(out, filled, others, card, trained=source.checkpoint is None)


def _open(
    files: SceneFiles, source: Source, out: Path
) -> tuple[Sequence[Scene], Sequence[Scene], TranslationCard | None]:
    """Scenes, those that they are to look like, and the card of the network if there is one.

    Raises: InputError with all that does not fit.
    """
    faults = Faults()
    card = None if source.checkpoint is None else faults.attempt(read_card, source.checkpoint)
    given: dict[str, Sequence[Scene]] = {"scenes": (), "like": ()}
    specs = {"scenes": files.spec} | ({"like": source.like} if source.checkpoint is None else {})
    for key, spec in specs.items():
        with faults.collect(), raster.environment():
            given[key] = harmonize(find_scenes(spec, files.bands))
    faults.raise_if_any()
    names = card.bands if card is not None else given["scenes"][0].bands
    for key, some in given.items():
        with faults.collect():
            given[key] = _fitting(some, names)
    faults.raise_if_any()
    for scene in given["scenes"]:
        if any(Path(p).resolve().parent == (out / SCENES).resolve() for p in scene.paths):
            faults.add(f"out={out}: {scene.name} lies where it would be written; choose another")
    if card is not None:
        faults.attempt(
            check_pixel_size, given["scenes"], card.pixel_size_m, "what the network has seen"
        )
        faults.attempt(check_units, given["scenes"], card.here, "what the network has seen")
    else:
        sizes = [scene.grid.pixel_size_m for scene in given["scenes"]]
        faults.attempt(
            check_pixel_size, given["like"], float(np.median(sizes)), f"scenes={files.spec}"
        )
    faults.raise_if_any()
    return given["scenes"], given["like"], card


def _fitting(scenes: Sequence[Scene], names: tuple[str, ...]) -> Sequence[Scene]:
    faults = Faults()
    found = faults.each(lambda scene: fit_bands(scene, names), scenes)
    faults.raise_if_any()
    return found


def _is_done(out: Path, scene: Scene) -> bool:
    return are_whole(out, (read_note(out / DONE / f"{scene.name}.json") or {}).get("files"))


def _train(
    archives: tuple[Archive, Archive], out: Path, settings: TranslateSettings, *,
    device: torch.device, seed: int,
) -> None:  # fmt: skip
    """Train and write the network, with a picture of what it does."""
    here, there = archives
    rng = np.random.default_rng(seed)
    mine, theirs = (one.windows(2 * settings.patch, settings.windows, rng) for one in archives)
    made = train(mine, theirs, settings, device=device, seed=seed)
    found = {"steps": settings.steps, "returned": made.returned, "added": made.added}
    if not np.isfinite([made.returned, made.added]).all():
        raise InputError(
            f"translate.learning_rate={settings.learning_rate:g}: the training diverged; lower it"
        )
    card = TranslationCard(
        here.scenes[0].bands, here.statistics, there.statistics, there.dtype, here.pixel_size_m,
        settings.width, found,
    )  # fmt: skip
    save(out / NAME, made.generator, card)
    picture.write(out / EXAMPLES, mine, theirs, made.generator, card)
    # What older weights came to is none of these.
    for note in (out / DONE).glob("*.json"):
        note.unlink()
    note_made(out, stamps(out, [out / NAME, out / EXAMPLES]), command="translate")


def _summary(
    out: Path, scenes: Sequence[Scene], others: Sequence[Scene], card: TranslationCard, *,
    trained: bool,
) -> Summary:  # fmt: skip
    summary = Summary()
    rows = [
        [name, *(f"{value:.4g} ± {std:.3g}" for value, std in pairs)]
        for name, *pairs in zip(
            card.bands, zip(card.here.mean, card.here.std, strict=True),
            zip(card.there.mean, card.there.std, strict=True), strict=True,
        )
    ]  # fmt: skip
    summary.table("Bands of the training", ["", "scenes", "like"], rows)
    notes = [read_note(out / DONE / f"{scene.name}.json") or {} for scene in scenes]
    changed = float(np.mean([note.get("changed", 0.0) for note in notes]))
    summary.note(
        "beside mean and deviation, the network changes pixels by"
        f" {changed:.3f} deviations; {card.found.get('returned', 0.0):.3f} are lost on the way"
        " there and back"
    )
    if changed > MUCH:
        summary.warn(
            "that is much: it paints what is not there; train again with a higher translate.cycle,"
            " or take translate.steps=0"
        )
    if any(tags.scale not in (None, 1) or tags.offset for s in others for tags in s.tags):
        summary.warn(
            "the values are those that the files of like= hold, but not their scale and offset:"
            " say these to who reads them, or set bands.tags=false there"
        )
    if trained:
        summary.note(f"look at {out / EXAMPLES}: before, after, and how the others look")
    summary.note(
        f"{counted(len(scenes), 'scene')}: {out / SCENES}; they show what a network made up, not"
        " what a sensor saw: train and test with them, measure nothing in them"
    )
    return summary
