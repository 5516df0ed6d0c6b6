"""What values mean: undeclared fill, frames, scale and offset tags, units, scene classes."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pandas
import pytest
import rasterio

from geoseg.errors import InputError
from geoseg.geo.band_tags import BandTags, change, changes, usual
from geoseg.geo.grid import Window
from geoseg.models.card import ModelCard
from geoseg.models.suitability import check, check_values, fit
from geoseg.models.suitability.frame import with_frame
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.scenes.bands import Bands, BandStatistics
from geoseg.scenes.dated import DatedScene
from geoseg.scenes.fill_values import FillCensus, census_of, said, said_of_fill, suspects
from geoseg.scenes.inspection import Inspection, said_of_frames, said_of_units
from geoseg.scenes.measure_units import remedy
from geoseg.scenes.scene import Scene, find_scenes, harmonize, said_of_changes
from geoseg.series import units as unitmix
from geoseg.series.find import find_stacks
from geoseg.series.settings import Series
from tests.made.scenes import CARD, Identity, with_bands, write
from tests.parcels.test_table import read, written

RANDOM = np.random.default_rng(0)
RED_NIR = ("red", "nir")


def plain_values(dtype="uint16", size=10_000):
    return np.random.default_rng(1).normal(2000, 400, size).astype(dtype)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32"])
@pytest.mark.parametrize("value", [-9999, 32767])
def test_one_number_far_from_the_rest_looks_like_fill(dtype, value):
    values = plain_values(dtype)
    values[:300] = value
    assert [(one.value, one.share) for one in suspects(values)] == [(value, 0.03)]


def test_the_fill_of_an_index_of_modis_is_nearer():
    values = np.random.default_rng(1).uniform(1000, 8000, 10_000).round().astype("int16")
    values[:300] = -3000
    assert [one.value for one in suspects(values)] == [-3000]
    values[:300] = -2500
    assert not suspects(values)


def test_the_fill_of_reflectance_of_modis_may_be_a_single_pixel():
    values = np.random.default_rng(1).uniform(100, 6000, 200).round()
    values[0] = -28672
    assert [one.value for one in suspects(values)] == [-28672]


def test_several_fill_values_and_more_fill_than_data():
    values = plain_values("float32")
    values[:6000], values[6000:6500], values[6500:6900] = -9999, 65535, 32769
    found = {one.value: one.share for one in suspects(values)}
    assert found == {-9999: 0.6, 65535: 0.05, 32769: 0.04}


def test_mixed_pixels_along_the_edges_of_blocks_hide_no_fill():
    values = plain_values()
    values[:1000] = 65535
    values[1000:1050] = np.linspace(5000, 60000, 50)
    assert [one.value for one in suspects(values)] == [65535]


def test_mixtures_of_a_coarse_height_model_hide_no_fill():
    heights = np.linspace(0, 100, 10_000).astype("float32")
    heights[:5000] = -9999
    heights[5000:5200] = np.linspace(-9900, 0, 200)
    assert [one.value for one in suspects(heights)] == [-9999]
    water = np.random.default_rng(0).integers(-9999, 9000, 10_000).astype("int16")
    water[:50] = -9999  # an index × 10,000 that ends there
    assert suspects(water) == []


def test_real_data_is_no_fill():
    photo = RANDOM.integers(60, 120, 10_000)
    photo[:500], photo[500:900] = 255, 0  # bright roofs and shadows
    assert suspects(photo.astype("uint8")) == []
    assert suspects(photo.astype("float32")) == []
    saturated = np.minimum(RANDOM.exponential(900, 100_000) + 100, 4095).astype("uint16")
    assert (saturated == 4095).sum() > 500
    assert suspects(saturated) == []
    clouds = np.concatenate([plain_values(), RANDOM.normal(9000, 900, 2000)]).astype("uint16")
    assert suspects(clouds) == []
    rare_class = np.zeros(10_000, "uint16")
    rare_class[:50] = 40
    assert suspects(rare_class) == []
    single = plain_values()
    single[:3] = 65535  # hot pixels
    assert suspects(single) == []


def test_zero_is_fill_only_where_all_bands_have_it():
    image = np.random.default_rng(2).normal(3000, 200, (2, 100, 100)).astype("uint16")
    census = FillCensus(RED_NIR)
    water = image.copy()
    water[1, :20] = 0
    census.add(water, np.ones((100, 100), bool))
    assert census.found() == {}
    swath = image.copy()
    swath[:, :20] = 0
    census = FillCensus(RED_NIR)
    census.add(swath, np.ones((100, 100), bool))
    (text,) = said("a", census.found(), 2)
    assert "a: 0 stands in 20.0% of the pixels of all bands" in text
    assert "bands.nodata=0" in text


def test_a_census_of_many_pixels_keeps_some():
    census = FillCensus.for_pixels(("a",), 8_000_000)
    image = np.random.default_rng(3).normal(2000, 300, (1, 500, 4000)).astype("int16")
    for part in range(4):
        image[0, :50] = -9999
        census.add(image + np.int16(part), np.ones(image.shape[1:], bool))
    assert census.values(0).size < 2_000_000
    image[0, :50] = -9999
    census = FillCensus.for_pixels(("a",), 8_000_000)
    census.add(image, np.ones(image.shape[1:], bool))
    assert census.found()["a"][0].share == pytest.approx(0.1, abs=0.01)


def test_a_scene_whose_band_is_nothing_but_fill_is_told_by_the_others(tmp_path):
    looks = []
    for name in "abc":
        values = np.random.default_rng(4).normal(2000, 300, (2, 60, 60)).astype("int16")
        if name == "c":
            values[1] = -9999
        write(tmp_path / f"{name}.tif", values, nodata=None, names=RED_NIR)
        (scene,) = find_scenes(tmp_path / f"{name}.tif")
        looks.append(Inspection.of(scene, [scene]))
        looks[-1].add(values, np.ones((60, 60), bool), scene.grid.window)
    texts = [look.said(looks) for look in looks]
    assert texts[:2] == [[], []]
    assert "c: -9999 stands in 100.0% of the pixels of band nir" in texts[2][0]


def test_a_frame_of_the_other_scenes_nodata_is_said_in_prepare(tmp_path):
    image = np.random.default_rng(5).integers(1, 200, (2, 60, 60)).astype("uint8")
    image[:, :, :6] = 0
    write(tmp_path / "a.tif", image, nodata=0, names=RED_NIR)
    write(tmp_path / "b.tif", image, nodata=None, names=RED_NIR)
    scenes = find_scenes(tmp_path)
    looks = [Inspection.of(scene, scenes) for scene in scenes]
    for look in looks:
        with look.scene.open() as reader:
            look.add(*reader.read_each(look.scene.grid.window), look.scene.grid.window)
    assert looks[0].said(looks) == []
    (text,) = looks[1].said(looks)
    assert "b: 0 stands in all bands of 10.0%" in text
    assert "bands.nodata=0" in text


def looked_at(folder, **options):
    scenes = find_scenes(folder, Bands(**options))
    looks = [Inspection.of(scene, scenes) for scene in scenes]
    for look in looks:
        with look.scene.open() as reader:
            for window in (Window(0, 0, 30, 60), Window(30, 0, 30, 60)):
                look.add(*reader.read_each(window), window)
        look.said(looks)
    return looks


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 0), ("uint8", 255), ("uint16", 0)])
def test_a_frame_that_no_scene_declares_is_said(tmp_path, dtype, value):
    image = np.random.default_rng(5).integers(1, 250, (2, 60, 60)).astype(dtype)
    image[:, np.add.outer(np.arange(60), np.arange(60)) < 20] = value
    for name in "ab":
        write(tmp_path / f"{name}.tif", image, nodata=None, names=RED_NIR)
    (text,) = said_of_frames(looked_at(tmp_path))
    assert text.startswith(f"a, b: {value} stands in all bands of up to 5.8% of the pixels")
    assert f"bands.nodata={value} (bands.nodata=none says" in text
    assert said_of_frames(looked_at(tmp_path, nodata="none")) == []
    assert said_of_frames(looked_at(tmp_path, nodata=value)) == []


def test_a_black_frame_is_said_beside_scenes_that_declare_white(tmp_path):
    image = np.random.default_rng(5).integers(1, 250, (2, 60, 60)).astype("uint8")
    image[:, :10] = 0
    write(tmp_path / "b.tif", image, nodata=None, names=RED_NIR)
    black = image.copy()
    black[:, :10] = 255
    write(tmp_path / "a.tif", black, nodata=255, names=RED_NIR)
    (text,) = said_of_frames(looked_at(tmp_path))
    assert text.startswith("b: 0 stands in all bands of 16.7% of the pixels")
    trained = with_bands(CARD, *RED_NIR, tags=(BandTags(255.0),) * 2)
    (note,) = check(find_scenes(tmp_path / "b.tif")[0], trained).notes
    assert note == text
    # bands.nodata=0, as is advised, must not make data of the other's frame without a word.
    (scene,) = find_scenes(tmp_path / "a.tif", Bands(nodata=0.0))
    look = Inspection.of(scene, [scene])
    with scene.open() as reader:
        look.add(*reader.read_each(scene.grid.window), scene.grid.window)
    (text,) = look.said([look])
    assert text.startswith("a: 255 stands in all bands of 16.7% of the pixels, and the file")
    assert "bands.nodata=0 counts in its place: these pixels get labels" in text


def test_dark_water_is_no_frame(tmp_path):
    image = np.random.default_rng(5).integers(1, 250, (2, 60, 60)).astype("uint8")
    image[:, 20:40, 20:40] = 0  # touches no corner
    image[0, :10] = 255  # in one band only
    write(tmp_path / "a.tif", image, nodata=None, names=RED_NIR)
    assert said_of_frames(looked_at(tmp_path)) == []


def one_band(kind: str) -> np.ndarray:
    """An image (1, 60, 60) with a corner of 0."""
    random = np.random.default_rng(5)
    image = {
        "decibels": random.normal(-12, 4, (1, 60, 60)).clip(-30, -2),
        "panchromatic": random.integers(150, 1200, (1, 60, 60)),
        "heights": random.gamma(1, 40, (1, 60, 60)),
        "differences": random.normal(0, 1, (1, 60, 60)),
    }[kind].astype("uint16" if kind == "panchromatic" else "float32")
    image[:, np.add.outer(np.arange(60), np.arange(60)) < 20] = 0
    return image


@pytest.mark.parametrize("kind", ["decibels", "panchromatic"])
def test_a_frame_of_a_single_band_is_said_where_0_lies_beyond_all_else(tmp_path, kind):
    write(tmp_path / "a.tif", one_band(kind), nodata=None)
    (text,) = said_of_frames(looked_at(tmp_path))
    assert text.startswith("a: 0 stands in all bands of 5.8% of the pixels")
    assert said_of_frames(looked_at(tmp_path, nodata=0)) == []
    (note,) = frames_of(one_band(kind), tmp_path)
    assert note == text


@pytest.mark.parametrize("kind", ["heights", "differences"])
def test_0_of_a_single_band_may_be_a_measurement(tmp_path, kind):
    write(tmp_path / "a.tif", one_band(kind), nodata=None)
    assert said_of_frames(looked_at(tmp_path)) == []
    assert frames_of(one_band(kind), tmp_path) == []


def frames_of(image, folder) -> list[str]:
    """What is said of frames in prediction."""
    scene = find_scenes(folder / "a.tif")[0]
    notes: list[str] = []
    sample = (image, np.ones(image.shape, bool), scene.grid.window)
    with_frame(scene, replace(CARD, tags=()), [sample], notes)
    return notes


def test_scenes_in_other_units_are_said_in_prepare(tmp_path):
    image = np.random.default_rng(5).integers(200, 4000, (2, 60, 60))
    for name, dtype, factor in (
        ("a", "uint16", 1), ("b", "int16", 0.2), ("c", "float32", 1e-4), ("d", "uint8", 1 / 16),
        ("e", "float32", 1), ("f", "uint16", 3),
    ):  # fmt: skip
        write(tmp_path / f"{name}.tif", (image * factor).astype(dtype), names=RED_NIR)
    darker, reals, bytes_ = said_of_units(looked_at(tmp_path))
    assert darker.startswith("b: all bands are about 5 times darker than those of ")
    assert reals.startswith("c: float32 values up to 0.39")
    assert "(multiply by 10000?)" in reals
    assert bytes_.startswith("d: uint8 values up to 24")


def test_scenes_of_more_bits_are_said_in_prepare(tmp_path):
    """8 bits among 10 are 4 times as dark, and no other range of values by itself."""
    for name, dtype, factor, seed in (("a", "uint16", 4, 1), ("b", "uint8", 1, 2)):
        image = np.random.default_rng(seed).integers(20, 250, (2, 60, 60)) * factor
        write(tmp_path / f"{name}.tif", image.astype(dtype), names=RED_NIR)
    (text,) = said_of_units(looked_at(tmp_path))
    assert "all bands are about 4 times" in text
    write(tmp_path / "b.tif", (image * 2).astype("uint16"), names=RED_NIR)  # another light
    assert said_of_units(looked_at(tmp_path)) == []


def test_of_scenes_the_odd_one_is_named_wherever_it_stands(tmp_path):
    image = np.random.default_rng(1).integers(60, 230, (2, 60, 60))
    for name in "abcde":
        dark = image // 5 if name == "c" else image
        write(tmp_path / f"{name}.tif", dark.astype("uint8"), names=RED_NIR)
    (text,) = said_of_units(looked_at(tmp_path))
    assert text.startswith("c: all bands are about 5 times darker")
    # A few pixels tell nothing.
    write(tmp_path / "c.tif", (image[:, :5, :5] // 5).astype("uint8"), names=RED_NIR)
    assert said_of_units(looked_at(tmp_path)) == []


# Prediction


def card(**values) -> ModelCard:
    """Of a network that saw two bands from 200 to 4000, nodata 0."""
    numbers = {"mean": 2000.0, "std": 900.0, "p2": 300.0, "p98": 3800.0, "low": 200.0}
    statistics = BandStatistics(**{k: (v,) * 2 for k, v in (numbers | {"high": 4000.0}).items()})
    tags = (BandTags(0.0),) * 2
    options = {"statistics": statistics, "dtype": "uint16", "tags": tags} | values
    return with_bands(CARD, *RED_NIR, **options)


def scene_of(path, values, **options) -> Scene:
    write(path, values, **{"names": RED_NIR, "nodata": None} | options)
    return find_scenes(path)[0]


def dark_frame(dtype="uint16"):
    values = np.random.default_rng(6).integers(300, 3900, (2, 80, 80)).astype(dtype)
    values[:, :8] = 0
    return values


def valid_of(scene):
    with scene.open() as reader:
        return reader.read(scene.grid.window)[1]


def test_a_frame_in_prediction_that_the_training_does_not_declare_either(tmp_path):
    (text,) = check(scene_of(tmp_path / "a.tif", dark_frame()), card(tags=())).notes
    assert "a: 0 stands in all bands of 10.0% of the pixels, a corner among them" in text
    image = np.random.default_rng(6).integers(300, 3900, (2, 80, 80)).astype("uint16")
    assert check(scene_of(tmp_path / "b.tif", image), card(tags=())).notes == ()


@pytest.mark.parametrize(("dtype", "fill"), [("uint16", 4000), ("float32", -9999)])
def test_nodata_that_the_training_replaced_is_said_where_the_file_declares_it(
    tmp_path, dtype, fill
):
    image = np.random.default_rng(6).integers(300, 3900, (2, 80, 80)).astype(dtype)
    image[:, :8] = fill
    write(tmp_path / "a.tif", image, names=RED_NIR, nodata=fill)
    trained = card(nodata=0.0, dtype=dtype)
    (scene,) = find_scenes(tmp_path / "a.tif", Bands(nodata=0.0))
    (text,) = check(scene, trained).notes
    assert text.startswith(f"a: {fill} stands in all bands of 10.0% of the pixels, and the file")
    assert "bands.nodata=0 counts in its place, as in the training: these pixels" in text
    (scene,) = find_scenes(tmp_path / "a.tif", Bands(nodata=float(fill)))
    assert check(scene, trained).notes == ()


def test_single_values_far_beyond_the_training_are_said_in_prediction(tmp_path):
    image = np.random.default_rng(6).integers(300, 3900, (2, 80, 80)).astype("float32")
    options = {"dtype": "float32", "tags": ()}
    assert check(scene_of(tmp_path / "a.tif", image), card(**options)).notes == ()
    image[1, 40, 40:42] = 1e6, -1e20
    (text,) = check(scene_of(tmp_path / "b.tif", image), card(**options)).notes
    assert text.startswith("b: band nir holds -1e+20, far beyond the training's 200 to 4000, in 2")


def test_few_saturated_pixels_are_no_other_unit(tmp_path):
    """Of reflectance, or the power of radar: the brightest pixels tell nothing of all others."""
    image = np.random.default_rng(6).uniform(0.02, 0.4, (2, 80, 80)).astype("float32")
    numbers = {"mean": 0.2, "std": 0.1, "p2": 0.03, "p98": 0.39, "low": 0.02, "high": 0.4}
    statistics = BandStatistics(**{name: (value,) * 2 for name, value in numbers.items()})
    options = {"dtype": "float32", "tags": (), "statistics": statistics}
    image[:, 40, 40:42] = 5  # by 2, reflectance counts as such
    (text,) = check(scene_of(tmp_path / "a.tif", image), card(**options)).notes[:1]
    assert text.startswith("a: band red holds 5, far beyond")
    with pytest.raises(InputError, match="other units"):
        check(scene_of(tmp_path / "b.tif", 100 * image), card(**options))


def test_a_frame_of_the_trainings_nodata_is_nodata_and_said(tmp_path):
    found = check(scene_of(tmp_path / "a.tif", dark_frame()), card())
    assert found.nodata == 0
    assert not valid_of(found.scene)[:8].any()
    assert valid_of(found.scene)[8:].all()
    (text,) = found.notes
    assert "a: 0 stands in all bands of 10.0% of the pixels" in text
    assert "bands.nodata=0" in text


def test_no_frame_where_nothing_tells_of_one(tmp_path):
    inner = dark_frame().clip(1)
    inner[:, 20:40, 20:40] = 0  # a lake, not at the edge
    few = np.where(np.arange(80) < 79, dark_frame()[:, ::-1].clip(1), 0).astype("uint16")
    few[:, :, 79] = np.where(np.arange(80) < 50, 0, 500)  # under 1 %
    for values, options in (
        (inner, {}),
        (few, {}),
        (dark_frame(), {"nodata": 0}),
    ):
        scene = scene_of(tmp_path / "a.tif", values, **options)
        assert check(scene, card()).nodata is None
    write(tmp_path / "a.tif", dark_frame(), nodata=None, names=RED_NIR)
    (scene,) = find_scenes(tmp_path / "a.tif", Bands(nodata="none"))
    assert check(scene, card()).nodata is None
    scene = scene_of(tmp_path / "b.tif", dark_frame())
    assert check(scene, card(tags=(BandTags(),) * 2)).nodata is None
    scene = scene_of(tmp_path / "c.tif", dark_frame(), nodata=65535)
    found = check(scene, card())
    assert found.nodata is None
    assert "get classes; set bands.nodata=0" in found.notes[0]


def test_fill_is_compared_with_the_training_low_and_high(tmp_path):
    for value, dtype in ((-9999, "int16"), (32769, "uint16"), (65535, "uint16")):
        values = np.random.default_rng(7).integers(300, 3900, (2, 80, 80)).astype(dtype)
        values[1, 40:60] = value
        found = check(scene_of(tmp_path / f"a{dtype}.tif", values), card(dtype=dtype))
        (text,) = found.notes
        assert f"{value} stands in 25.0% of the pixels of band nir" in text
        assert f"bands.nodata={value}" in text


def test_all_nodata_is_said_and_recorded(tmp_path, capsys):
    write(tmp_path / "s/a.tif", np.zeros((40, 40), np.uint8))
    write(tmp_path / "s/b.tif", np.full((40, 40), 3, np.uint8))
    running = InferenceSettings(device="cpu", precision="32", batch_size=3)
    network = TrainedNetwork(CARD, "0" * 16, Identity(3, first=1), running)
    for _ in range(2):  # the second time nothing is done, but said again
        report = predict(network, tmp_path / "s", tmp_path / "maps")
        assert "WARNING: a: no pixel with data found" in capsys.readouterr().err
    assert report.before == ["a", "b"]
    record = json.loads((tmp_path / "maps/predict.json").read_text())["scenes"]
    assert "its map is all nodata" in record["a"]["notes"][0]
    assert record["b"]["notes"] == []


def test_the_frame_is_nodata_in_the_map_also_when_going_on(tmp_path):
    image = np.full((60, 60), 3, np.uint8)
    image[:10] = 0
    write(tmp_path / "a.tif", image, nodata=None)
    running = InferenceSettings(device="cpu", precision="32", batch_size=3)
    trained = replace(CARD, tags=(BandTags(0.0),))
    network = TrainedNetwork(trained, "0" * 16, Identity(3, first=1), running)
    for _ in range(2):
        predict(network, tmp_path / "a.tif", tmp_path / "maps")
        with rasterio.open(tmp_path / "maps/landcover/a.tif") as file:
            codes = file.read(1)
        assert (codes[:10] == 0).all()
        assert (codes[10:] == CARD.legend.codes[2]).all()
        (tmp_path / "maps/landcover/a.tif").unlink()


# Scale and offset


def tag(path, scale, offset):
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = [scale] * file.count, [offset] * file.count


def test_changes_between_tags():
    old, new = BandTags(None, 1e-4, 0), BandTags(None, 1e-4, -0.1)
    assert change(new, old) == (1, -1000)
    assert change(old, new) == (1, 1000)
    assert change(BandTags(None, 2e-4, 0), old) == (pytest.approx(2), 0)
    assert change(BandTags(None, np.float32(1e-4), np.float32(-0.1)), new) == (1, 0)
    assert usual([(old,), (new,), (new,)]) == (new,)
    assert usual([(new,), (old,)]) == (old,)
    with pytest.raises(InputError, match=r"a say scale 0.0001.*b say nothing.*bands.tags=false"):
        changes(["a", "b"], [(old,), (BandTags(),)], what="scenes")
    _, made = changes(["a", "b"], [(BandTags(None, 1, -1000),), (BandTags(),)], what="scenes")
    assert made == [((1, -1000),), ((1, 0),)]


def test_scenes_whose_tags_differ_are_brought_to_one_unit(tmp_path):
    base = np.random.default_rng(8).integers(100, 3000, (2, 30, 30)).astype("uint16")
    for name, add, offset in (("a", 0, 0.0), ("b", 1000, -0.1), ("c", 0, 0.0)):
        write(tmp_path / f"{name}.tif", base + np.uint16(add), names=RED_NIR)
        tag(tmp_path / f"{name}.tif", 1e-4, offset)
    scenes = harmonize(find_scenes(tmp_path))
    for scene in scenes:
        again = Scene.from_dict(scene.to_dict(tmp_path), tmp_path)
        with again.open() as reader:
            values, valid = reader.read(scene.grid.window)
        assert valid.all()
        np.testing.assert_allclose(values, base)
    (text,) = said_of_changes(scenes)
    assert text.startswith("b: scale and offset")
    assert "− 1000" in text
    as_they_are = harmonize(find_scenes(tmp_path, Bands(tags=False)))
    assert not any(scene.changes for scene in as_they_are)


def test_tags_that_all_scenes_share_change_nothing(tmp_path):
    base = np.random.default_rng(8).integers(100, 3000, (2, 30, 30)).astype("uint16")
    for name in "ab":
        write(tmp_path / f"{name}.tif", base, names=RED_NIR)
        tag(tmp_path / f"{name}.tif", 1e-4, -0.1)
    for scene in harmonize(find_scenes(tmp_path)):
        assert scene.dtype == "uint16"
        with scene.open() as reader:
            assert (reader.read(scene.grid.window)[0] == base).all()


def test_a_scene_is_brought_to_the_offset_of_the_training(tmp_path):
    base = np.random.default_rng(9).integers(300, 3900, (2, 30, 30)).astype("uint16")
    write(tmp_path / "a.tif", base + np.uint16(1000), names=RED_NIR)
    tag(tmp_path / "a.tif", 1e-4, -0.1)
    trained = card(tags=(BandTags(0.0, 1e-4, 0.0),) * 2)
    trained = ModelCard.from_json(trained.to_json())
    found = check(find_scenes(tmp_path / "a.tif")[0], trained)
    with found.scene.open() as reader:
        np.testing.assert_allclose(reader.read(found.scene.grid.window)[0], base, rtol=1e-6)
    assert "− 1000" in found.notes[0]
    untagged = card(tags=(BandTags(0.0),) * 2)
    with pytest.raises(InputError, match=r"offset -0.1.*bands.tags=false"):
        fit(find_scenes(tmp_path / "a.tif")[0], untagged)
    assert fit(find_scenes(tmp_path / "a.tif", Bands(tags=False))[0], untagged).changes == ()
    tag(tmp_path / "a.tif", 1e-4, 0.0)  # a scale alone: units are told by the values
    assert fit(find_scenes(tmp_path / "a.tif")[0], untagged).changes == ()


def dated(folder, images, offsets=None, **options):
    for number, values in enumerate(images):
        path = folder / f"s_{date(2021, 1 + number, 1):%Y%m%d}.tif"
        write(path, values, names=RED_NIR, **options)
        if offsets:
            tag(path, 1e-4, offsets[number])
    return Series(path=str(folder))


def whole(stack):
    with stack.open() as reader:
        return reader.read(stack.grid.window)


def land(number=0, low=300, high=3900):
    """Pixels without a pattern; all bands and dates alike."""
    return np.random.default_rng(number).integers(low, high, (2, 40, 40)).astype("uint16")


def test_an_offset_that_begins_at_a_date_is_taken_off_again(tmp_path):
    images = [land(n) + np.uint16(1000 * (n >= 3)) for n in range(6)]
    images[4][:, 0, 0] = 0
    series = dated(tmp_path, images, [0.0] * 3 + [-0.1] * 3)
    (stack,) = find_stacks(series)
    expected = np.stack([land(n) for n in range(6)])
    expected[4][:, 0, 0] = 65535
    assert stack.dtype == "uint16"
    assert (whole(stack) == expected).all()
    assert [tags.pair for tags in stack.tags] == [(1e-4, 0.0)] * 2
    assert any("3 dates (2021-04-01" in note and "− 1000" in note for note in stack.notes)
    with pytest.raises(InputError, match=r"series.offset=-1000.*leave series.offset out"):
        find_stacks(replace(series, offset=-1000.0))
    (plain_stack,) = find_stacks(replace(series, check=False), Bands(tags=False))
    assert (whole(plain_stack)[5] == images[5]).all()


def test_a_series_is_brought_to_the_offset_of_the_training(tmp_path):
    series = dated(tmp_path, [land(n) + np.uint16(1000) for n in range(3)], [-0.1] * 3)
    (stack,) = find_stacks(series)
    trained = card(tags=(BandTags(0.0, 1e-4, 0.0),) * 2)
    found = check(DatedScene(stack, (0, 31, 59), 1), trained)
    assert (whole(found.scene.stack) == np.stack([land(n) for n in range(3)])).all()
    assert "− 1000" in found.notes[0]


def test_a_series_with_some_tagged_dates_only_is_refused_with_dates(tmp_path):
    series = dated(tmp_path, [land(n) for n in range(4)], [0.0] * 4)
    write(tmp_path / "s_20210201.tif", land(1), names=RED_NIR)
    with pytest.raises(InputError, match=r"2021-01-01.*2021-02-01 say nothing.*bands.tags=false"):
        find_stacks(series)


# Units


@pytest.mark.parametrize(
    ("here", "there", "text"),
    [
        ((0.45, "float32"), (4200, "uint16"), "multiply by 10000"),
        ((0.9, "float32"), (255, "uint8"), "multiply by 255"),
        ((1.0, "float32"), (60_000, "uint16"), "multiply by 65535"),
        ((42.0, "float32"), (0.5, "float32"), "divide by 100"),
        ((3500, "uint16"), (0.4, "float32"), "divide by 10000"),
        ((60_000, "uint16"), (255, "uint8"), "divide by 256"),
        ((55.0, "float32"), (6000, "uint16"), "multiply by 100"),
    ],
)
def test_the_factor_between_units_is_one_that_is_in_use(here, there, text):
    assert remedy(here, there) == text


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (lambda red, nir: (red // 10, nir // 10), "times darker"),
        (lambda red, nir: (red * 5, nir * 5), "times brighter"),
        (lambda red, nir: (red * 4 - 90, nir * 4 - 90), "times brighter"),  # 12 bits, 10 before
        (lambda red, nir: (red + 1000, nir + 1000), "about 1000 higher than in the training"),
        (lambda red, nir: (red + 1000, nir), ""),
        (lambda red, nir: (red // 10, nir // 3), ""),  # as water and snow have it
        (lambda red, nir: (red, nir), ""),
    ],
)
def test_a_scene_that_is_far_darker_in_all_bands_is_told(tmp_path, image, said):
    usual = RANDOM.integers(400, 3000, (2, 64, 64))
    mean, high = usual.mean((1, 2)), np.percentile(usual, 98, axis=(1, 2))
    statistics = BandStatistics(tuple(mean), (700.0,) * 2, (450.0,) * 2, tuple(high),
                                (400.0,) * 2, (3000.0,) * 2)  # fmt: skip
    card = with_bands(CARD, *RED_NIR, dtype="uint16")
    card = replace(card, statistics=statistics)
    write(tmp_path / "a.tif", np.stack(image(*usual)).astype("uint16"), names=RED_NIR)
    (scene,) = find_scenes(tmp_path / "a.tif", Bands())
    notes = "; ".join(check_values(scene, card).notes)
    assert (said in notes) if said else not notes


def test_values_beside_all_of_the_training_are_told(tmp_path):
    """Heights above the sea of another place, and decibels as whole hundredths."""
    heights = BandStatistics((110.0,), (4.0,), (102.0,), (120.0,), (100.0,), (125.0,))
    radar = BandStatistics((-12.0,), (3.0,), (-17.0,), (-6.0,), (-25.0,), (-1.0,))
    one = RANDOM.uniform(101, 124, (1, 64, 64))
    for number, (statistics, image, told) in enumerate([
        (heights, one.astype("float32"), ""),
        (heights, (one + 12).astype("float32"), ""),
        (heights, (one + 40).astype("float32"), "gray (100%, about 15"),
        (radar, (100 - one - 10).astype("int16") * 100, "gray (100%, about -2"),
    ]):  # fmt: skip
        card = replace(CARD, dtype="float32", statistics=statistics)
        write(tmp_path / f"{number}.tif", image, names=("gray",))
        (scene,) = find_scenes(tmp_path / f"{number}.tif", Bands())
        notes = "; ".join(check_values(scene, card).notes)
        assert (f"beside those of the training in {told}" in notes) if told else not notes


@pytest.mark.parametrize(("here", "told"), [(10.0, True), (-3.0, False)])
def test_decibels_and_power_of_radar_are_told_apart(tmp_path, here, told):
    statistics = BandStatistics((-12.0, -18.0), (3.0,) * 2, (-17.0, -24.0), (-6.0, -12.0),
                                (-25.0, -30.0), (4.0, -2.0))  # fmt: skip
    card = replace(with_bands(CARD, *RED_NIR, dtype="float32"), statistics=statistics)
    decibels = RANDOM.uniform(-20, -8, (2, 64, 64)).astype("float32")
    image = 10 ** (decibels / here) if told else decibels + np.float32(here)
    write(tmp_path / "a.tif", image, names=RED_NIR)
    (scene,) = find_scenes(tmp_path / "a.tif", Bands())
    assert ("other side of 0" in "".join(check_values(scene, card).notes)) == told


def test_dates_of_radar_in_decibels_and_as_power_are_refused():
    days = [date(2021, month, 1) for month in range(1, 6)]
    bright = np.array([-4.0, 0.3, -5.0, -6.0, np.nan])
    with pytest.raises(InputError, match=r"power \(0..1\) on 1 date \(2021-02-01\), decibels on"):
        unitmix.check(["a"] * 5, days, bright, "float32")
    unitmix.check(["a"] * 5, days, np.array([-0.1, 0.3, 0.6, 0.7, 0.2]), "float32")  # NDVI


def test_dates_in_other_units_are_refused_by_name(tmp_path):
    images = [land(n) if n < 4 else (land(n) / 1e4).astype("float32") for n in range(6)]
    series = dated(tmp_path, images, nodata=None)
    with pytest.raises(InputError) as error:
        find_stacks(series)
    text = str(error.value)
    assert "dates differ in units" in text
    assert "2 dates (2021-05-01, 2021-06-01)" in text
    assert "multiply by 10000" in text
    assert find_stacks(replace(series, check=False))


def test_clouds_and_dark_winters_are_no_other_units():
    days = [date(2021, month, 1) for month in range(1, 7)]
    names = ["s"] * 6
    bright = np.array([250.0, 3000, 3100, np.nan, 12_000, 2900])
    unitmix.check(names, days, bright, "uint16")
    unitmix.check(names, days, bright / 1e4, "float32")
    unitmix.check(names, days, np.full(6, np.nan), "uint16")
    with pytest.raises(InputError, match=r"0.3 on 1 date \(2021-01-01\) and 3050 on 4 others"):
        unitmix.check(names, days, np.where(np.arange(6) == 0, 0.3, bright), "float32")


def test_tables_follow_the_same_rules(tmp_path):
    days = [f"2022-{month:02}-01" for month in range(1, 9)]
    rows = [
        {"id": n, "date": day, "red": 1000 + n + month, "nir": 3000 - n - month}
        for n in range(40)
        for month, day in enumerate(days)
    ]
    frame = pandas.DataFrame(rows)
    table = read(written(tmp_path, frame))
    assert census_of(table.values, table.bands).found() == {}
    fill = frame.copy()
    fill.loc[fill.index[:30], "nir"] = -9999
    table = read(written(tmp_path, fill))
    found = census_of(table.values, table.bands).found()
    assert [(one.value, round(one.share, 3)) for one in found["nir"]] == [(-9999, 0.094)]
    once = frame.copy()
    once.loc[7, "nir"] = -9999
    table = read(written(tmp_path, once))
    assert list(census_of(table.values, table.bands).found()) == ["nir"]
    for columns, told in ((["red", "nir"], 1), (["red"], 0)):
        empty = frame.copy()
        empty.loc[empty.index % 5 == 0, columns] = 0
        table = read(written(tmp_path, empty))
        notes = said_of_fill("t", census_of(table.values, table.bands))
        assert sum("0 stands in all bands of 20.0% of the observations" in n for n in notes) == told
    mixed = frame.astype({"red": float, "nir": float})
    mixed.loc[mixed.date > "2022-06-15", ["red", "nir"]] /= 1e4
    with pytest.raises(InputError, match=r"dates differ in units.*2022-07-01, 2022-08-01"):
        read(written(tmp_path, mixed))


# Masks


def test_scene_classes_without_their_values_are_named(tmp_path):
    series = dated(tmp_path / "i", [land(n) for n in range(3)])
    classes = np.full((20, 20), 4, np.uint8)
    classes[:5], classes[5:8] = 9, 5
    for month in (1, 2, 3):
        write(tmp_path / f"m/SCL_2021{month:02}01.tif", classes)
    masked = replace(series, masks=str(tmp_path / "m"))
    with pytest.raises(InputError) as error:
        find_stacks(masked)
    text = str(error.value)
    assert "4 (60%), 9 (25%), 5 (15%)" in text
    assert "SCL" in text
    assert "series.mask_values=[0,1,3,8,9,10,11]" in text
    (stack,) = find_stacks(replace(masked, mask_values=[0, 1, 3, 8, 9, 10, 11]))
    assert (whole(stack)[:, :, :10] == 65535).mean() > 0.2
    assert not any("none of these" in note for note in stack.notes)
    (stack,) = find_stacks(replace(masked, mask_values=[1, 2]))
    assert any("mask_values=[1,2]: none of these is in the masks" in note for note in stack.notes)
    late = replace(series, offset=-1000, offset_from="2022-01-25")
    (note,) = [note for note in find_stacks(late)[0].notes if "offset_from" in note]
    assert "no date lies on it or after it" in note
    for values in ((0, 1), (0, 255), (0, 1, 2, 3)):
        other = np.zeros((40, 40), np.uint8)
        for row, value in enumerate(values):
            other[row] = value
        for month in (1, 2, 3):
            write(tmp_path / f"m/SCL_2021{month:02}01.tif", other)
        assert find_stacks(masked)


def test_a_series_frame_of_the_trainings_nodata_is_missing(tmp_path):
    images = [land(n) for n in range(3)]
    for image in images:
        image[:, :6] = 0
    (stack,) = find_stacks(dated(tmp_path, images, nodata=None))
    found = check_values(DatedScene(stack, (0, 31, 59), 1), card())
    assert found.nodata == 0
    assert (whole(found.scene.stack)[:, :, :6] == 65535).all()
    assert "bands.nodata=0" in found.notes[0]
    silent = replace(card(), tags=(BandTags(),) * 2)
    notes = check_values(DatedScene(stack, (0, 31, 59), 1), silent).notes
    assert any("0 stands in all bands of 15.0% of the observations" in note for note in notes)
