"""Train a network for points on clouds that labels lie on.

Letters in shapes: N points, T tiles, B of them in a batch, P points of each, F features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from geoseg.errors import InputError
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo.legend import IGNORED, Legend
from geoseg.heights.cloud import Cloud, find_clouds, understood
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.labels.source import LabelSource
from geoseg.models.device import choose, enough_memory
from geoseg.outputs.claims import claim, is_made, note_made
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.progress import follow
from geoseg.outputs.stamp import stamps
from geoseg.outputs.summary import Summary
from geoseg.points.gather import FEATURES, gather, grids_of
from geoseg.points.model_file import NAME, SEES, PointCard, save
from geoseg.points.network import PointNet
from geoseg.points.settings import FEWEST, PointNetSettings
from geoseg.points.tiles import Tiles, judging

RECORD = "pointnet.json"
PRODUCTS = (NAME, RECORD)
RISE = 0.1
"""Share of the steps in which the learning rate rises."""
LEAST = 20
"""Steps that a rise and fall of it are laid out for, at least: of fewer, the fall is cut off."""
STRETCH = 0.1
"""Share by which heights of a tile are stretched in training, at most."""


@dataclass(frozen=True)
class Labelled:
    """The tiles of a cloud, and the classes of its points."""

    tiles: Tiles
    indices: np.ndarray
    """(N,) uint8: class of each point, IGNORED without label."""
    judges: np.ndarray
    """(T,) bool: which tiles only judge."""
    usable: np.ndarray
    """(T,) bool: which have enough points with a label."""


@alone("pointnet", "out")
def train(  # noqa: PLR0913 one keyword per key of the command, as notebooks call it
    points: Any,
    out: str | Path,
    labels: Labels,
    legend: Legend,
    *,
    settings: PointNetSettings | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Summary:
    """Train a network for points: `out`/pointnet.safetensors, with scores beside it.

    points: folder, glob or list of LAS or LAZ files. A call that was killed begins anew.
    Returns: what was found, as a text for people.
    Raises: InputError for clouds without CRS, damaged ones, labels that lie on none of them …
    """
    settings, out = settings or PointNetSettings(), Path(out)
    clouds = find_clouds(points, settings.crs, key="pointnet.crs")
    grids = grids_of(clouds, settings)
    device = choose(settings.device, "32")
    with open_labels(labels, legend, scenes=grids) as source:
        made = {
            "inputs": [fingerprint(p) for p in (*(c.path for c in clouds), *source.paths)],
            "labels": {k: str(v) for k, v in asdict(labels).items()}, "legend": legend.to_dict(),
            "pointnet": asdict(settings) | {"device": None}, "seed": seed,
        }  # fmt: skip
        if is_made(out, made, command="pointnet", name=NAME):
            summary = Summary()
            summary.note(f"{out / NAME}: already trained so; nothing to do")
            return summary
        rng = np.random.default_rng(seed)
        places = [_labelled(cloud, source, legend, settings, rng) for cloud in clouds]
        notes = [*source.notes, *understood(clouds, settings.crs, key="pointnet.crs")]
    counts = _counts(places, len(legend))
    _check(counts, clouds, legend)
    claim(out, made, command="pointnet", products=PRODUCTS, overwrite=overwrite, name=NAME)
    network = _begin(places, legend, settings, seed)
    device.place(network)
    with enough_memory("pointnet.batch", settings.batch):
        _fit(network, places, counts, settings, rng)
        matrix = _judge(network, places, len(legend), settings, rng)
    scores = Scores.of(matrix, legend.names)
    card = PointCard(legend, {name: asdict(settings)[name] for name in SEES}, scores.to_dict())
    save(out / NAME, network, card)
    write_json(out / RECORD, {"scores": scores.to_dict(), "points": counts.tolist()})
    note_made(out, stamps(out, [out / name for name in PRODUCTS]), command="pointnet", name=NAME)
    return _summary(scores, counts, out, notes)


def _labelled(
    cloud: Cloud, source: LabelSource, legend: Legend, settings: PointNetSettings,
    rng: np.random.Generator,
) -> Labelled:  # fmt: skip
    found = gather(cloud, settings)
    ((name, grid),) = grids_of([cloud], settings).items()
    indices = legend.encode(source.burn(grid, scene=name)[found.cells(grid)])
    tiles = Tiles(found, settings.tile_m)
    known = np.array([(indices[tiles.members(n)] != IGNORED).sum() for n in range(len(tiles))])
    usable = known >= FEWEST
    judges = np.zeros(len(tiles), bool)
    if usable.any():
        judges[usable] = judging(tiles.keys[usable], settings.val, rng)
    return Labelled(tiles, indices, judges, usable)


def _counts(places: Sequence[Labelled], classes: int) -> np.ndarray:
    """Points (K,) of each class in the tiles that train."""
    total = np.zeros(classes, np.int64)
    for place in places:
        for tile in np.flatnonzero(place.usable & ~place.judges):
            known = place.indices[place.tiles.members(int(tile))]
            total += np.bincount(known[known != IGNORED], minlength=classes)
    return total


def _check(counts: np.ndarray, clouds: Sequence[Cloud], legend: Legend) -> None:
    """Raises: InputError if there is nothing to tell apart."""
    present = [legend.names[n] for n in np.flatnonzero(counts)]
    if not present:
        raise InputError(
            f"labels: of the points of {counted(len(clouds), 'cloud')} ({clouds[0].path} …) too few"
            f" have a label to train on: no tile of pointnet.tile_m has {FEWEST} of them beside"
            " those that judge; give labels that cover more of the clouds"
        )
    if len(present) == 1:
        raise InputError(
            f"labels: all labelled points are {present[0]}; a network needs two classes at least"
        )


def _begin(
    places: Sequence[Labelled], legend: Legend, settings: PointNetSettings, seed: int
) -> PointNet:
    """A network with random weights that knows the spread of what it is to see."""
    torch.manual_seed(seed)
    network = PointNet(len(FEATURES), len(legend), settings.width)
    told = np.concatenate([_training_features(place) for place in places])
    mean, std = told.mean(axis=0, dtype=float), told.std(axis=0, dtype=float)
    network.scale_by(torch.tensor(mean), torch.tensor(np.where(std > 0, std, 1.0)))
    return network


def _training_features(place: Labelled) -> np.ndarray:
    chosen = [place.tiles.members(int(n)) for n in np.flatnonzero(place.usable & ~place.judges)]
    members = np.concatenate([np.empty(0, np.intp), *chosen])
    return place.tiles.points.features[members]


def _fit(
    network: PointNet, places: Sequence[Labelled], counts: np.ndarray,
    settings: PointNetSettings, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Minimise cross-entropy in which classes count by the root of how rare they are."""
    device = next(network.parameters()).device
    shares = counts / counts.sum()
    weight = np.where(counts > 0, 1 / np.sqrt(np.maximum(shares, 1e-6)), 0)
    weights = torch.tensor(weight / weight.max(), dtype=torch.float32, device=device)
    each = [
        (place, int(tile))
        for place in places
        for tile in np.flatnonzero(place.usable & ~place.judges)
    ]
    steps = math.ceil(len(each) / settings.batch)
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate)
    total = max(settings.epochs * steps, LEAST)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=total, pct_start=RISE
    )
    network.train()
    for _ in follow(range(settings.epochs), "train"):
        for batch in _batches(each, steps, rng):
            drawn = [
                _turned(*_drawn(place, tile, settings.points, rng), rng) for place, tile in batch
            ]
            seen, truth = (np.stack(part) for part in zip(*drawn, strict=True))
            target = torch.from_numpy(truth.astype(np.int64)).to(device)
            logits = network(torch.from_numpy(seen).to(device))
            # Of a batch without labels there is no mean.
            loss = F.cross_entropy(logits, target, weights, ignore_index=IGNORED, reduction="sum")
            norm = weights[target[target != IGNORED]].sum().clamp(min=1e-6)
            optimizer.zero_grad()
            (loss / norm).backward()
            optimizer.step()
            schedule.step()


def _batches(
    each: Sequence[tuple[Labelled, int]], steps: int, rng: np.random.Generator
) -> Iterator[list[tuple[Labelled, int]]]:
    """All tiles in random order, in batches as alike in size as can be, and of two at least."""
    order = rng.permutation(len(each))
    for part in np.array_split(order, steps):
        yield [each[n] for n in (part if len(part) > 1 else np.repeat(part, 2))]


def _drawn(
    place: Labelled, tile: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One draw of a tile: points (P, 2 + F), and their classes (P,)."""
    chosen = next(place.tiles.draws(tile, size, rng))
    return place.tiles.seen(tile, chosen), place.indices[chosen]


def _turned(
    seen: np.ndarray, truth: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A tile turned around the vertical, mirrored, its heights stretched: the classes stay."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    if rng.random() < 0.5:
        turn[0] *= -1
    seen[:, :2] = seen[:, :2] @ turn
    seen[:, 2] *= rng.uniform(1 - STRETCH, 1 + STRETCH)
    return seen, truth


@torch.no_grad()
def _judge(
    network: PointNet, places: Sequence[Labelled], classes: int, settings: PointNetSettings,
    rng: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    """Labels by what the network says (K, K), of one draw of each tile that judges."""
    device = next(network.parameters()).device
    network.eval()
    matrix = np.zeros((classes, classes), np.int64)
    for place in places:
        for tile in np.flatnonzero(place.judges):
            seen, truth = _drawn(place, int(tile), settings.points, rng)
            found: Tensor = network(torch.from_numpy(seen)[None].to(device)).argmax(dim=1)
            matrix += confusion(truth, found[0].cpu().numpy(), classes)
    return matrix


def _summary(scores: Scores, counts: np.ndarray, out: Path, notes: Sequence[str]) -> Summary:
    summary = Summary()
    summary.notes(notes)
    rows = [
        [name, int(count), "–" if math.isnan(iou) else f"{iou:.3f}"]
        for name, count, iou in zip(scores.names, counts, scores.iou, strict=True)
    ]
    summary.table("Points", ["", "to train on", "IoU in tiles that judge"], rows)
    absent = [name for name, count in zip(scores.names, counts, strict=True) if not count]
    if absent:
        summary.warn(f"no labelled point is {', '.join(absent)}: the network will never say that")
    summary.note(
        f"mean IoU {scores.miou:.3f}, in tiles near those it learnt from: a cloud of another place"
        " says what it is worth elsewhere (geoseg evaluate)"
    )
    summary.note(f"weights: {out / NAME}; classify clouds by checkpoint={out}")
    return summary
