"""Check whether a network can be trained on a data set, before torch loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import shapely

from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.scene_classes import SceneClasses, SceneTiles
from geoseg.dataset.tiles import DESCRIPTION, Dataset, check_whole
from geoseg.errors import Faults, InputError
from geoseg.geo import extent
from geoseg.geo.grid import Grid
from geoseg.models.card import ModelCard
from geoseg.models.settings import (
    ARCHITECTURES,
    CLASSIFY,
    FOREST,
    OWN,
    SERIES_NETWORKS,
    Model,
    check_heeded,
)
from geoseg.models.suitability import check
from geoseg.outputs.counted import counted, first
from geoseg.received.cube_slices import is_there
from geoseg.samples.augment import Augment
from geoseg.samples.settings import LIGHT, SeriesSamples
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import Scene, find_scenes
from geoseg.training.objectives.settings import Loss
from geoseg.training.processes import launch
from geoseg.training.settings import Fit, TrainingSettings

MAP_NETWORKS = ("utae",)
"""Networks for series that see whole windows."""
IMAGES_ONLY = (
    *("encoder_lr_scale", "freeze", "hard", "unlabelled", "adversarial", "remember", "clicks"),
    "crop",
)
"""Settings of the training loop that series have no part for."""
PIXELS_ONLY = ("crop", "hard", "unlabelled", "adversarial", "remember", "clicks", "baseline")
"""Those that networks for whole tiles have no part for."""


def check_fit(fit: Fit, model: Model, *, tried: bool = False) -> None:
    """Raises: InputError for settings of the loop, and of layers, that a network has no part for.

    tried: learning rates are, nothing is trained.
    """
    faults = Faults()
    faults.attempt(check_heeded, model)
    if model.name == FOREST:
        if tried:
            faults.add("lr_find=true: a forest has no learning rate; leave it out")
        _check_forest(fit, model, faults)
    elif model.for_series:
        _check_series_fit(fit, faults)
    elif model.name == OWN:
        # What else it has a part for is seen when it is built.
        if fit.clicks:
            faults.add("fit.clicks=true: for geoseg's own networks for images; leave it out")
    elif model.frozen:
        _check_probe(fit, model, faults)
        if fit.clicks:
            faults.add("fit.clicks=true: a probe has no part for clicks; take model=unet")
    else:
        if model.name == CLASSIFY:
            _check_classify_fit(fit, faults)
        if fit.clicks_only and (model.weights is None or model.keep != "network"):
            faults.add(
                "fit.clicks_only=true: the network itself would stay random; set model.weights to"
                " an earlier run and model.keep=network, or leave it out"
            )
        elif fit.freeze and model.weights is None:
            faults.add(
                f"fit.freeze={fit.freeze}: an encoder with random weights would stay random; set"
                " model.weights, or leave it out"
            )
    faults.raise_if_any()


def _check_probe(fit: Fit, model: Model, faults: Faults) -> None:
    if model.weights is None:
        faults.add(
            f"model={model.name}: its encoder stays as it is, and one with random weights knows"
            " nothing; set model.weights=<name, run folder or file>"
        )
    if model.keep == "network":
        faults.add(
            f"model.keep=network: model={model.name} learns a decoder of its own; leave it out"
        )
    for key in ("freeze", "encoder_lr_scale"):
        if getattr(fit, key) is not None:
            faults.add(
                f"fit.{key}={getattr(fit, key):g}: the encoder of model={model.name} never moves;"
                " leave it out"
            )


def _check_series_fit(fit: Fit, faults: Faults) -> None:
    for key in IMAGES_ONLY:
        if getattr(fit, key) != getattr(Fit(), key):
            faults.add(f"fit.{key}: for networks of images; leave it out")


def _check_classify_fit(fit: Fit, faults: Faults) -> None:
    for key in PIXELS_ONLY:
        if getattr(fit, key) != getattr(Fit(), key):
            faults.add(
                f"fit.{key}: for networks that classify pixels, and model=classify gives a tile one"
                " class; leave it out"
            )


def check_scene(scene: SceneClasses, model: Model, dataset: Dataset) -> None:
    """Raises: InputError if tiles have no class to learn, or classes are asked for in vain."""
    if model.name == CLASSIFY:
        SceneTiles.of(dataset, scene)
    elif scene != SceneClasses():
        usual = SceneClasses()
        given = [key for key in asdict(usual) if getattr(scene, key) != getattr(usual, key)]
        raise InputError(
            f"scene.{given[0]}={getattr(scene, given[0])}: of model=classify, which classifies"
            " whole tiles; leave it out"
        )


def check_several(scene: SceneClasses, loss: Loss, fit: Fit, metric: Any = None) -> None:
    """Raises: InputError for settings that learning several classes of a tile has no part for."""
    if not scene.several:
        return
    faults, usual = Faults(), Loss()
    for key in asdict(usual):
        if getattr(loss, key) != getattr(usual, key):
            faults.add(
                f"loss.{key}={getattr(loss, key)}: scene.several=true learns by binary"
                " cross-entropy, which has no settings; leave it out"
            )
    if fit.refit:
        faults.add(
            "fit.refit=true: the thresholds of scene.several=true are chosen on val, from which a"
            " second training would learn; leave one of them out"
        )
    if metric is not None:
        faults.add(
            "metric: is called with a confusion matrix, and several classes at once have none; give"
            " none with scene.several=true"
        )
    faults.raise_if_any()


def check_own_series(fit: Fit, model: Model) -> None:
    """Raises: InputError for settings that series have no part for, of an own network for them."""
    faults = Faults()
    if model.name == OWN:
        _check_series_fit(fit, faults)
    faults.raise_if_any()


def _check_forest(fit: Fit, model: Model, faults: Faults) -> None:
    """Adds what a forest can't heed, and what would be misunderstood if it were passed over."""
    if model.weights is not None:
        faults.add(
            f"model.weights={model.weights}: a forest grows from nothing, in seconds; leave it out"
        )
    if fit.unlabelled is not None:
        faults.add("fit.unlabelled: a forest learns from labels alone; leave it out")
    if fit.remember is not None:
        faults.add(
            f"fit.remember={fit.remember}: a forest grows from nothing and can keep no classes;"
            " leave it out, or train a network"
        )
    if fit.clicks:
        faults.add("fit.clicks=true: a forest has no part that could see clicks; leave it out")
    if fit.adversarial:
        faults.add(
            f"fit.adversarial={fit.adversarial:g}: a forest has no gradients to perturb tiles by;"
            " leave it out"
        )
    if fit.baseline != "none":
        faults.add(f"fit.baseline={fit.baseline}: this run is that forest; leave it out")
    if (fit.devices or 1) * fit.nodes > 1 or launch.place().count > 1:
        faults.add("fit.devices: a forest is grown by one process")


def idle(study: TrainingSettings) -> list[str]:
    """Names of the settings that were given, but have no part in growing a forest."""
    heeded = {
        "fit": {"train_share", "refit", "devices", "nodes", "device", "precision", "workers"}
        | {"baseline", "logger", "pictures"},
        "loss": {"class_weights"},
        "series": {"fill", "step"},
    }
    rooms = (("fit", Fit()), ("loss", Loss()), ("series", SeriesSamples()))
    found = [
        f"{room}.{item.name}"
        for room, usual in rooms
        for item in fields(usual)
        if item.name not in heeded[room]
        and getattr(getattr(study, room), item.name) != getattr(usual, item.name)
    ]
    augment = replace(study.augment, auto=False)
    return found + (["augment"] if augment not in (Augment(), LIGHT) else [])


def check_series(dataset: SeriesDataset, model: Model) -> None:
    """Raises: InputError if the network is not for such series, or there is nothing to learn."""
    faults = Faults()
    with faults.collect():
        names = [*(name for name in SERIES_NETWORKS if name not in MAP_NETWORKS), FOREST, OWN]
        _check_network(model, names, f"series of one {dataset.unit} each", dataset.folder)
    if len(dataset.legend) < 2:
        faults.add(f"{dataset.folder}: the legend has one class: nothing to tell apart")
    faults.attempt(check_whole, dataset.folder, "geoseg.prepare_series")
    faults.raise_if_any()
    if not len(dataset.samples("train")):
        raise InputError(f"{dataset.folder}: no train sample; run geoseg.prepare_series again")


def check_dataset(dataset: Dataset, model: Model) -> None:
    """Raises: InputError if scenes or targets are gone, or there is nothing to tell apart."""
    faults = Faults()
    with faults.collect():
        if dataset.reference is None:
            names = (*ARCHITECTURES, CLASSIFY, FOREST, OWN)
            _check_network(model, names, "single images", dataset.folder)
        else:
            _check_network(model, (*MAP_NETWORKS, OWN), "windows through time", dataset.folder)
    if len(dataset.legend) < 2:
        faults.add(
            f"{dataset.folder}: the legend has one class ({dataset.legend.names[0]}): nothing to"
            " tell apart; add a class for the rest and set labels.background to it in prepare"
        )
    missing = [p for scene in dataset.scenes for p in scene.inputs if not is_there(p)]
    missing += [str(p) for s in dataset.scenes if not (p := dataset.target(s.name)).exists()]
    if missing:
        faults.add(
            f"{dataset.folder}: {len(missing)} of its files are gone ({first(missing, 3)});"
            " put them back, or run geoseg.prepare again"
        )
    else:
        with faults.collect():
            command = "prepare" if dataset.reference is None else "prepare_series"
            check_whole(dataset.folder, f"geoseg.{command}")
    faults.raise_if_any()
    if not dataset.tiles("train"):
        raise InputError(f"{dataset.folder}: no train tile; run geoseg.prepare again")


def _check_network(model: Model, names: Sequence[str], what: str, folder: Path) -> None:
    """Raises: InputError if the network isn't among those for what a data set holds."""
    if model.name not in names:
        raise InputError(
            f"model={model.name}: not for {what}, which {folder} holds; choose from"
            f" {', '.join(name for name in names if name != OWN)}, or an own one by model.target"
        )


def find_unlabelled(
    spec: Any, card: ModelCard, bands: Bands, *, key: str = "fit.unlabelled"
) -> list[Scene]:
    """Scenes with the bands, units and pixel size of a data set.

    spec: folder, glob or list of GeoTIFFs. card: of the network that is to be trained.
    bands: as the data set was told. key: that names them.
    Raises: InputError with all scenes that do not suit.
    """
    faults = Faults()
    scenes: list[Any] = []
    with faults.collect():
        for scene in _scenes_of(spec, bands):
            with faults.collect():
                scenes.append(check(scene, card).scene)
    faults.found = [f"{key}: {fault}" for fault in faults.found]
    faults.raise_if_any()
    return scenes


def find_styles(augment: Augment, card: ModelCard, dataset: Dataset) -> list[Scene]:
    """Scenes whose looks train tiles are to have; none if that is not asked for.

    card: of the network that is to be trained.
    Raises: InputError with all scenes that do not suit.
    """
    if augment.style is None:
        return []
    bands = Bands(**dataset.settings["bands"])
    return find_unlabelled(augment.style, card, bands, key="augment.style")


def _scenes_of(spec: Any, bands: Bands) -> Sequence[Any]:
    """Scenes of files, or those of a data set. Raises: InputError."""
    if isinstance(spec, str | Path) and (Path(spec) / DESCRIPTION).is_file():
        found = Dataset.load(spec)
        if found.reference is not None:
            raise InputError(f"{spec}: is a data set of dated maps; give one of images")
        return found.scenes
    return find_scenes(spec, bands)


def described(dataset: Dataset, scenes: Sequence[Scene]) -> list[str]:
    """What is to be said of them beside a data set: nothing if there are none."""
    if not scenes:
        return []
    lines = [
        f"{counted(len(scenes), 'unlabelled scene')} of"
        f" {sum(scene.grid.window.area for scene in scenes) / 1e6:.1f} Mpx"
    ]
    crs = dataset.scenes[0].grid.crs
    grids = {scene.name: scene.grid for scene in dataset.scenes}

    def box(grid: Grid) -> shapely.Polygon | None:
        found = extent.bounds_in(grid.bounds, grid.crs, crs)
        return None if found is None else shapely.box(*found)

    held = [
        (split, box(grids[tile.scene].crop(tile.window)))
        for split in ("val", "test")
        for tile in dataset.tiles(split)
    ]
    ground = shapely.STRtree([box(scene.grid) for scene in scenes])
    shown = {
        split
        for split, box in held
        # Not those that only touch along an edge.
        if shapely.area(shapely.intersection(box, ground.geometries[ground.query(box)])).any()
    }
    if shown:
        lines.append(
            f"note: they show ground of {' and '.join(sorted(shown))} tiles: these scores say how"
            " well this ground is mapped, not how well other ground would be"
        )
    return lines
