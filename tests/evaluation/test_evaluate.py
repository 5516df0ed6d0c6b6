import base64
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile
from scipy import ndimage

from geoseg import evaluate as command
from geoseg.dataset.split import SPLITS
from geoseg.dataset.tiles import Dataset, Tile, write_tiles
from geoseg.errors import InputError
from geoseg.evaluate import EvaluateConfig
from geoseg.evaluation import agreement, excerpts
from geoseg.evaluation.accuracy import BoundaryF1, confusion
from geoseg.evaluation.error_map import RIGHT, WRONG
from geoseg.evaluation.evaluate import PRODUCTS, Showing, evaluate
from geoseg.evaluation.excerpts import Excerpt, Excerpts, choose
from geoseg.evaluation.truth import from_dataset, from_labels
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import Legend, LegendSettings
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.maps import landcover
from geoseg.maps.landcover import ClassMap
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.scenes.bands import BandStatistics, shown_bands
from geoseg.scenes.scene import find_scenes

LEGEND = Legend.parse(
    [
        {"code": 1, "name": "other", "color": "#d9d9d9"},
        {"code": 2, "name": "bürgel & <co>", "color": "#e31a1c", "values": ["house"]},
        {"code": 9, "name": "water", "color": "#1f78b4"},
    ],
    "test",
)
UTM = "EPSG:32633"
GRID = Grid(UTM, Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), 120, 160)


def write_map(path: Path, codes: np.ndarray, at: Grid = GRID, **more: str) -> Path:
    tags = landcover.tags(LEGEND, "abcdef0123456789") | more
    with raster.create(path, at, dtype="uint8", nodata=0, tags=tags) as writer:
        writer.write(codes.astype(np.uint8), at.window)
    return path


def write_labels(path: Path, boxes: list[tuple[Window, str]], at: Grid = GRID) -> Path:
    table = geopandas.GeoDataFrame(
        {"class": [name for _, name in boxes]},
        geometry=[shapely.box(*at.bounds_of(window)) for window, _ in boxes],
        crs=at.crs,
    )
    table.to_file(path, driver="GPKG")
    return path


def write_scene(path: Path, image: np.ndarray, at: Grid = GRID) -> Path:
    names = ("nir", "red", "green", "blue")[: len(image)]
    with raster.create(path, at, dtype="uint16", count=len(image), names=names) as writer:
        writer.write(image.astype(np.uint16), at.window)
    return path


BOXES = [
    (Window(10, 10, 90, 80), "other"),
    (Window(30, 20, 20, 50), "house"),
    (Window(5, 100, 100, 50), "water"),
    (Window(50, 60, 30, 60), "house"),
]


def truth_of_boxes() -> np.ndarray:
    truth = np.full((120, 160), 255, np.uint8)
    codes = {"other": 1, "house": 2, "water": 9}
    # Burn order is the legend's, not the file's.
    for window, name in sorted(BOXES, key=lambda box: codes[box[1]]):
        truth[window.within(GRID.window)] = codes[name]
    return truth


@pytest.fixture
def codes() -> np.ndarray:
    rng = np.random.default_rng(0)
    made = np.array([1, 2, 9], np.uint8)[rng.integers(0, 3, (12, 16))].repeat(10, 0).repeat(10, 1)
    made[:15, :40] = 0
    return made


@pytest.fixture
def made(tmp_path: Path, codes) -> tuple[ClassMap, Labels]:
    labels = write_labels(tmp_path / "labels.gpkg", BOXES)
    found = ClassMap.read(write_map(tmp_path / "landcover.tif", codes))
    return found, Labels(path=str(labels), field="class")


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def run(made: tuple[ClassMap, Labels], out: Path, **more):
    found, labels = made
    return evaluate(found, from_labels(labels, found, legend=found.legend), out, **more)


def test_it_is_said_of_a_map_that_it_is_compared_with_itself(made):
    found, labels = made
    truth = from_labels(Labels(path=str(found.path)), found, legend=found.legend)
    assert any("landcover.tif is the map itself" in note for note in truth.notes)
    truth = from_labels(labels, found, legend=found.legend)
    assert not any("itself" in note for note in truth.notes)


def test_counts_equal_a_naive_count_whatever_the_windows(made, codes, tmp_path, monkeypatch):
    target, predicted = LEGEND.encode(truth_of_boxes()), LEGEND.encode(codes)
    naive = np.zeros((3, 3), int)
    for t, p in zip(target.ravel(), predicted.ravel(), strict=True):
        if t != 255 and p != 255:
            naive[t, p] += 1
    boundary = BoundaryF1(3, 2)
    boundary.add(target, predicted)
    for side, together in ((400, 5), (23, 2)):
        monkeypatch.setattr(excerpts, "SIDE", side)
        monkeypatch.setattr(excerpts, "TOGETHER", together)
        agreement = run(made, tmp_path / f"report{side}").agreement
        assert agreement.confusion.tolist() == naive.tolist()
        assert agreement.boundary.counts.tolist() == boundary.counts.tolist()
        assert agreement.mapped.tolist() == [(codes == c).sum() for c in LEGEND.codes]


def test_pixels_without_map_or_label_are_left_out_and_counted(made, codes, tmp_path):
    truth = truth_of_boxes()
    counted = run(made, tmp_path / "out").agreement.pixels
    assert counted["compared"] == ((truth != 255) & (codes != 0)).sum()
    assert counted["without map"] == (codes == 0).sum() == 600
    assert counted["without label"] == ((truth == 255) & (codes != 0)).sum()
    assert sum(counted.values()) == codes.size


def test_map_of_errors(made, codes, tmp_path):
    run(made, tmp_path / "out")
    truth = truth_of_boxes()
    compared = (truth != 255) & (codes != 0)
    places = {1: 0, 2: 1, 9: 2}
    expected = np.zeros(codes.shape, int)
    for a, i in places.items():
        for b, j in places.items():
            kind = RIGHT if a == b else WRONG + 3 * i + j
            expected[compared & (truth == a) & (codes == b)] = kind
    path = tmp_path / "out" / "errors.tif"
    assert np.array_equal(pixels(path), expected)
    with rasterio.open(path) as dataset:
        assert dataset.nodata == 0
        assert dataset.colormap(1)[RIGHT] == (0xBC, 0xD9, 0xE8, 255)
        assert dataset.tags()["GEOSEG_MODEL"] == "abcdef0123456789"
        assert "GEOSEG_LEGEND" not in dataset.tags()
    names = Path(f"{path}.aux.xml").read_text("utf-8")
    assert "<Category>water taken for other</Category>" in names
    assert "<Category>bürgel &amp; &lt;co&gt; taken for water</Category>" in names
    assert 'label="right"' in path.with_suffix(".qml").read_text("utf-8")


def test_largest_disagreements_are_polygons_with_both_classes(made, codes, tmp_path):
    done = run(made, tmp_path / "out", showing=Showing(disagreements=5))
    table = geopandas.read_file(tmp_path / "out" / "disagreements.gpkg", layer="disagreements")
    errors = pixels(tmp_path / "out" / "errors.tif")
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    assert table["hectares"].is_monotonic_decreasing
    areas = []
    for code in np.unique(errors[errors >= WRONG]):
        labels, count = ndimage.label(errors == code)
        areas += np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist()
    largest = sorted(areas, reverse=True)[:5]
    assert (table.area / 0.25).round().tolist() == largest
    assert table["hectares"].tolist() == pytest.approx([n * 0.25e-4 for n in largest], rel=2e-3)
    codes_of = dict(zip(LEGEND.names, LEGEND.codes, strict=True))
    truth = truth_of_boxes()
    for row in table.itertuples():
        point = row.geometry.representative_point()
        column, line = ~GRID.transform @ (point.x, point.y)
        place = int(line), int(column)
        assert codes[place] == codes_of[row.map]
        assert truth[place] == codes_of[row.label]
        assert errors[place] == row.code
        assert row.error == f"{row.label} taken for {row.map}"
    assert table.crs.to_epsg() == 32633
    assert "largest errors" in str(done)


def test_a_perfect_map_has_no_disagreements(made, tmp_path):
    found, labels = made
    write_map(Path(found.path), np.where(truth_of_boxes() == 255, 0, truth_of_boxes()))
    done = run((ClassMap.read(found.path), labels), tmp_path / "out")
    assert done.agreement.scores.overall_accuracy == 1
    assert not (tmp_path / "out" / "disagreements.gpkg").exists()
    assert set(np.unique(pixels(tmp_path / "out" / "errors.tif"))) == {0, RIGHT}


def test_scores_by_zone(made, tmp_path):
    boxes = [(Window(0, 0, 120, 70), "west"), (Window(0, 60, 120, 90), "east")]
    path = write_labels(tmp_path / "zones.gpkg", boxes)
    found, labels = made
    cfg = EvaluateConfig(map=found.path, out=str(tmp_path / "out"), labels=labels)
    cfg.zones = f"{path}:class"
    command.main(cfg)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text("utf-8"))
    zones = scores["zones"]
    assert [z["name"] for z in zones] == ["west", "east"]
    assert sum(z["pixels"] for z in zones) == scores["pixels"]["compared"]
    whole = scores["hectares"]["grid"]["compared"]
    assert sum(z["hectares"] for z in zones) == pytest.approx(whole, rel=1e-9)
    truth, mapped = truth_of_boxes()[:, :70], pixels(Path(found.path))[:, :70]
    compared = (truth != 255) & (mapped != 0)
    right = (truth == mapped)[compared].mean()
    assert zones[0]["overall_accuracy"] == pytest.approx(right)
    assert zones[0]["difference"]["disagreement"] == pytest.approx(1 - right)
    table = geopandas.read_file(tmp_path / "out" / "zones.gpkg", layer="zones")
    assert table["overall_accuracy"].tolist() == pytest.approx(
        [z["overall_accuracy"] for z in zones]
    )
    page = Page(tmp_path / "out" / "report.html")
    assert "zones overlap" in page.text
    assert "west" in page.text


def test_disagreement_is_the_headline_and_kappa_only_a_score(made, tmp_path):
    run(made, tmp_path / "out")
    scores = json.loads((tmp_path / "out" / "scores.json").read_text("utf-8"))
    found = scores["difference"]
    parts = found["quantity"] + found["exchange"] + found["shift"]
    assert parts == pytest.approx(found["disagreement"])
    assert found["disagreement"] == pytest.approx(1 - scores["overall_accuracy"])
    assert "kappa" in scores
    page = Page(tmp_path / "out" / "report.html")
    assert "Kappa" not in page.text
    assert "exchange" in page.text


def test_tables(made, tmp_path):
    done = run(made, tmp_path / "out")
    with (tmp_path / "out" / "confusion.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == LEGEND.names
    assert [[int(n) for n in row[1:]] for row in rows[1:]] == done.agreement.confusion.tolist()
    scores = json.loads((tmp_path / "out" / "scores.json").read_text("utf-8"))
    assert scores["miou"] == pytest.approx(done.agreement.scores.miou)
    assert scores["classes"][1]["name"] == "bürgel & <co>"
    assert scores["confusion"] == done.agreement.confusion.tolist()
    assert scores["pixels"]["without map"] == 600
    assert scores["hectares_per_pixel"] == pytest.approx(0.25 / 10_000, rel=1e-3)
    assert scores["boundary_f1"]["mean"] == pytest.approx(done.agreement.boundary.mean)
    assert scores["origin"]["model"] == "abcdef0123456789"
    assert scores["origin"]["labels"]["field"] == "class"
    said = str(done)
    assert "overall accuracy" in said
    assert f"{tmp_path / 'out' / 'report.html'}" in said


class Page(HTMLParser):
    """Checks that tags are balanced; keeps text and images."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.images: list[str] = []
        self.links: list[str] = []
        self.feed(path.read_text("utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attrs):
        if tag not in self.EMPTY:
            self.open.append(tag)
        values = dict(attrs)
        if tag == "img":
            self.images.append(values["src"])
        self.links += [v for k, v in attrs if k in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_report_is_one_whole_page_with_all_figures(made, tmp_path):
    done = run(made, tmp_path / "out", showing=Showing(notes=("mind the gap",)))
    page = Page(tmp_path / "out" / "report.html")
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    scores = done.agreement.scores
    assert f"{scores.miou:.3f}" in page.text
    assert f"{100 * scores.overall_accuracy:.1f}\u202f%" in page.text
    for name, value in zip(scores.names, scores.users_accuracy, strict=True):
        assert name in page.text
        assert f"{value:.3f}" in page.text
    for count in done.agreement.confusion.ravel().tolist():
        assert f"{count:,}".replace(",", "\u202f") in page.text
    assert "mind the gap" in page.text
    assert "abcdef0123456789" in page.text
    assert "without map" in page.text
    assert "EPSG:32633" in page.text


def read_png(uri: str) -> np.ndarray:
    """Red, green and blue (3, H, W), whether the picture holds them or numbers of a palette."""
    with MemoryFile(base64.b64decode(uri.split(",")[1])) as memory, memory.open() as dataset:
        found = dataset.read()
        if len(found) == 1 and dataset.colorinterp[0] == ColorInterp.palette:
            colors = dataset.colormap(1)
            table = np.array([colors.get(n, (0, 0, 0))[:3] for n in range(256)], np.uint8)
            found = np.moveaxis(table[found[0]], 2, 0)
        return found


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_pictures_stand_side_by_side(made, codes, tmp_path):
    image = np.stack([np.full((120, 160), 7), *np.indices((120, 160)), codes])
    scene = write_scene(tmp_path / "scene.tif", image)
    run(made, tmp_path / "out", scenes=find_scenes(str(scene)))
    whole, shown, labels, mapped, errors = map(
        read_png, Page(tmp_path / "out" / "report.html").images
    )
    # One place, the whole map: no labels were left out for being few.
    assert shown.shape == labels.shape == mapped.shape == (3, 120, 160)
    assert shown[0, 0, 0] == 0, "red is the second band, and grows downwards"
    assert shown[0, -1, 0] == 255
    assert np.array_equal(whole, mapped)
    assert mapped[:, 100, 100].tolist() == list(LEGEND.colors()[codes[100, 100]][:3])
    assert mapped[:, 0, 0].tolist() == [238] * 3
    assert labels[:, 35, 25].tolist() == [0xE3, 0x1A, 0x1C]
    wrong = (errors == np.array([0xC2, 0x00, 0x2F])[:, None, None]).all(0)
    assert np.array_equal(wrong, pixels(tmp_path / "out" / "errors.tif") >= WRONG)


def test_images_are_found_by_what_the_map_says(tmp_path, codes):
    scene = write_scene(tmp_path / "scenes" / "a.tif", np.stack([codes] * 4))
    done = {"status": "done", "paths": [str(scene)], "inputs": [fingerprint(scene)]}
    record = {"scenes": {"a": done, "b": {"status": "failed"}}}
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "predict.json").write_text(json.dumps(record))
    labels = write_labels(tmp_path / "labels.gpkg", BOXES)
    mosaic = write_map(tmp_path / "all.tif", codes, GEOSEG_MAPS="maps")
    single = write_map(maps / "landcover" / "a.tif", codes)
    for number, path in enumerate((mosaic, single)):
        out = tmp_path / f"out{number}"
        cfg = EvaluateConfig(map=str(path), out=str(out))
        cfg.labels = Labels(path=str(labels), field="class")
        command.main(cfg)
        assert len(Page(out / "report.html").images) == 5
    scene.unlink()
    cfg.out = str(tmp_path / "out2")
    command.main(cfg)
    page = Page(tmp_path / "out2" / "report.html")
    assert len(page.images) == 4
    assert "no images in the pictures" in page.text


def make_dataset(folder: Path, tiles: list[tuple[str, str, Window]]) -> Dataset:
    """A data set of scenes on GRID whose target is the boxes; tiles: scene, split, window."""
    names = sorted({scene for scene, _, _ in tiles})
    blank = np.ones((4, GRID.height, GRID.width))
    paths = [str(write_scene(folder.parent / "scenes" / f"{n}.tif", blank)) for n in names]
    scenes = tuple(find_scenes(paths))
    statistics = BandStatistics(*[(0.0,) * 4] * 6)
    tiling = Tiling(size=64, overlap=16)
    folder.mkdir()
    made = Dataset(folder, scenes, statistics, LEGEND, tiling, 0.5, {"labels": {"name": "x"}})
    for name in names:
        with raster.create(made.target(name), GRID, dtype="uint8", nodata=0) as writer:
            writer.write(truth_of_boxes(), GRID.window)
    rows = [Tile(scene, split, window, window, (1, 1, 1)) for scene, split, window in tiles]
    write_tiles(folder, rows, scenes, LEGEND)
    made.save()
    return Dataset.load(folder)


def test_only_tiles_of_the_split_count_and_none_that_a_train_tile_covers(made, codes, tmp_path):
    test, train = Window(20, 20, 60, 64), Window(60, 60, 40, 40)
    dataset = make_dataset(
        tmp_path / "dataset",
        [("a", "test", test), ("b", "train", train), ("b", "val", Window(20, 20, 10, 10))],
    )
    inside = np.zeros(codes.shape, bool)
    inside[test.within(GRID.window)] = True
    inside[train.within(GRID.window)] = False
    truth = np.where(inside, truth_of_boxes(), 255)
    expected = confusion(LEGEND.encode(truth), LEGEND.encode(codes), 3)
    found, labels = made
    for own in (None, labels):
        truth_source = from_dataset(dataset, "test", found, legend=LEGEND, labels=own)
        done = evaluate(found, truth_source, tmp_path / f"out{own is None}")
        assert done.agreement.confusion.tolist() == expected.tolist()
        assert done.agreement.pixels["outside the split"] == ((codes > 0) & ~inside).sum()
        assert sum(done.agreement.pixels.values()) == codes.size
    page = Page(tmp_path / "outTrue" / "report.html")
    assert "test split of" in page.text
    assert "burnt by prepare: name: x" in page.text


def test_a_split_that_the_network_has_learnt_from_is_said_to_be(codes, tmp_path):
    path = write_map(tmp_path / "maps" / "landcover" / "a.tif", codes)
    record = tmp_path / "maps" / "predict.json"
    tile = Window(0, 0, 64, 64)
    splits = [("a", split, tile.shift(0, 48 * n)) for n, split in enumerate(SPLITS)]
    dataset = make_dataset(tmp_path / "dataset", splits)
    found = ClassMap.read(path)
    for refit, learnt in ((False, ["train"]), (True, ["train", "val"])):
        record.write_text(json.dumps({"refit": refit}))
        for split in SPLITS:
            truth = from_dataset(dataset, split, found, legend=LEGEND)
            said = f"split={split}: the network of this map has learnt from it"
            assert any(note.startswith(said) for note in truth.notes) == (split in learnt)
    assert said.replace("test", "val") in str(
        evaluate(found, from_dataset(dataset, "val", found, legend=LEGEND), tmp_path / "out")
    )


def test_faults_of_a_data_set(made, tmp_path):
    dataset = make_dataset(tmp_path / "dataset", [("a", "train", Window(0, 0, 64, 64))])
    found, _ = made
    with pytest.raises(InputError, match=r"split=test: .* has no tiles of it"):
        from_dataset(dataset, "test", found, legend=LEGEND)
    other = Legend.parse([{"code": 1, "name": "forest", "color": "green"}], "x")
    with pytest.raises(InputError, match=r"legends differ: code 1 is other in .*, but forest in"):
        from_dataset(dataset, "train", found, legend=other)


def test_labels_that_miss_the_map_are_told_with_both_extents(made, tmp_path):
    found, _ = made
    away = Grid(UTM, Affine(0.5, 0, 600_000, 0, -0.5, 5_000_000), 10, 10)
    path = write_labels(tmp_path / "away.gpkg", [(away.window, "other")], away)
    cfg = EvaluateConfig(map=found.path, out=str(tmp_path / "out"))
    cfg.labels = Labels(path=str(path), field="class")
    with pytest.raises(InputError, match=r"longitude 16\..*latitude 45\..*longitude 15\.0"):
        command.main(cfg)
    assert not (tmp_path / "out").exists()


def test_nothing_to_compare(made, codes, tmp_path):
    unlabelled = np.where(truth_of_boxes() == 255, codes, 0)
    empty, labels = ClassMap.read(write_map(tmp_path / "empty.tif", unlabelled)), made[1]
    with pytest.raises(InputError, match=r"no pixel has a class both in .* without label\)"):
        run((empty, labels), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_map_that_is_none(tmp_path, codes):
    image = write_scene(tmp_path / "image.tif", np.ones((4, 120, 160)))
    with pytest.raises(InputError, match="4 bands of uint16, not a map"):
        ClassMap.read(image)
    bare = tmp_path / "bare.tif"
    with raster.create(bare, GRID, dtype="uint8", nodata=0) as writer:
        writer.write(codes, GRID.window)
    with pytest.raises(InputError, match="no tag GEOSEG_LEGEND"):
        ClassMap.read(bare)
    assert ClassMap.read(bare, LEGEND).legend == LEGEND


def legend_file(path: Path, *classes: str) -> LegendSettings:
    path.write_text("classes:\n" + "".join(f"  - {{{c}}}\n" for c in classes), "utf-8")
    return LegendSettings(path=str(path))


def test_a_given_legend_must_fit_the_map(made, tmp_path):
    found, labels = made
    cfg = EvaluateConfig(map=found.path, out=str(tmp_path / "out"), labels=labels)
    cfg.legend = legend_file(tmp_path / "a.yaml", "code: 1, name: forest, color: green")
    with pytest.raises(InputError, match="legends differ: code 1 is forest in the given legend"):
        command.main(cfg)
    cfg.legend = legend_file(
        tmp_path / "b.yaml",
        "code: 1, name: other, color: gray",
        'code: 2, name: "bürgel & <co>", color: red, values: [house, water]',
    )
    with pytest.raises(InputError, match="holds code 9, which the legend"):
        command.main(cfg)
    assert not (tmp_path / "out" / "report.html").exists()
    assert not (tmp_path / "out" / "errors.tif").exists()


def test_values_that_the_legend_does_not_know(made, tmp_path):
    found, _ = made
    path = write_labels(tmp_path / "more.gpkg", [*BOXES, (Window(0, 0, 9, 9), "castle")])
    with pytest.raises(InputError, match="castle"):
        from_labels(Labels(path=str(path), field="class"), found, legend=LEGEND)


def test_background_beyond_the_labels_is_noted(made):
    found, labels = made
    labels.background = "other"
    assert "labels.area" in from_labels(labels, found, legend=LEGEND).notes[-1]


def test_the_same_again_is_renewed_and_other_settings_need_overwrite(made, codes, tmp_path):
    found, _ = made
    run(made, tmp_path / "out")
    write_map(Path(found.path), np.where(codes == 9, 1, codes))
    run((ClassMap.read(found.path), made[1]), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["classes"][2]["iou"] == 0
    with pytest.raises(InputError, match=r"other settings \(tolerance\)"):
        run(made, tmp_path / "out", showing=Showing(tolerance=3))
    run(made, tmp_path / "out", showing=Showing(tolerance=3), overwrite=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        [".evaluate.json", *set(PRODUCTS) - {"zones.gpkg"}]
    )


@pytest.mark.parametrize(
    ("cfg", "told"),
    [
        (EvaluateConfig(map="a.tif"), ["out: none given", "labels: none given"]),
        (EvaluateConfig(map="a.tif", out="", dataset="d"), ["out: none given"]),
        (EvaluateConfig(dataset="d"), ["map: none given", "out: none given"]),
        (EvaluateConfig(map="a.tif", out="o", dataset="d"), ["d: no dataset.json"]),
        (EvaluateConfig(map="a.tif", out="o", labels=Labels(path="b")), ["a.tif: no such file"]),
    ],
)
def test_what_is_missing_is_named(cfg, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        command.main(cfg)
    assert all(text in str(caught.value) for text in told)


def test_settings_are_checked():
    with pytest.raises(InputError, match="tolerance=-1") as caught:
        EvaluateConfig(tolerance=-1, pictures=-1)
    assert "pictures=-1" in str(caught.value)


def test_the_template_is_package_data():
    assert resources.files("geoseg.evaluation").joinpath("templates/report.html").is_file()
    text = resources.files("geoseg.evaluation").joinpath("templates/report.html").read_text("utf-8")
    assert not re.search(r"https?://", text)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (399, 4000), (601, 200), (2345, 3999)])
def test_places_and_windows_partition_the_grid(height, width):
    grid = Grid(UTM, GRID.transform, height, width)
    found = Excerpts(grid)
    covered = np.zeros((height, width), np.uint8)
    ones = np.zeros((height, width), np.uint8)
    for window in found.windows():
        part = window.within(grid.window)
        covered[part] += 1
        found.add(window, ones[part], ones[part])
    assert (covered == 1).all()
    assert sum(place.compared for place in found.found) == height * width
    assert max(place.window.height for place in found.found) <= 1.5 * excerpts.SIDE


def test_worst_median_and_best_places_are_chosen():
    box = Window(0, 0, 1, 1)
    found = [Excerpt(box, 100, right, 2) for right in range(0, 100, 5)]
    found += [Excerpt(box, 10, 0, 2), Excerpt(box, 100, 100, 1)]  # few labels; a single class
    chosen = choose(found, 2)
    assert [p.right for p in chosen] == [0, 5, 45, 50, 90, 95]
    assert [p.rank for p in chosen] == ["worst"] * 2 + ["median"] * 2 + ["best"] * 2
    assert [p.rank for p in choose(found[:3], 2)] == ["worst", "median", "best"]
    assert [p.rank for p in choose(found[:1], 2)] == ["only"]
    assert choose([], 2) == []
    assert choose(found, 0) == []


def test_bands_of_a_picture():
    assert shown_bands(("nir", "Red", "green", "blue")) == ("Red", "green", "blue")
    assert shown_bands(("B02", "B03", "B04", "B08")) == ("B04", "B03", "B02")
    assert shown_bands(("band_1", "band_2", "band_3", "band_4")) == (
        "band_1",
        "band_2",
        "band_3",
    )
    assert shown_bands(("height", "slope")) == ("height",)


def test_names_are_text_in_a_report_whatever_they_hold(made, tmp_path):
    found, labels = made
    evil = "<script>alert(1)</script>"
    renamed = (replace(LEGEND.classes[0], name=evil), *LEGEND.classes[1:])
    foreign = replace(found, legend=Legend(renamed))
    run((foreign, labels), tmp_path / "out")
    text = (tmp_path / "out/report.html").read_text("utf-8")
    assert evil not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert evil in Page(tmp_path / "out/report.html").text


def test_what_a_map_leaves_undecided_is_counted_apart(tmp_path, made, codes):
    found, labels = made
    left = codes.copy()
    left[40:60, 30:90] = 255
    tags = landcover.tags(LEGEND, "0" * 16, undecided="threshold 0.6")
    path = tmp_path / "open.tif"
    with raster.create(path, GRID, dtype="uint8", nodata=0, tags=tags) as writer:
        writer.write(left, GRID.window)
    found = ClassMap.read(path)
    truth = from_labels(labels, found, legend=found.legend)
    said = str(evaluate(found, truth, tmp_path / "open"))
    scores = json.loads((tmp_path / "open/scores.json").read_text())
    known = truth_of_boxes()
    open_ = int(((left == 255) & (known != 255)).sum())
    compared = (left != 255) & (left != 0) & (known != 255)
    right = (left == known)[compared].mean()
    assert scores["pixels"]["left undecided"] == scores["left_undecided"]["pixels"] == open_
    assert sum(scores["pixels"].values()) == left.size
    assert scores["left_undecided"]["share"] == open_ / (open_ + compared.sum())
    assert scores["left_undecided"]["right_of_the_rest"] == pytest.approx(right)
    assert f"of the rest {right:.1%} right" in said
    assert "Left undecided" in (tmp_path / "open/report.html").read_text()


def test_the_confidence_beside_a_map_is_judged(tmp_path, made, codes):
    _, labels = made
    path = tmp_path / "maps/landcover/m.tif"
    tags = landcover.tags(LEGEND, "0" * 16)
    sure = np.where(codes == truth_of_boxes(), 90, 60).astype(np.uint8)
    novel = np.where(codes == truth_of_boxes(), 20, 100).astype(np.uint8)
    beside = {"landcover": codes, "confidence": sure, "novelty": novel}
    for name, values in beside.items():
        where = tmp_path / "maps" / name / "m.tif"
        with raster.create(where, GRID, dtype="uint8", nodata=0, tags=tags) as writer:
            writer.write(values, GRID.window)
    found = ClassMap.read(path)
    truth = from_labels(labels, found, legend=found.legend)
    said = str(evaluate(found, truth, tmp_path / "report"))
    scores = json.loads((tmp_path / "report/scores.json").read_text())
    right = scores["overall_accuracy"]
    assert scores["confidence"]["ece"] == pytest.approx(right * 0.1 + (1 - right) * 0.6)
    assert "confidence: ECE" in said
    page = (tmp_path / "report/report.html").read_text()
    assert "Is the confidence what it says?" in page
    # Right at ranks of 1 to 50, wrong where all is new.
    assert [e["overall_accuracy"] for e in scores["novelty"]] == [1.0, None, None, 0.0]
    assert f"right by novelty: 100.0% at 1–50, 0.0% at 100 (novel); {1 - right:.1%}" in said
    assert "Is the map worse where the ground is new?" in page


def test_what_is_open_beside_a_map_is_closed_on_a_fault(tmp_path, made, codes, monkeypatch):
    class Counted(raster.Raster):
        open_ = 0

        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            Counted.open_ += 1

        def close(self):
            super().close()
            Counted.open_ -= 1

    path = tmp_path / "maps/landcover/m.tif"
    tags = landcover.tags(LEGEND, "0" * 16)
    for name in ("landcover", "confidence"):
        where = tmp_path / "maps" / name / "m.tif"
        with raster.create(where, GRID, dtype="uint8", nodata=0, tags=tags) as writer:
            writer.write(codes, GRID.window)
    found = ClassMap.read(path)
    truth = from_labels(made[1], found, legend=found.legend)
    monkeypatch.setattr(agreement, "Raster", Counted)
    with pytest.raises(InputError, match=r"novel\.tif"):
        agreement.compare(
            found, truth, confidence=tmp_path / "maps/confidence/m.tif",
            novelty=tmp_path / "novel.tif",
        )  # fmt: skip
    assert Counted.open_ == 0
