"""Series as tensors: batches hold what the arrays hold; filling; what is random in training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.dataset.samples import save_days
from geoseg.models.device import choose
from geoseg.models.view import View, fill
from geoseg.samples.predict import predict_samples
from geoseg.samples.series import InOrder, SeriesBatches, vary
from geoseg.samples.settings import SeriesSamples
from geoseg.scenes.stack import MISSING, observed
from geoseg.training.sampler import BatchShuffle, Share, Shuffle
from tests.made.samples import CARD, STATISTICS, made_samples, samples_of

VIEW = View(STATISTICS, CARD)


def feed(tmp_path, vary=None, view=VIEW):
    folder, samples = made_samples(tmp_path)
    return SeriesBatches(folder, samples, np.arange(len(samples)), view, vary)


def test_a_batch_holds_the_pixels_of_its_samples(tmp_path):
    """Two tiles with other dates in one batch: each sample has its own, the rest is padding."""
    folder, samples = made_samples(tmp_path)
    (values, valid, days, _), target = feed(tmp_path)[[(0, 0), (3, 0)]]
    assert target.tolist() == [0, 3]
    for row, number in enumerate((0, 3)):
        pixels = np.load(folder / "pixels" / f"{samples.tile[number]}.npy")
        when = np.load(folder / "pixels" / f"{samples.tile[number]}.days.npy")
        first, count = samples.first[number], samples.pixels[number]
        mine = pixels[first : first + count]
        seen = observed(mine).any(axis=2)
        for pixel in range(count):
            expected = {
                int(d): v for d, v, s in zip(when, mine[pixel], seen[pixel], strict=True) if s
            }
            got = {
                int(days[row, t]): values[row, t, pixel].numpy()
                for t in range(values.shape[1])
                if valid[row, t, pixel]
            }
            assert got.keys() == expected.keys()
            for day, value in got.items():
                np.testing.assert_allclose(value, expected[day])
        assert not valid[row, :, count:].any()


def test_values_that_were_not_observed_are_0(tmp_path):
    (values, valid, _, _), _ = feed(tmp_path)[[(i, 0) for i in range(5)]]
    assert not values[~valid].any()
    assert valid.any(dim=2).any(dim=0).all(), "a date that nobody has was kept"


def test_each_pixel_may_be_a_sample(tmp_path):
    _, samples = made_samples(tmp_path)
    pixels = feed(tmp_path, view=View(STATISTICS, replace(CARD, unit="pixel")))
    assert len(pixels) == samples.pixels.sum()
    (values, _, _, _), target = pixels[[(i, 0) for i in range(len(pixels))]]
    assert values.shape[2] == 1
    np.testing.assert_array_equal(target, np.repeat(np.arange(len(samples)), samples.pixels))


def test_training_draws_other_pixels_each_time_and_prediction_the_same(tmp_path):
    some = SeriesSamples(pixels=2, drop_dates=0.0)
    training = feed(tmp_path, some)
    draws = [training[[(4, seed)]][0][0] for seed in range(8)]
    assert all(values.shape[2] == 2 for values in draws)
    assert any(not torch.equal(draws[0], other) for other in draws[1:])
    torch.testing.assert_close(training[[(4, 3)]][0][0], draws[3])
    still = feed(tmp_path)
    torch.testing.assert_close(still[[(4, 1)]][0][0], still[[(4, 2)]][0][0])


@given(
    seed=st.integers(0, 1000),
    drop=st.floats(0, 1),
    truncate=st.floats(0, 1),
    noise=st.floats(0, 2),
    shift=st.integers(0, 30),
)
@settings(deadline=None)
def test_variation_only_takes_away_and_never_all(seed, drop, truncate, noise, shift):
    random = np.random.default_rng(seed)
    values = random.integers(0, 60000, (4, 3, 9, 2)).astype(np.uint16)
    values[random.random(values.shape[:3]) < 0.4] = MISSING["uint16"]
    values[:, 0, 4] = 77
    days = np.sort(random.integers(0, 300, (4, 9)), axis=1).astype(np.int16)
    how = SeriesSamples(drop_dates=drop, truncate=truncate, noise=noise, shift_days=shift)
    varied, moved = vary(values.copy(), days.copy(), how, STATISTICS, random)
    kept = observed(varied)
    assert not (kept & ~observed(values)).any()
    assert kept.any(axis=(1, 2, 3)).all()
    assert np.abs(moved.astype(int) - days).max() <= shift
    assert (np.diff(moved, axis=1) == np.diff(days, axis=1)).all()
    if not noise:
        assert (varied[kept] == values[kept]).all()
    if not drop and not truncate:
        assert (kept == observed(values)).all()


def test_a_series_cut_short_has_no_late_dates():
    values = np.full((200, 1, 50, 1), 5, np.uint16)
    days = np.tile(np.arange(50, dtype=np.int16), (200, 1))
    how = SeriesSamples(drop_dates=0.0, truncate=1.0)
    varied, _ = vary(values, days, how, STATISTICS, np.random.default_rng(0))
    length = observed(varied)[:, 0, :, 0].sum(axis=1)
    assert all(observed(varied)[i, 0, :n, 0].all() for i, n in enumerate(length))
    assert length.min() < 10
    assert length.max() > 40


@given(seed=st.integers(0, 500), share=st.floats(0, 1))
@settings(deadline=None)
def test_filling_is_linear_between_observations_and_constant_beyond(seed, share):
    random = np.random.default_rng(seed)
    days = np.sort(random.integers(0, 100, (2, 8)), axis=1).astype(np.float32)
    seen = random.random((2, 3, 8, 2)) < share
    values = np.where(seen, random.normal(size=seen.shape), 0).astype(np.float32)
    grid = np.arange(-9, 120, 7, dtype=np.float32)
    filled, valid = fill(*(torch.from_numpy(a) for a in (values, seen, days, grid)))
    for b, s, c in np.ndindex(2, 3, 2):
        here = seen[b, s, :, c]
        # Of several observations on one day any may count; numpy takes the last.
        if not here.any() or len(set(days[b][here])) < here.sum():
            continue
        expected = np.interp(grid, days[b][here], values[b, s, here, c])
        np.testing.assert_allclose(filled[b, s, :, c], expected, atol=1e-5)
    np.testing.assert_array_equal(valid[:, :, 0], seen.any(axis=(2, 3)))


@given(seed=st.integers(0, 500), share=st.floats(0, 1))
@settings(max_examples=20, deadline=None)
def test_bands_that_are_seen_together_are_filled_as_each_by_itself(seed, share):
    random = np.random.default_rng(seed)
    days, grid = np.sort(random.integers(0, 60, (2, 7))), np.arange(-5, 70, 6)
    values = random.normal(size=(2, 3, 7, 3)).astype(np.float32)
    one = random.random((2, 3, 7, 1)) < share
    one[0, 0, 0] = True
    apart = np.concatenate([one, one, np.zeros_like(one)], axis=3)  # each is looked for by itself
    given = [torch.from_numpy(a.astype(np.float32)) for a in (values, days, grid)]
    made = {
        count: fill(given[0][..., :bands], torch.from_numpy(seen), *given[1:])
        for count, bands, seen in ((1, 2, one), (2, 2, apart[..., :2]), (3, 3, apart))
    }
    for count in (1, 2):
        assert torch.equal(made[count][0], made[3][0][..., :2])
        assert torch.equal(made[count][1], made[3][1])


def test_a_regular_view_has_the_grid_whatever_the_dates(tmp_path):
    folder, samples = made_samples(tmp_path)
    view = View(STATISTICS, replace(CARD, fill="linear", step=16))
    batches = SeriesBatches(folder, samples, np.zeros(len(samples)), view)
    for draws in ([(0, 0)], [(1, 0), (4, 0)]):
        (values, valid, days, _), _ = batches[draws]
        assert values.shape[:2] == (len(draws), len(view.card.grid))
        assert days[0].tolist() == list(view.card.grid)
        assert valid[0, :, 0].all()


def test_shape_features_are_scaled_and_unknown_ones_are_0(tmp_path):
    inputs, _ = feed(tmp_path)[[(0, 0)]]
    assert torch.isfinite(inputs[3]).all()
    assert inputs[3].shape == (1, 4)


@pytest.mark.parametrize("size", [1, 3, 4])
def test_orders_are_whole_and_depend_on_the_epoch(size):
    shuffle = BatchShuffle(Share(Shuffle(10, least=1, batch=size, seed=0), batch=size), size)
    first = list(shuffle)
    assert {n for draws in first for n, _ in draws} == set(range(10))
    assert len(first) == len(shuffle)
    assert first == list(shuffle)
    shuffle.epoch = 1
    assert first != list(shuffle)
    assert [n for draws in InOrder(10, size) for n, _ in draws] == list(range(10))
    assert len(list(InOrder(10, size))) == len(InOrder(10, size))


def test_what_comes_later_is_not_seen_by_filling_either(tmp_path):
    """As if the later dates were not on disk."""
    folder, samples = made_samples(tmp_path / "whole")
    cut, _ = made_samples(tmp_path / "cut")
    day = 150
    for tile in ("a", "b"):
        values = np.load(cut / "pixels" / f"{tile}.npy")
        late = np.load(cut / "pixels" / f"{tile}.days.npy") > day
        assert late.any()
        assert not late.all()
        values[:, late] = MISSING["uint16"]
        np.save(cut / "pixels" / f"{tile}.npy", values)
    for filling in ("none", "linear"):
        view = View(STATISTICS, replace(CARD, fill=filling))
        draws = [(i, 0) for i in range(len(samples))]
        targets = np.zeros(len(samples))
        early = replace(view, until=day)
        seen = SeriesBatches(folder, samples, targets, early)[draws][0]
        told = SeriesBatches(cut, samples, targets, view)[draws][0]
        for a, b in zip(seen, told, strict=True):
            torch.testing.assert_close(a, b)


def test_single_pixels_and_samples_without_outline_have_no_shape(tmp_path):
    folder, samples = made_samples(tmp_path)
    samples = replace(
        samples, shape=np.array([[2.0] * 4, [0.0] * 4, [3.0] * 4, [9.0] * 4, [1.0] * 4])
    )
    for unit, known in (("parcel", [True, False, True, True, True]), ("pixel", [False] * 5)):
        view = View(
            STATISTICS, replace(CARD, unit=unit, shape_mean=(0.5,) * 4, shape_std=(0.3,) * 4)
        )
        batches = SeriesBatches(folder, samples, np.zeros(5), view)
        shape = batches[[(i, 0) for i in range(5)]][0][3]
        assert (shape != 0).any(dim=1).tolist() == known


def test_pixels_that_nothing_shows_do_not_vote(tmp_path):
    class ByFirst(torch.nn.Module):
        def forward(self, values, valid, days, shape):
            return torch.stack([valid.flatten(1).any(1), ~valid.flatten(1).any(1)], 1) * 9.0

    pixels = np.full((12, 4, 2), MISSING["uint16"], np.uint16)
    pixels[:4, 1] = 50  # 4 of the 10 of the first sample, none of the second
    (tmp_path / "pixels").mkdir()
    np.save(tmp_path / "pixels/a.npy", pixels)
    save_days(tmp_path, "a", np.arange(4))
    view = View(STATISTICS, replace(CARD, unit="pixel"))
    samples = samples_of(["a", "a"], [10, 2], [4, 9])
    found = predict_samples(ByFirst(), tmp_path, samples, view, device=choose("cpu", "32"))
    np.testing.assert_allclose(found[:, 0], [1, 0], atol=1e-3)
