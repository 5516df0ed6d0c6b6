import hashlib
import itertools
import shutil
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine

from geoseg.dataset.prepare import PrepareSettings, prepare
from geoseg.dataset.report import said_of_extremes
from geoseg.dataset.split import Split
from geoseg.dataset.tiles import Dataset, said_of_changes_since
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.models.settings import Model
from geoseg.scenes.bands import Bands, Measure, scale
from geoseg.scenes.scene import find_scenes, harmonize
from geoseg.training.checks import check_dataset

LEGEND = Legend.parse(
    [
        {"code": 1, "name": "meadow", "color": "#00ff00"},
        {"code": 2, "name": "house", "color": "#ff0000"},
        {"code": 9, "name": "glacier", "color": "#0000ff"},
    ],
    "test",
)
TILING = Tiling(size=64, overlap=16)
WEST_EAST = Split(val=0.2, test=0.3, by="west_east", buffer_m=4)


def grid(left=0.0, height=200, width=300):
    return Grid("EPSG:32632", Affine(1, 0, 500_000 + left, 0, -1, 5_000_000), height, width)


def write_scene(path, where, bands=3, names=(), seed=0):
    image = np.random.default_rng(seed).integers(1, 250, (bands, where.height, where.width))
    image[:, :20, :20] = 0
    with raster.create(path, where, dtype="uint8", count=bands, nodata=0, names=names) as writer:
        writer.write(image.astype(np.uint8), where.window)
    return path


def write_labels(path, where, crs="EPSG:3035", names=("meadow", "house")):
    """Meadow over the whole grid but its southern 50 rows, a house in every 50 m square."""
    left, bottom, right, top = where.bounds
    shapes = [shapely.box(left, bottom + 50, right, top)]
    places = itertools.product(np.arange(left + 20, right, 50), np.arange(bottom + 70, top, 50))
    shapes += [shapely.box(x, y, x + 12, y + 12) for x, y in places]
    classes = [names[0], *[names[1]] * (len(shapes) - 1)]
    table = geopandas.GeoDataFrame({"class": classes}, geometry=shapes, crs=where.crs)
    table.to_crs(crs).to_file(path, engine="pyogrio")
    return path


@pytest.fixture
def place(tmp_path):
    write_scene(tmp_path / "a.tif", grid())
    write_labels(tmp_path / "labels.gpkg", grid())
    return tmp_path


def make(place, **options):
    scenes = harmonize(find_scenes(str(place / "*.tif"), options.get("bands")))
    labels = options.pop("labels", Labels(path=str(place / "labels.gpkg"), field="class"))
    overwrite = options.pop("overwrite", False)
    settings = PrepareSettings(**{"tiling": TILING, "split": WEST_EAST} | options)
    made = place / "dataset"
    return prepare(scenes, labels, LEGEND, made, settings=settings, overwrite=overwrite)


def test_targets_tiles_and_statistics(place):
    summary = str(make(place))
    made = Dataset.load(place / "dataset")
    with Raster(made.target("a")) as file:
        target = file.read(grid().window)[0][0]
    assert (target[:20, :20] == 0).all()
    assert (target[150:] == 255).all()
    assert (target[100, 20:32] == 2).all() or (target[90:130] == 2).any()
    assert set(np.unique(target)) == {0, 1, 2, 255}
    for split in ("train", "val", "test"):
        tiles = made.tiles(split)
        assert tiles
        for tile in tiles:
            part = target[tile.window.within(grid().window)]
            assert tile.counts == tuple(int((part == code).sum()) for code in (1, 2, 9))
    pixels = []
    with made.scenes[0].open() as reader:
        for tile in made.tiles("train"):
            image, valid = reader.read(tile.window)
            pixels.append(image[:, valid])
    assert made.statistics.mean == pytest.approx(np.concatenate(pixels, 1).mean(axis=1))
    assert "class glacier of the legend never occurs" in summary
    assert "train and val pixels are at least 4 m apart" in summary


def test_what_a_mask_hides_has_no_target_and_another_mask_is_another_data_set(place):
    def masked(left):
        with raster.create(place / "mask.tiff", grid(), dtype="uint8") as writer:
            writer.write(np.where(np.arange(300) < left, 9, 4)[None].repeat(200, 0), grid().window)
        scenes = harmonize(find_scenes(str(place / "*.tif")))
        mask = {"mask": str(place / "mask.tiff"), "mask_values": (8, 9)}
        scenes = [replace(scene, **mask) for scene in scenes]
        labels = Labels(path=str(place / "labels.gpkg"), field="class")
        settings = PrepareSettings(tiling=TILING, split=WEST_EAST)
        return str(prepare(scenes, labels, LEGEND, place / "dataset", settings=settings))

    assert "count as nodata: 17% of the pixels (a 17%)" in masked(50)
    made = Dataset.load(place / "dataset")
    with Raster(made.target("a")) as file:
        target = file.read(grid().window)[0][0]
    assert (target[:, :50] == 0).all()
    assert (target[20:, 50:] > 0).all()
    assert made.scenes[0].mask is not None
    with pytest.raises(InputError, match="other settings"):
        masked(60)
    (place / "mask.tiff").unlink()
    with pytest.raises(InputError, match=r"gone \(.*mask.tiff\)"):
        check_dataset(made, Model(name="unet"))


def test_tiles_without_labels_are_left_out_and_counted(place):
    summary = str(make(place))
    made = Dataset.load(place / "dataset")
    for split in ("train", "val", "test"):
        # Of four rows of tiles the last (rows 192 to 199) has no label.
        rows = {tile.window.top for tile in made.tiles(split)}
        assert rows == {0, 64, 128}
    line = next(line for line in summary.splitlines() if line.split()[:1] == ["train"])
    columns = len({tile.window.left for tile in made.tiles("train")})
    assert line.split()[1:3] == [str(3 * columns), str(columns)]


def digest(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(folder)): hashlib.md5(p.read_bytes()).hexdigest() for p in files}


def test_a_stopped_prepare_goes_on_and_ends_with_the_same_bytes(place):
    make(place)
    before = digest(place / "dataset")
    (place / "dataset" / "dataset.json").unlink()
    (place / "dataset" / "tiles.gpkg").unlink()
    make(place)
    assert digest(place / "dataset") == before
    assert "nothing to do" in str(make(place))


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def delete(path):
    path.unlink()


@pytest.mark.parametrize("harm", [empty, cut, delete])
def test_what_is_broken_is_made_again_and_only_that(place, harm):
    shutil.copy(place / "a.tif", place / "b.tif")
    options = {"split": Split(train=["a"], val=["b"], test=0)}
    make(place, **options)
    folder = place / "dataset"
    before = digest(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.tif")}
    for name in ("targets/a.tif", "tiles.gpkg", "dataset.json"):
        harm(folder / name)
        if name != "dataset.json":
            with pytest.raises(InputError, match=rf"gone.*{name}|{name}: gone, cut"):
                check_dataset(Dataset.load(folder), Model())
        said = str(make(place, **options))
        assert "nothing to do" not in said
        assert name in said or not (name == "dataset.json" and harm is not delete)
        assert digest(folder) == before, name
        check_dataset(Dataset.load(folder), Model())
    other = folder / "targets/b.tif"
    assert other.stat().st_mtime_ns == times[other]
    assert "nothing to do" in str(make(place, **options))


def test_scenes_that_changed_since_are_said_before_a_training(place):
    make(place)
    made = Dataset.load(place / "dataset")
    (place / "labels.gpkg").touch()  # QGIS does so
    assert not said_of_changes_since(made)
    write_scene(place / "a.tif", grid(), seed=1)
    (said,) = said_of_changes_since(made)
    assert "a.tif: changed since geoseg.prepare looked at it" in said


def test_other_settings_are_refused_until_overwrite(place):
    make(place)
    with pytest.raises(InputError, match=r"other settings \(tiling.size\).*overwrite=true"):
        make(place, tiling=Tiling(size=32, overlap=16))
    make(place, tiling=Tiling(size=32, overlap=16), overwrite=True)
    assert Dataset.load(place / "dataset").tiling.size == 32


def test_labels_that_miss_all_scenes(place):
    write_labels(place / "labels.gpkg", grid(left=50_000))
    with pytest.raises(InputError) as error:
        make(place)
    assert "longitude 9.00000" in str(error.value)
    assert not (place / "dataset").exists()


def test_a_raster_that_is_image_and_labels_at_once(place):
    """A folder of images that holds the class raster too: the network would copy it."""
    (place / "a.tif").unlink()
    with raster.create(place / "classes.tif", grid(), dtype="uint8") as writer:
        writer.write(np.ones((200, 300), np.uint8), grid().window)
    with pytest.raises(InputError, match=r"classes\.tif is one of the images, too: the network"):
        make(place, labels=Labels(path=str(place / "classes.tif")))
    assert not (place / "dataset").exists()


def test_values_that_the_legend_does_not_know(place):
    write_labels(place / "labels.gpkg", grid(), names=("meadow", "hut"))
    with pytest.raises(InputError, match="hut"):
        make(place)


def test_one_band_per_file_and_a_coarser_height_model(tmp_path):
    for number, band in enumerate(("B04", "B08")):
        write_scene(tmp_path / f"T32_{band}.tif", grid(), bands=1, seed=number)
    coarse = Grid("EPSG:32633", Affine(4, 0, 40_000, 0, -4, 5_030_000), 100, 100)
    height = tmp_path / "height"
    west, south, east, north = grid().bounds_in("EPSG:32633")
    coarse = Grid(
        "EPSG:32633",
        Affine(4, 0, west - 40, 0, -4, north + 40),
        int((north - south) / 4) + 20,
        int((east - west) / 4) + 20,
    )
    with raster.create(height / "dem.tif", coarse, dtype="float32") as writer:
        writer.write(np.full((coarse.height, coarse.width), 123.5, np.float32), coarse.window)
    write_labels(tmp_path / "labels.gpkg", grid())
    bands = Bands(
        pattern=r"(?P<scene>T\d+)_(?P<band>B\d+)",
        order=["B08", "height", "B04"],
        extra={"height": str(height)},
    )
    make(tmp_path, bands=bands)
    made = Dataset.load(tmp_path / "dataset")
    assert made.bands == ("B08", "height", "B04")
    assert [scene.name for scene in made.scenes] == ["T32"]
    assert made.statistics.mean[1] == pytest.approx(123.5)
    with made.scenes[0].open() as reader, Raster(tmp_path / "T32_B04.tif") as red:
        assert np.array_equal(reader.read(grid().window)[0][2], red.read(grid().window)[0][0])


def test_scenes_with_other_bands_are_refused_together(place):
    write_scene(place / "b.tif", grid(left=400), bands=1)
    write_scene(place / "c.tif", grid(left=800), bands=2)
    with pytest.raises(InputError) as error:
        make(place)
    assert len(error.value.faults) == 2


def test_bands_are_ordered_by_their_names(place):
    (place / "a.tif").unlink()
    write_scene(place / "a.tif", grid(), names=("red", "green", "nir"))
    write_scene(place / "b.tif", grid(left=400), names=("nir", "red", "green"))
    scenes = harmonize(find_scenes(str(place / "*.tif")))
    assert scenes[1].bands == ("red", "green", "nir")
    with scenes[1].open() as reader, Raster(place / "b.tif") as file:
        window = grid().window
        assert np.array_equal(reader.read(window)[0], file.read(window)[0][[1, 2, 0]])


def test_few_values_that_stretch_the_scale_of_a_band_are_said_and_cut_off():
    def measured(image):
        measure = Measure(len(image))
        measure.add(image, np.ones(image.shape[1:], bool))
        return measure, measure.result()

    def said(image):
        measure, found = measured(image)
        return said_of_extremes(("VV", "VH"), found, measure.stretched)

    random = np.random.default_rng(0)
    power = random.gamma(4, 0.02, (2, 64, 64))
    assert said(power) == []
    ships = power.copy()
    ships[0, 3, :5] = 400
    (text,) = said(ships)
    assert text.startswith("band VV: few values lie far beyond all others (")
    assert "to 400; 96 % of them" in text
    (_, plain), (_, found) = measured(power), measured(ships)
    # The same to a network as without them, which a deviation of 14 would make one.
    assert found.std[0] == pytest.approx(plain.std[0], rel=0.1)
    assert found.mean[0] == pytest.approx(plain.mean[0], rel=0.02)
    assert found.high[0] == 400
    assert (found.mean[1], found.std[1]) == (plain.mean[1], plain.std[1])
    ships[0, 3, 0] = 1e20  # beyond what networks can compute with, were it scaled by the others
    assert scale(ships, np.ones((64, 64), bool), measured(ships)[1]).max() <= 3.01e4
    assert said(10 * np.log10(power)) == []
    heights = np.where(random.random((2, 64, 64)) < 0.015, 8.0, 0)  # few houses on flat ground
    assert said(heights + random.normal(0, 0.1, heights.shape)) == []
    # Tall ones in exact heights lie as far out as ships do, but are what the band shows.
    towers = heights * random.uniform(1, 5, heights.shape) + random.normal(0, 0.03, heights.shape)
    measure, found = measured(towers)
    assert found.std[0] > 10 * (np.percentile(towers[0], 98) - np.percentile(towers[0], 2))
    assert found.std == pytest.approx(tuple(towers.std(axis=(1, 2))))
    assert measure.stretched == ()


@pytest.mark.parametrize(("factor", "mast", "said"), [(1, 1, 0), (1, 4000, 0), (100, 1, 1)])
def test_single_bright_pixels_are_no_other_unit(place, factor, mast, said):
    power = np.random.default_rng(1).gamma(4, 0.02, (3, 200, 300)).astype("float32")
    power[:, 100, 10:280:20] = mast
    for name, image in (("a", power.clip(0, 1)), ("b", power * factor)):
        with raster.create(place / f"{name}.tif", grid(), dtype="float32", count=3) as writer:
            writer.write(image, grid().window)
    assert str(make(place)).count("scenes differ in units") == said
