"""Looks of other scenes: what matching keeps, what it makes, and what is refused before it."""

from dataclasses import replace

import numpy as np
import pytest

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.models.settings import Model
from geoseg.samples.augment import Augment, build
from geoseg.samples.style import amplitude_of, matched, read_styles, swapped
from geoseg.samples.tiles import TrainTiles
from geoseg.scenes.bands import Bands, BandStatistics
from geoseg.scenes.scene import find_scenes
from geoseg.training.cards import card_of
from geoseg.training.checks import find_styles
from tests.made.tiles import GRID


def noise(seed=0, bands=2, side=64):
    return np.random.default_rng(seed).normal(0, 1, (bands, side, side)).astype(np.float32)


def quantiles(image):
    return np.quantile(image.reshape(len(image), -1), np.linspace(0, 1, 129), axis=1).T


def test_an_image_in_its_own_look_is_itself():
    image = noise()
    image[1] = np.round(image[1])  # many pixels of one value
    np.testing.assert_allclose(matched(image, *2 * (quantiles(image),)), image, atol=1e-6)
    lifted = image + 5
    np.testing.assert_allclose(swapped(lifted, amplitude_of(lifted, 3)), lifted, atol=1e-5)


def test_matching_undoes_gain_and_offset_and_keeps_the_order():
    image = noise()
    other = 1.7 * image - 0.4
    made = matched(image, quantiles(image), quantiles(other))
    np.testing.assert_allclose(made, other, atol=0.02)
    assert (np.argsort(made[0].ravel()) == np.argsort(image[0].ravel())).all()
    outside = np.full((2, 1, 1), 9, np.float32)  # beyond all that was seen
    far = matched(outside, quantiles(image), quantiles(image))
    np.testing.assert_allclose(far, outside, rtol=1e-6)


def test_swapped_frequencies_bring_the_mean_and_leave_the_texture():
    image, other = noise(0) + 5, 2 * noise(1) + 8
    made = swapped(image, amplitude_of(other, 1))
    np.testing.assert_allclose(made.mean((1, 2)), other.mean((1, 2)), rtol=1e-4)
    low = (slice(None), slice(2, -1), slice(2, -1))
    before, after = np.fft.fft2(image)[low], np.fft.fft2(made)[low]
    np.testing.assert_allclose(after, before, atol=1e-2)


@pytest.fixture
def styled(dataset, tmp_path):
    """A data set with real statistics, and a scene that shows the same twice as bright."""
    found = dataset.scenes[0]
    with found.open() as reader:
        image, valid = reader.read(GRID.window)
    mean, std = image[:, valid].mean(1), image[:, valid].std(1)
    high = image[:, valid].max(1)
    rows = (mean, std, 0 * mean, high, 0 * mean, high)
    statistics = BandStatistics(*(tuple(map(float, row)) for row in rows))
    path = tmp_path / "styles" / "bright.tif"
    bright = np.clip(image.astype(int) // 2 + 100, 0, 255).astype(np.uint8) * valid
    with raster.create(path, GRID, dtype="uint8", count=2, nodata=0) as writer:
        writer.write(bright, GRID.window)
    return replace(dataset, statistics=statistics), path


def styles(dataset, path, **settings):
    augment = Augment(style=str(path), style_chance=1.0, **settings)
    scenes = find_styles(augment, card_of(dataset, Model()), dataset)
    tiles = dataset.tiles("train")
    return read_styles(dataset, scenes, augment, tiles=tiles, side=64)


@pytest.mark.parametrize("how", ["histogram", "fourier"])
def test_samples_get_the_look_and_keep_their_labels(styled, how):
    dataset, path = styled
    made = styles(dataset, path, style_how=how)
    plain = TrainTiles(dataset, build(Augment()))
    other = TrainTiles(dataset, build(made.augment), style=made)
    again = TrainTiles(dataset, build(made.augment), style=made)
    seen, shown = [], []
    for draw in [(n % len(plain), n) for n in range(12)]:
        (image, target), (styled_image, same) = plain[draw], other[draw]
        assert (target == same).all()
        assert (again[draw][0] == styled_image).all()
        seen.append(image.mean((1, 2)).numpy())
        shown.append(styled_image.mean((1, 2)).numpy())
    # Of the first band train shows 1 to 121, the other scene 100 to 200.
    goal = (150 - 61) / dataset.statistics.std[0]
    moved = np.mean(shown, axis=0) - np.mean(seen, axis=0)
    assert abs(moved[0] - goal) < 0.45


def test_by_chance_a_sample_stays_as_it_is(styled):
    dataset, path = styled
    made = styles(dataset, path)
    made = replace(made, augment=replace(made.augment, style_chance=0.5))
    image, valid = noise(), np.ones((64, 64), bool)
    kept = [made(image, valid, "s", np.random.default_rng(seed)) is image for seed in range(200)]
    assert 0.35 < np.mean(kept) < 0.65
    always = replace(made, augment=replace(made.augment, style_chance=1.0))
    valid[:5] = False
    shown = always(image * valid, valid, "s", np.random.default_rng(0))
    assert not shown[:, :5].any(), "nodata stays 0"
    assert shown[:, 5:].all()


def test_a_data_set_is_a_style_too(styled):
    dataset, _ = styled
    made = styles(dataset, dataset.folder)
    assert len(made.looks) == 1
    np.testing.assert_allclose(made.looks[0][0, 64], made.own["s"][0, 64], atol=1.2)


def test_scenes_that_do_not_suit_are_named(styled, tmp_path):
    dataset, path = styled
    with pytest.raises(InputError, match=r"augment\.style: .*no such file"):
        styles(dataset, tmp_path / "nowhere")
    one = tmp_path / "one" / "one.tif"
    with raster.create(one, GRID, dtype="uint8", names=("red",)) as writer:
        writer.write(np.ones((GRID.height, GRID.width), np.uint8), GRID.window)
    with pytest.raises(InputError, match=r"augment\.style: .*1 band \(red\), expected 2"):
        styles(dataset, one)
    empty = tmp_path / "empty.tif"
    with raster.create(empty, GRID, dtype="uint8", count=2, nodata=0) as writer:
        writer.write(np.zeros((2, GRID.height, GRID.width), np.uint8), GRID.window)
    for how, said in (("histogram", "shows nothing"), ("fourier", "without gaps")):
        with pytest.raises(InputError, match=said):
            styles(dataset, empty, style_how=how)
    assert find_scenes(path, Bands())


@pytest.mark.parametrize(
    "settings",
    [{"style_how": "gan"}, {"style_chance": 1.5}, {"style_beta": 0.7}, {"style_beta": -1}],
)
def test_settings_that_make_no_sense(settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"augment.{name}"):
        Augment(**settings)
    with pytest.raises(InputError, match="leave one of them out"):
        Augment(style="x", target="a:b")
