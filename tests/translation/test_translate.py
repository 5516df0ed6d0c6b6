"""Translation of made-up scenes: another sensor, whose numbers and edges are known."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.models.checkpoint import save_other
from geoseg.scenes.bands import Bands
from geoseg.scenes.scene import find_scenes
from geoseg.translate import TranslateConfig
from geoseg.translate import main as command
from geoseg.translation import apply
from geoseg.translation.model_file import NAME, read_card
from geoseg.translation.networks import REACH, Generator
from geoseg.translation.settings import TranslateSettings
from geoseg.translation.translate import Source, translate

NONE = TranslateSettings(steps=0, patch=32, width=4, device="cpu")
SIDE = 150


@dataclass(frozen=True)
class Camera:
    """What an archive's numbers are."""

    gain: float = 1.0
    offset: float = 0.0
    dtype: str = "uint16"
    nodata: float = 0
    names: str = "abc"


def scene(path, seed, *, camera=Camera(), side=SIDE, size_m=0.5):
    """Smooth ground in three bands, a corner without image."""
    dtype, nodata = camera.dtype, camera.nodata
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=(3, side // 10 + 2, side // 10 + 2)).repeat(10, 1).repeat(10, 2)
    image = 1000 + 200 * wide[:, :side, :side] + 20 * rng.normal(size=(3, side, side))
    image = camera.gain * image + camera.offset
    image = np.clip(image, 1, 60_000) if dtype == "uint16" else image
    image[:, :20, :20] = nodata
    grid = Grid("EPSG:32632", Affine(size_m, 0, 5e5, 0, -size_m, 5.3e6), side, side)
    with raster.create(
        path, grid, dtype=dtype, count=3, nodata=nodata, names=tuple(camera.names)
    ) as file:
        file.write(image.astype(dtype), grid.window)
    return grid


def read(path):
    with raster.Raster(path) as file:
        image, valid = file.read(file.grid.window)
        return image.astype(float), valid, file.grid


@pytest.fixture
def archives(tmp_path):
    grid = scene(tmp_path / "here" / "a.tif", 0)
    scene(tmp_path / "here" / "b.tif", 1)
    scene(tmp_path / "there" / "c.tif", 2, camera=Camera(1.4, -300, "float32", -9999))
    return tmp_path, grid


def test_without_steps_mean_and_deviation_are_those_of_the_other_archive(archives):
    folder, grid = archives
    said = str(translate(folder / "here", folder / "out", Source(folder / "there"), settings=NONE))
    assert "changes pixels by 0.000 deviations" in said
    before = [read(folder / "here" / f"{name}.tif") for name in "ab"]
    after = [read(folder / "out" / "scenes" / f"{name}.tif") for name in "ab"]
    other = read(folder / "there" / "c.tif")
    values = np.concatenate([image[:, valid] for image, valid, _ in after], axis=1)
    wanted = other[0][:, other[1]]
    # Beyond what the other archive shows values are cut off.
    np.testing.assert_allclose(values.mean(1), wanted.mean(1), rtol=0.02)
    np.testing.assert_allclose(values.std(1), wanted.std(1), rtol=0.08)
    for (image, valid, _), (made, kept, own) in zip(before, after, strict=True):
        assert own.coincides(grid)
        np.testing.assert_array_equal(kept, valid)
        assert not valid[:20, :20].any()
        assert valid[20:].all()
        for one, two in zip(image[:, valid], made[:, valid], strict=True):
            assert np.corrcoef(one, two)[0, 1] > 0.98
    assert raster.info(folder / "out" / "scenes" / "a.tif").dtype == "float32"
    assert raster.info(folder / "out" / "scenes" / "a.tif").names == ("a", "b", "c")


def test_a_few_steps_train_and_a_network_serves_other_scenes(archives):
    folder, _ = archives
    how = TranslateSettings(steps=3, patch=32, width=4, batch=1, device="cpu", learning_rate=0.01)
    translate(folder / "here", folder / "out", Source(folder / "there"), settings=how)
    assert read_card(folder / "out").found["steps"] == 3
    assert read_card(folder / "out").found["added"] > 0
    pixels = (folder / "out" / "examples.png").read_bytes()
    assert pixels[:4] == b"\x89PNG"
    again = translate(folder / "here", folder / "again", Source(checkpoint=folder / "out"))
    assert "2 scenes" in str(again)
    one, two = (read(folder / name / "scenes" / "a.tif")[0] for name in ("out", "again"))
    np.testing.assert_array_equal(one, two)
    assert not (folder / "again" / NAME).exists()
    scene(folder / "shares" / "e.tif", 4, camera=Camera(1e-4, 0, "float32", -9999))
    with pytest.raises(InputError, match=r"e\.tif: values up to 0\.\d+, .* other units"):
        translate(folder / "shares", folder / "no", Source(checkpoint=folder / "out"))


def test_a_call_that_goes_on_does_not_train_again(archives):
    folder, _ = archives
    out = folder / "out"
    translate(folder / "here", out, Source(folder / "there"), settings=NONE)
    bytes_ = {name: (out / "scenes" / f"{name}.tif").read_bytes() for name in "ab"}
    weights = (out / NAME).stat().st_mtime_ns
    kept = (out / "scenes" / "b.tif").stat().st_mtime_ns
    (out / "scenes" / "a.tif").unlink()
    translate(folder / "here", out, Source(folder / "there"), settings=NONE)
    assert {name: (out / "scenes" / f"{name}.tif").read_bytes() for name in "ab"} == bytes_
    assert (out / NAME).stat().st_mtime_ns == weights
    assert (out / "scenes" / "b.tif").stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="made with other settings"):
        translate(folder / "here", out, Source(folder / "there"), settings=NONE, seed=1)
    (out / NAME).write_bytes(b"damaged")
    translate(folder / "here", out, Source(folder / "there"), settings=NONE)
    assert read_card(out).bands == ("a", "b", "c")


def test_what_is_shown_does_not_depend_on_how_a_scene_is_cut(archives, monkeypatch):
    folder, _ = archives
    translate(folder / "here", folder / "out", Source(folder / "there"), settings=NONE)
    card = read_card(folder / "out")
    torch.manual_seed(0)
    network = Generator(3, 4).eval()
    torch.nn.init.normal_(network.last.weight, std=0.2)
    (found,) = find_scenes(folder / "here" / "a.tif", Bands())
    made = []
    for side in (256, 50):
        monkeypatch.setattr(apply, "SIDE", side)
        assert apply.write(found, network, card, folder / f"{side}.tif") > 0.01
        made.append(read(folder / f"{side}.tif")[0])
    np.testing.assert_allclose(made[0], made[1], rtol=1e-4)


def test_a_pixel_depends_on_no_more_than_is_read_around_it():
    torch.manual_seed(0)
    network = Generator(1, 4).double()
    torch.nn.init.normal_(network.last.weight)
    side = 2 * REACH + 64
    image = torch.randn(1, 1, side, side, dtype=torch.double, requires_grad=True)
    middle = slice(REACH, -REACH)
    network(image)[0, 0, middle, middle].abs().sum().backward()
    gradient = image.grad[0, 0]
    assert gradient[0].abs().max() == 0
    assert gradient[:, -1].abs().max() == 0
    assert gradient[REACH:-REACH, REACH:-REACH].abs().min() > 0


def test_a_network_says_nothing_before_it_has_learnt():
    image = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(Generator(3, 4)(image), image)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 65535))
def test_no_value_becomes_nodata(archives_card, nodata):
    values = apply.in_units(np.linspace(-4, 4, 300).reshape(3, 10, 10), archives_card, nodata)
    assert values.dtype == np.uint16
    assert not (values == nodata).any()
    low = max(archives_card.there.low)
    real = apply.in_units(np.full((3, 1, 1), -9.0), replace(archives_card, dtype="float32"), low)
    assert not (real == low).any()


@pytest.fixture(scope="module")
def archives_card(tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    scene(folder / "a.tif", 0)
    translate(folder / "a.tif", folder / "out", Source(folder / "a.tif"), settings=NONE)
    return read_card(folder / "out")


def test_what_does_not_fit_is_said_in_a_sentence(archives):
    folder, _ = archives
    out = folder / "out"
    here = folder / "here"
    scene(folder / "coarse" / "d.tif", 3, size_m=2.0)
    with pytest.raises(InputError, match=r"d\.tif: pixels of 2 m, scenes=.* has 0\.5 m"):
        translate(here, out, Source(folder / "coarse"), settings=NONE)
    scene(folder / "other" / "d.tif", 3, camera=Camera(names="xyz"))
    with pytest.raises(InputError, match=r"3 bands \(x, y, z\), expected 3 \(a, b, c\)"):
        translate(here, out, Source(folder / "other"), settings=NONE)
    scene(folder / "small" / "d.tif", 3, side=40)
    with pytest.raises(InputError, match="like: 0 windows of 64 px without gaps"):
        translate(here, folder / "few", Source(folder / "small"), settings=NONE)
    with pytest.raises(InputError, match="no such file"):
        translate(here, out, Source(checkpoint=folder / "nothing"))
    save_other(folder / "other.safetensors", torch.nn.Linear(2, 2), {})
    with pytest.raises(InputError, match="holds no translation"):
        translate(here, out, Source(checkpoint=folder / "other.safetensors"))
    scene(folder / "own" / "scenes" / "a.tif", 0)
    with pytest.raises(InputError, match="lies where it would be written"):
        translate(folder / "own" / "scenes", folder / "own", Source(here), settings=NONE)
    assert not (out / "scenes").exists()


def test_settings_and_keys_are_checked_at_once():
    with pytest.raises(InputError) as error:
        TranslateSettings(patch=33, steps=-1, cycle=-1.0, learning_rate=0)
    assert len(error.value.faults) == 4
    with pytest.raises(InputError) as error:
        command(TranslateConfig(like="a", checkpoint="b"))
    assert [fault.partition(":")[0] for fault in error.value.faults] == [
        *("scenes", "out", "like, checkpoint"),
    ]


def test_the_corner_of_a_window_is_its_own(archives):
    """Windows at any place agree with the whole."""
    folder, _ = archives
    translate(folder / "here", folder / "out", Source(folder / "there"), settings=NONE)
    card = read_card(folder / "out")
    network = Generator(3, 4).eval()
    torch.manual_seed(1)
    torch.nn.init.normal_(network.last.weight, std=0.2)
    (found,) = find_scenes(folder / "here" / "b.tif", Bands())
    whole = Window(0, 0, SIDE, SIDE)
    cpu = torch.device("cpu")
    with found.open() as reader:
        _, all_of_it, _ = apply.translated(reader, whole, network, card, cpu)
        part = Window(33, 61, 30, 45)
        before, after, _ = apply.translated(reader, part, network, card, cpu)
    np.testing.assert_allclose(after, all_of_it[:, *part.within(whole)], atol=1e-4)
    assert np.abs(after - before).max() > 0.01
