"""Bad input of every kind: one clear fault, nothing half-written, the other scenes done."""

import errno
import json
import os
import struct
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from rasterio.control import GroundControlPoint

from geoseg.dataset.split import Split
from geoseg.errors import InputError
from geoseg.evaluate import EvaluateConfig
from geoseg.evaluate import main as evaluate
from geoseg.geo import raster
from geoseg.geo.legend import LegendSettings
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.maps import landcover
from geoseg.maps.joint_grid import Placement
from geoseg.maps.mosaic import mosaic
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.outputs.files import make_folder, replacing, write_json
from geoseg.prepare import PrepareConfig
from geoseg.prepare import main as prepare
from geoseg.training import loop
from geoseg.training.objectives.settings import Loss
from geoseg.training.run import history
from geoseg.training.settings import Fit
from geoseg.training.start import train
from tests.made import started
from tests.made.scenes import CARD, LEGEND, grid, write

SMALL = Model("pspnet", "tu-lcnet_050")
HERE = grid(96, 96)
ALL = {"val": 0, "test": 0}
CLASSES = (
    "classes:\n"
    '  - {code: 1, name: other, color: "#d9d9d9"}\n'
    '  - {code: 2, name: house, color: "#e31a1c"}\n'
)


def box(left=20, top=20, side=40):
    x, y = 500_000 + left, 5_000_000 - top
    return shapely.box(x, y - side, x + side, y)


def draw(path, shapes, values=None, crs="EPSG:32632"):
    values = ["house"] * len(shapes) if values is None else values
    geopandas.GeoDataFrame({"class": values}, geometry=shapes, crs=crs).to_file(path)
    return path


def image(height=96, width=96, bands=3, kind=np.uint8):
    return np.random.default_rng(0).integers(1, 200, (bands, height, width)).astype(kind)


@pytest.fixture
def place(tmp_path):
    """A scene whose name is all digits, its labels and a legend."""
    write(tmp_path / "scenes/22978945_15.tif", image())
    draw(tmp_path / "labels.gpkg", [box()])
    (tmp_path / "legend.yaml").write_text(CLASSES)
    return tmp_path


def config(place, *, split=None, size=64, **labels):
    labels = {"path": str(place / "labels.gpkg"), "field": "class", "background": "other"} | labels
    return PrepareConfig(
        scenes=str(place / "scenes"),
        dataset=str(place / "dataset"),
        labels=Labels(**labels),
        legend=LegendSettings(path=str(place / "legend.yaml")),
        tiling=Tiling(size),
        split=Split(**(split or ALL)),
    )


def fault(function, *args, **options):
    """The one fault that a call ends with."""
    with pytest.raises(InputError) as caught:
        function(*args, **options)
    assert len(caught.value.faults) == 1, caught.value.faults
    return caught.value.faults[0]


def run(*words, cwd):
    return started.run("-m", *words, cwd=cwd)


def odd_raster(path, transform=HERE.transform, crs=HERE.crs, gcps=()):
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=3, height=96, width=96, transform=transform
    ) as file:
        if crs and not gcps:
            file.crs = crs
        if gcps:
            file.gcps = (list(gcps), rasterio.crs.CRS.from_user_input(crs))
        file.write(image())


CORNERS = [
    GroundControlPoint(row, column, 500_000 + column, 5_000_000 - row)
    for row in (0, 96)
    for column in (0, 96)
]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crs": None}, ("no CRS", "rio edit-info")),
        ({"transform": HERE.transform @ Affine.rotation(20)}, ("rotated", "rio warp")),
        ({"transform": HERE.transform @ Affine.scale(1, -1)}, ("south-up", "rio warp")),
        ({"transform": Affine.identity()}, ("no geotransform", "world file")),
        ({"transform": None, "gcps": CORNERS}, ("4 ground control points", "rio warp")),
    ],
)
def test_scenes_that_do_not_say_where_they_are(place, options, words):
    odd_raster(place / "scenes/22978945_15.tif", **options)
    said = fault(prepare, config(place))
    assert "22978945_15.tif" in said
    assert all(word in said for word in words)
    assert not (place / "dataset").exists()


@pytest.mark.parametrize("content", [b"", b"hello world", b"II*\x00\x08\x00\x00\x00"])
def test_scenes_that_are_no_rasters(place, content):
    (place / "scenes/22978945_15.tif").write_bytes(content)
    said = fault(prepare, config(place))
    assert "22978945_15.tif: can't be opened as a raster" in said
    assert "is it cut short?" in said
    assert not (place / "dataset").exists()


def test_a_scene_cut_short_leaves_no_target(place):
    path = place / "scenes/22978945_15.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut short" in fault(prepare, config(place))
    assert not list(place.rglob("*.part"))
    assert not list((place / "dataset").rglob("*.tif"))


@pytest.mark.parametrize(("height", "width"), [(30, 50), (65, 65), (64, 64), (25, 200)])
def test_scenes_smaller_than_a_tile_or_a_pixel_larger(place, height, width):
    write(place / "scenes/22978945_15.tif", image(height, width))
    prepare(config(place))
    with raster.Raster(place / "dataset/targets/22978945_15.tif") as target:
        assert (target.grid.height, target.grid.width) == (height, width)


def test_a_scene_without_data_is_named_with_what_to_check(place):
    write(place / "scenes/22978945_15.tif", image() * 0)
    said = fault(prepare, config(place))
    assert "no labelled pixel" in said
    assert "nodata" in said
    assert not (place / "dataset/dataset.json").exists()


@pytest.mark.parametrize(
    ("shapes", "values", "words"),
    [
        ([box(), box(60)], ["house", "barn"], ("does not know: barn (1 ×)", "labels.unknown")),
        (
            [box(), box(60)],
            ["house", None],
            ("(no value) (1 ×)", "Give these a class, or set"),
        ),
        ([shapely.Point(500_030, 4_999_970)], None, ("1 of 1 geometries are points", "polygons")),
        ([shapely.LineString([(500_010, 4_999_950), (500_080, 4_999_955)])], None, ("width_m",)),
        ([shapely.box(600_000, 5_100_000, 600_100, 5_100_100)], None, ("they miss", "CRS")),
        ([], None, ("no geometry", "labels.gpkg")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*geometry.*:UserWarning")
def test_labels_that_can_not_be_burnt(place, shapes, values, words):
    draw(place / "labels.gpkg", shapes, values)
    said = fault(prepare, config(place))
    assert all(word in said for word in words), said
    assert not (place / "dataset").exists()


@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_label_files_that_can_not_be_read(place):
    draw(place / "labels.gpkg", [box()], crs=None)
    assert "no CRS" in fault(prepare, config(place))
    (place / "labels.gpkg").write_text("hello")
    assert "expected GeoPackage" in fault(prepare, config(place))
    (place / "labels.gpkg").unlink()
    assert "no such file" in fault(prepare, config(place))
    assert not (place / "dataset").exists()


def test_empty_null_and_invalid_geometries_are_mended_and_counted(place, capsys):
    bow = [(500_070, 4_999_940), (500_090, 4_999_980), (500_090, 4_999_940), (500_070, 4_999_980)]
    draw(place / "labels.gpkg", [box(), None, shapely.Polygon(), shapely.Polygon(bow)])
    prepare(config(place))
    said = capsys.readouterr().out
    assert "2 of 4 empty, null or broken geometries left out" in said
    assert "1 of 4 geometries with invalid rings repaired" in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("code: 1", "code: 0", ("0 means nodata",)),
        ("code: 1", "code: 255", ("255 means unlabelled",)),
        ("code: 1", "code: 2", ("code 2 appears 2 times",)),
        ("code: 1", "code: one", ("not a whole number",)),
        ("#d9d9d9", "greyish", ("unknown color 'greyish'", "#rrggbb")),
        ("name: other, color", "name: other, colour", ("unknown key 'colour'",)),
        ("classes:", "klasses:", ("expected one key `classes`",)),
        ("}\n", "\n", ("not valid YAML",)),
    ],
)
def test_legends_with_faults(place, old, new, words):
    (place / "legend.yaml").write_text(CLASSES.replace(old, new))
    with pytest.raises(InputError) as caught:
        prepare(config(place))
    assert "legend.yaml" in str(caught.value)
    assert all(word in str(caught.value) for word in words)
    assert not (place / "dataset").exists()


def test_splits_name_scenes_of_digits_and_unknown_ones_before_any_work(place):
    write(place / "scenes/3.tif", image(), grid=grid(96, 96, left=500_200))
    draw(place / "labels.gpkg", [box(), box(220)])
    # As a command line gives them: names of digits are numbers.
    prepare(config(place, split={"train": 2297894515, "val": [3], "test": 0}))
    again = replace(config(place), dataset=str(place / "other"))
    again.split = Split(train=["nix"], val=0, test=0)
    assert "no scene nix; there are 22978945_15, 3" in fault(prepare, again)
    assert not (place / "other").exists()


def test_a_dataset_of_other_settings(place):
    prepare(config(place))
    before = (place / "dataset/dataset.json").read_bytes()
    assert "overwrite=true" in fault(prepare, config(place, size=32))
    assert (place / "dataset/dataset.json").read_bytes() == before
    prepare(replace(config(place, size=32), overwrite=True))
    assert json.loads((place / "dataset/dataset.json").read_text())["tiling"]["size"] == 32


def test_a_size_alone_gives_a_fitting_overlap():
    assert Tiling(32).overlap == 8
    assert Tiling().overlap == 64
    for wrong in ("many", 2.5, True, 99):
        assert "tiling.overlap=" in fault(Tiling, 64, wrong)


@pytest.mark.parametrize("under", ["file", "file/folder", "file/deep/folder"])
def test_an_output_where_no_folder_can_be(place, dataset, under):
    (place / "file").write_text("mine")
    out = place / under
    assert "choose another" in fault(prepare, replace(config(place), dataset=str(out)))
    assert "choose another" in fault(train, dataset, out)
    assert (place / "file").read_text() == "mine"


def test_a_folder_without_the_right_to_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    assert "no right to write" in fault(make_folder, tmp_path)


def fill(path, number):
    with replacing(path) as grown:
        grown.write_text("half")
        raise OSError(number, os.strerror(number))


def test_a_full_disk_names_the_file_and_leaves_none(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("before")
    for number in (errno.ENOSPC, errno.EROFS):
        assert "a.json: can't be written" in fault(fill, path, number)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "before"

    def full(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:671] unexpected pos")

    monkeypatch.setattr(torch, "save", full)
    said = fault(loop._save, tmp_path / "last.ckpt", {}, history.History())
    assert "last.ckpt: can't be written" in said
    assert "disk full" in said
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": Model(encoder="resnet19")}, ("model.encoder=resnet19", "did you mean")),
        ({"model": Model(weights="nix.pth")}, ("model.weights=nix.pth", "no such file")),
        ({"fit": Fit(device="cuda:77")}, ("device=cuda:77",)),
        ({"loss": Loss(class_weights={"low": 1})}, ("no weight for high",)),
    ],
)
def test_a_refused_training_leaves_no_folder_that_hinders_the_next(
    dataset, tmp_path, options, words
):
    said = fault(train, dataset, tmp_path / "run", **options)
    assert all(word in said for word in words)
    assert not (tmp_path / "run").exists()


def test_a_training_that_explodes_says_so(dataset, tmp_path):
    wild = Fit(epochs=1, epoch_tiles=6, batch_size=2, workers=0, device="cpu", learning_rate=1e30)
    said = fault(train, dataset, tmp_path / "run", model=SMALL, fit=wild)
    assert "the loss is" in said
    assert "fit.learning_rate" in said
    assert not list(tmp_path.glob("run/*.safetensors"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    card = replace(CARD, model=SMALL)
    checkpoint.save(path, models.build(SMALL, 1, len(LEGEND)), card)
    return path


def packed(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a safetensors file"),
        (b"PK\x03\x04 a zip of torch.save", "not a safetensors file"),
        (packed([]), "not a safetensors file"),
        (packed({"a": {"data_offsets": [0, 0]}}), "without geoseg's model card"),
        (packed({"__metadata__": None}), "without geoseg's model card"),
        (packed({"__metadata__": {"geoseg": "{}"}, "a": 3}), "damaged"),
        (packed({"__metadata__": {"geoseg": "{}"}, "a": {"data_offsets": [0, 9]}}), "cut short"),
        (packed({"__metadata__": {"geoseg": "{}"}}), "can't read"),
        (packed({"__metadata__": {"geoseg": "[]"}}), "can't read"),
    ],
)
def test_foreign_and_damaged_weights(tmp_path, content, words):
    (tmp_path / "best.safetensors").write_bytes(content)
    said = fault(ModelCard.read, tmp_path / "best.safetensors")
    assert "best.safetensors" in said
    assert words in said


def test_weights_cut_short(tmp_path, weights):
    content = weights.read_bytes()
    for size in (5, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.safetensors").write_bytes(content[:size])
        assert "cut.safetensors" in fault(ModelCard.read, tmp_path / "cut.safetensors")


def test_the_command_predicts_what_it_can(tmp_path, weights):
    scenes = tmp_path / "scenes"
    write(scenes / "good.tif", image(40, 50, 1))
    write(scenes / "coarse.tif", image(40, 50, 1), grid=grid(40, 50, pixel=2))
    write(scenes / "deep.tif", image(40, 50, 1, np.uint16) * 250)
    write(scenes / "bad.tif", image(300, 300, 1))
    whole = (scenes / "bad.tif").read_bytes()
    (scenes / "bad.tif").write_bytes(whole[: len(whole) // 2])
    done = run(
        *("geoseg.predict", f"checkpoint={weights.parent}", "scenes=scenes", "out=maps"),
        "predict.device=cpu",
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "2 refused (coarse, deep), 1 failed (bad)" in done.stderr
    record = json.loads((tmp_path / "maps/predict.json").read_text())["scenes"]
    status = {name: entry["status"] for name, entry in record.items()}
    assert status == {"good": "done", "coarse": "refused", "deep": "refused", "bad": "failed"}
    assert all(name == "good" or record[name]["reason"] for name in record)
    assert [p.name for p in (tmp_path / "maps/landcover").glob("*.tif")] == ["good.tif"]


def class_map(path, codes=3, crs="EPSG:32632", where=HERE):
    codes = np.full((where.height, where.width), codes, np.uint8)
    tags = landcover.tags(LEGEND, "m")
    landcover.write(path, where, LEGEND, lambda w: codes[w.within(where.window)], tags=tags)
    return path


def test_mosaics_that_can_not_be(tmp_path):
    class_map(tmp_path / "maps/a.tif")
    maps = tmp_path / "maps"
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "folder.tif/mine").write_text("")
    (tmp_path / "file").write_text("")
    for out, options, words in (
        ("m.png", {}, "must end in .tif"),
        ("folder.tif", {"overwrite": True}, "is a folder"),
        ("new/m.tif", {"on": Placement(resolution=1e-9)}, "more than a GeoTIFF holds"),
        ("new/m.tif", {"on": Placement(crs="EPSG:99999")}, "not a CRS"),
        ("file/m.tif", {}, "choose another"),
    ):
        assert words in fault(mosaic, maps, tmp_path / out, **options)
    assert (tmp_path / "folder.tif/mine").exists()
    assert not (tmp_path / "new").exists()
    write(tmp_path / "maps/b.tif", image())
    assert "b.tif: 3 bands of uint8, not a map" in fault(mosaic, maps, tmp_path / "m.tif")


def test_evaluations_that_can_not_be(tmp_path):
    empty = class_map(tmp_path / "empty.tif", 0)
    full = class_map(tmp_path / "full.tif")
    near = draw(tmp_path / "near.gpkg", [box()], ["low"])
    far = draw(tmp_path / "far.gpkg", [box(10_000)], ["low"])
    (tmp_path / "legend.yaml").write_text(CLASSES.replace("code: 1", "code: 3"))
    for path, labels, legend, words in (
        (empty, near, None, "no pixel has a class both in the map and in the labels"),
        (full, far, None, "they miss the scene"),
        (full, near, "legend.yaml", "legends differ: code 3"),
        (tmp_path / "nix.tif", near, None, "no such file"),
        (near, near, None, "can't be opened as a raster"),
    ):
        given = EvaluateConfig(str(path), str(tmp_path / "out"))
        given.labels = Labels(path=str(labels), field="class")
        given.legend = LegendSettings(path=str(tmp_path / legend) if legend else None)
        assert words in fault(evaluate, given)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tiling.sise=64"], ("tiling.sise: no such key", "did you mean tiling.size?", "--help")),
        (["tiling.size=many"], ("tiling.size=many: expected a whole number", "--help")),
        (["legend=nix"], ("legend=nix: choose from", "buildings")),
        (["tiling.size=a=b"], ("tiling.size=a=b", "quote")),
        (["--config-dir", ".", "--config-name", "mine"], ("mine: tiling.sise: no such key",)),
    ],
)
def test_keys_and_values_that_are_none(tmp_path, words, told):
    (tmp_path / "mine.yaml").write_text("defaults: [prepare_schema, _self_]\ntiling: {sise: 3}\n")
    done = run("geoseg.prepare", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("geoseg prepare: ")
    assert all(word in done.stderr for word in told), done.stderr


def test_a_size_alone_on_the_command_line(place):
    done = run(
        *("geoseg.prepare", "scenes=scenes", "labels.path=labels.gpkg", "labels.field=class"),
        *("labels.background=other", "legend.path=legend.yaml", "dataset=dataset"),
        *("tiling.size=32", "split.train=22978945_15", "split.val=0", "split.test=0"),
        cwd=place,
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads((place / "dataset/dataset.json").read_text())
    assert made["tiling"] == {"size": 32, "overlap": 8}


def test_a_damaged_record_of_settings(tmp_path, place):
    write_json(place / "dataset/dataset.json", {"mine": 1})
    assert "knows nothing of" in fault(prepare, config(place))
    assert json.loads((place / "dataset/dataset.json").read_text()) == {"mine": 1}
