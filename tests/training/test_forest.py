"""Forests: the trees of scikit-learn as plain arrays, in training, prediction and folds."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.crossvalidation.config import CrossvalidateConfig
from geoseg.dataset.tiles import Dataset, Tile, write_tiles
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.tiling import Tiling
from geoseg.maps import landcover
from geoseg.maps.mosaic import mosaic
from geoseg.models import checkpoint, origin
from geoseg.models.card import BEST, JUDGED, ModelCard
from geoseg.models.device import choose
from geoseg.models.networks.forest import (
    WINDOWS,
    ImageForest,
    SeriesForest,
    courses,
    differences,
    neighbourhoods,
)
from geoseg.models.networks.trees import HEAPED, PART, Trees
from geoseg.models.novelty import FeatureNovelty
from geoseg.models.settings import Model
from geoseg.prediction import blend, worker
from geoseg.prediction.backends.build import fits, prepare
from geoseg.prediction.backends.choice import Choice
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.series import SeriesImages, predict_series
from geoseg.samples.augment import Augment
from geoseg.samples.pixels import pixel_rows, quotas, shared_out, some_tiles
from geoseg.samples.settings import LIGHT, SeriesSamples
from geoseg.scenes.scene import find_scenes
from geoseg.training.checks import idle
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.settings import Loss
from geoseg.training.processes import launch
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.start import train_images, train_series
from geoseg.training.tasks import forest as learnforest
from geoseg.training.tasks.forest import beside, fit_samples, fit_tiles, of_samples
from geoseg.training.tasks.grow import Grown, Growth, fitted, grow
from tests.made.samples import made_dataset
from tests.made.scenes import CARD, Identity, grid, plain, write
from tests.made.series import CARD as SERIES_CARD
from tests.made.series import predict as predict_parcels
from tests.made.series import write_images, write_parcels

SMALL = Model("forest", trees=8, depth=6)
FIT = Fit()
GROWN = Grown(*(np.zeros(1),) * 6)
RUNNING = InferenceSettings(device="cpu", precision="32", batch_size=1)


# Trees


def made_rows(count=400, features=7, classes=4):
    """Whole numbers, so that many features lie on a threshold; class 2 has no sample."""
    random = np.random.default_rng(0)
    x = random.integers(0, 6, (count, features)).astype(np.float32)
    x[:, 0] += random.normal(size=count).astype(np.float32)
    y = (x[:, 1] > x[:, 0]).astype(int) * 3
    y[random.random(count) < 0.2] = 1
    return x, y, random.random(count) + 0.1


def random_trees(forest, features, *, depth=4, trees=3, seed=0):
    """Give a forest complete trees of random questions and answers."""
    random = np.random.default_rng(seed)
    nodes, classes = 2 ** (depth + 1) - 1, forest.trees.share.shape[1]
    inner = np.arange(nodes) < 2**depth - 1
    share = random.random((trees * nodes, classes))
    arrays = {
        "feature": np.where(inner, random.integers(0, features, (trees, nodes)), 0).ravel(),
        "threshold": np.where(inner, random.normal(size=(trees, nodes)), np.inf).ravel(),
        "child": np.tile(np.where(inner, 2 * np.arange(nodes) + 1, np.arange(nodes)), trees),
        "share": share / share.sum(axis=1, keepdims=True),
        "root": nodes * np.arange(trees),
        "levels": np.array(depth),
    }
    forest.trees.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
    return forest


@pytest.mark.parametrize("how", [Growth(11, 9, 1, 0.5), Growth(7, None, 2, 0.2)])
def test_trees_say_what_scikit_learn_says(how):
    x, y, weight = made_rows()
    whole = fitted(x, y, weight, how, seed=3)
    expected = np.zeros((len(x), 4))
    expected[:, whole.classes_] = whole.predict_proba(x)
    grown = grow(x, y, weight, how, classes=4, seed=3)
    assert (grown.levels > HEAPED) == (how.depth is None)
    trees = Trees(4, 7)
    trees.load_state_dict({name: torch.from_numpy(a) for name, a in vars(grown).items()})
    columns = torch.from_numpy(x).t()
    found = trees(columns)
    np.testing.assert_allclose(found.t(), expected, atol=1e-6)
    assert torch.equal(trees._on_device(columns), found)
    assert len(np.unique(found[0])) > 20


def test_parts_and_threads_make_no_difference(monkeypatch):
    trees = random_trees(ImageForest(3, [0], [1]), 13).trees
    x = torch.randn(13, 2 * PART + 17)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    whole = trees(x)
    assert torch.equal(whole, torch.cat([trees(x[:, :100]), trees(x[:, 100:])], dim=1))
    assert torch.equal(whole, trees._on_device(x))


def test_stored_and_loaded_it_says_the_same(tmp_path):
    card = replace(CARD, model=SMALL)
    forest = random_trees(checkpoint.build(card), 13).eval()
    checkpoint.save(tmp_path / BEST, forest, card)
    again, read = checkpoint.load(tmp_path / BEST)
    assert read == card
    image = torch.randn(2, 1, 9, 31)
    assert torch.equal(again(image), forest(image))
    assert set(again.state_dict()) == {f"trees.{name}" for name in vars(GROWN)}


@pytest.mark.parametrize(
    ("name", "values", "fault"),
    [
        ("child", [400], "lead nowhere"),
        ("child", [-1], "lead nowhere"),
        ("feature", [-3], "lead nowhere"),
        ("feature", [13], "lead nowhere"),
        ("root", [5], "hang together"),
        ("levels", 10**9, "hang together"),
        ("share", np.ones((93, 2)), "hang together"),
        ("threshold", [0.0] * 7, "hang together"),
    ],
)
def test_trees_of_a_damaged_file_are_refused(tmp_path, name, values, fault):
    card = replace(CARD, model=SMALL)
    forest = random_trees(checkpoint.build(card), 13)
    tensor = getattr(forest.trees, name).clone()
    values = torch.as_tensor(values, dtype=tensor.dtype)
    if values.ndim == 1 and len(values) == 1:
        tensor[0] = values[0]
    else:
        tensor = values
    setattr(forest.trees, name, tensor)
    checkpoint.save(tmp_path / BEST, forest, card)
    with pytest.raises(InputError, match="do not fit their card"):
        checkpoint.load(tmp_path / BEST)
    with pytest.raises(RuntimeError, match=fault):
        checkpoint.build(card).load_state_dict(forest.state_dict())


# Features


def test_neighbourhoods_are_those_of_the_seen_pixels_around():
    random = np.random.default_rng(1)
    image = random.normal(size=(2, 12, 11)).astype(np.float32)
    image[:, random.random((12, 11)) < 0.2] = 0
    found = torch.cat(list(neighbourhoods(torch.from_numpy(image)[None])), dim=1)[0].numpy()
    assert len(found) == 13 * 2
    seen = image.any(axis=0)
    np.testing.assert_array_equal(found[:2], image)
    for number, side in enumerate(WINDOWS):
        for row, column in ((0, 0), (5, 6), (11, 3)):
            half = side // 2
            rows = slice(max(row - half, 0), row + half + 1)
            columns = slice(max(column - half, 0), column + half + 1)
            pixels = image[:, rows, columns][:, seen[rows, columns]]
            means, deviations, away = found[2 + 6 * number :][:6].reshape(3, 2, 12, 11)
            np.testing.assert_allclose(means[:, row, column], pixels.mean(axis=1), atol=1e-5)
            np.testing.assert_allclose(deviations[:, row, column], pixels.std(axis=1), atol=1e-3)
            expected = (image[:, row, column] - pixels.mean(axis=1)) * seen[row, column]
            np.testing.assert_allclose(away[:, row, column], expected, atol=1e-5)


def test_a_pixel_has_the_same_features_in_every_window():
    image = torch.randn(1, 3, 70, 90)
    whole, edge = torch.cat(list(neighbourhoods(image)), dim=1), ImageForest.margin
    part = torch.cat(list(neighbourhoods(image[:, :, 10:52, 23:88])), dim=1)
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    assert torch.equal(part[inner], whole[:, :, 10:52, 23:88][inner])
    fast = image.contiguous(memory_format=torch.channels_last)
    assert torch.equal(ImageForest(2, [0] * 3, [1] * 3).features(fast), whole)


def test_where_nothing_is_seen_the_trees_are_asked_once():
    forest = random_trees(ImageForest(3, [0], [1]), 13)
    image = torch.randn(1, 1, 50, 60)
    image[:, :, 10:, :35] = 0
    logits = forest(image)
    assert torch.equal(
        logits[0].flatten(1), forest.trees(forest.features(image)[0].flatten(1)).log()
    )
    assert torch.equal(forest(torch.zeros(1, 1, 3, 2)), forest(image)[:, :, 30:33, :2])


def test_normalised_differences_are_of_the_values_themselves():
    values = torch.tensor([30.0, 60.0, 90.0, 120.0])
    image = ((values - 100) / 50)[None, :, None, None].expand(1, 4, 3, 3).clone()
    image[..., 2, 2] = 0  # nothing is seen there
    found = ImageForest(2, [100] * 4, [50] * 4).features(image)[0, 52:]
    assert found[:, 0, 0].tolist() == pytest.approx([-1 / 3, -1 / 2, -0.6, -0.2, -1 / 3, -1 / 7])
    assert not found[:, 2, 2].any()
    assert differences(torch.zeros(1, 3, 2, 2)).abs().max() == 0


def test_the_course_of_a_series_is_that_of_its_mean_pixel():
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0], [2.0, 90.0]])[None, :, :, None]
    valid = torch.tensor([[True, True], [True, True], [True, False]])[None]
    assert courses(values, valid).tolist() == [[2, 6, 2]]


# Samples


def test_rare_classes_are_there_and_nothing_is_taken_that_is_not():
    taken = quotas(np.array([1_000_000, 10_000, 40, 0]), 11_100)
    assert taken.tolist() == pytest.approx([10_054.5, 1_005.5, 40, 0], abs=1)
    assert quotas(np.array([3, 4]), 100).tolist() == [3, 4]
    counts = np.random.default_rng(0).integers(0, 50, (30, 3))
    per_tile = np.array(list(shared_out(counts, 600)))
    assert ((per_tile >= 0) & (per_tile <= counts)).all()
    assert per_tile.sum() == pytest.approx(600, abs=2)
    assert next(iter(shared_out(counts, 10**6))).tolist() == counts[0].tolist()


def test_of_many_tiles_those_with_rare_classes_are_read():
    counts = np.zeros((500, 2), int)
    counts[:, 0] = 9
    counts[[3, 77, 400], 1] = 1
    read = some_tiles(counts, np.random.default_rng(0), most=20)
    assert len(read) == 20
    assert {3, 77, 400} <= set(read)
    assert read == sorted(read)
    assert some_tiles(counts, np.random.default_rng(0)) == list(range(500))


# Images


def textured(folder, splits=("train", "val")) -> Dataset:
    """Patches of one mean tone, smooth or rough: single pixels tell nothing."""
    random = np.random.default_rng(0)
    place, legend = grid(96, 160), CARD.legend
    rough = np.kron(random.integers(0, 2, (4, 5)), np.ones((24, 32), int))
    image = 100 + random.normal(size=rough.shape) * np.where(rough, 30, 4)
    image = np.clip(np.rint(image), 1, 255).astype(np.uint8)
    image[:6, :6] = 0
    codes = np.where(rough, 9, 3).astype(np.uint8)
    codes[:, 100:103] = 255
    codes[:6, :6] = 0
    write(folder / "scenes" / "s.tif", image, grid=place)
    target = folder / "dataset" / "targets" / "s.tif"
    with raster.create(target, place, dtype="uint8", nodata=0) as file:
        file.write(codes, place.window)
    homes = {"train": Window(0, 0, 96, 96), "val": Window(0, 96, 96, 64)}
    tiles = []
    for split in splits:
        for window in Tiling(48, 8).tiles(homes[split]):
            inside = codes[window.within(place.window)]
            counts = tuple(int((inside == code).sum()) for code in legend.codes)
            tiles.append(Tile("s", split, window, homes[split], counts))
    scenes = tuple(find_scenes(str(folder / "scenes" / "s.tif")))
    write_tiles(folder / "dataset", tiles, scenes, legend)
    statistics = replace(plain(), mean=(100.0,), std=(20.0,))
    told = {"bands": {"nodata": None, "extra": {}}}
    made = (scenes, statistics, legend, Tiling(48, 8), 1.0, told)
    Dataset(folder / "dataset", *made).save()
    return Dataset.load(folder / "dataset")


def test_rows_come_from_the_train_part_alone(tmp_path):
    dataset = textured(tmp_path)
    seen = replace(dataset, statistics=plain())
    x, y, counts = pixel_rows(
        seen, seen.tiles("train"), ImageForest(3, [0], [1]), most=10**6, seed=0
    )
    assert len(x) == len(y) == counts.sum() == 96 * 96 - 36
    assert counts.tolist() == np.bincount(y, minlength=3).tolist()
    with raster.Raster(dataset.scenes[0].paths[0]) as file:
        image = file.read(file.grid.window)[0][0, :, :96].astype(float)
    # The widest mean at the part's corner is that of its own 9 × 9 pixels, none of val among them.
    widest = 1 + 3 * (len(WINDOWS) - 1)
    assert np.isclose(x[:, widest], image[-9:, -9:].mean(), atol=1e-3).any()


def test_a_forest_is_trained_predicts_and_is_mosaicked(tmp_path, capsys):
    dataset = textured(tmp_path)
    config = TrainConfig(str(dataset.folder), str(tmp_path / "run"), model=SMALL)
    said = train_images(dataset, config)
    assert "validation mIoU" in said
    card = ModelCard.read(tmp_path / "run" / BEST)
    assert (card.model.trees, card.model.depth) == (8, 6)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["val_miou"]) == pytest.approx(card.scores["miou"], rel=1e-4)
    assert card.scores["overall_accuracy"] > 0.8
    assert (tmp_path / "run" / ".hydra" / "config.yaml").exists()
    before = (tmp_path / "run" / BEST).read_bytes()
    assert "grown already" in train_images(dataset, config)
    assert (tmp_path / "run" / BEST).read_bytes() == before
    with pytest.raises(InputError, match="other settings"):
        train_images(dataset, replace(config, seed=1))
    again = replace(config, run=str(tmp_path / "again"))
    train_images(dataset, again)
    assert (tmp_path / "again" / BEST).read_bytes()[-4096:] == before[-4096:]
    network = TrainedNetwork.open(tmp_path / "run", RUNNING)
    report = predict(network, tmp_path / "scenes", tmp_path / "maps")
    assert report.done == ["s"]
    mosaic(tmp_path / "maps", tmp_path / "map.tif")
    found = landcover.ClassMap.read(tmp_path / "map.tif")
    assert found.legend == dataset.legend
    with raster.Raster(tmp_path / "map.tif") as file:
        codes = file.read(file.grid.window)[0][0]
    with raster.Raster(dataset.target("s")) as file:
        truth = file.read(file.grid.window)[0][0]
    assert (codes[:6, :6] == 0).all()
    known = (truth > 0) & (truth < 255)
    assert (codes == truth)[known].mean() > 0.85


def test_windows_and_panels_make_no_difference_to_the_map(tmp_path):
    statistics = replace(plain(), mean=(100.0,), std=(20.0,))
    card = replace(CARD, model=SMALL, statistics=statistics)
    forest = random_trees(checkpoint.build(card), 13)
    image = np.random.default_rng(0).normal(100, 30, (75, 600)).clip(1, 255).astype(np.uint8)
    image[20:30, 40:90] = 0
    write(tmp_path / "a.tif", image)
    network = TrainedNetwork(card, "0" * 16, forest, RUNNING)

    def codes(name, network, *tiling):
        predict(network, tmp_path / "a.tif", tmp_path / name, tiling=Tiling(*tiling))
        with raster.Raster(tmp_path / name / "landcover" / "a.tif") as file:
            return file.read(file.grid.window)[0][0]

    first = codes("one", network, 128, 32)
    assert len(np.unique(first)) == 4
    for name, tiling in (("two", (96, 17)), ("three", (640, 64)), ("four", (80, 40))):
        assert (codes(name, network, *tiling) == first).all()
    narrow = replace(network, running=replace(RUNNING, memory=0.006))
    assert (codes("panels", narrow, 128, 32) == first).all()
    for name in ("landcover", "confidence"):
        files = [tmp_path / out / name / "a.tif" for out in ("one", "panels")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_windows_of_many_bands_are_smaller():
    def window(bands):
        return learnforest._window(256, ImageForest(2, [0] * bands, [1] * bands).trees._features)

    assert [window(bands) for bands in (1, 4, 13, 39, 40, 120, 157, 224)] == [
        *(512, 512, 512, 512, 256, 256, 256, 128)
    ]
    assert learnforest._window(1024, 58) == 1024


def test_the_margin_of_a_window_counts_only_where_nobody_knows_better():
    weights = blend.weights((0, 60, 100), 80, 8)
    total = np.zeros(180)
    for start, ramp in zip((0, 60, 100), weights, strict=True):
        total[start : start + 80] += ramp
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert not weights[0][72:].any()
    assert not weights[1][:8].any()
    assert (weights[0][:60] == 1).all()
    assert (blend.weights((0, 60), 80, 0) > 0).all()
    # Where they share less than both margins, each has its half.
    np.testing.assert_allclose(blend.weights((0, 70), 80, 8)[0][70:], [1] * 5 + [0] * 5)
    np.testing.assert_allclose(blend.weights((0, 80), 80, 8), 1)


def test_no_other_backend_is_tried(tmp_path):
    forest = ImageForest(2, [0], [1])
    assert not fits(forest)
    with pytest.raises(InputError, match="nor for forests"):
        prepare(forest, choose("cpu", "32"), backend="onnx", shape=(1, 1, 8, 8))
    device = choose("cpu", "auto")
    image = torch.randn(1, 1, 20, 20)
    runner = prepare(forest, device, backend="torch", shape=(1, 1, 20, 20))
    assert torch.equal(runner(image), forest(image))  # in any number format


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["network first", "forest first"])
def test_beside_a_network_a_forest_stays_in_torch(tmp_path, monkeypatch, order):
    """What is chosen for the network is not for the forest, and no reason to end."""
    card = replace(CARD, model=SMALL)
    forest = TrainedNetwork(card, "f", random_trees(checkpoint.build(card), 13), RUNNING)
    network = TrainedNetwork(CARD, "n", Identity(3), RUNNING)
    first, second = ((network, forest)[place] for place in order)
    both = replace(first, hash="b", own_hash=first.hash, others=(second,))
    write(tmp_path / "a.tif", np.full((70, 60), 200, np.uint8))
    asked, prepared = [], []

    def choose_backend(module, *_, windows, **__):
        asked.append((type(module), windows))
        return Choice("onnx")

    def prepared_as(module, device, *, backend, shape):
        prepared.append((type(module), backend))
        return prepare(module, device, backend="torch", shape=shape)

    monkeypatch.setattr(worker, "WORTH_A_LOOK", 1)
    monkeypatch.setattr(worker, "choose_backend", choose_backend)
    monkeypatch.setattr(worker, "prepare", prepared_as)
    made = predict(both, tmp_path / "a.tif", tmp_path / "maps")
    assert made.done == ["a"]
    assert asked == [(Identity, 9)]
    assert sorted(prepared, key=str) == [(ImageForest, "torch"), (Identity, "onnx")]


def test_beside_a_network_that_knows_what_is_new_a_forest_is_no_fault():
    layers = replace(RUNNING, layers=["novelty"])
    forest = TrainedNetwork(replace(CARD, model=SMALL), "f", Path("forest"), layers)
    known = FeatureNovelty.__new__(FeatureNovelty)
    network = TrainedNetwork(CARD, "n", Identity(3), layers, known=known)
    both = replace(
        forest, hash="b", own_hash="f", others=(network,), source=ImageForest(1, [0], [1])
    )
    both.check_novelty()
    assert both.knowing is network
    with pytest.raises(InputError, match="has no features"):
        replace(both, others=()).check_novelty()
    unknown = replace(both, others=(replace(network, known=None, source=Identity(3)),))
    with pytest.raises(InputError, match="does not say what its network knows"):
        unknown.check_novelty()


# Series


@pytest.mark.parametrize("unit", ["parcel", "pixel"])
def test_a_forest_learns_series(tmp_path, unit):
    dataset = made_dataset(tmp_path / "dataset", unit)
    config = TrainConfig(str(dataset.folder), str(tmp_path / "run"), model=SMALL)
    said = train_series(dataset, config)
    assert "val:" in said
    assert "test:" in said
    card = ModelCard.read(tmp_path / "run" / BEST)
    assert card.series.fill == "linear"
    assert card.scores["overall_accuracy"] > 0.9
    val = dataset.samples("val")
    judged_by = val.pixels.sum() if unit == "pixel" else len(val)
    assert sum(each["truth_pixels"] for each in card.scores["classes"]) == judged_by
    for name in ("scores.json", "by_date.csv", "metrics.csv"):
        assert (tmp_path / "run" / name).exists()
    assert "grown already" in train_series(dataset, config)
    assert "grown once more on train and val" in said
    judged = ModelCard.read(tmp_path / "run" / JUDGED)
    assert (judged.refit, card.refit) == (False, True)
    assert judged.scores == card.scores
    once = replace(config, run=str(tmp_path / "once"), fit=replace(config.fit, refit=False))
    assert "once more" not in train_series(dataset, once)
    weights = (tmp_path / "once" / BEST).read_bytes()
    assert (tmp_path / "run" / JUDGED).read_bytes() == weights
    assert (tmp_path / "run" / BEST).read_bytes() != weights
    samples = dataset.samples()
    train, held = (samples.take(samples.split == split) for split in ("train", "test"))
    study = TrainingSettings(SMALL, Loss(), FIT, SeriesSamples(), 0)
    found = fit_samples(dataset, train, held, study)
    assert found.shape == (len(held), 2)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert (np.array(dataset.legend.codes)[found.argmax(axis=1)] == held.code).mean() > 0.8
    said = beside(
        dataset, TrainingSettings(Model("ltae"), Loss(), FIT, SeriesSamples(fill="none"), 0)
    )
    assert said.startswith("forest on the same samples: validation mIoU ")


def test_class_weights_of_the_settings_count(tmp_path):
    dataset = made_dataset(tmp_path / "dataset")
    train, study = (
        dataset.samples("train"),
        TrainingSettings(SMALL, Loss(), FIT, SeriesSamples(), 0),
    )
    plainly = of_samples(dataset, train, study).network.trees.share[0]
    heavier = replace(study, loss=Loss(class_weights={"early": 20, "late": 1}))
    shifted = of_samples(dataset, train, heavier).network.trees.share[0]
    assert shifted[0] > plainly[0]


def test_maps_of_pixels_and_parcels_by_a_forest(tmp_path):
    """Class 0 where the first band's mean is low, 2 where it is high."""
    write_images(tmp_path)
    write_parcels(tmp_path / "parcels.gpkg")
    series = replace(SERIES_CARD.series, fill="linear")
    card = replace(SERIES_CARD, model=SMALL, series=series)
    forest = checkpoint.build(card)
    assert isinstance(forest, SeriesForest)
    tree = {
        "feature": torch.zeros(5),
        "threshold": torch.tensor([150, torch.inf, 250, torch.inf, torch.inf]),
        "child": torch.tensor([1, 1, 3, 3, 4]),
        "share": torch.eye(3)[[0, 0, 0, 1, 2]],
        "root": torch.zeros(1),
        "levels": torch.tensor(2),
    }
    forest.trees.load_state_dict(tree)
    network = TrainedNetwork(card, "0" * 16, forest, RUNNING)
    predict_parcels(tmp_path, by=network)
    with raster.Raster(tmp_path / "maps" / "landcover" / "west.tif") as file:
        parcels = file.read(file.grid.window)[0][0]
    assert parcels[5, 5] == card.legend.codes[0]
    assert parcels[5, 25] == card.legend.codes[2]
    by_pixel = replace(card, series=replace(series, unit="pixel"))
    from tests.made.series import series as told

    predict_series(
        TrainedNetwork(by_pixel, "0" * 16, forest, RUNNING),
        SeriesImages.find(by_pixel, told(tmp_path)),
        tmp_path / "pixels",
    )
    with raster.Raster(tmp_path / "pixels" / "landcover" / "west.tif") as file:
        pixels = file.read(file.grid.window)[0][0]
    assert (pixels[parcels > 0] == parcels[parcels > 0]).all()
    assert (pixels > 0).all()


# Folds and refusals


def test_folds_of_tiles(tmp_path):
    dataset = textured(tmp_path)
    study = TrainingSettings(SMALL, Loss(), FIT, SeriesSamples(), 0)
    matrix = fit_tiles(dataset, dataset.tiles("train"), dataset.tiles("val"), study)
    assert matrix.sum() == sum(sum(tile.counts) for tile in dataset.tiles("val"))
    assert np.trace(matrix) > 0.8 * matrix.sum()
    assert CrossvalidateConfig(model=SMALL).model.name == "forest"


def test_without_val_there_is_no_score(tmp_path):
    dataset = textured(tmp_path, splits=("train",))
    config = TrainConfig(str(dataset.folder), str(tmp_path / "run"), model=SMALL)
    assert "mIoU" not in train_images(dataset, config)
    assert ModelCard.read(tmp_path / "run" / BEST).scores == {}


@pytest.mark.parametrize(
    ("fault", "given"),
    [
        ("no learning rate", {"lr_find": True}),
        ("grows from nothing", {"model": replace(SMALL, weights="imagenet")}),
        ("this network is forest", {"model": replace(SMALL, width=64)}),
        ("labels alone", {"fit": Fit(unlabelled="scenes")}),
        ("is that forest", {"fit": Fit(baseline="forest")}),
        ("by one process", {"fit": Fit(devices=2, batch_size=0)}),
    ],
)
def test_what_a_forest_has_no_part_for_is_refused(tmp_path, fault, given):
    dataset = textured(tmp_path)
    config = TrainConfig(str(dataset.folder), str(tmp_path / "run"), model=SMALL)
    with pytest.raises(InputError, match=fault):
        train_images(dataset, replace(config, **given))
    assert not (tmp_path / "run").exists()


def test_what_is_passed_over_is_said_and_what_is_wrong_refused():
    fit = Fit(max_minutes=4, swa=0.2, devices=1, train_share=0.5)
    given = TrainingSettings(
        Model("forest"), Loss(label_smoothing=0.1), fit, SeriesSamples(noise=0.5, step=5), 0,
        augment=Augment(flips=True, noise=0.3),
    )  # fmt: skip
    assert idle(given) == [
        "fit.max_minutes", "fit.swa", "loss.label_smoothing", "series.noise", "augment",
    ]  # fmt: skip
    assert idle(replace(given, fit=Fit(), loss=Loss(), series=SeriesSamples(), augment=LIGHT)) == []
    with pytest.raises(InputError, match="of model=forest only"):
        Model("unet", trees=50)
    with pytest.raises(InputError, match=r"fit\.baseline=svm"):
        Fit(baseline="svm")
    with pytest.raises(InputError, match="of single trainings"):
        CrossvalidateConfig(fit=Fit(baseline="forest"))
    with pytest.raises(InputError, match=r"fit\.refit: goes by val") as caught:
        CrossvalidateConfig(fit=Fit(refit=True, patience=3, logger="mlflow"))
    assert len(caught.value.faults) == 3


def test_a_baseline_is_one_more_line_and_no_other_run(tmp_path, monkeypatch):
    dataset = textured(tmp_path)
    config = TrainConfig(str(dataset.folder), str(tmp_path / "run"), fit=Fit(epochs=1))
    asked = replace(config, fit=Fit(epochs=1, baseline="forest"))
    monkeypatch.setattr(launch, "spread", lambda *_, **__: "the network is trained")
    monkeypatch.setattr(learnforest, "TREES", 4)
    assert train_images(dataset, config) == "the network is trained"
    first, line = train_images(dataset, asked).splitlines()
    assert first == "the network is trained"
    assert re.fullmatch(r"forest on the same samples: validation mIoU 0\.\d{4} \(\d+ s\)", line)
    assert float(line.split("mIoU ")[1][:6]) > 0.3
    assert train_images(dataset, replace(asked, lr_find=True)) == "the network is trained"


def test_no_network_starts_from_a_forest(tmp_path):
    card = replace(CARD, model=SMALL)
    checkpoint.save(tmp_path / "forest" / BEST, random_trees(checkpoint.build(card), 13), card)
    for name in ("unet", "lstm"):
        with pytest.raises(InputError, match="whose trees no network can start from"):
            origin.check(Model(name, weights=str(tmp_path / "forest")))
