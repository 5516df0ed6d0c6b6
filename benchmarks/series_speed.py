"""Series: preparing, reading and the network against the plain loops of the published recipes.

`python -m benchmarks.series_speed`: draws the demo's Sentinel-2 year into a temporary folder and
measures, in turn and several times each, one thread each way:

- prepare: all parcels of a tile out of its images, against reading each parcel's window of each
  date by itself and saving one file per parcel;
- read: batches of 128 parcels of 32 pixels, against one file per parcel, loaded, drawn from,
  scaled and collated one by one, as the PSE-TAE recipe does;
- network: PSE-TAE's forward and backward pass, against the same layers called date by date.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.commands import conf
from geoseg.dataset.samples import Samples, SeriesDataset, load_pixels
from geoseg.demo.series import write_series
from geoseg.geo.grid import Window
from geoseg.geo.legend import Legend
from geoseg.geo.raster import Raster
from geoseg.labels.settings import Labels
from geoseg.models.networks import build_series
from geoseg.models.settings import Model
from geoseg.models.view import view_of
from geoseg.outputs.summary import table
from geoseg.parcels.outlines import outlines
from geoseg.parcels.prepare import FromStacks, prepare_series
from geoseg.samples.series import InOrder, SeriesBatches
from geoseg.samples.settings import SeriesSamples
from geoseg.scenes.stack import observed
from geoseg.series.settings import Series
from geoseg.training.cards import card_of_samples
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.tasks.series import indices

BATCH, PIXELS = 128, 32
LOOPED = 150
"""Parcels that the plain loops do; their time is scaled to all."""
ROUNDS = 5


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def prepared(folder: Path) -> tuple[FromStacks, Legend, SeriesDataset]:
    """The demo's series, and the data set of its parcels."""
    write_series(folder / "series", seed=0, size=400)
    series = Series(
        path=str(folder / "series" / "images"),
        pattern=r"S2_(?P<tile>[a-z]+)_(?P<date>\d{8})",
        masks=str(folder / "series" / "masks"),
    )
    labels = Labels(path=str(folder / "series" / "parcels.gpkg"), field="crop")
    legend = Legend.load(str(conf.CONF / "legend" / "crops.yaml"))
    source = FromStacks.open(series, labels)
    prepare_series(source, legend, folder / "dataset")
    return source, legend, SeriesDataset.load(folder / "dataset")


def parcel_by_parcel(source: FromStacks, folder: Path, count: int) -> None:
    """One file per parcel: its window of each date is read by itself, and what lies in it kept."""
    import shapely

    stack = source.stacks[0]
    grid = stack.grid
    shapes = outlines(source.parcels.geometry, source.parcels.crs, grid)
    inside = [
        number
        for number, shape in enumerate(shapes.parts)
        if shapely.box(*grid.bounds).contains(shape)
    ]
    for number in inside[:count]:
        shape = shapes.parts[number]
        left, bottom, right, top = shape.bounds
        column, row = ~grid.transform @ (left, top)
        last_column, last_row = ~grid.transform @ (right, bottom)
        window = Window(int(row), int(column), int(last_row) - int(row) + 1,
                        int(last_column) - int(column) + 1)  # fmt: skip
        rows, columns = np.mgrid[: window.height, : window.width]
        x, y = grid.transform @ (columns + window.left + 0.5, rows + window.top + 0.5)
        mine = shapely.contains_xy(shape, x, y)
        dates = []
        for path in stack.paths:
            with Raster(path) as image:
                dates.append(image.read(window)[0][:, mine])
        np.save(folder / f"{number}.npy", np.stack(dates))


class OneFileEach:
    """The plain recipe: each parcel's file is loaded, drawn from, scaled; then all are stacked."""

    def __init__(self, dataset: SeriesDataset, samples: Samples, folder: Path) -> None:
        self.samples, self.folder = samples, folder
        self.mean = np.array(dataset.statistics.mean)[:, None]
        self.std = np.array(dataset.statistics.std)[:, None]
        pixels, _ = load_pixels(dataset.folder, samples.tile[0])
        for i in range(len(samples)):
            part = pixels[samples.first[i] : samples.first[i] + samples.pixels[i]]
            np.save(folder / f"parcel{i}.npy", part.transpose(1, 2, 0))  # T × C × S

    def item(self, number: int) -> tuple[Tensor, Tensor]:
        values = np.load(self.folder / f"parcel{number}.npy")
        count = values.shape[-1]
        chosen = np.random.choice(count, PIXELS, replace=count < PIXELS)  # noqa: NPY002
        values = values[:, :, chosen].astype(float)
        valid = np.stack([observed(date) for date in values.astype(np.uint16)]).all(axis=1)
        values = np.stack([(date - self.mean) / self.std for date in values])
        return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(valid)

    def batches(self) -> Iterator[tuple[Tensor, ...]]:
        for start in range(0, len(self.samples), BATCH):
            stop = min(start + BATCH, len(self.samples))
            items = [self.item(number) for number in range(start, stop)]
            yield tuple(torch.stack(part) for part in zip(*items, strict=True))


class DateByDate(nn.Module):
    """PSE-TAE's layers as published, each date encoded by itself in a Python loop."""

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.first = nn.ModuleList(nn.Linear(a, b) for a, b in ((bands, 32), (32, 64)))
        self.norms = nn.ModuleList(nn.BatchNorm1d(n) for n in (32, 64))
        self.second = nn.Sequential(nn.Linear(132, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.attention = nn.MultiheadAttention(128, 4, batch_first=True)
        self.after = nn.Sequential(nn.Linear(128, 128), nn.BatchNorm1d(128), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.Linear(128, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(),
            nn.Linear(32, classes),
        )  # fmt: skip

    def forward(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        dates = []
        for t in range(values.shape[1]):
            x, weight = values[:, t], valid[:, t].float().unsqueeze(-1)
            for linear, norm in zip(self.first, self.norms, strict=True):
                x = torch.relu(norm(linear(x).transpose(1, 2))).transpose(1, 2)
            total = weight.sum(dim=1).clamp_min(1)
            mean = (x * weight).sum(dim=1) / total
            spread = (((x - mean[:, None]) ** 2 * weight).sum(dim=1) / total + 1e-6).sqrt()
            dates.append(self.second(torch.cat([mean, spread, shape], dim=1)))
        x = torch.stack(dates, dim=1)
        k = torch.arange(64, device=x.device)
        angle = days.unsqueeze(-1) / 1000 ** (k / 64)
        x = x + torch.cat([angle.sin(), angle.cos()], dim=-1)
        found, _ = self.attention(x.mean(dim=1, keepdim=True), x, x)
        return self.decoder(self.after(found.squeeze(1)))


def passes(network: nn.Module, batches: Sequence[tuple[Tensor, ...]], training: bool) -> None:
    network.train(training)
    with torch.set_grad_enabled(training):
        for batch in batches:
            logits = network(*batch)
            if training:
                network.zero_grad()
                logits.square().mean().backward()


def median(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, all in turn, so that what disturbs one disturbs the others."""
    for each in work.values():
        each()
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, each in work.items():
            found[name].append(timed(each))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source, legend, dataset = prepared(folder)
        rows = [prepare_row(source, legend, folder, rounds)]
        samples = dataset.samples()
        samples = samples.take(samples.tile == samples.tile[0])
        rows.append(read_row(dataset, samples, folder, rounds))
        rows += network_rows(dataset, samples, rounds)
    print(table(["what", "geoseg, parcels/s", "plain loop", "ratio"], rows))


def prepare_row(source: FromStacks, legend: Legend, folder: Path, rounds: int) -> list[object]:
    alone = FromStacks([source.stacks[0]], source.parcels, source.labels, source.series,
                       source.samples)  # fmt: skip
    single = folder / "single"
    single.mkdir()
    mine = [prepare_into(alone, legend, folder / f"again{i}") for i in range(rounds)]
    loops = [timed(lambda: parcel_by_parcel(alone, single, LOOPED)) for _ in range(rounds)]
    count = len(SeriesDataset.load(folder / "again0").samples())
    return row("prepare", count / statistics.median(mine), LOOPED / statistics.median(loops))


def prepare_into(source: FromStacks, legend: Legend, folder: Path) -> float:
    return timed(lambda: prepare_series(source, legend, folder))


def read_row(dataset: SeriesDataset, samples: Samples, folder: Path, rounds: int) -> list[object]:
    study = TrainingSettings(Model("psetae"), Loss(), Fit(), SeriesSamples(pixels=PIXELS), 0)
    view = view_of(card_of_samples(dataset, study, dataset.statistics))
    vary = SeriesSamples(pixels=PIXELS, drop_dates=0.0)
    feed = SeriesBatches(
        dataset.folder, samples, indices(samples.code, dataset.legend.codes), view, vary
    )
    each = folder / "each"
    each.mkdir()
    plain = OneFileEach(dataset, samples, each)
    seconds = median(
        {
            "geoseg": lambda: [feed[draws] for draws in InOrder(len(feed), BATCH)],
            "plain": lambda: list(plain.batches()),
        },
        rounds,
    )
    count = len(samples)
    return row("read", count / seconds["geoseg"], count / seconds["plain"])


def network_rows(dataset: SeriesDataset, samples: Samples, rounds: int) -> list[list[object]]:
    study = TrainingSettings(Model("psetae"), Loss(), Fit(), SeriesSamples(pixels=PIXELS), 0)
    view = view_of(card_of_samples(dataset, study, dataset.statistics))
    vary = SeriesSamples(pixels=PIXELS, drop_dates=0.0)
    feed = SeriesBatches(dataset.folder, samples, np.zeros(len(samples)), view, vary)
    batches = [feed[draws][0] for draws in InOrder(len(feed), BATCH)]
    bands, classes = len(dataset.bands), len(dataset.legend)
    mine, plain = build_series.build(study.model, bands, classes), DateByDate(bands, classes)
    rows = []
    for what, training in (("network, predicting", False), ("network, training", True)):
        seconds = median(
            {
                "geoseg": partial(passes, mine, batches, training),
                "plain": partial(passes, plain, batches, training),
            },
            rounds,
        )
        rows.append(row(what, len(samples) / seconds["geoseg"], len(samples) / seconds["plain"]))
    return rows


def row(what: str, mine: float, plain: float) -> list[object]:
    return [what, f"{mine:.0f}", f"{plain:.0f}", f"{mine / plain:.1f} ×"]


if __name__ == "__main__":
    main()
