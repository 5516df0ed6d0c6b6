"""Give the points of clouds their classes, as LAZ files and as maps.

Letters in shapes: N points, K classes, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from geoseg.errors import Faults, InputError
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA, Legend
from geoseg.heights.cloud import LANDCOVER, Cloud, find_clouds, understood, write_codes
from geoseg.heights.settings import GAP_M
from geoseg.maps import landcover
from geoseg.maps.folder import LANDCOVER as MAPS
from geoseg.models.device import choose, enough_memory
from geoseg.outputs.claims import claim
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted
from geoseg.outputs.files import read_note, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.progress import follow
from geoseg.outputs.stamp import are_whole, stamps
from geoseg.outputs.summary import Summary
from geoseg.points.gather import FEATURES, Gathered, gather, grids_of
from geoseg.points.model_file import PointCard, load, read_card
from geoseg.points.network import PLACE, PointNet
from geoseg.points.settings import PointNetSettings
from geoseg.points.tiles import Tiles
from geoseg.prediction.writer.scene_writer import no_number

CLOUDS = "clouds"
DONE = ".done"
"""Folder with what each cloud came to that is whole."""
PRODUCTS = (CLOUDS, MAPS, DONE)
SHIFTS = (0.0, 0.5)
"""Shares of a tile by which tiles are moved: each point is seen in the middle of one of them."""
INTENSITY = 8.0
"""Factor by which the mean intensity of a cloud may differ from the training's: bytes and 16 bits
differ by 256."""
HIGHEST_OLD = 31
"""Class of a point in the formats 0 to 5, at most."""
FIRST_NEW = 6


@alone("pointnet", "out")
def classify(
    checkpoint: str | Path,
    points: Any,
    out: str | Path,
    *,
    settings: PointNetSettings | None = None,
    overwrite: bool = False,
) -> Summary:
    """Write `out`/clouds/<name>.laz and `out`/landcover/<name>.tif, for geoseg mosaic and evaluate.

    A point that was left out, and a pixel farther than GAP_M from any point, has the code 0.
    A call that goes on makes only what is missing.
    Raises: InputError for a file that is none of such a network, clouds without CRS, damaged ones …
    """
    out, faults = Path(out), Faults()
    card = faults.attempt(read_card, checkpoint)
    given = settings or PointNetSettings()
    clouds = faults.attempt(find_clouds, points, given.crs, key="pointnet.crs") or []
    faults.raise_if_any()
    assert card is not None
    settings = card.settings(given)
    grids = grids_of(clouds, settings)
    _check(clouds, card.legend, settings, out)
    network = load(checkpoint, card)
    device = choose(settings.device, "32")
    made = {
        "checkpoint": card.hash, "points": [fingerprint(cloud.path) for cloud in clouds],
        "pointnet": asdict(settings) | {"device": None},
    }  # fmt: skip
    claim(out, made, command="pointnet", products=PRODUCTS, overwrite=overwrite)
    device.place(network)
    notes = {name: read_note(out / DONE / f"{name}.json") or {} for name in grids}
    todo = [name for name, note in notes.items() if not are_whole(out, note.get("files"))]
    by_name = dict(zip(grids, clouds, strict=True))
    for name in follow(todo, "pointnet"):
        with enough_memory("pointnet.batch", settings.batch):
            _make(out, name, by_name[name], network, card=card, settings=settings)
    summary = _summary(out, list(grids), card.legend)
    summary.notes(understood(clouds, given.crs, key="pointnet.crs"))
    return summary


def _check(clouds: list[Cloud], legend: Legend, settings: PointNetSettings, out: Path) -> None:
    """Raises: InputError if classes do not fit the points, or a cloud would be written over."""
    faults = Faults()
    for cloud in clouds:
        if Path(cloud.path).resolve().parent == (out / CLOUDS).resolve():
            faults.add(f"out={out}: {cloud.path} lies where it would be written; choose another")
        old = cloud.point_format < FIRST_NEW
        if settings.classification and old and max(legend.codes) > HIGHEST_OLD:
            faults.add(
                f"{cloud.path}: points of format {cloud.point_format} have classes up to"
                f" {HIGHEST_OLD}, the legend codes up to {max(legend.codes)}; set"
                f" pointnet.classification=false: the codes are in {LANDCOVER} then"
            )
    faults.raise_if_any()


def _make(
    out: Path, name: str, cloud: Cloud, network: PointNet, *, card: PointCard,
    settings: PointNetSettings,
) -> None:  # fmt: skip
    """Classify one cloud."""
    legend = card.legend
    found = gather(cloud, settings)
    shares = probabilities(network, found, len(legend), settings)
    codes = np.zeros(cloud.count, np.uint8)
    codes[found.place] = legend.decode(shares.argmax(axis=1).astype(np.uint8))
    path = out / CLOUDS / f"{name}.laz"
    write_codes(cloud, path, codes, classes=settings.classification)
    ((_, grid),) = grids_of([cloud], settings).items()
    seen = map_of(found, shares, grid, legend)

    def read(window: Window) -> np.ndarray:
        return seen[window.within(grid.window)]

    there = out / MAPS / f"{name}.tif"
    landcover.write(there, grid, legend, read, tags=landcover.tags(legend, card.hash))
    counts = np.bincount(codes, minlength=256)
    files = stamps(out, (path, there, *landcover.side_files(there)))
    shown = {c.name: int(counts[c.code]) for c in legend.classes}
    facts = {"points": shown, "left": int(counts[NODATA]), "files": files}
    write_json(out / DONE / f"{name}.json", facts | {"notes": _odd(name, found, network)})


def _odd(name: str, found: Gathered, network: PointNet) -> list[str]:
    """What is to be said of intensities, which each scanner and program counts in its own way."""
    column = FEATURES.index("intensity")
    here = float(found.features[:, column].mean())
    there = float(network.mean[PLACE + column])
    if max(here, there) <= INTENSITY * min(here, there):
        return []
    return [
        f"{name}: intensities of {here:.4g} in the mean, the training had {there:.4g}: another"
        " scale, or none noted? Then its classes are worth little: bring them to the training's, or"
        " train on such clouds"
    ]


@torch.no_grad()
def probabilities(
    network: PointNet, points: Gathered, classes: int, settings: PointNetSettings
) -> np.ndarray:
    """Mean probabilities (N, K) float32 of the points, over all draws that they were in.

    Raises: InputError if the network gives no numbers.
    """
    device = next(network.parameters()).device
    network.eval()
    total = np.zeros((len(points), classes), np.float32)
    times = np.zeros(len(points), np.int32)
    rng = np.random.default_rng(0)
    for shift in SHIFTS:
        tiles = Tiles(points, settings.tile_m, shift=shift)
        draws = _draws(tiles, settings.points, rng)
        while batch := list(islice(draws, settings.batch)):
            seen = np.stack([tiles.seen(tile, chosen) for tile, chosen in batch])
            said = network(torch.from_numpy(seen).to(device)).softmax(dim=1)
            for (_, chosen), share in zip(batch, said.cpu().numpy(), strict=True):
                np.add.at(total, chosen, share.T)
                np.add.at(times, chosen, 1)
    if not np.isfinite(total).all():
        raise InputError(no_number(str(points.cloud.path)))
    return total / times[:, None]


def _draws(tiles: Tiles, size: int, rng: np.random.Generator) -> Iterator[tuple[int, np.ndarray]]:
    for tile in range(len(tiles)):
        for chosen in tiles.draws(tile, size, rng):
            yield tile, chosen


def map_of(points: Gathered, shares: np.ndarray, grid: Grid, legend: Legend) -> np.ndarray:
    """Codes (H, W) uint8: of each pixel the class that its points together hold most likely.

    shares: (N, K). Pixels without a point have the nearest one's, up to GAP_M; beyond, NODATA.
    """
    row, column = points.cells(grid)
    place = row * grid.width + column
    size = grid.height * grid.width
    sums = np.stack([np.bincount(place, share, minlength=size) for share in shares.T])
    codes = legend.decode(sums.argmax(axis=0).astype(np.uint8)).reshape(grid.height, grid.width)
    bare = (np.bincount(place, minlength=size) == 0).reshape(codes.shape)
    if bare.any():
        distance, nearest = ndimage.distance_transform_edt(bare, return_indices=True)
        codes = codes[tuple(nearest)]
        codes[distance > GAP_M / grid.pixel_size_m] = NODATA
    return codes


def _summary(out: Path, names: list[str], legend: Legend) -> Summary:
    summary = Summary()
    total = dict.fromkeys(legend.names, 0)
    left = 0
    for name in names:
        noted = read_note(out / DONE / f"{name}.json")
        if noted is None:
            raise InputError(f"{out / DONE / name}.json: gone while the command ran; run it again")
        left += noted["left"]
        for note in noted.get("notes", ()):
            summary.warn(note)
        for one, count in noted["points"].items():
            total[one] += count
    every = max(1, sum(total.values()))
    rows = [[name, count, f"{count / every:.1%}"] for name, count in total.items()]
    summary.table("Points", ["", "points", "share"], rows)
    if left:
        summary.note(f"{counted(left, 'point')} withheld or outliers: without class (0)")
    summary.note(
        f"{counted(len(names), 'cloud')} with the codes in {LANDCOVER}: {out / CLOUDS}; maps:"
        f" {out / MAPS}, for geoseg mosaic maps={out}"
    )
    return summary
