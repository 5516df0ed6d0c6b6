"""Blocks: slow files are noticed, and copied in tiles that show the same."""

import hashlib
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from geoseg.dataset import retile
from geoseg.dataset.prepare import PrepareSettings, prepare
from geoseg.dataset.split import Split
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.models.settings import Model
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_scenes, harmonize
from geoseg.training.run.history import History
from geoseg.training.settings import Fit
from geoseg.training.start import train
from tests.made.scenes import grid, write
from tests.made.started import Started

LEGEND = Legend.parse(
    [
        {"code": 1, "name": "a", "color": "#000000", "values": [1]},
        {"code": 2, "name": "b", "color": "#ffffff", "values": [2]},
    ],
    "test",
)
TILING = Tiling(256, 64)
HEIGHT, WIDTH = 270, 1300
SPLIT = Split(val=0.3, by="west_east", buffer_m=4)


def striped(path, image, *, left=0, colors=(), mask=None, names=(), **options):
    """A compressed GeoTIFF in stripes of some rows."""
    count, height, width = image.shape
    where = grid(height, width, left=500_000 + left)
    profile = {
        "driver": "GTiff", "dtype": str(image.dtype), "count": count, "height": height,
        "width": width, "crs": where.crs, "transform": where.transform, "tiled": False,
        "blockysize": 1, "compress": "deflate", "interleave": "pixel",
        "photometric": "minisblack", "alpha": "no",
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", **profile | options) as file,
    ):
        if colors:
            file.colorinterp = colors
        for number, name in enumerate(names, 1):
            file.set_band_description(number, name)
        file.write(image)
        if mask is not None:
            file.write_mask(mask)
    return path


def pixels(bands=3, dtype="uint8", seed=0, height=HEIGHT, width=WIDTH):
    values = np.random.default_rng(seed).integers(0, 200, (bands, height, width)).astype(dtype)
    values[:, 5:20, 7:30] = 0
    return values


def seen(scene):
    with scene.open() as reader:
        return [reader.read(w) for w in (scene.grid.window, scene.grid.window.grow(9))]


def retiled(tmp_path, scenes):
    return retile.retile(scenes, tmp_path / "dataset", 256)


RED, GREEN, BLUE, ALPHA = (
    *(ColorInterp.red, ColorInterp.green, ColorInterp.blue),
    ColorInterp.alpha,
)
NIR = ColorInterp.undefined
FLOATS = np.where(pixels(2, "float32") > 100, np.float32(np.nan), pixels(2, "float32") / 7)
MASK = (pixels(1)[0] > 30).astype(np.uint8) * 255
FILES = {
    "nodata": lambda path: striped(path, pixels(), nodata=0, names=("r", "g", "n")),
    "plain": lambda path: striped(path, pixels(4)),
    "alpha": lambda path: striped(
        path, np.concatenate([pixels(), MASK[None]]), colors=(RED, GREEN, BLUE, ALPHA)
    ),
    "four and alpha": lambda path: striped(
        path, np.concatenate([pixels(4), MASK[None]]), colors=(RED, GREEN, BLUE, NIR, ALPHA)
    ),
    "mask": lambda path: striped(path, pixels(2, "uint16"), mask=MASK, blockysize=8),
    "floats": lambda path: striped(path, FLOATS, nodata=-9999.0),
    "nan": lambda path: striped(path, FLOATS, nodata=float("nan"), predictor=3),
    "signed": lambda path: striped(path, pixels(1, "int16") - 50, nodata=-50),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_copy_shows_what_its_file_shows(tmp_path, kind):
    path = FILES[kind](tmp_path / "a.tif")
    (before,) = find_scenes(path)
    (after,), said = retiled(tmp_path, [before])
    assert after.paths == (str(tmp_path / "dataset" / "scenes" / "a.tif"),)
    assert "1 file copied in tiles" in said[0]
    for (image, valid), (image2, valid2) in zip(seen(before), seen(after), strict=True):
        assert image.dtype == image2.dtype
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(valid, valid2)
    assert not seen(before)[0][1].all() or kind == "plain"
    (found,) = find_scenes(after.paths[0])
    assert found.bands == before.bands
    with rasterio.open(path) as old, rasterio.open(after.paths[0]) as new:
        assert new.block_shapes == [(256, 256)] * old.count
        assert new.compression is not None
        np.testing.assert_array_equal(old.read(), new.read())
    assert not retile.slow_files(after, 256)


def test_every_slow_file_of_a_scene_is_copied_and_no_other(tmp_path):
    red = striped(tmp_path / "in" / "x_red.tif", pixels(1, seed=1), nodata=0)
    nir = write(tmp_path / "in" / "x_nir.tif", pixels(1, seed=2))
    coarse = pixels(1, "float32", seed=3, height=600, width=3000)
    height = striped(tmp_path / "more" / "x_red.tif", coarse, left=-5)
    bands = Bands(pattern=r"(?P<scene>x)_(?P<band>\w+)\.tif", extra={"height": str(height)})
    (before,) = find_scenes(tmp_path / "in", bands)
    (after,), said = retiled(tmp_path, [before])
    names = {Path(path).parent.name for path in after.paths}
    assert names == {"in", "scenes"}
    assert str(nir) in after.paths
    assert not {str(red), str(height)} & set(after.paths)
    assert len(set(after.paths)) == 3  # two files are called x_red
    assert "2 files copied" in said[0]
    for (image, valid), (image2, valid2) in zip(seen(before), seen(after), strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(valid, valid2)


def test_what_a_window_costs():
    where = grid(512, 1024)
    assert retile.waste(where, (1, 1024), 256) == 4
    assert retile.waste(where, (1, 1024), 64) == 16
    assert retile.waste(where, (512, 1024), 64) == 16 * 8
    assert retile.waste(where, (128, 128), 64) == 4
    assert retile.waste(where, (128, 128), 256) == 1
    assert retile.waste(where, (1, 1024), 2000) == 1  # all of it is shown


def test_which_files_are_slow(tmp_path):
    def slow(side=256, width=2100, **options):
        image = pixels(1, height=1100, width=width)
        (scene,) = find_scenes(striped(tmp_path / "a.tif", image, **options))
        return bool(retile.slow_files(scene, side))

    assert slow()
    assert slow(blockysize=16)
    assert not slow(compress=None)
    assert not slow(width=1000)
    assert not slow(side=64)  # where tiles decompress more than rows do
    for block, is_slow in ((128, False), (256, False), (512, False), (1024, True)):
        assert slow(tiled=True, blockxsize=block, blockysize=block) == is_slow


def test_slow_scenes_are_counted_and_the_remedy_is_given(tmp_path):
    striped(tmp_path / "a.tif", pixels(1, width=2560))
    write(tmp_path / "b.tif", pixels(1))
    scenes = find_scenes(tmp_path)
    text = retile.complaint(scenes, 256)
    assert text.startswith("1 of 2 scenes is striped (rows of 1 px × whole width): a random window")
    assert "decompresses 10 times what it shows" in text
    assert "retile=true" in text
    assert retile.complaint(scenes[1:], 256) is None
    tiles = {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "rows": 1024}
    large = striped(tmp_path / "c.tif", pixels(1, height=1100, width=1100), **tiles)
    text = retile.complaint(find_scenes(large), 256)
    assert text.startswith("1 of 1 scene is stored in large blocks (1024 × 1024 px)")
    assert "16 times" in text


@pytest.fixture
def place(tmp_path):
    """Three scenes, one of them tiled, and a class raster that covers them."""
    for number in range(2):
        image = np.maximum(pixels(3, seed=number), 1)
        striped(tmp_path / "in" / f"s{number}.tif", image, left=1500 * number, nodata=0)
    write(tmp_path / "in" / "t.tif", pixels(3, seed=2), grid=grid(HEIGHT, WIDTH, left=503_000))
    codes = np.ones((HEIGHT, 4400), np.uint8)
    codes[:, ::2] = 2
    write(tmp_path / "labels.tif", codes, names=())
    return tmp_path


def make(place, out="dataset", **options):
    scenes = harmonize(find_scenes(place / "in"))
    overwrite = options.pop("overwrite", False)
    settings = PrepareSettings(**{"tiling": TILING, "split": SPLIT} | options)
    labels = Labels(path=str(place / "labels.tif"))
    made = prepare(scenes, labels, LEGEND, place / out, settings=settings, overwrite=overwrite)
    return str(made)


def digest(folder):
    """Of each file but the note of settings, which says where it lies and from where that holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".prepare.json"
    }


def test_prepare_says_it_and_retile_mends_it(place):
    text = make(place)
    assert "2 of 3 scenes are striped (rows of 1 px × whole width)" in text
    assert not (place / "dataset" / "scenes").exists()
    plain = Dataset.load(place / "dataset")
    with pytest.raises(InputError, match=r"other settings \(retile\)"):
        make(place, retile=True)
    text = make(place, retile=True, overwrite=True)
    assert "2 files copied in tiles" in text
    assert "1 scene is fast to read as it is, and not copied" in text
    assert "striped" not in text
    made = Dataset.load(place / "dataset")
    assert [Path(scene.paths[0]).parent.name for scene in made.scenes] == ["scenes", "scenes", "in"]
    assert made.statistics == plain.statistics
    assert made.tiles("train") == plain.tiles("train")
    for before, after in zip(plain.scenes, made.scenes, strict=True):
        assert (before.name, before.bands, before.grid) == (after.name, after.bands, after.grid)
        np.testing.assert_array_equal(seen(before)[0][0], seen(after)[0][0])
    make(place, overwrite=True)
    assert not list((place / "dataset" / "scenes").glob("*"))


def test_a_data_set_with_copies_moves_as_a_whole(place):
    make(place, retile=True)
    before = [seen(scene) for scene in Dataset.load(place / "dataset").scenes[:2]]
    (place / "there").mkdir()
    (place / "dataset").rename(place / "there" / "dataset")
    moved = Dataset.load(place / "there" / "dataset").scenes[:2]
    for old, scene in zip(before, moved, strict=True):
        np.testing.assert_array_equal(old[0][0], seen(scene)[0][0])


def test_a_killed_retiling_ends_with_the_same_bytes(place):
    make(place, out="whole", retile=True)
    code = (
        "import time; import tests.dataset.test_retile as t; from pathlib import Path;"
        "from geoseg.dataset import retile; pixels = retile._pixels;"
        "retile._pixels = lambda *a: time.sleep(0.3) or pixels(*a);"
        f"t.make(Path({str(place)!r}), retile=True)"
    )
    (place / "killed.py").write_text(code)
    copies = place / "dataset" / "scenes"
    end = time.monotonic() + 60
    with Started("-m", "killed", cwd=place) as process:
        while (
            process.poll() is None and time.monotonic() < end and not (copies / "s0.tif").exists()
        ):
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (copies / "s0.tif").exists()
    assert not (copies / "s1.tif").exists()
    assert not (place / "dataset" / "dataset.json").exists()
    kept = (copies / "s0.tif").stat().st_mtime_ns
    make(place, retile=True)
    assert (copies / "s0.tif").stat().st_mtime_ns == kept
    assert digest(place / "dataset") == digest(place / "whole")


def test_a_file_that_was_exchanged_is_copied_again(place):
    make(place, retile=True)
    image = np.maximum(pixels(3, seed=9), 1)
    striped(place / "in" / "s0.tif", image, nodata=0)
    make(place, retile=True, overwrite=True)
    scene = Dataset.load(place / "dataset").scenes[0]
    np.testing.assert_array_equal(seen(scene)[0][0], image)


def test_files_of_others_are_not_touched(place):
    mine = write(place / "dataset" / "scenes" / "s0.tif", pixels(1))
    before = digest(place / "dataset")
    with pytest.raises(InputError, match=r"s0\.tif: lies where tiled copies go"):
        make(place, retile=True)
    assert digest(place / "dataset") == before
    make(place)
    assert mine.exists()


def test_a_damaged_file_is_said(place):
    path = place / "in" / "s1.tif"
    (scene,) = find_scenes(path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match=r"s1\.tif"):
        retile.retile([scene], place / "dataset", 256)
    assert not list((place / "dataset").rglob("*.tif"))


def test_training_says_it_at_its_start(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(History, "finished", lambda self, fit: "enough")
    small = Model(encoder="tu-lcnet_050")
    make(place)
    slow = Dataset.load(place / "dataset")
    train(slow, tmp_path / "a", model=small, fit=Fit(workers=0, device="cpu"))
    assert "note: 2 of 3 scenes are striped" in capsys.readouterr().out
    make(place, retile=True, overwrite=True)
    fast = Dataset.load(place / "dataset")
    train(fast, tmp_path / "b", model=small, fit=Fit(workers=0, device="cpu"))
    assert "note:" not in capsys.readouterr().out
