"""Crossvalidation of images: what trains, what is judged, the scores of it, and the command."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
from affine import Affine

from geoseg.crossvalidation.config import CrossvalidateConfig
from geoseg.crossvalidation.draw import Folding
from geoseg.crossvalidation.layout import Layout
from geoseg.crossvalidation.run import crossvalidate
from geoseg.crossvalidation.scores import Gap, JudgedPixels
from geoseg.dataset.prepare import PrepareSettings, prepare
from geoseg.dataset.split import Split
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.models.settings import Model
from geoseg.samples.augment import Augment
from geoseg.samples.settings import SeriesSamples
from geoseg.samples.tiles import TrainTiles
from geoseg.scenes.scene import find_scenes, harmonize
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.tasks import images
from tests.crossvalidation.test_run import Page, files, read_strictly
from tests.made import started

LEGEND = Legend.parse(
    [
        {"code": 4, "name": "meadow", "color": "#66a61e", "values": [1]},
        {"code": 9, "name": "road & <path>", "color": "#888888", "values": [2]},
        {"code": 2, "name": "water", "color": "#1f78b4", "values": [3]},
        {"code": 7, "name": "ice", "color": "#ffffff", "values": [4]},
    ],
    "test",
)
K = len(LEGEND)
HEIGHT, WIDTH = 256, 384
"""Of each of two scenes, side by side."""
BUFFER = 6
UNET = Model("unet", "tu-lcnet_050")
SMALL = Model("pspnet", "tu-lcnet_050")
"""Where it learns: it takes half the time of a U-Net."""


def place(left: int, width: int) -> Grid:
    return Grid("EPSG:32632", Affine(1, 0, 500_000 + left, 0, -1, 5_000_000), HEIGHT, width)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Scenes whose bands are row and column of the pixel, and a tone that tells its class."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    patches = random.integers(1, 4, (HEIGHT // 16, 2 * WIDTH // 16))
    labels = patches.repeat(16, axis=0).repeat(16, axis=1).astype(np.uint8)
    tone = 500 * labels.astype(int) + random.integers(0, 300, labels.shape)
    rows, columns = np.indices(labels.shape) + 1
    labels[:, 200:216] = 0  # not labelled
    with raster.create(folder / "labels.tif", place(0, 2 * WIDTH), dtype="uint8") as file:
        file.write(labels, Window(0, 0, *labels.shape))
    image = np.stack([rows, columns, tone]).astype(np.uint16)
    for name, left in (("west", 0), ("east", WIDTH)):
        with raster.create(
            folder / "scenes" / f"{name}.tif", place(left, WIDTH), dtype="uint16", count=3,
            names=("row", "column", "tone"),
        ) as file:  # fmt: skip
            file.write(image[:, :, left : left + WIDTH], Window(0, 0, HEIGHT, WIDTH))
    return folder


def made(source: Path, folder: Path, **split) -> Dataset:
    how = {"val": 0.15, "test": 0.15, "block_m": 64, "buffer_m": BUFFER} | split
    prepare(
        harmonize(find_scenes(str(source / "scenes"))),
        Labels(path=str(source / "labels.tif")),
        LEGEND,
        folder,
        settings=PrepareSettings(tiling=Tiling(64, 16), split=Split(**how)),
    )
    return Dataset.load(folder)


@pytest.fixture(scope="module")
def dataset(source, tmp_path_factory) -> Dataset:
    return made(source, tmp_path_factory.mktemp("made") / "dataset")


class Fake:
    """In the place of a network: three of four pixels right, the others one class farther."""

    def __init__(self, last: int | None = None, *, kill: bool = False) -> None:
        self.calls, self.left, self.kill = [], last, kill

    def __call__(self, dataset, train, held_out, study):
        if self.left is not None:
            self.left -= 1
            if self.left < 0 and self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.left < 0:
                raise KeyboardInterrupt
        counts = np.sum([tile.counts for tile in held_out], axis=0)
        told = study.seed, study.model.name, study.augment
        self.calls.append((train, held_out, *told, counts))
        return matrix(counts, study.seed)


def matrix(counts: np.ndarray, seed: int) -> np.ndarray:
    right = counts * (3 + seed) // (4 + seed)
    found = np.diag(right)
    for place_, count in enumerate(counts - right):
        found[place_, (place_ + 1) % K] += count
    return found


def run(dataset, out: Path, fake=None, **more):
    settings = {"model": UNET, "folds": 3} | more
    config = CrossvalidateConfig(run=str(out), **settings)
    return crossvalidate(dataset, config, fit_fold=fake or Fake())


def pixels(tiles) -> set:
    """Scene, row and column of all pixels of the windows."""
    return {
        (scene, row, column)
        for scene, w in tiles
        for row in range(w.top, w.bottom)
        for column in range(w.left, w.right)
    }


def test_train_and_val_take_part_and_test_stays_untouched(dataset, tmp_path):
    fake = Fake()
    run(dataset, tmp_path / "out", fake)
    pool = [t for split in ("train", "val") for t in dataset.tiles(split)]
    held = [pixels((t.scene, t.window) for t in call[1]) for call in fake.calls]
    assert set().union(*held) == pixels((t.scene, t.window) for t in pool)
    assert sum(map(len, held)) == sum(t.window.area for t in pool)
    test = pixels((t.scene, t.window) for t in dataset.tiles("test"))
    for train, _, _, name, _, _ in fake.calls:
        assert name == "unet"
        assert not pixels((t.scene, t.home) for t in train) & test
    everything = Fake()
    run(dataset, tmp_path / "test", everything, test=True)
    held = [pixels((t.scene, t.window) for t in call[1]) for call in everything.calls]
    assert test <= set().union(*held)
    assert "test" in read_strictly(tmp_path / "test" / "scores.json")["origin"]["splits"]


def test_no_sample_of_the_training_shows_what_is_held_out(dataset):
    """Whole samples, moved at random: their pixels say where they come from."""
    tiles = [t for split in ("train", "val") for t in dataset.tiles(split)]
    layout = Layout.of(dataset, tiles, Folding())
    plain = replace(dataset.statistics, mean=(0.0,) * 3, std=(1.0,) * 3)
    units = np.arange(0, len(layout.counts), 3)
    held = np.zeros((HEIGHT, 2 * WIDTH), bool)
    left = {"west": 0, "east": WIDTH}
    for tile in layout.held_out(units):
        w = tile.window
        top, start = max(0, w.top - BUFFER), max(0, w.left + left[tile.scene] - BUFFER)
        held[top : w.bottom + BUFFER, start : w.right + left[tile.scene] + BUFFER] = True
    own = tuple(replace(tile, split="train") for tile in layout.train(units))
    train = TrainTiles(replace(dataset, own=own, statistics=plain), jitter=True)
    seen = np.zeros_like(held)
    for number in range(len(train)):
        for seed in range(6):
            image, target = (part.numpy() for part in train[number, seed])
            shown = image[0] > 0
            rows, columns = (image[i][shown].astype(int) - 1 for i in (0, 1))
            seen[rows, columns] = True
            assert (target[~shown] == 255).all()
    assert not (seen & held).any()
    assert seen.sum() > 0.3 * seen.size


def naive(found: np.ndarray) -> tuple[list[float], list[float], float]:
    """IoU and F1 by class, and overall accuracy, counted one by one."""
    iou, f1 = [], []
    for k in range(K):
        hit, labels, mapped = found[k, k], found[k].sum(), found[:, k].sum()
        iou.append(hit / (labels + mapped - hit) if labels + mapped else np.nan)
        f1.append(2 * hit / (labels + mapped) if labels + mapped else np.nan)
    return iou, f1, np.trace(found) / found.sum()


def test_the_table_is_that_of_a_naive_count(dataset, tmp_path, capsys):
    fake = Fake()
    result = run(dataset, tmp_path / "out", fake, seeds=2)
    assert [call[2] for call in fake.calls] == [0, 0, 0, 1, 1, 1]
    matrices = [matrix(call[5], call[2]) for call in fake.calls]
    iou, f1, accuracy = (np.array(v) for v in zip(*map(naive, matrices), strict=True))
    scores = read_strictly(tmp_path / "out" / "scores.json")["ways"]["block"]
    assert scores["confusion"] == sum(matrices).tolist()
    assert [one["confusion"] for one in scores["trainings"]] == [m.tolist() for m in matrices]
    assert scores["folds"] == 3
    assert scores["pixels"] == sum(m.sum() for m in matrices[:3])
    pooled = naive(sum(matrices))
    text = str(result)
    for k in range(3):
        entry = scores["classes"][k]
        assert entry["iou"] == pytest.approx(pooled[0][k])
        assert entry["f1"] == pytest.approx(pooled[1][k])
        for name, values in (("iou", iou), ("f1", f1)):
            spread = entry["over_folds"][name]
            assert spread["mean"] == pytest.approx(values[:, k].mean())
            assert spread["sd"] == pytest.approx(values[:, k].std(ddof=1))
        row = next(line for line in text.splitlines() if LEGEND.names[k] in line)
        assert f"{iou[:, k].mean():.3f} ± {iou[:, k].std(ddof=1):.3f}" in row
        assert f"{f1[:, k].mean():.3f} ± {f1[:, k].std(ddof=1):.3f}" in row
        assert f"{pooled[0][k]:.3f}" in row
        assert "6 of 6" in row
    # Ice has no labels, but the fake sees it where water is: it counts in the mean, as in train.
    miou = np.nanmean(iou, axis=1)
    spread = scores["over_folds"]["miou"]
    assert spread["mean"] == pytest.approx(miou.mean())
    assert spread["sd"] == pytest.approx(miou.std(ddof=1))
    assert f"overall accuracy {accuracy.mean():.3f} ± {accuracy.std(ddof=1):.3f}" in text
    assert scores["classes"][3]["over_folds"] == {
        "iou": {"mean": None, "sd": None}, "f1": {"mean": None, "sd": None}, "trainings": 0,
    }  # fmt: skip
    table = (tmp_path / "out" / "confusion_block.csv").read_text("utf-8").splitlines()
    assert table[1] == "meadow," + ",".join(map(str, sum(matrices)[0]))
    told = capsys.readouterr().out
    assert told.startswith("6 trainings of unet, of 100 epochs each: 3 folds by blocks of ")
    assert told.count(" held out are right, mIoU ") == 6


def test_the_layer_of_the_folds_shows_them(dataset, tmp_path):
    fake = Fake()
    run(dataset, tmp_path / "out", fake, seeds=2)
    layer = geopandas.read_file(tmp_path / "out" / "folds_block.gpkg")
    assert {"scene", "unit", "fold_seed_0", "fold_seed_1", "px_4"} <= set(layer.columns)
    for one in (1, 2, 3):
        counts = fake.calls[one - 1][5]
        own = layer[layer["fold_seed_0"] == one]
        assert [own[f"px_{code}"].sum() for code in LEGEND.codes] == counts.tolist()


@pytest.mark.parametrize("kill", [False, True])
def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(dataset, tmp_path, kill):
    whole = Fake()
    run(dataset, tmp_path / "whole", whole, seeds=2)
    if kill:
        number = os.fork()
        if not number:
            run(dataset, tmp_path / "parts", Fake(last=4, kill=True), seeds=2)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == -signal.SIGKILL
    else:
        with pytest.raises(KeyboardInterrupt):
            run(dataset, tmp_path / "parts", Fake(last=4), seeds=2)
    assert not (tmp_path / "parts" / "scores.json").exists()
    rest = Fake()
    run(dataset, tmp_path / "parts", rest, seeds=2)
    assert [call[1] for call in rest.calls] == [call[1] for call in whole.calls[4:]]
    found = files(tmp_path / "parts")
    assert found == files(tmp_path / "whole")
    assert "block/seed_1/fold_3.npz" in found
    again = Fake()
    run(dataset, tmp_path / "parts", again, seeds=2)
    assert not again.calls


def test_other_settings_or_another_data_set_are_refused(source, tmp_path):
    own = made(source, tmp_path / "dataset")
    run(own, tmp_path / "out")
    with pytest.raises(InputError, match=r"other settings \(augment\.flips\).*overwrite=true"):
        run(own, tmp_path / "out", augment=Augment(flips=True))
    with pytest.raises(InputError, match=r"other settings \(random, split\.buffer_m\)"):
        run(own, tmp_path / "out", random=True, split=Folding(buffer_m=3))
    prepare(
        own.scenes, Labels(path=str(source / "labels.tif")), LEGEND, own.folder,
        settings=PrepareSettings(tiling=Tiling(64, 16), split=Split(buffer_m=0, block_m=64)),
        overwrite=True,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"other settings \(data\)"):
        run(Dataset.load(own.folder), tmp_path / "out")


def test_one_scene_out_and_random_tiles_beside(dataset, tmp_path):
    fake = Fake()
    split = Folding("scene")
    found = run(dataset, tmp_path / "out", fake, folds=0, random=True, split=split)
    assert [(way.title, way.folds) for way in found.ways] == [("by scene", 2), ("at random", 2)]
    assert [{t.scene for t in call[1]} for call in fake.calls[:2]] == [{"east"}, {"west"}]
    # The scenes touch: what trains beside the seam is cut back.
    assert BUFFER <= found.ways[0].nearest_m < BUFFER + 2
    assert found.ways[1].nearest_m == 0
    for train, held, *_ in fake.calls:
        shown = pixels((t.scene, t.home) for t in train)
        assert not shown & pixels((t.scene, t.window) for t in held)
    assert found.gap is not None
    assert "of the pixels are right when they are held out by scene" in found.gap.words


def judged(by: str, right: list[float]) -> JudgedPixels:
    """Two classes, 1000 pixels of each in every fold."""
    cells = [[[round(1000 * r), round(1000 - 1000 * r)]] for r in right]
    matrices = np.array([[[a[0], a[0][::-1]] for a in cells]])
    title = {"block": "by blocks", "random": "at random"}[by]
    return JudgedPixels(by, title, 9, (0,), matrices, ("a", "b"), None)


def test_a_gap_within_what_folds_differ_by_is_called_so():
    honest, random = judged("block", [0.5, 0.9]), judged("random", [0.7, 0.74])
    words = Gap.of(honest, random).words
    assert "gap of +2.0 points is within the 40.2 that may come from which blocks" in words
    honest, random = judged("block", [0.70, 0.71]), judged("random", [0.9, 0.91])
    words = Gap.of(honest, random).words
    assert "promise 20.0 points more" in words
    assert "neighbours of what they were judged on" in words


def test_the_report_shows_the_table(dataset, tmp_path):
    found = run(dataset, tmp_path / "out", seeds=2)
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    page = Page(text)
    assert not page.open
    assert not page.links
    assert "nan" not in " ".join(page.cells).lower()
    (way,) = found.ways
    for spreads in (way.class_over_folds("iou"), way.class_over_folds("f1")):
        assert {str(spread) for spread in spreads} <= set(page.cells)
    for what in ("overall_accuracy", "miou", "macro_f1"):
        assert f"{getattr(way.scores, what):.3f}" in page.cells
        assert str(way.over_folds(what)) in page.cells
    assert "road & <path>" in page.cells
    assert "samples" not in text.partition("How it is computed")[0]
    assert "classes of the legend without pixels: ice" in text
    assert "predictions.csv" not in text


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": Model("ltae")}, "model=ltae: not for single images"),
        ({"folds": 200}, "200 folds need as many blocks with labels, got "),
        ({"folds": 3, "split": Folding("scene")}, "3 folds need as many scenes with labels, got 2"),
        ({"split": Folding("column")}, "images have no columns; set split.by=scene"),
        ({"split": Folding(buffer_m=5000)}, "smaller split.buffer_m"),
    ],
)
def test_bad_input_is_said_before_any_training(dataset, tmp_path, values, words):
    fake = Fake()
    with pytest.raises(InputError) as error:
        run(dataset, tmp_path / "out", fake, **values)
    assert words in str(error.value)
    assert not fake.calls
    assert not (tmp_path / "out").exists()


def test_scenes_of_many_dates_are_refused(dataset, tmp_path):
    with pytest.raises(InputError, match="scenes of many dates; folds are made of single images"):
        run(replace(dataset, reference="01-01"), tmp_path / "out")


QUICK = Fit(
    epochs=4, epoch_tiles=24, batch_size=4, workers=0, device="cpu", precision="32", average=0.5
)


def fitted(dataset, units, **more) -> tuple[np.ndarray, list]:
    tiles = [t for split in ("train", "val") for t in dataset.tiles(split)]
    layout = Layout.of(dataset, tiles, Folding())
    held = layout.held_out(units)
    study = TrainingSettings(SMALL, Loss(), QUICK, SeriesSamples(), 1, augment=Augment(flips=True))
    found = images.fit_fold(dataset, layout.train(units), held, replace(study, **more))
    return found, held


pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")


def test_a_network_is_trained_and_judged_on_each_pixel_once(dataset):
    units = np.arange(0, 20, 4)
    found, held = fitted(dataset, units)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found.sum(axis=1), np.sum([t.counts for t in held], axis=0))
    assert np.trace(found) > 0.7 * found.sum()
    again, _ = fitted(dataset, units)
    np.testing.assert_array_equal(again, found)


def test_scaling_is_measured_on_what_trains(dataset, monkeypatch):
    class Seen(Exception):  # noqa: N818
        pass

    def stop(data, *_, **__):
        raise Seen(data.dataset)

    monkeypatch.setattr(images, "builder", stop)
    with pytest.raises(Seen) as seen:
        fitted(dataset, np.arange(0, 20, 4))
    (fold,) = seen.value.args
    assert not fold.tiles("val")
    parts = []
    for tile in fold.tiles("train"):
        path = next(p for s in dataset.scenes if s.name == tile.scene for p in s.paths)
        with Raster(path) as file:
            parts.append(file.read(tile.window)[0].reshape(3, -1))
    values = np.concatenate(parts, axis=1).astype(float)
    np.testing.assert_allclose(fold.statistics.mean, values.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(fold.statistics.std, values.std(axis=1), rtol=1e-6)
    assert fold.statistics.mean != dataset.statistics.mean


def test_a_training_that_ran_away_is_a_fault(dataset):
    with pytest.raises(InputError, match=r"lower fit\.learning_rate"):
        fitted(dataset, np.arange(3), fit=replace(QUICK, learning_rate=1e30, clip=0, warmup=0))


def command(dataset: Dataset, out: Path, *more: str) -> subprocess.CompletedProcess:
    return started.run(
        "-m", "geoseg.crossvalidate", f"dataset={dataset.folder}", f"run={out}", *more
    )


def test_the_command_from_end_to_end(dataset, tmp_path):
    few = ["fit.epochs=1", "fit.epoch_tiles=4", "fit.workers=0", "fit.device=cpu", "folds=2"]
    few += ["model.pixels=0", "fit.precision=32"]
    done = command(
        dataset,
        tmp_path / "out",
        "model=pspnet",
        "model.encoder=tu-lcnet_050",
        "loss=cross_entropy_dice",
        *few,
    )
    assert done.returncode == 0, done.stderr
    assert "2 trainings of pspnet, of 1 epochs each: 2 folds by blocks of " in done.stdout
    assert "loss 1 cross_entropy + 1 dice" in done.stdout
    assert "IoU pooled" in done.stdout
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {
        "report.html", "scores.json", "confusion_block.csv", "folds_block.gpkg", "block", ".hydra",
    }  # fmt: skip
    scores = read_strictly(tmp_path / "out" / "scores.json")
    assert scores["origin"]["augment"]["flips"]
    assert len(scores["ways"]["block"]["trainings"]) == 2
    again = command(
        dataset,
        tmp_path / "out",
        "model=pspnet",
        "model.encoder=tu-lcnet_050",
        "loss=cross_entropy_dice",
        *few,
    )
    assert again.returncode == 0
    assert "held out are right" not in again.stdout
    wrong = command(dataset, tmp_path / "other", "model=ltae", "folds=2")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("geoseg crossvalidate: model=ltae: not for single images")
    assert not (tmp_path / "other").exists()
