"""What haze, clouds and the like do to images of any number of bands."""

import numpy as np
import pytest

from geoseg.geo.legend import IGNORED
from geoseg.robustness.settings import StressSettings
from geoseg.samples.corruptions import (
    KINDS,
    MEANINGS,
    SEVERAL_BANDS,
    Conditions,
    Levels,
    View,
    corrupted,
)
from geoseg.scenes.bands import BandStatistics


def view(bands=3, side=64):
    random = np.random.default_rng(0)
    coarse = random.standard_normal((bands, side // 8, side // 8))
    image = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.float32)
    valid = np.ones((side, side), bool)
    valid[:5] = False
    image[:, ~valid] = 0
    target = np.where(valid, random.integers(0, 3, (side, side)), IGNORED).astype(np.uint8)
    return View(image, valid, target)


def after(kind, strength, given, number=0):
    return corrupted(kind, given, strength, Conditions.seeded(Levels(), kind, 0, number))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bands", [1, 2, 5])
def test_images_of_any_number_of_bands_suffer_the_more_the_stronger(kind, bands):
    given = view(bands)
    untouched = given.image.copy()
    far = []
    for strength in (0.0, 0.4, 1.0):
        made = after(kind, strength, given)
        assert made.image.dtype == np.float32
        assert made.image.shape == given.image.shape
        assert np.isfinite(made.image).all()
        assert (made.image[:, ~made.valid] == 0).all()
        assert (made.target[~made.valid] == IGNORED).all()
        far.append(np.abs(made.image - untouched).mean())
    assert (given.image == untouched).all()
    assert far[0] == 0
    if bands > 1 or kind not in SEVERAL_BANDS:
        assert 0 < far[1] <= far[2]
        assert far[1] < far[2] or (kind, bands) == ("bands", 2)
    else:
        assert far == [0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same(kind):
    one, two = (after(kind, 0.6, view()).image for _ in range(2))
    assert (one == two).all()


def test_what_is_all_over_is_the_same_in_each_image():
    given = view()
    for kind, alike in (("season", True), ("bands", True), ("shift", True), ("noise", False)):
        made = [after(kind, 0.6, given, number).image for number in (0, 1)]
        assert (made[0] == made[1]).all() == alike


def test_a_rotation_takes_the_labels_along():
    given = view()
    pixels = given.target.astype(np.float32)[None]
    same = View(pixels, given.valid, given.target)
    made = after("rotation", 1.0, same)
    known = made.target != IGNORED
    assert 0.3 < known.mean() < 0.9
    # Within an area of one class the image has still the value of its label.
    flat = np.full_like(pixels, 2.0)
    labels = np.full_like(given.target, 2)
    turned = after("rotation", 1.0, View(flat, given.valid, labels))
    assert (turned.target[turned.valid] == 2).all()
    assert np.allclose(turned.image[0][turned.valid], 2, atol=1e-5)


def test_void_does_not_bleed():
    given = view()
    other = View(np.where(given.valid, given.image, np.float32(0)), given.valid, given.target)
    flat = View(
        np.where(given.valid, np.float32(1), np.float32(0))[None], given.valid, other.target
    )
    for kind in ("blur", "resolution"):
        assert np.allclose(after(kind, 1.0, flat).image[0][given.valid], 1, atol=1e-4)


def test_levels_are_those_of_the_bands():
    of = BandStatistics((10.0, 0.0), (2.0, 0.0), (6.0, 0.0), (14.0, 0.0), (5.0, 0.0), (20.0, 0.0))
    levels = Levels.of(of)
    assert levels.dark.ravel().tolist() == [-2, 0]
    assert levels.bright.ravel().tolist() == [2, 0]
    assert levels.high.ravel().tolist() == [5, 0]


def test_all_bands_but_one_are_missing_at_the_end():
    made = after("bands", 1.0, view(4)).image
    assert sorted((made == 0).all(axis=(1, 2)).tolist()) == [False, True, True, True]


def test_every_kind_is_explained_and_done_by_default():
    assert set(MEANINGS) == set(KINDS) == set(StressSettings().kinds)
