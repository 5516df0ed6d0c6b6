import json
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from geoseg.errors import InputError
from geoseg.samples.augment import Augment, bent, blurred, build, noisy, relit, without_a_band

CONF = Path(__file__).parents[2] / "conf" / "augment"
NAMES = ("none", "light", "strong")
GEOMETRY = Augment(flips=True, quarter_turns=True, rotation=45, scale=0.25, chance=1)
LIGHT_ONLY = Augment(
    brightness=0.4,
    contrast=0.3,
    band_brightness=0.2,
    band_contrast=0.2,
    curve=0.3,
    noise=0.2,
    blur=1,
    band_dropout=0.5,
    chance=1,
)


def load(name: str) -> Augment:
    schema = OmegaConf.structured(Augment)
    return OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.load(CONF / f"{name}.yaml")))


def sample(C: int, H: int, W: int, *, holes: bool = True):
    """Values far outside [0, 1], four classes, unlabelled pixels, and a void corner and dot."""
    generator = np.random.default_rng(C * H + W)
    image = generator.normal(0, 3, (C, H, W)).astype(np.float32)
    target = generator.integers(0, 4, (H, W)).astype(np.uint8)
    target[: H // 8, W // 2 :] = 255
    valid = np.ones((H, W), bool)
    if holes:
        valid[: H // 4, : W // 4] = False
        valid[H // 2, W // 2] = False
        image[:, ~valid] = 0
        target[~valid] = 255
    return image, target, valid


def coordinates(H: int, W: int):
    """An image whose two bands are column and row, and a target that follows from them."""
    rows, columns = np.mgrid[:H, :W].astype(np.float32)
    return np.stack((columns, rows)), chequers(columns, rows), np.ones((H, W), bool)


def chequers(columns, rows):
    return ((columns // 7 + 2 * (rows // 5)) % 5).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("C", [1, 3, 4, 10, 13])
@pytest.mark.parametrize("shape", [(64, 64), (48, 80), (33, 17)])
def test_every_setting_takes_any_bands_and_shape(name, C, shape):
    image, target, valid = sample(C, *shape)
    before = image.copy(), target.copy(), valid.copy()
    augment = build(load(name))
    for seed in range(12):
        new_image, new_target = augment(image, target, valid, seed)
        assert new_image.shape == image.shape
        assert new_image.dtype == np.float32
        assert new_image.flags.c_contiguous
        assert new_target.shape == target.shape
        assert new_target.dtype == np.uint8
        assert set(np.unique(new_target)) <= {0, 1, 2, 3, 255}
        assert np.isfinite(new_image).all()
    for array, copy in zip((image, target, valid), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_none_is_the_identity():
    image, target, valid = sample(4, 32, 48)
    new_image, new_target = build(load("none"))(image, target, valid, 5)
    np.testing.assert_array_equal(new_image, image)
    np.testing.assert_array_equal(new_target, target)


def test_none_still_clears_what_is_not_valid():
    image, target, valid = sample(2, 8, 8, holes=False)
    valid[3, 4] = False
    new_image, new_target = build(Augment())(image, target, valid, 0)
    assert (new_image[:, 3, 4] == 0).all()
    assert new_target[3, 4] == 255
    assert image[0, 3, 4] != 0
    assert (new_image[:, valid] == image[:, valid]).all()


@pytest.mark.parametrize("settings_", [load("light"), load("strong"), GEOMETRY, LIGHT_ONLY])
def test_the_seed_decides(settings_):
    image, target, valid = sample(4, 64, 64)
    one, other = build(settings_), build(settings_)
    other(image, target, valid, 99)  # what came before must not matter
    results = []
    for seed in (np.int64(7), 2**40):
        first, second = one(image, target, valid, seed), other(image, target, valid, int(seed))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])
        results.append(first[0])
    assert not np.array_equal(*results)


def test_a_pipeline_goes_to_other_processes():
    image, target, valid = sample(4, 32, 32)
    augment = build(load("strong"))
    here = augment(image, target, valid, 3)
    there = pickle.loads(pickle.dumps(augment))(image, target, valid, 3)
    np.testing.assert_array_equal(here[0], there[0])


def orientations(settings_: Augment, shape: tuple[int, int], count: int) -> dict[str, int]:
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    valid = np.ones(shape, bool)
    augment = build(settings_)
    found: dict[str, int] = {}
    for seed in range(count):
        corners = augment(image, np.zeros(shape, np.uint8), valid, seed)[0][0][::2, ::2]
        found[str(corners.tolist())] = found.get(str(corners.tolist()), 0) + 1
    return found


def test_flips_are_independent_of_each_other():
    found = orientations(Augment(flips=True), (3, 3), 400)
    assert len(found) == 4
    assert min(found.values()) > 60


def test_all_eight_orientations_of_a_square_are_alike():
    found = orientations(Augment(flips=True, quarter_turns=True), (3, 3), 800)
    assert len(found) == 8
    assert min(found.values()) > 60


def test_oblong_tiles_turn_by_half():
    assert len(orientations(Augment(quarter_turns=True), (3, 5), 50)) == 2
    assert len(orientations(Augment(flips=True, quarter_turns=True), (5, 3), 100)) == 4


@pytest.mark.parametrize("C", [1, 4, 13])
def test_turns_move_values_without_changing_them(C):
    image, target, valid = sample(C, 40, 40, holes=False)
    encoded = np.concatenate((image, target[None].astype(np.float32)))
    augment = build(Augment(flips=True, quarter_turns=True))
    for seed in range(20):
        new, new_target = augment(encoded, target, valid, seed)
        np.testing.assert_array_equal(new[-1], new_target)
        np.testing.assert_array_equal(np.sort(new[0].ravel()), np.sort(image[0].ravel()))


def test_light_is_the_same_with_and_without_albumentations():
    image, target, valid = sample(4, 64, 64)
    light = load("light")
    through = build(replace(light, noise=1e-9, chance=1))  # takes the long way
    for seed in range(12):
        short, target_short = build(light)(image, target, valid, seed)
        long, target_long = through(image, target, valid, seed)
        np.testing.assert_allclose(short, long, atol=1e-6)
        np.testing.assert_array_equal(target_short, target_long)


@pytest.mark.parametrize("shape", [(64, 64), (48, 80)])
def test_rotation_and_scale_move_image_and_target_alike(shape):
    image, target, valid = coordinates(*shape)
    augment, shares = build(GEOMETRY), []
    for seed in range(30):
        (columns, rows), new = augment(image, target, valid, seed)
        seen = new != 255
        shares.append(seen.mean())
        # Halfway between two pixels either may be the nearest.
        clear = seen & (np.abs(columns % 1 - 0.5) > 0.1) & (np.abs(rows % 1 - 0.5) > 0.1)
        assert clear.sum() > 0.4 * seen.sum()
        np.testing.assert_array_equal(
            new[clear], chequers(np.round(columns[clear]), np.round(rows[clear]))
        )

    assert 0.2 < min(shares) < 1


def test_rotation_reaches_both_ways_and_scale_keeps_to_its_share():
    image, target, valid = coordinates(65, 65)
    angles, factors = [], []
    augment = build(Augment(rotation=30, scale=0.25, chance=1))
    for seed in range(60):
        columns, rows = augment(image, target, valid, seed)[0]
        across = columns[32, 36] - columns[32, 28], rows[32, 36] - rows[32, 28]
        angles.append(np.degrees(np.arctan2(across[1], across[0])))
        factors.append(8 / np.hypot(*across))
    assert -30.5 < min(angles) < -25
    assert 25 < max(angles) < 30.5
    assert 0.79 < min(factors) < 0.85
    assert 1.2 < max(factors) < 1.26


def test_warping_mixes_nothing_void_into_valid_pixels():
    valid = np.ones((64, 64), bool)
    valid[:20, :30] = valid[40, 40] = False
    image = np.where(valid, np.float32(5), np.float32(-1000))[None].repeat(5, axis=0)
    target = np.where(valid, 1, 255).astype(np.uint8)
    augment = build(Augment(rotation=45, scale=0.25, chance=1))
    for seed in range(30):
        new, new_target = augment(image, target, valid, seed)
        assert set(np.unique(new_target)) == {1, 255}
        np.testing.assert_allclose(new[:, new_target == 1], 5, rtol=1e-5)
        assert (new[:, new_target == 255] == 0).all()


@pytest.mark.parametrize("C", [1, 3, 4, 10, 13])
def test_radiometric_changes_leave_target_and_void_alone(C):
    image, target, valid = sample(C, 64, 64)
    augment = build(LIGHT_ONLY)
    for seed in range(10):
        new, new_target = augment(image, target, valid, seed)
        np.testing.assert_array_equal(new_target, target)
        assert (new[:, ~valid] == 0).all()
        assert (new != image).any(axis=(1, 2)).all()


def test_no_radiometric_change_clips():
    image, target, valid = sample(4, 64, 64, holes=False)
    quiet = Augment(**{**vars(LIGHT_ONLY), "blur": 0.0, "band_dropout": 0.0})
    for seed in range(10):
        new = build(quiet)(image, target, valid, seed)[0]
        assert new.min() < 0.4 * image.min() < -3
        assert new.max() > 0.4 * image.max() > 3


def draw_with(change, image, *, limit=None, seed=0):
    """One radiometric change of a (H, W, C) image without void."""
    arguments = (image, np.zeros(image.shape[:2], bool), np.random.default_rng(seed))
    return change(*arguments) if limit is None else change(limit, *arguments)


def test_relit_is_one_gain_and_offset_per_band_within_the_limits():
    image = sample(10, 32, 48, holes=False)[0].transpose(1, 2, 0)
    a = Augment(brightness=0.2, contrast=0.1, band_brightness=0.1, band_contrast=0.05)
    gains = []
    for seed in range(50):
        new = draw_with(relit, np.ascontiguousarray(image), limit=a, seed=seed)
        for band in range(10):
            gain, offset = np.polyfit(image[..., band].ravel(), new[..., band].ravel(), 1)
            np.testing.assert_allclose(new[..., band], gain * image[..., band] + offset, atol=1e-4)
            assert 0.9 * 0.95 - 1e-3 < gain < 1.1 * 1.05 + 1e-3
            assert abs(offset) < 0.3 + 1e-3
            gains.append(gain)
    assert min(gains) < 0.92
    assert max(gains) > 1.08


def test_whole_image_changes_are_the_same_for_all_bands():
    image = np.ones((4, 4, 3), np.float32)
    new = draw_with(relit, image, limit=Augment(brightness=0.5, contrast=0.5))
    assert np.ptp(new) < 1e-6
    assert abs(new[0, 0, 0] - 1) > 1e-3


@given(limit=st.floats(0.01, 0.99), seed=st.integers(0, 2**32))
def test_the_curve_rises_and_keeps_the_mean_in_place(limit, seed):
    values = np.linspace(-50, 50, 1001, dtype=np.float32)
    new = draw_with(bent, values.reshape(7, 143, 1), limit=limit, seed=seed).ravel()
    slope = np.diff(new.astype(np.float64)) / np.diff(values.astype(np.float64))
    assert new[500] == 0
    assert slope.min() > 1 - limit - 1e-3
    assert slope.max() < 1 + limit + 1e-3


def test_noise_has_the_sigma_asked_for():
    image = np.full((128, 128, 4), 7, np.float32)
    sigmas = [(draw_with(noisy, image, limit=0.5, seed=s) - 7).std() for s in range(40)]
    assert 0.4 < max(sigmas) < 0.51
    assert min(sigmas) < 0.1


@pytest.mark.parametrize("C", [1, 2, 5, 13])
def test_blur_keeps_a_constant_beside_void(C):
    image = np.full((32, 40, C), -3, np.float32)
    void = np.zeros((32, 40), bool)
    void[:, 20:] = True
    image[void] = 1000
    for seed in range(10):
        new = blurred(2, image, void, np.random.default_rng(seed))
        np.testing.assert_allclose(new[~void], -3, rtol=1e-4)


@pytest.mark.parametrize("C", [1, 4, 13])
def test_blur_smooths_each_band_by_itself(C):
    image = np.zeros((33, 33, C), np.float32)
    image[16, 16] = np.arange(1, C + 1)
    new = draw_with(blurred, image, limit=3, seed=1)
    assert new.shape == image.shape
    np.testing.assert_allclose(new.sum(axis=(0, 1)), np.arange(1, C + 1), rtol=1e-3)
    assert new[16, 16, 0] < 0.6


def test_one_band_is_dropped_and_never_the_only_one():
    image = np.ones((5, 6, 4), np.float32)
    gone = set()
    for seed in range(40):
        left = draw_with(without_a_band, image, seed=seed).any(axis=(0, 1))
        assert left.sum() == 3
        gone.add(int(np.argmin(left)))
    assert gone == {0, 1, 2, 3}
    assert draw_with(without_a_band, image[..., :1]).all()


def test_cutout_leaves_holes_that_are_ignored():
    image, target, valid = sample(4, 64, 64, holes=False)
    image += 100  # no zero by itself
    target[:] = 1
    augment = build(Augment(cutout=0.25, chance=1))
    for seed in range(20):
        new, new_target = augment(image, target, valid, seed)
        hole = new_target == 255
        assert 16 <= hole.sum() <= 2 * 16 * 16
        assert (new[:, hole] == 0).all()
        np.testing.assert_array_equal(new[:, ~hole], image[:, ~hole])


def test_chance_leaves_part_of_the_samples_as_they_are():
    image, target, valid = sample(3, 16, 16, holes=False)
    augment = build(Augment(noise=0.1, chance=0.25))
    same = sum(np.array_equal(augment(image, target, valid, s)[0], image) for s in range(200))
    assert 120 < same < 180


@settings(deadline=None)
@given(
    C=st.integers(1, 14),
    H=st.integers(1, 40),
    W=st.integers(1, 40),
    seed=st.integers(0, 2**63),
    share=st.floats(0, 1),
)
def test_void_pixels_stay_zero_and_ignored(C, H, W, seed, share):
    generator = np.random.default_rng(seed)
    image = generator.normal(0, 2, (C, H, W)).astype(np.float32)
    valid = generator.random((H, W)) >= share
    target = np.zeros((H, W), np.uint8)
    image[:, ~valid] = 0
    image[:, valid] += 1e-3  # only void is exactly 0
    new, new_target = build(load("strong"))(image, target, valid, seed)
    assert new.shape == image.shape
    assert (new[:, new_target == 255] == 0).all()
    assert (new_target[new.any(axis=0)] == 0).all()


def test_configuration_files_say_what_they_do():
    assert load("none") == Augment()
    assert load("light") != load("strong")
    assert load("light").rotation == load("light").blur == 0  # cheap: nothing resampled
    assert load("auto") == replace(load("light"), auto=True)
    own = ("auto", "target", "options", "style")  # choose, or name other code, and scenes
    assert all(getattr(load("robust"), f.name) for f in fields(Augment) if f.name not in own)


def test_an_unknown_key_is_refused():
    with pytest.raises(ConfigKeyError, match="hue"):
        OmegaConf.merge(OmegaConf.structured(Augment), {"hue": 0.1})


def test_all_faults_of_the_settings_are_named_at_once():
    with pytest.raises(InputError) as error:
        Augment(rotation=200, contrast=1, noise=-0.1, blur=float("nan"), band_dropout=1.5)
    text = str(error.value)
    for part in ("rotation=200", "contrast=1", "noise=-0.1", "blur=nan", "band_dropout=1.5"):
        assert part in text
    assert len(error.value.faults) == 5


def test_albumentations_is_imported_only_when_needed():
    code = (
        "import json, sys, numpy as np\n"
        "class Asked(Exception): pass\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'albumentations': raise Asked\n"  # importing it takes seconds
        "sys.meta_path.insert(0, Finder())\n"
        "from geoseg.samples.augment import Augment, build\n"
        "one = np.ones((1, 4, 4), 'f4'), np.zeros((4, 4), 'u1'), np.ones((4, 4), bool), 0\n"
        "build(Augment())(*one)\n"
        "before = [m for m in ('albumentations', 'cv2', 'torch') if m in sys.modules]\n"
        "build(Augment(flips=True, quarter_turns=True, brightness=0.1, contrast=0.1))(*one)\n"
        "before += [m for m in ('albumentations', 'cv2', 'torch') if m in sys.modules]\n"
        "try: build(Augment(blur=1))(*one)\n"
        "except Asked: print(json.dumps(before))\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout) == []
