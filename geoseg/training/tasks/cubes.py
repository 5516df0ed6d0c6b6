"""Train networks on windows through time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

from geoseg.dataset.arrays import common_dtype
from geoseg.dataset.tiles import MAP, Dataset
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.evaluation.by_date import ByDate
from geoseg.models import checkpoint, transfer
from geoseg.models.card import BEST, ModelCard, SeriesCard
from geoseg.models.device import Device
from geoseg.outputs.files import write_json
from geoseg.samples.cubes import Batch, TrainCubes, ValCubes, collate
from geoseg.samples.tiles import train_tiles
from geoseg.scenes.dated import DatedScene
from geoseg.training import recipe
from geoseg.training.loop import Task, fit_network, loading
from geoseg.training.lr_find import find_rate
from geoseg.training.objectives import loss
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes.ranks import Ranks, ready
from geoseg.training.sampler import Share, Shuffle
from geoseg.training.settings import TrainingSettings
from geoseg.training.tasks.series import SCORES, build, closing
from geoseg.training.validation import SegmentationValidator

BATCH = 4
"""Tiles per step where the settings leave it open: each brings all its dates."""
CURVE_TILES = 16
"""Tiles of val that are looked at again for each point of the curve by date, evenly spread."""


def learn_map(dataset: Dataset, folder: Path, study: TrainingSettings) -> str:
    """Train into `folder`, with the other processes if there are any.

    Returns: what came out, as a text for people.
    """
    torch.manual_seed(study.seed)
    study, device, fabric = ready(recipe.for_images(study, dataset), BATCH)
    fit, legend, ranks = study.fit, dataset.legend, Ranks.of(fabric)
    part = ranks.share(fit.batch_size)
    card = make_card(dataset, study)
    tiles = train_tiles(dataset, fit.train_share, study.seed)
    train = TrainCubes(dataset, study.series, jitter=fit.jitter, tiles=tiles)
    val = ValCubes(dataset)
    network = build(card)
    before = None if study.lr_find else folder
    card, started = transfer.begin(network, study.model, card, before)
    size = sum(p.numel() for p in network.parameters())
    if ranks.first:
        print(
            f"{started}{study.model.name}, {size} weights, {len(dataset.bands)} bands,"
            f" dates as they are, {len(legend)} classes, on {device}{ranks}\n"
            f"{len(train)} train tiles of {train.side} px, {len(val)} val tiles"
        )

    counts = [tile.counts for tile in train.tiles]
    share = Share.of(Shuffle.of(counts, fit, study.seed), fit, ranks)
    options = loading(fit, fabric.device) | {"collate_fn": collate}
    task = Task(
        network,
        Supervised(loss.build(study.loss, counts, names=legend.names, ranks=ranks)),
        DataLoader(train, part, sampler=share, **options),
        DataLoader(val, part, sampler=range(ranks.number, len(val), ranks.count), **options),
        SegmentationValidator(legend.names),
        folder,
        checkpoint.keeper(folder, card),
        train.title,
    )
    if study.lr_find:
        return find_rate(task, fit, fabric=fabric, seed=study.seed)
    history = fit_network(task, fit, fabric=fabric, seed=study.seed)
    if not ranks.first:
        return ""
    best, _ = checkpoint.load(folder / BEST)
    scores = _judge(dataset, device.place(best), card, device, folder=folder)
    return closing(history, fit, folder, scores)


def make_card(dataset: Dataset, study: TrainingSettings) -> ModelCard:
    """The card of a network that is trained on a data set of dated scenes."""
    assert dataset.reference is not None
    scenes = [scene for scene in dataset.scenes if isinstance(scene, DatedScene)]
    trained = {tile.scene for tile in dataset.tiles("train")}
    days = [day for scene in scenes if scene.name in trained for day in scene.days]
    return ModelCard(
        model=study.model.trained(),
        bands=dataset.bands,
        statistics=dataset.statistics,
        dtype=common_dtype({scene.dtype for scene in scenes}),
        nodata=dataset.settings["bands"]["nodata"],
        extra={},
        pixel_size_m=dataset.pixel_size_m,
        legend=dataset.legend,
        tiling=dataset.tiling,
        scores={},
        tags=dataset.tags,
        partial=bool(dataset.settings["bands"].get("partial")),
        series=SeriesCard(
            unit=MAP,
            reference=dataset.reference,
            first_day=min(days),
            last_day=max(days),
            fill="none",
            step=1,
            shape_mean=(),
            shape_std=(),
            min_clear=scenes[0].min_clear,
            masked=any(scene.stack.masks for scene in scenes),
        ),
    )


def judge(
    network: nn.Module,
    batches: Iterable[Batch],
    names: list[str],
    *,
    device: Device,
    until: float | None = None,
) -> Scores:
    """Scores over the pixels of batches of cubes. until: only dates up to this day are seen."""
    matrix = np.zeros((len(names), len(names)), np.int64)
    network.eval()
    with torch.inference_mode(), device.autocast():
        for cube, target in batches:
            values, valid, days = (part.to(device.torch) for part in cube)
            if until is not None:
                valid = valid & (days <= until)[..., None, None]
            found = network(values, valid, days).argmax(dim=1)
            matrix += confusion(target.numpy(), found.cpu().numpy(), len(names))
    return Scores.of(matrix, names)


def _judge(
    dataset: Dataset, network: nn.Module, card: ModelCard, device: Device, *, folder: Path
) -> str:
    """Scores of val and test tiles, by class and by date; returns what is to be said."""
    names, said, written = dataset.legend.names, [], {}
    for split in ("val", "test"):
        cubes = ValCubes(dataset, split)
        if not len(cubes):
            continue
        scores = judge(network, DataLoader(cubes, collate_fn=collate), names, device=device)
        written[split] = scores.to_dict()
        said.append(f"{split}: {len(cubes)} tiles\n{scores.table()}")
        if split == "val":
            some = sorted({int(n) for n in np.linspace(0, len(cubes) - 1, CURVE_TILES)})
            batches = list(DataLoader(Subset(cubes, some), collate_fn=collate))
            assert card.series is not None
            curve = ByDate.measure(
                lambda day, batches=batches: judge(  # type: ignore[misc]
                    network, batches, names, device=device, until=day
                ),
                (card.series.first_day, card.series.last_day),
                card.series.reference,
            )
            curve.save(folder)
            said.append(str(curve))
    write_json(folder / SCORES, written)
    return "\n\n".join(said)
