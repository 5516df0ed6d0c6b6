"""Windows through time: targets, splits and cubes of stacks, and a network that learns of them."""

import hashlib
import json
from datetime import date, timedelta

import geopandas
import numpy as np
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.dataset.prepare_cubes import MapSettings, prepare_map
from geoseg.dataset.sample_split import SampleSplit
from geoseg.dataset.samples import SeriesDataset, unit_of
from geoseg.dataset.settings import SampleSettings
from geoseg.dataset.split import leakage_m
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.legend import IGNORED, Legend, LegendSettings
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.settings import Model
from geoseg.prediction.windows import CubeWindows
from geoseg.prepare_series import PrepareSeriesConfig, main
from geoseg.samples.cubes import TrainCubes, ValCubes, collate, turned
from geoseg.samples.settings import SeriesSamples
from geoseg.samples.tiles import OpenScenes
from geoseg.scenes.bands import BandStatistics
from geoseg.scenes.dated import DatedScene
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit
from geoseg.training.start import train, train_series
from tests.made.scenes import grid

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")

LEGEND = Legend.parse(
    [
        {"code": 5, "name": "maize", "color": "#ffff00"},
        {"code": 2, "name": "wheat", "color": "#ff0000"},
    ],
    "test",
)
DATES = {"west": (3, 40, 95, 200, 290), "east": (8, 95, 210, 310)}
HEIGHT, WIDTH, STRIPE = 96, 128, 16
GRIDS = {
    "west": grid(HEIGHT, WIDTH, pixel=10.0),
    "east": grid(HEIGHT, WIDTH, pixel=10.0, left=502000.0),
}
PLACE = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) + 1
"""What band `place` holds on all dates: tells row and column."""
CODES = np.where(np.arange(WIDTH) // STRIPE % 2, 5, 2) * np.ones((HEIGHT, 1), int)
"""Fields are stripes: maize is bright in autumn, wheat in spring; their means are the same."""
STILL = SeriesSamples(drop_dates=0.0, noise=0.0)
WHOLE_TILES = SampleSplit(by="column", column="tile", val=["east"], test=0.0)


def signal(day):
    late = day > 150
    return np.where((CODES == 5) == late, 3000, 1000)


def write_images(folder):
    """Two bands, clouds in a corner; on the second date of each tile all of it is clouded."""
    for name, where in GRIDS.items():
        for number, day in enumerate(DATES[name]):
            row, column = np.mgrid[:HEIGHT, :WIDTH]
            cloud = np.full(PLACE.shape, number == 1) | (row + column < 8 * number)
            file = f"S2_{name}_{date(2021, 1, 1) + timedelta(day):%Y%m%d}.tif"
            options = {"dtype": "uint16", "count": 2, "nodata": 0, "names": ("place", "signal")}
            with raster.create(folder / "images" / file, where, **options) as writer:
                image = np.stack([PLACE, signal(day)])
                writer.write(image.astype(np.uint16), where.window)
            with raster.create(folder / "masks" / file, where, dtype="uint8") as writer:
                writer.write(cloud[None].astype(np.uint8), where.window)


def write_labels(path):
    """The stripes, but for the last 16 rows of each tile."""
    shapes, crops = [], []
    for where in GRIDS.values():
        left, bottom, _, top = where.bounds
        for number in range(WIDTH // STRIPE):
            west = left + 10 * STRIPE * number
            shapes.append(shapely.box(west, bottom + 160, west + 10 * STRIPE, top))
            crops.append(("wheat", "maize")[number % 2])
    table = geopandas.GeoDataFrame({"crop": crops}, geometry=shapes, crs="EPSG:32632")
    table.to_file(path, engine="pyogrio")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    write_images(folder)
    write_labels(folder / "fields.gpkg")
    return folder


def series_of(files, **settings):
    pattern = r"S2_(?P<tile>[a-z]+)_(?P<date>\d{8})"
    given = {"path": str(files / "images"), "masks": str(files / "masks"), "pattern": pattern}
    return Series(**given | {"min_clear": 2} | settings)


def make(files, folder, *, split=WHOLE_TILES, labels=None, overwrite=False, size=32, **series):
    labels = labels or Labels(path=str(files / "fields.gpkg"), field="crop")
    settings = MapSettings(series_of(files, **series), tiling=Tiling(size, size // 2), split=split)
    stacks = find_stacks(settings.series)
    return str(prepare_map(stacks, labels, LEGEND, folder, settings=settings, overwrite=overwrite))


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    """West trains, east validates."""
    folder = tmp_path_factory.mktemp("map") / "dataset"
    make(files, folder)
    return Dataset.load(folder)


def plain(dataset):
    """The data set with statistics that leave the values as they are."""
    given = dict.fromkeys(("mean", "p2", "low"), (0.0, 0.0))
    ones = dict.fromkeys(("std", "p98", "high"), (1.0, 1.0))
    return Dataset(**vars(dataset) | {"statistics": BandStatistics(**given, **ones)})


def digest(folder):
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): hashlib.md5(p.read_bytes()).hexdigest() for p in paths}


def clear(dataset, name):
    scene = next(scene for scene in dataset.scenes if scene.name == name)
    with scene.stack.open() as reader:
        values = reader.read(scene.grid.window)
    return values, values != 65535


def test_targets_tiles_and_statistics(made, files):
    assert unit_of(made.folder) == "map"
    assert made.bands == ("place", "signal")
    assert made.reference == "01-01"
    assert [scene.days for scene in made.scenes] == [DATES["east"], DATES["west"]]
    for name in GRIDS:
        _, seen = clear(made, name)
        enough = seen[:, 0].sum(axis=0) >= 2
        assert 0 < (~enough).sum() < 200
        with Raster(made.target(name)) as file:
            target = file.read(file.grid.window)[0][0]
        expected = np.where(np.arange(HEIGHT)[:, None] < HEIGHT - 16, CODES, 255)
        assert np.array_equal(target, np.where(enough, expected, 0))
    train = made.tiles("train")
    assert {tile.scene for tile in train} == {"west"}
    assert {tile.scene for tile in made.tiles("val")} == {"east"}
    assert not made.tiles("test")
    assert sum(map(sum, (tile.counts for tile in train))) > 0.9 * WIDTH * (HEIGHT - 16)
    values, seen = clear(made, "west")
    for band in range(2):
        held = values[:, band][seen[:, band]].astype(float)
        assert made.statistics.mean[band] == pytest.approx(held.mean())
        assert made.statistics.std[band] == pytest.approx(held.std())
    audit = (made.folder / "audit.csv").read_text().splitlines()
    assert audit[0] == "tile,date,share_clear"
    assert "west,2021-02-10,0.0000" in audit
    assert len(audit) == 1 + 5 + 4


def test_the_summary_tells_of_dates_and_classes(files, tmp_path):
    text = make(files, tmp_path / "dataset")
    assert "2 × 5 dates uint16" in text
    assert "2021-01-04" in text
    assert "maize" in text
    assert "train and val pixels are at least" in text


def test_class_rasters_are_labels_too(files, tmp_path):
    where = GRIDS["west"]
    with raster.create(tmp_path / "classes.tif", where, dtype="uint8") as writer:
        writer.write(np.where(CODES == 5, 1, 2).astype(np.uint8)[None], where.window)
    legend = Legend.parse(
        [
            {"code": 5, "name": "maize", "color": "#ffff00", "values": [1]},
            {"code": 2, "name": "wheat", "color": "#ff0000", "values": [2]},
        ],
        "test",
    )
    series = series_of(files)
    settings = MapSettings(series, tiling=Tiling(32), split=SampleSplit(block_m=320, test=0.0))
    labels = Labels(path=str(tmp_path / "classes.tif"))
    prepare_map(find_stacks(series), labels, legend, tmp_path / "dataset", settings=settings)
    with Raster(tmp_path / "dataset" / "targets" / "west.tif") as file:
        target = file.read(file.grid.window)[0][0]
    assert np.array_equal(target[target > 0], CODES[target > 0])


@pytest.mark.parametrize("seed", range(4))
def test_blocks_of_splits_stay_apart(files, tmp_path, seed):
    split = SampleSplit(val=0.25, test=0.25, block_m=320, seed=seed)
    make(files, tmp_path / "dataset", split=split, size=16)
    dataset = Dataset.load(tmp_path / "dataset")
    grids = {scene.name: scene.grid for scene in dataset.scenes}
    tiles = {split: dataset.tiles(split) for split in ("train", "val", "test")}
    homes = {s: [(grids[t.scene], t.home) for t in mine] for s, mine in tiles.items()}
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert leakage_m(homes, a, b) >= 20  # an eighth of a tile
    train = TrainCubes(plain(dataset), STILL)
    others = {
        (tile.scene, int(number))
        for name in ("val", "test")
        for tile in tiles[name]
        for number in PLACE[tile.window.within(GRIDS["west"].window)].ravel()
    }
    for number in range(len(train)):
        (values, valid, _), _ = train[number, seed]
        seen = values[:, 0][valid].unique().int().tolist()
        assert not others & {(train.tiles[number].scene, place) for place in seen}


@pytest.mark.parametrize(
    ("split", "series", "message"),
    [
        (SampleSplit(by="random"), {}, r"split.by=random: .*split.by=block"),
        (SampleSplit(by="column", column="year", val=["2020"]), {}, "only split.column=tile"),
        (SampleSplit(by="column", column="tile"), {}, "name the tiles"),
        (SampleSplit(by="column", column="tile", val=["nord"]), {}, "no scene nord"),
        (WHOLE_TILES, {"fill": "linear"}, "series.fill=linear"),
    ],
)
def test_what_windows_can_not_be_split_by(files, tmp_path, split, series, message):
    with pytest.raises(InputError, match=message):
        make(files, tmp_path / "dataset", split=split, **series)
    assert not (tmp_path / "dataset").exists()


def test_a_stopped_prepare_goes_on_and_ends_with_the_same_bytes(files, tmp_path):
    folder = tmp_path / "dataset"
    make(files, folder)
    before = digest(folder)
    assert {"dataset.json", "tiles.gpkg", "audit.csv", "targets/west.tif"} <= set(before)
    for name in ("dataset.json", "tiles.gpkg", "audit.csv", "targets/east.tif"):
        (folder / name).unlink()
    make(files, folder)
    assert digest(folder) == before
    assert "nothing to do" in make(files, folder)
    with pytest.raises(InputError, match=r"other settings \(tiling.size"):
        make(files, folder, size=48)
    make(files, folder, size=48, overwrite=True)
    assert Dataset.load(folder).tiling.size == 48


def test_the_command_makes_it(files, tmp_path, capsys):
    def config(**more):
        labels = Labels(path=str(files / "fields.gpkg"), field="crop")
        legend = LegendSettings(classes=LEGEND.to_dict()["classes"])
        rooms = {"series": series_of(files), "labels": labels, "legend": legend}
        split = SampleSplit(block_m=320, test=0.0)
        return PrepareSeriesConfig(
            str(tmp_path / "dataset"), "map", **rooms | {"split": split} | more
        )

    with pytest.raises(InputError, match=r"samples.buffer_m=5.0.*labels.ignore_border"):
        main(config(samples=SampleSettings(buffer_m=5.0)))
    main(config())
    assert "data set:" in capsys.readouterr().out
    assert Dataset.load(tmp_path / "dataset").tiling == Tiling(64)


def test_kinds_of_data_sets_are_told_apart(made, tmp_path):
    with pytest.raises(InputError, match="targets and windows"):
        SeriesDataset.load(made.folder)
    values = json.loads((made.folder / "dataset.json").read_text()) | {"unit": "parcel"}
    (tmp_path / "dataset.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="series, one per parcel"):
        Dataset.load(tmp_path)


def test_validation_sees_the_images_as_they_are(made):
    cubes = ValCubes(made)
    values, seen = clear(made, "east")
    mean, std = (np.array(v)[:, None, None] for v in (made.statistics.mean, made.statistics.std))
    labelled = 0
    for tile, (cube, target) in zip(
        cubes.tiles, (cubes[n] for n in range(len(cubes))), strict=True
    ):
        w = tile.window
        side = cubes.side
        assert side == 48  # 32 and half the overlap on either side
        around = Window(w.top - 8, w.left - 8, side, side)
        inner = around.intersect(GRIDS["east"].window)
        part = inner.within(around)
        held = values[(..., *inner.within(GRIDS["east"].window))]
        known = seen[(..., *inner.within(GRIDS["east"].window))]
        assert cube[2].tolist() == list(DATES["east"])
        expected = np.where(known, (held - mean) / std, 0)
        assert np.allclose(cube[0].numpy()[(..., *part)], expected, atol=1e-5)
        assert np.array_equal(cube[1].numpy()[(..., *part)], known.any(axis=1))
        assert int(cube[1].sum()) == int(known.any(axis=1).sum())  # outside the grid: nothing
        labelled += int((target != IGNORED).sum())
    with Raster(made.target("east")) as file:
        target = file.read(file.grid.window)[0]
    assert labelled == np.isin(target, (2, 5)).sum()


def test_cubes_and_targets_stay_together(made):
    train = TrainCubes(plain(made), STILL)
    assert train.side == 32
    turns = set()
    for seed in range(60):
        (values, valid, days), target = train[seed % len(train), seed]
        assert values.shape == (len(days), 2, 32, 32)
        assert valid.any(dim=2).any(dim=1).all()  # dates that show nothing are left out
        assert set(days.tolist()) <= set(DATES["west"]) - {40}
        place = values[:, 0].int().numpy()
        seen = valid.numpy()
        code = CODES.ravel()[np.maximum(place, 1) - 1]
        known = seen & (target.numpy() != IGNORED)
        index = np.broadcast_to(target.numpy(), seen.shape)
        assert known.any()
        assert np.array_equal(index[known], np.where(code == 5, 0, 1)[known])
        for day, image, where in zip(days, values, seen, strict=True):
            expected = signal(float(day)).ravel()[place[days.tolist().index(day)] - 1]
            assert np.array_equal(image[1].numpy()[where], expected[where])
        assert (values.numpy().transpose(0, 2, 3, 1)[~seen] == 0).all()
        one = place.max(axis=0)
        turns.add((np.sign(int(one[9, 10]) - one[9, 9]), abs(int(one[9, 10]) - one[9, 9])))
    assert {step for step, size in turns if size in (1, WIDTH)} == {-1, 1}
    assert {1, WIDTH} <= {size for _, size in turns}


def test_seeds_decide(made):
    train = TrainCubes(made, SeriesSamples(drop_dates=0.5, noise=0.1, shift_days=3, truncate=0.5))

    def flat(sample):
        return [*sample[0], sample[1]]

    for number, seed in ((0, 1), (3, 7)):
        pair = zip(flat(train[number, seed]), flat(train[number, seed]), strict=True)
        assert all(torch.equal(a, b) for a, b in pair)
    assert len({float(train[0, seed][0][0].sum()) for seed in range(6)}) > 4


@settings(deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_some_date_always_stays(made, seed, drop, cut):
    how = SeriesSamples(drop_dates=drop, truncate=cut, shift_days=4)
    train = TrainCubes(made, how)
    (values, valid, days), _ = train[seed % len(train), seed]
    assert 1 <= len(days) <= 4
    assert len(values) == len(valid) == len(days)
    assert valid.any()
    moves = {float(min(day - np.array(DATES["west"]), key=abs)) for day in days.numpy()}
    assert len(moves) == 1
    assert max(map(abs, moves)) <= 4


def test_dates_are_dropped_and_noise_is_as_asked(made):
    many = TrainCubes(made, SeriesSamples(drop_dates=1.0))
    counts = [len(many[0, seed][0][2]) for seed in range(60)]
    assert min(counts) == 1
    assert max(counts) == 4
    still, noisy = TrainCubes(made, STILL), TrainCubes(made, SeriesSamples(drop_dates=0, noise=0.5))
    (a, valid, _), (b, again, _) = still[5, 3][0], noisy[5, 3][0]
    spread = float(b.movedim(1, -1)[again].std() ** 2 - a.movedim(1, -1)[valid].std() ** 2)
    assert spread == pytest.approx(0.25, abs=0.05)


def test_eight_ways_to_lay_a_square():
    square = np.arange(18).reshape(2, 3, 3)
    ways = [turned(square, turn) for turn in range(8)]
    assert len({way.tobytes() for way in map(np.ascontiguousarray, ways)}) == 8
    assert np.array_equal(ways[0], square)
    assert all((way[1] - way[0] == 9).all() for way in ways)


def test_shorter_series_are_padded(made):
    train = TrainCubes(made, SeriesSamples(drop_dates=1.0))
    samples = [train[n, n] for n in range(6)]
    (values, valid, days), target = collate(samples)
    longest = max(len(cube[2]) for cube, _ in samples)
    assert values.shape == (6, longest, 2, 32, 32)
    assert target.shape == (6, 32, 32)
    for number, (cube, _) in enumerate(samples):
        length = len(cube[2])
        assert torch.equal(values[number, :length], cube[0])
        assert torch.equal(days[number, :length], cube[2])
        assert not valid[number, length:].any()
        assert not values[number, length:].any()


def test_prediction_sees_what_validation_saw(made):
    class Sums(torch.nn.Module):
        def forward(self, values, valid, days):
            return (values * valid[:, :, None] * days[:, :, None, None, None]).sum(dim=1)

    cubes = ValCubes(made)
    tile, cube = cubes.tiles[0], cubes[0][0]
    scene = made.scenes[0]
    assert isinstance(scene, DatedScene)
    window = Window(tile.window.top - 8, tile.window.left - 8, cubes.side, cubes.side)
    with scene.open() as reader:
        image, _ = reader.read(window)
    seen = torch.from_numpy(scene.see(image, made.statistics))[None]
    found = CubeWindows(Sums(), 2)(seen)
    assert torch.equal(found, Sums()(*(part[None] for part in cube)))
    assert found.abs().max() > 0


def test_files_open_at_a_time_are_few(made, monkeypatch):
    # Room for one tile: images, masks and the target.
    monkeypatch.setattr("geoseg.scenes.neighbours.OPEN_FILES", 10)
    scenes = OpenScenes(made)
    window = Window(0, 0, 16, 16)
    first = scenes.read("west", window)[0]
    scenes.read("east", window)
    assert list(scenes._open._open) == ["east"]
    assert np.array_equal(scenes.read("west", window)[0], first)


SMALL = Model("utae", width=8, heads=4)
QUICK = Fit(
    epochs=6,
    epoch_tiles=24,
    batch_size=4,
    workers=0,
    precision="32",
    learning_rate=1e-2,
    average=0.8,
)


def config_of(run, **more):
    rooms = {"model": SMALL, "fit": QUICK, "loss": Loss()}
    return TrainConfig(run=str(run), **rooms | more)


def test_it_learns_what_only_time_tells(made, tmp_path):
    text = train_series(made, config_of(tmp_path / "run"))
    assert "6 epochs are done" in text
    assert "dates up to" in text
    card = ModelCard.read(tmp_path / "run" / "best.safetensors")
    assert card.scores["miou"] > 0.8  # not half of that without time, at any epoch
    assert card.series.unit == "map"
    assert (card.series.reference, card.series.first_day, card.series.last_day) == ("01-01", 3, 290)
    assert card.tiling == made.tiling
    assert card.bands == made.bands
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["val"]["miou"] == pytest.approx(card.scores["miou"], abs=0.02)
    for name in ("by_date.csv", "curves.png", "metrics.csv"):
        assert (tmp_path / "run" / name).exists()
    network, _ = checkpoint.load(tmp_path / "run" / "best.safetensors")
    scene = made.scenes[0]
    with scene.open() as reader:
        image, _ = reader.read(Window(0, 0, 40, 56))  # of any size
    windows = torch.from_numpy(scene.see(image, made.statistics))[None]
    with torch.inference_mode():
        found = CubeWindows(network, 2)(windows).argmax(dim=1)[0].numpy()
    assert (found == np.where(CODES == 5, 0, 1)[:40, :56]).mean() > 0.85


def test_a_finished_or_stopped_training_goes_on(made, tmp_path):
    short = Fit(**vars(QUICK) | {"epochs": 2, "epoch_tiles": 8})
    train_series(made, config_of(tmp_path / "a", fit=short))
    before = (tmp_path / "a" / "best.safetensors").read_bytes()
    assert "2 epochs are done" in train_series(made, config_of(tmp_path / "a", fit=short))
    assert (tmp_path / "a" / "best.safetensors").read_bytes() == before
    train_series(made, config_of(tmp_path / "b", fit=short))
    assert (tmp_path / "b" / "best.safetensors").read_bytes() == before


def test_a_refit_learns_from_val_too(made, tmp_path):
    run, fit = tmp_path / "run", Fit(**vars(QUICK) | {"epochs": 1, "refit": True})
    text = train_series(made, config_of(run, fit=fit))
    assert "\n\ntrained once more on train and val: 1 epoch;" in text
    weights = (run / "best.safetensors").read_bytes()
    assert weights == (run / "refit" / "best.safetensors").read_bytes()
    assert weights != (run / "refit" / "judged.safetensors").read_bytes()


def test_networks_that_do_not_suit_are_refused(made, dataset, tmp_path):
    with pytest.raises(InputError, match=r"model=unet: not for windows through time.*utae"):
        train_series(made, config_of(tmp_path / "run", model=Model("unet")))
    with pytest.raises(InputError, match="model=ltae: not for windows"):
        train_series(made, config_of(tmp_path / "run", model=Model("ltae")))
    with pytest.raises(InputError, match=r"series.fill=linear"):
        train_series(made, config_of(tmp_path / "run", series=SeriesSamples(fill="linear")))
    with pytest.raises(InputError, match=r"model=utae: not for single images.*unet"):
        train(dataset, tmp_path / "run", model=Model("utae"))
    assert not (tmp_path / "run").exists()
