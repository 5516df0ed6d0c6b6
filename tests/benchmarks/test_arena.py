"""The arena: what trains is never scored, everything is scored alike, and looks are counted."""

import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from rasterio.features import rasterize
from torch import nn

from benchmarks import quality
from benchmarks.arena import methods, otb, plain, results, rivals
from benchmarks.arena.arrays import Images, ImageTruth, load_images, load_series
from benchmarks.arena.plain import Budget
from benchmarks.arena.results import Result
from benchmarks.arena.sets import SETS, inner_images, split_series
from geoseg.dataset.samples import SeriesDataset, write_samples
from geoseg.dataset.tiles import Dataset, write_tiles
from tests.made import started
from tests.made.samples import made_dataset
from tests.made.tiles import make_dataset

BUILDINGS = SETS["buildings"]


@pytest.fixture
def images(tmp_path):
    """A data set whose eastern part is the test part."""
    made = make_dataset(tmp_path)
    tiles = [*made.tiles("train"), *(replace(t, split="test") for t in made.tiles("val"))]
    write_tiles(made.folder, tiles, made.scenes, made.legend)
    return made


def result(method="plain", seed=0, value=0.5, **other):
    given = {
        "set": "buildings", "method": method, "seed": seed, "limit": "2min", "part": "test",
        "code": "a", "scores": {"oa": 0.9, "miou": 0.6, "f1": 0.7}, "iou": {"building": value},
        "compared": 10, "seconds": 130.0, "train_seconds": 120.0, "counts": {"train": 3},
        "day": "2026-01-02",
    }  # fmt: skip
    return Result(**given | other)


def test_scores_are_of_what_was_asked_for():
    truth = np.array([0, 0, 0, 1, 1, 1])
    guess = np.array([0, 0, 1, 1, 1, 255])  # one pixel was given no class
    found = methods.scores_of([(truth, guess)], ["low", "high", "absent"])
    assert found["scores"]["oa"] == pytest.approx(4 / 6)
    assert found["iou"] == pytest.approx({"low": 2 / 3, "high": 2 / 4})
    assert found["scores"]["miou"] == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert found["scores"]["f1"] == pytest.approx((4 / 5 + 4 / 6) / 2)
    assert found["compared"] == 6


def test_a_class_that_only_the_map_has_costs_its_pixels_alone():
    truth, guess = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    found = methods.scores_of([(truth, guess)], ["low", "high", "absent"])
    assert found["iou"] == pytest.approx({"low": 0.5, "high": 1.0})


def test_scores_refuse_a_map_of_another_size():
    with pytest.raises(ValueError, match="3 were asked for, and 2"):
        methods.scores_of([(np.zeros(3, int), np.zeros(2, int))], ["low"])


def test_budget_counts_steps():
    budget = Budget(steps=4)
    assert list(budget.progress()) == [0, 0.25, 0.5, 0.75]
    assert budget.done == 4


def test_budget_ends_in_time():
    budget = Budget(minutes=0.001)
    shares = list(budget.progress())
    assert all(0 <= share < 1 for share in shares)
    assert budget.seconds >= 0.06
    assert budget.done == len(shares)


def test_images_that_train_hold_nothing_of_the_test_part(images):
    data = load_images(images, with_val=True)
    (piece,) = data.train
    assert piece[0].shape == (2, 150, 120)  # of 200 columns
    valid = piece[1] != 255
    assert piece[0][0][valid].mean() == pytest.approx(0, abs=0.05)
    truth = ImageTruth.of(images).scenes["s"]
    assert (truth[:, :130] == 255).all()
    assert (truth[:140, 130:] != 255).all()
    assert data.scenes["s"].shape == (2, 150, 200)


def test_val_trains_only_where_nothing_is_chosen_by_it(dataset):
    assert len(load_images(dataset, with_val=True).train) == 2
    assert len(load_images(dataset, with_val=False).train) == 1


def test_inner_images_lie_apart_and_without_the_test_part(images, tmp_path):
    inner_images(images, tmp_path / "inner", by="block", seed=0)
    made = Dataset.load(tmp_path / "inner")
    train, held = made.tiles("train"), made.tiles("test")
    assert train
    assert held
    assert all(tile.window.right <= 120 for tile in held)  # where the train part ends
    near = made.tiling.size // 8
    for one in train:
        assert not any(one.home.intersect(other.window.grow(near)) for other in held)
    assert made.statistics.mean != images.statistics.mean


def test_inner_folds_go_round(images, tmp_path):
    found = set()
    for seed in range(3):
        inner_images(images, tmp_path / f"inner_{seed}", by="block", seed=seed)
        held = Dataset.load(tmp_path / f"inner_{seed}").tiles("test")
        found.add(tuple(tile.window for tile in held))
    assert len(found) == 3


def split_of(folder):
    samples = SeriesDataset.load(folder).samples()
    return {split: set(samples.id[samples.split == split]) for split in ("train", "val", "test")}


@pytest.mark.parametrize("way", ["block", "random", "draw"])
def test_series_inner_folds_are_of_the_train_part(tmp_path, way):
    dataset = made_dataset(tmp_path / "whole")
    samples = dataset.samples()
    apart = replace(samples, x=1000 * samples.x, y=700 * (samples.x % 9))
    write_samples(dataset.folder, apart, dataset.legend)
    for name, inner in (("test", False), ("inner", True)):
        split_series(dataset, tmp_path / name, way=way, seed=1, inner=inner)
    outer, inner = split_of(tmp_path / "test"), split_of(tmp_path / "inner")
    assert set.union(*outer.values()) == set(dataset.samples().id)
    assert set.union(*inner.values()) == outer["train"] | outer["val"]
    for split in (outer, inner):
        assert all(split.values())
        assert sum(map(len, split.values())) == len(set.union(*split.values()))


def test_statistics_of_series_are_of_what_trains(tmp_path):
    dataset = made_dataset(tmp_path / "whole", unit="pixel")
    split_series(dataset, tmp_path / "one", way="random", seed=0, inner=False)
    data = load_series(SeriesDataset.load(tmp_path / "one"))
    seen = data.values[data.places("train")]
    mean = SeriesDataset.load(tmp_path / "one").statistics.mean
    assert mean == pytest.approx(np.nanmean(seen, axis=(0, 1)), rel=1e-5)


def test_series_of_other_dates_are_filled_up(tmp_path):
    dataset = made_dataset(tmp_path, unit="pixel")
    data = load_series(dataset)
    short = np.repeat(dataset.samples().tile == "b", dataset.samples().pixels)
    assert data.values.shape == (len(short), 14, 2)
    assert np.isnan(data.values[short, 10:]).all()
    assert not np.isnan(data.values[short, :10]).all(axis=(0, 2)).any()
    pixels, days = dataset.arrays("a")
    assert (data.days[0] == days).all()
    assert np.nan_to_num(data.values[0], nan=65535).astype(int).tolist() == pixels[0].tolist()


def test_windows_cover_a_scene():
    assert plain.starts(64, 64) == [0]
    assert plain.starts(150, 64) == [0, 32, 64, 86]


def test_a_map_is_what_the_network_says_everywhere():
    image = np.random.default_rng(0).normal(size=(3, 50, 90)).astype(np.float32)
    image = torch.from_numpy(image).bfloat16().float().numpy()
    found = plain.map_scene(nn.Identity(), image, 64, 3)
    assert (found == image.argmax(axis=0)).all()


def test_crops_keep_image_and_target_together():
    target = np.arange(40 * 60).reshape(40, 60) % 200
    piece = plain.filled(target[None].astype(np.float32), target.astype(np.uint8), 64)
    image, wanted = plain.crops([piece], 64, np.random.default_rng(0), vary=False)
    assert image.shape == (8, 1, 64, 64)
    inside = wanted != 255
    assert inside.sum() == 8 * 40 * 60
    assert (image[:, 0][inside] == wanted[inside]).all()
    varied, same = plain.varied(piece[0][:, :40, :40], piece[1][:40, :40], np.random.default_rng(3))
    # Gain and light are of a whole band: what was alike in the target stays so in the image.
    slope, level = np.polyfit(same.ravel().astype(float), varied[0].ravel(), 1)
    assert varied[0] == pytest.approx(slope * same + level, abs=1e-3)


def test_the_plain_lstm_does_not_see_what_was_not_observed():
    torch.manual_seed(0)
    network = plain.Recurrent(2, 3).eval()
    values, days = torch.randn(4, 6, 2), torch.arange(6.0).expand(4, 6)
    seen = torch.ones(4, 6)
    seen[:, 2] = 0
    other = values.clone()
    other[:, 2] += 100
    with torch.no_grad():
        assert torch.equal(network(values, days, seen), network(other, days, seen))


def test_the_plain_lstm_learns(tmp_path):
    dataset = made_dataset(tmp_path, unit="pixel")
    data = load_series(dataset)
    guess = plain.train_lstm(data, Budget(steps=40), 0)
    assert (guess == data.index[data.places("test")]).mean() > 0.9


def test_the_plain_unet_learns():
    image = np.random.default_rng(0).normal(size=(1, 64, 64)).astype(np.float32)
    data = Images([(image, (image[0] > 0).astype(np.uint8))], {"s": image}, 2, 64)
    network = plain.train_unet(data, Budget(steps=1), 0)
    assert not network.training
    assert plain.map_scene(network, image, 64, 2).shape == (64, 64)


def job(tmp_path, dataset, method):
    told = rivals.Job(method, str(dataset), str(tmp_path / "out"), 0, True, None, 1)
    (tmp_path / "job.json").write_text(json.dumps(vars(told)))
    rivals.main(str(tmp_path / "job.json"))
    with np.load(tmp_path / "out" / rivals.PREDICTION) as file:
        found = dict(file)
    return found, json.loads((tmp_path / "out" / rivals.TOLD).read_text())


def test_majority_of_images(images, tmp_path):
    found, told = job(tmp_path, images.folder, "majority")
    counts = np.bincount(load_images(images, with_val=True).train[0][1].ravel())[:2]
    assert (found["s"] == counts.argmax()).all()
    assert "steps" not in told


def test_forest_of_pixels_learns_what_a_pixel_shows(images, tmp_path):
    found, _ = job(tmp_path, images.folder, "forest")
    assert methods.score(BUILDINGS, images.folder, found)["scores"]["oa"] > 0.95


def in_place_of_otb(words):
    """Its two programs as far as the arena needs them: the class of the nearest mean."""
    given = dict(zip(words[1::2], words[2::2], strict=False))
    with rasterio.open(given.get("-io.il") or given["-in"]) as file:
        image, profile = file.read(), file.profile
    if words[0] == otb.TRAIN:
        assert image.shape == (2, 300, 120)  # nothing of the test part
        table = geopandas.read_file(given["-io.vd"])
        pairs = zip(table.geometry, table[given["-sample.vfn"]], strict=True)
        burnt = rasterize(pairs, image.shape[1:], transform=profile["transform"])
        means = {int(c): image[:, burnt == c].mean(axis=1).tolist() for c in set(burnt[burnt > 0])}
        Path(given["-io.out"]).write_text(json.dumps(means))
        return
    means = json.loads(Path(given["-model"]).read_text())
    apart = [np.abs(image.T - mean).sum(axis=2).T for mean in means.values()]
    found = np.array([int(c) for c in means], np.uint8)[np.argmin(apart, axis=0)]
    found[:20] = 0  # no class
    with rasterio.open(given["-out"], "w", **profile | {"count": 1, "dtype": "uint8"}) as file:
        file.write(found, 1)


def test_otb_gets_what_trains_and_says_classes_of_pixels(images, monkeypatch):
    monkeypatch.setattr(otb, "_call", in_place_of_otb)
    data = load_images(images, with_val=True)
    narrow = [(image[:, :, :50], target[:, :50]) for image, target in data.train]
    found = otb.map_images(replace(data, train=data.train + narrow), Budget(steps=1), 0)
    assert (found["s"][:20] == 255).all()
    found["s"][:20] = ImageTruth.of(images).scenes["s"][:20]
    assert methods.score(BUILDINGS, images.folder, found)["scores"]["oa"] == 1


def test_otb_is_left_out_where_its_programs_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = methods.why_not("otb", BUILDINGS)
    assert said == f"{otb.TRAIN} and {otb.CLASSIFY} not on PATH (Debian: otb-bin)"
    for name in (otb.TRAIN, otb.CLASSIFY):
        (tmp_path / name).touch(0o755)
    assert methods.why_not("otb", BUILDINGS) is None
    assert "there is none for series" in methods.why_not("otb", SETS["formosat"])


@pytest.mark.parametrize(("method", "least"), [("majority", 0.4), ("forest", 0.9)])
def test_series_rivals(tmp_path, method, least):
    dataset = made_dataset(tmp_path / "dataset", unit="pixel")
    found, _ = job(tmp_path, dataset.folder, method)
    scored = methods.score(SETS["formosat"], dataset.folder, found)
    assert scored["compared"] == dataset.samples("test").pixels.sum()
    assert scored["scores"]["oa"] >= least


@pytest.mark.filterwarnings("ignore")  # of Lightning
def test_torchgeo_gets_crops_and_its_own_defaults(images, tmp_path, monkeypatch):
    lightning = pytest.importorskip("lightning.pytorch", reason="comes with TorchGeo")
    seen = []

    class Task(lightning.LightningModule):
        """As TorchGeo's: what it is built with, how it takes a batch, where its rate stands."""

        def __init__(self, in_channels, num_classes, ignore_index=None, lr=1e-3):
            super().__init__()
            self.save_hyperparameters()
            self.layer = nn.Conv2d(in_channels, num_classes, 1)
            self.loss = nn.CrossEntropyLoss(ignore_index=ignore_index)

        def forward(self, image):
            return self.layer(image)

        def training_step(self, batch, number):
            seen.append((batch["image"].shape, batch["mask"].dtype))
            return self.loss(self(batch["image"]), batch["mask"])

    trainers = types.ModuleType("torchgeo.trainers")
    trainers.SemanticSegmentationTask = Task
    monkeypatch.setitem(sys.modules, "torchgeo", types.ModuleType("torchgeo"))
    monkeypatch.setitem(sys.modules, "torchgeo.trainers", trainers)
    found = rivals.OF_IMAGES["torchgeo"](load_images(images, with_val=True), Budget(steps=2), 0)
    assert seen == 2 * [((8, 2, 64, 64), torch.int64)]
    assert found["s"].shape == (150, 200)


def test_methods_that_are_not_there_are_left_out_with_a_reason():
    assert methods.why_not("geoseg:unet", BUILDINGS) is None
    assert methods.why_not("geoseg:nosuch", BUILDINGS) == "geoseg has no model=nosuch"
    assert methods.why_not("geoseg:lstm", BUILDINGS) == "not a network for images"
    assert methods.why_not("geoseg:unet", SETS["formosat"]) == "not a network for series"
    assert "there is none for series" in methods.why_not("torchgeo", SETS["formosat"])


def test_keys_are_told_on_inner_folds_alone(monkeypatch, capsys, tmp_path):
    told = "geoseg:ltae,model.width=128"
    assert methods.why_not(told, SETS["formosat"]) is None
    monkeypatch.setenv("GEOSEG_REAL_DATA", str(tmp_path))
    line = ["quality", "--sets", "formosat", "--methods", "plain", told]
    monkeypatch.setattr("sys.argv", [*line, "--inner"])
    assert quality.parsed().methods == ["plain", told]
    monkeypatch.setattr("sys.argv", line)
    with pytest.raises(SystemExit):
        quality.parsed()
    assert "what is reported is by defaults" in capsys.readouterr().err


def test_steps_are_those_of_whole_epochs(images):
    count = len(images.tiles("train"))
    each = -(-(count * -(-128 // count)) // 8)
    assert methods.whole_epochs(BUILDINGS, images.folder, 100) == (
        round(100 / each), round(100 / each) * each, 8,
    )  # fmt: skip
    assert methods.whole_epochs(BUILDINGS, images.folder, 1) == (1, each, 8)


def test_looks_count_versions_not_repetitions(tmp_path):
    path = tmp_path / "looks.csv"
    for code in ("a", "a", "b"):
        results.note_look(path, "buildings", methods.Limit(minutes=2), code)
    results.note_look(path, "denmark", methods.Limit(minutes=2), "a")
    assert results.looks(path) == {"buildings": 2, "denmark": 1}


def test_a_default_may_lose_by_the_spread():
    plainly = [result(seed=s, value=v) for s, v in enumerate((0.50, 0.52, 0.54))]
    near = [result("geoseg:unet", s, v) for s, v in enumerate((0.48, 0.50, 0.52))]
    assert results.lost(results.lines_of(plainly + near)) == []
    far = [result("geoseg:fpn", s, v) for s, v in enumerate((0.44, 0.46, 0.48))]
    (said,) = results.lost(results.lines_of(plainly + near + far))
    assert said == "buildings: geoseg:fpn 0.460, plain 0.520; it may lose by 0.028"


@pytest.mark.parametrize(("value", "count"), [(0.36, 0), (0.34, 1)])
def test_of_one_seed_the_tolerance_counts(value, count):
    pair = [result(value=0.5), result("geoseg:unet", value=value)]
    assert len(results.lost(results.lines_of(pair))) == count


def test_tables_say_what_was_measured_and_how_often_it_was_looked_at(tmp_path):
    made = [result(seed=s, value=v, steps=240, samples=1920) for s, v in enumerate((0.5, 0.6))]
    made += [result("geoseg:unet", s, v, code=f"{s}") for s, v in enumerate((0.7, 0.8))]
    made += [result(part="inner"), result(limit="100steps")]
    for one in made:
        one.save(tmp_path)
    assert sorted(results.load_all(tmp_path), key=str) == sorted(made, key=str)
    text = results.tables(made, {"buildings": 3})
    assert "**Images, 2 minutes each, test parts**" in text
    assert "**Images, 100 steps each, test parts**" in text
    assert "**Images, 2 minutes each, inner folds of the train parts**" in text
    assert "| `geoseg:unet` | 0.750 ± 0.071 | 0.900 ± 0.000 | +0.200 | 2 | – | – |" in text
    assert "| `plain` | 0.550 ± 0.071 | 0.900 ± 0.000 |  | 2 | 2 | 16 |" in text
    assert "Test parts looked at: n times: buildings 3." in text
    assert "of 2 versions of its code" in text
    plainly = results.as_text(text)
    assert "---" not in plainly
    assert "geoseg:unet  0.750 ± 0.071" in plainly


def test_inner_tables_speak_of_no_test_part():
    text = results.tables([result(part="inner")], {"buildings": 3})
    assert "looked at" not in text
    assert "catanduanes_1" not in text


@pytest.mark.real
def test_a_stopped_arena_goes_on(real_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GEOSEG_REAL_DATA", str(real_data))
    monkeypatch.setattr(sys, "executable", str(started.python()))  # its processes load nothing
    told = ["quality", "--sets", "formosat", "--methods", "majority", "nosuch", "--seeds", "1",
            "--out", str(tmp_path), "--looks", str(tmp_path / "looks.csv")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", told)
    assert quality.main() == 0
    first = capsys.readouterr().out
    assert "formosat: nosuch left out" in first
    assert "formosat 1min, seed 0, majority: OA 0.077" in first  # 13 classes alike
    assert not (tmp_path / "looks.csv").exists()  # the majority chooses nothing
    assert quality.main() == 0
    again = capsys.readouterr().out
    assert "seed 0, majority: OA" not in again
    assert "0.077" in again
    assert (tmp_path / "quality.md").is_file()


def test_a_result_is_made_by_all_of_geoseg_and_a_rival_by_its_own_code():
    files = [path.as_posix() for path in methods.code_of("geoseg:unet")]
    for part in ("geoseg/training/loop.py", "geoseg/models/networks/pixels.py", "unet.yaml"):
        assert any(path.endswith(part) for path in files)
    assert not any("geoseg/training" in path.as_posix() for path in methods.code_of("plain"))
