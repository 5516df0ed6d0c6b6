import csv
import json
import math
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from geoseg.commands.conf import CONF
from geoseg.commands.run import register, to_objects
from geoseg.crossvalidation import run as crossvalidate
from geoseg.crossvalidation.config import CrossvalidateConfig
from geoseg.crossvalidation.draw import Folding
from geoseg.crossvalidation.scores import Gap, Judged, caveats
from geoseg.crossvalidation.tally import Spread
from geoseg.dataset.samples import SeriesDataset, load_pixels, pixels_path, save_days, write_samples
from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.models.settings import Model
from geoseg.scenes.bands import BandStatistics
from geoseg.training.recipe import from_what_is_named
from geoseg.training.settings import Fit
from tests.dataset.test_sample_split import made

LEGEND = Legend.parse(
    [
        {"code": 4, "name": "maize", "color": "#e6b800"},
        {"code": 9, "name": "grass & <hay>", "color": "#66a61e"},
        {"code": 2, "name": "wheat", "color": "#b8860b"},
        {"code": 7, "name": "rice", "color": "#1f78b4"},
    ],
    "test",
)
UTM = "EPSG:32632"
SIDE = 8000
SETTINGS = {
    "series": {"fill": "none", "step": 10, "min_clear": 1},
    "samples": {"buffer_m": 0.0, "max_pixels": 100},
}


@pytest.fixture
def dataset(tmp_path) -> SeriesDataset:
    """360 parcels of three classes that lie in patches; nobody grows rice."""
    random = np.random.default_rng(1)
    x, y = random.uniform(0, SIDE, (2, 360))
    patch = (x // 500 + 3 * (y // 500)).astype(int)
    code = np.array([4, 9, 2])[np.random.default_rng(0).integers(0, 3, 200)[patch % 200]]
    samples = made(
        code,
        x=500_000 + x,
        y=5_000_000 + y,
        tile=np.where(x < SIDE / 2, "west", "east"),
        fold_by=2018 + np.arange(360) % 3,
    )
    return write(tmp_path / "dataset", samples)


def write(folder: Path, samples, *, crs: str | None = UTM, column: str = "year") -> SeriesDataset:
    """Two bands and three dates; band 0 tells the code with some noise."""
    for tile in set(samples.tile):
        own = samples.tile == tile
        samples.first[own] = np.arange(own.sum())
        noise = np.random.default_rng(5).normal(0, 2.5, (own.sum(), 3, 2))
        values = (100 * samples.code[own][:, None, None] / 7 + 4 * noise).clip(0)
        pixels_path(folder, tile).parent.mkdir(parents=True, exist_ok=True)
        np.save(pixels_path(folder, tile), values.astype(np.uint16))
        save_days(folder, tile, np.array([10, 20, 30]))
    samples.split[:] = "train"
    write_samples(folder, samples, LEGEND)
    statistics = BandStatistics(*(2 * (v,) for v in (0.0, 1.0, 0.0, 1.0, 0.0, 200.0)))
    dataset = SeriesDataset(
        folder,
        "parcel",
        ("red", "nir"),
        "uint16",
        LEGEND,
        statistics,
        4 * (0.0,),
        4 * (1.0,),
        "01-01",
        (10, 30),
        10.0,
        crs,
        SETTINGS | {"split": {"column": column}},
    )
    dataset.save()
    return SeriesDataset.load(folder)


class Fake:
    """In the place of a network; notes what it was given."""

    def __init__(self, last: int | None = None) -> None:
        self.calls = []
        self.left = last

    def __call__(self, dataset, train, held_out, study):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        assert not set(train.id) & set(held_out.id)
        self.calls.append((set(train.id), set(held_out.id), study.seed, study.model.name))
        return self.probabilities(dataset, train, held_out)

    def probabilities(self, dataset, train, held_out):
        """By the nearest class mean of band 0 on the first date."""

        def values(samples):
            found = np.zeros(len(samples))
            for tile in set(samples.tile):
                own = samples.tile == tile
                found[own] = load_pixels(dataset.folder, tile)[0][samples.first[own], 0, 0]
            return found

        given, known = values(train), LEGEND.encode(train.code.astype(np.uint8))
        means = np.array(
            [given[known == k].mean() if (known == k).any() else 1e9 for k in range(4)]
        )
        near = -np.abs(values(held_out)[:, None] - means) / 10
        near = np.exp(near - near.max(axis=1, keepdims=True))
        return (near / near.sum(axis=1, keepdims=True)).astype(np.float32)


class Neighbour(Fake):
    """The class of the nearest training sample: right where neighbours are alike."""

    def probabilities(self, dataset, train, held_out):
        apart = np.hypot(held_out.x[:, None] - train.x, held_out.y[:, None] - train.y)
        known = LEGEND.encode(train.code.astype(np.uint8))
        return np.eye(4, dtype=np.float32)[known[apart.argmin(axis=1)]]


def config(out: Path, **more) -> CrossvalidateConfig:
    return CrossvalidateConfig(run=str(out), **more)


def run(dataset, out: Path, fake=None, **more):
    return crossvalidate.crossvalidate(dataset, config(out, **more), fit_fold=fake or Fake())


def files(out: Path) -> dict[str, bytes]:
    """Bytes by path; the note of settings says where it lies, which is taken out of them."""
    found = [p for p in sorted(out.rglob("*")) if p.is_file() and ".hydra" not in p.parts]
    here = str(out.resolve()).encode()
    return {
        str(p.relative_to(out)): p.read_bytes().replace(here, b"here")
        for p in found
        if p.name != "report.html"
    }


def read_strictly(path: Path):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def test_every_sample_is_judged_once_per_way_by_who_has_not_seen_it(dataset, tmp_path):
    fake = Fake()
    made_ = run(dataset, tmp_path / "out", fake, folds=4, seeds=2, seed=3)
    everything = set(dataset.samples().id)
    assert len(fake.calls) == 16
    for train, held, _, _ in fake.calls:
        assert train | held == everything
    for way in range(2):
        for i in range(2):
            held = [call[1] for call in fake.calls[8 * way + 4 * i : 8 * way + 4 * i + 4]]
            assert sum(map(len, held)) == len(everything)
            assert set().union(*held) == everything
    assert [call[2] for call in fake.calls] == 2 * (4 * [3] + 4 * [4])
    assert [way.by for way in made_.ways] == ["block", "random"]
    assert fake.calls[0][3] == "tempcnn"
    first = [way.fold[0] for way in made_.ways]
    assert (first[0] != made_.ways[0].fold[1]).any()


def test_scores_are_those_of_a_naive_count(dataset, tmp_path):
    run(dataset, tmp_path / "out", folds=3, seeds=2)
    scores = read_strictly(tmp_path / "out" / "scores.json")
    with (tmp_path / "out" / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    samples = dataset.samples()
    assert [row["id"] for row in rows] == 2 * list(samples.id)
    assert [int(row["code"]) for row in rows] == 2 * list(samples.code)
    assert {row["seed"] for row in rows} == {"0", "1"}
    for by in ("block", "random"):
        values = scores["ways"][by]
        right = [row["code"] == row[f"{by}_code"] for row in rows]
        assert values["overall_accuracy"] == pytest.approx(np.mean(right))
        naive = np.zeros((4, 4), int)
        place = {code: i for i, code in enumerate(LEGEND.codes)}
        for row in rows:
            naive[place[int(row["code"])], place[int(row[f"{by}_code"])]] += 1
            assert 0.25 <= float(row[f"{by}_confidence"]) <= 1
        assert values["confusion"] == naive.tolist()
        table = (tmp_path / "out" / f"confusion_{by}.csv").read_text("utf-8").splitlines()
        assert table[1] == "maize," + ",".join(map(str, naive[0]))
        by_fold = {(seed, fold): [] for seed in "01" for fold in "123"}
        for row, one in zip(rows, right, strict=True):
            by_fold[row["seed"], row[f"{by}_fold"]].append(one)
        own = [one["overall_accuracy"] for one in values["trainings"]]
        assert own == pytest.approx([np.mean(one) for one in by_fold.values()])
        spread = values["over_folds"]["overall_accuracy"]
        assert spread["mean"] == pytest.approx(np.mean(own))
        assert spread["sd"] == pytest.approx(np.std(own, ddof=1))
        halves = [np.mean(right[:360]), np.mean(right[360:])]
        assert values["over_seeds"]["overall_accuracy"]["mean"] == pytest.approx(np.mean(halves))
        wheat = next(c for c in values["classes"] if c["name"] == "wheat")
        assert wheat["samples"] == (samples.code == 2).sum()
        assert wheat["producers_accuracy"] == pytest.approx(naive[2, 2] / naive[2].sum())
    assert values["classes"][3] == {
        **{"code": 7, "name": "rice", "samples": 0, "users_accuracy": None},
        **{"producers_accuracy": None, "f1": None, "iou": None},
    }
    counts = np.unique(samples.code, return_counts=True)[1]
    assert scores["majority"] == pytest.approx(counts.max() / 360)


def test_the_gap_is_seen_where_neighbours_are_alike(dataset, tmp_path):
    found = run(dataset, tmp_path / "out", Neighbour(), split=Folding(block_m=2000))
    scores = read_strictly(tmp_path / "out" / "scores.json")
    by_block, at_random = (found.ways[i].scores.overall_accuracy for i in (0, 1))
    assert at_random - by_block > 0.15
    assert scores["gap"]["overall_accuracy"] == pytest.approx(at_random - by_block)
    points = f"{100 * (at_random - by_block):.1f} points more"
    assert points in found.gap.words
    assert found.gap.words in str(found)
    assert scores["ways"]["block"]["nearest_train_m"] > scores["ways"]["random"]["nearest_train_m"]
    assert "nearest" not in found.gap.words


def test_a_killed_command_goes_on_and_ends_with_the_same_bytes(dataset, tmp_path):
    whole, parts = Fake(), Fake(last=4)
    run(dataset, tmp_path / "whole", whole, folds=3)
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "parts", parts, folds=3)
    assert len(parts.calls) == 4
    assert not (tmp_path / "parts" / "scores.json").exists()
    rest = Fake()
    run(dataset, tmp_path / "parts", rest, folds=3)
    assert [c[1] for c in parts.calls + rest.calls] == [c[1] for c in whole.calls]
    a, b = files(tmp_path / "whole"), files(tmp_path / "parts")
    assert a == b
    assert "block/seed_0/fold_1.npz" in a
    again = Fake()
    run(dataset, tmp_path / "parts", again, folds=3)
    assert not again.calls


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_fold_is_trained_anew(dataset, tmp_path, damage):
    run(dataset, tmp_path / "out", folds=2, random=False)
    before = files(tmp_path / "out")
    path = tmp_path / "out" / "block" / "seed_0" / "fold_2.npz"
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    fake = Fake()
    run(dataset, tmp_path / "out", fake, folds=2, random=False)
    assert len(fake.calls) == 1
    assert files(tmp_path / "out") == before


def test_other_settings_or_another_data_set_are_refused_or_replace(dataset, tmp_path):
    out = tmp_path / "out"
    run(dataset, out, folds=2)
    with pytest.raises(InputError, match=r"other settings \(fit\.epochs\).*overwrite=true"):
        run(dataset, out, folds=2, fit=Fit(epochs=3))
    (out / "mine.txt").write_text("stays")
    fake = Fake()
    run(dataset, out, fake, folds=2, fit=Fit(epochs=3), random=False, overwrite=True)
    assert len(fake.calls) == 2
    assert (out / "mine.txt").exists()
    assert not (out / "random").exists()
    assert not (out / "confusion_random.csv").exists()
    samples = dataset.samples()
    samples.code[0] = 9 if samples.code[0] != 9 else 4
    write_samples(dataset.folder, samples, LEGEND)
    with pytest.raises(InputError, match=r"other settings \(data\)"):
        run(dataset, out, folds=2, fit=Fit(epochs=3), random=False)


def test_one_year_or_tile_out_beside_as_many_random_folds(dataset, tmp_path):
    fake = Fake()
    found = run(dataset, tmp_path / "year", fake, folds=0, split=Folding("column"))
    assert [(w.title, w.folds) for w in found.ways] == [("by year", 3), ("at random", 3)]
    samples = dataset.samples()
    for call, year in zip(fake.calls, ("2018", "2019", "2020"), strict=False):
        assert call[1] == set(samples.id[samples.fold_by == year])
    tiles = run(dataset, tmp_path / "tile", folds=5, split=Folding("column", "tile"))
    assert [w.title for w in tiles.ways] == ["by tile", "at random"]
    assert tiles.ways[0].units == tiles.ways[1].folds == 2
    assert len(set(zip(samples.tile, tiles.ways[0].fold[0], strict=True))) == 2
    assert not [note for note in tiles.notes if "parts" in note]
    samples.group[:2] = "farm"
    write_samples(dataset.folder, samples, LEGEND)
    parted = run(dataset, tmp_path / "parted", folds=0, split=Folding("column"))
    assert any(
        "parts 1 of 359 groups (samples.group) over several folds" in n for n in parted.notes
    )


def test_random_alone(dataset, tmp_path):
    found = run(dataset, tmp_path / "out", folds=3, split=Folding("random"))
    assert [way.by for way in found.ways] == ["random"]
    assert found.gap is None
    scores = read_strictly(tmp_path / "out" / "scores.json")
    assert scores["gap"] is None
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "elsewhere expect less" in page


class Page(HTMLParser):
    """Texts of the tables' cells, and whether each tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.cells, self.links = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


def test_the_report_shows_both_ways_and_the_gap(dataset, tmp_path):
    found = run(dataset, tmp_path / "out", Neighbour(), folds=3, seeds=2)
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    page = Page(text)
    assert not page.open
    assert not page.links, "needs nothing beside it"
    assert found.gap.words.replace("'", "&#39;") in text
    assert "nan" not in " ".join(page.cells).lower()
    for way in found.ways:
        assert way.title in page.cells
        assert f"{way.scores.overall_accuracy:.3f}" in page.cells
        assert f"{way.scores.macro_f1:.3f}" in page.cells
        assert str(way.over_folds("overall_accuracy")) in page.cells
        for row in way.confusion:
            for count in row[row > 0]:
                assert any(cell.startswith(f"{count}→") for cell in page.cells)
    assert "grass & <hay>" in page.cells
    assert "grass & <hay>" not in text
    assert "classes of the legend without samples: rice" in text
    assert "3 × 2 seeds" in page.cells


def test_what_is_printed(dataset, tmp_path, capsys):
    found = run(dataset, tmp_path / "out", folds=2)
    told = capsys.readouterr().out
    assert told.count(" held out are right") == 4
    assert "by blocks, seed 0, fold 1 of 2: " in told
    text = str(found)
    for words in ("by blocks", "at random", "macro F1", "maize", "report.html", " ± "):
        assert words in text


def judged(by: str, right: float, count: int = 1000) -> Judged:
    truth = np.zeros(count, np.uint8)
    truth[: count // 2] = 1
    wrong = np.arange(count) % 100 >= round(100 * right)
    title = {"block": "by blocks", "column": "by region", "random": "at random"}[by]
    probabilities = np.eye(2, dtype=np.float32)[np.where(wrong, 1 - truth, truth)][None]
    fold = np.arange(count)[None] % 5
    return Judged(by, title, 5, (0,), fold, truth, probabilities, ("a", "b"), None)


@pytest.mark.parametrize(
    ("by", "honest", "random", "words"),
    [
        ("block", 0.7, 0.8, ("10.0 points more", "neighbours of", "expect the figure by blocks")),
        ("column", 0.7, 0.8, ("samples of the same region", "expect the figure by region")),
        ("block", 0.8, 0.8, ("same within half a point",)),
        ("block", 0.8, 0.78, ("-2.0 points is within the 3.6 that chance makes of 1000 samples",)),
        ("block", 0.8, 0.70, ("10.0 points less", "more seeds would tell")),
    ],
)
def test_the_gap_in_words(by, honest, random, words):
    gap = Gap.of(judged(by, honest), judged("random", random))
    assert gap.overall_accuracy == pytest.approx(random - honest)
    assert all(word in gap.words for word in words)
    assert f"{100 * honest:.1f} % of the samples are right" in gap.words


def test_spreads_leave_out_what_is_undefined():
    assert str(Spread.of([0.5, math.nan, 0.7])) == "0.600 ± 0.141"
    assert str(Spread.of([0.5])) == "0.500"
    assert str(Spread.of([])) == "–"


def test_caveats_name_classes_that_are_few_or_missing_from_folds():
    way = judged("block", 0.9, count=20)
    way.fold[0] = np.where(way.truth == 1, 0, np.arange(20) % 2)
    assert caveats([way]) == [
        "classes with fewer than 30 samples, of whose scores little can be said: a (10), b (10)",
        "by blocks, folds without a sample of a class: b (1 of 2)",
    ]


def test_a_class_with_fewer_parcels_than_folds_is_named(tmp_path):
    random = np.random.default_rng(0)
    x, y = random.uniform(0, SIDE, (2, 100))
    dataset = write(tmp_path / "d", made([4] * 60 + [9] * 37 + [2] * 3, x=x, y=y))
    fake = Fake()
    with pytest.raises(InputError) as error:
        run(dataset, tmp_path / "out", fake, folds=5)
    assert "class wheat: in 3 of " in str(error.value)
    assert "but 5 folds need it in 5; set fewer folds or a smaller split.block_m" in str(
        error.value
    )
    assert not fake.calls
    assert not (tmp_path / "out").exists()
    assert run(dataset, tmp_path / "out", fake, folds=3).ways


def test_random_folds_that_can_not_be_beside_are_a_fault_with_its_remedy(tmp_path):
    years = [2010 + i % 5 for i in range(60)]
    dataset = write(tmp_path / "d", made([4] * 57 + [9] * 3, fold_by=years), crs=None)
    split = Folding("column")
    with pytest.raises(InputError) as error:
        run(dataset, tmp_path / "out", folds=0, split=split)
    assert len(error.value.faults) == 2
    assert "5 folds need it in 5" in error.value.faults[0]
    assert "random=false" in error.value.faults[1]
    found = run(dataset, tmp_path / "out", folds=0, split=split, random=False)
    assert len(found.ways) == 1
    assert found.ways[0].nearest_m is None


def test_bad_input_is_said_before_any_training(dataset, tmp_path):
    fake = Fake()
    with pytest.raises(InputError, match="the data set knows year, tile"):
        run(dataset, tmp_path / "out", fake, split=Folding("column", "region"))
    pixels_path(dataset.folder, "west").unlink()
    with pytest.raises(InputError, match=r"west\.npy: gone, cut short or changed"):
        run(dataset, tmp_path / "out", fake)
    one = write(tmp_path / "one", made([4] * 20))
    with pytest.raises(InputError, match="20 samples of 1 classes: nothing to tell apart"):
        run(one, tmp_path / "out", fake)
    nowhere = write(tmp_path / "nowhere", made([4, 9] * 20), crs=None)
    with pytest.raises(InputError, match=r"split\.by=random"):
        run(nowhere, tmp_path / "out", fake)
    assert not fake.calls
    assert not (tmp_path / "out").exists()


def test_a_training_that_ran_away_is_a_fault(dataset, tmp_path):
    class Diverged(Fake):
        def probabilities(self, dataset, train, held_out):
            return np.full((len(held_out), 4), np.nan, np.float32)

    with pytest.raises(InputError, match=r"by blocks, seed 0, fold 1 of 5: .* lower fit\.learning"):
        run(dataset, tmp_path / "out", Diverged())
    assert not list((tmp_path / "out").rglob("*.npz"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"folds": 1}, "folds=1: give at least 2"),
        ({"folds": 0}, "folds=0: give at least 2, or 0 with split.by=column"),
        ({"seeds": 0}, "seeds=0: must be at least 1"),
        ({"model": Model("utae")}, "model.name=utae"),
    ],
)
def test_bad_settings(values, words):
    with pytest.raises(InputError) as error:
        CrossvalidateConfig(**values)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": Model("unet")}, "model.name=unet: not for samples; choose from lstm, tempcnn"),
        ({"split": Folding("scene")}, "series have no scenes; set split.by=column"),
        ({"split": Folding(buffer_m=50)}, "split.buffer_m=50: for images; leave it out"),
        ({"test": True}, "test=true: for images"),
    ],
)
def test_settings_that_are_for_images_only(dataset, tmp_path, values, words):
    fake = Fake()
    with pytest.raises(InputError) as error:
        run(dataset, tmp_path / "out", fake, **values)
    assert words in str(error.value)
    assert not fake.calls
    assert not (tmp_path / "out").exists()


def test_the_command_composes_and_can_be_repeated_from_its_record(dataset, tmp_path):
    from hydra import compose, initialize_config_dir

    register("crossvalidate", CrossvalidateConfig)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = ["model=psetae", "split.by=column", "folds=0", "fit.epochs=7", "series.pixels=8"]
        cfg = compose("crossvalidate", overrides=[*given, f"run={tmp_path / 'out'}"])
        told = to_objects(cfg, CrossvalidateConfig)
    assert (told.model.name, told.fit.epochs, told.series.pixels) == ("psetae", 7, 8)
    crossvalidate.crossvalidate(dataset, told, fit_fold=Fake())
    with initialize_config_dir(str(tmp_path / "out" / ".hydra"), version_base="1.3"):
        again = to_objects(compose("config"), CrossvalidateConfig)
    assert again.dataset == str(dataset.folder.absolute())
    again.dataset = told.dataset
    assert again == replace(told, model=from_what_is_named(told.model))


def test_help_waits_for_no_heavy_library():
    call = [sys.executable, "-X", "importtime", "-m", "geoseg.crossvalidate", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "split.block_m" in done.stdout
    assert not {"torch", "scipy", "lightning_fabric", "matplotlib"} & loaded
