from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.crossvalidation.draw import Folding, deal
from geoseg.dataset.sample_split import SampleSplit, Units, assign, centres_m, check_way, nearest_m
from geoseg.dataset.samples import Samples
from geoseg.dataset.split import share_out
from geoseg.errors import InputError

UTM = "EPSG:32632"


def folds(samples, *, by, count, block_m, seed, crs):
    """A fold for each sample, (N,)."""
    check_way(by, block_m)
    units = Units.of(samples, by, block_m=block_m, crs=crs)
    return deal(units, samples.code, count=count, seed=seed)


def made(code, *, group=None, fold_by=None, x=None, y=None, tile=None) -> Samples:
    count = len(code)
    ids = np.array([f"p{i:05d}" for i in range(count)], dtype=object)

    def text(values):
        return np.array([str(v) for v in values], dtype=object)

    def place(values):
        return np.full(count, np.nan) if values is None else np.asarray(values, float)

    whole = np.zeros(count, np.int64)
    return Samples(
        id=ids,
        tile=np.full(count, "a", dtype=object) if tile is None else text(tile),
        split=np.full(count, "", dtype=object),
        code=np.asarray(code, np.int64),
        first=whole,
        pixels=whole + 1,
        group=ids if group is None else text(group),
        fold_by=np.full(count, "a", dtype=object) if fold_by is None else text(fold_by),
        x=place(x),
        y=place(y),
        clear=np.ones(count),
        shape=np.zeros((count, 4)),
    )


def scattered(count=600, classes=4, side=10_000, seed=0, **more) -> Samples:
    random = np.random.default_rng(seed)
    x, y = 500_000 + random.uniform(0, side, count), 5_000_000 + random.uniform(0, side, count)
    return made(random.integers(1, classes + 1, count), x=x, y=y, **more)


def parts_of(split, labels):
    """label → the splits or folds that its samples are in."""
    found = {}
    for label, part in zip(labels, split, strict=True):
        found.setdefault(label, set()).add(part)
    return found


@st.composite
def groups(draw):
    """Samples in groups of one class, with a place each: like the pixels of parcels."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=30, max_size=90))
    classes = draw(st.integers(2, 5))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    group = np.repeat(np.arange(len(sizes)), sizes)
    code = (np.arange(len(sizes)) % classes + 1)[group]
    x, y = random.uniform(0, 5_000, (2, len(group)))
    return made(code, group=group, x=x, y=y)


@settings(deadline=None)
@given(groups(), st.sampled_from(["block", "random"]), st.integers(0, 99), st.integers(2, 5))
def test_groups_are_never_divided(samples, by, seed, count):
    split = assign(samples, SampleSplit(by=by, seed=seed), crs=UTM)
    assert set(split) <= {"train", "val", "test"}
    assert all(len(parts) == 1 for parts in parts_of(split, samples.group).values())
    fold = folds(samples, by=by, count=count, block_m=400, seed=seed, crs=UTM)
    assert all(len(parts) == 1 for parts in parts_of(fold, samples.group).values())


@settings(deadline=None)
@given(groups(), st.integers(0, 99), st.integers(2, 5))
def test_each_fold_gets_its_share_of_every_class(samples, seed, count):
    """Within the largest group, as groups are not divided; so no class is missing anywhere."""
    fold = folds(samples, by="random", count=count, block_m=None, seed=seed, crs=None)
    assert fold.shape == samples.code.shape
    assert set(fold) == set(range(count))
    largest = np.unique(samples.group.astype(str), return_counts=True)[1].max()
    for code in np.unique(samples.code):
        got = np.bincount(fold[samples.code == code], minlength=count)
        assert got.min() > 0
        assert np.ptp(got) <= largest


@settings(deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.1, 0.4),
    st.floats(0.1, 0.4),
    st.sampled_from(["block", "random"]),
)
def test_shares_are_as_asked_for_each_class(seed, val, test, by):
    samples = scattered(seed=seed)
    split = assign(samples, SampleSplit(val=val, test=test, by=by, seed=seed, block_m=800), crs=UTM)
    shares = {"train": 1 - val - test, "val": val, "test": test}
    for code in range(1, 5):
        own = split[samples.code == code]
        for name, share in shares.items():
            tolerance = 0.08 if by == "block" else 0.02
            assert (own == name).mean() == pytest.approx(share, abs=tolerance)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(["block", "random"]))
def test_the_order_of_the_samples_decides_nothing(seed, by):
    samples = scattered(200, seed=seed)
    order = np.random.default_rng(seed).permutation(200)
    there = assign(samples, SampleSplit(by=by, seed=seed), crs=UTM)
    assert (
        assign(samples.take(order), SampleSplit(by=by, seed=seed), crs=UTM) == there[order]
    ).all()
    other = folds(samples, by=by, count=4, block_m=None, seed=seed, crs=UTM)
    again = folds(samples.take(order), by=by, count=4, block_m=None, seed=seed, crs=UTM)
    assert (again == other[order]).all()


def test_the_seed_decides():
    samples = scattered()
    a, b, c = (
        folds(samples, by="block", count=5, block_m=None, seed=seed, crs=UTM) for seed in (1, 1, 2)
    )
    assert (a == b).all()
    assert (a != c).any()


def test_blocks_are_squares_of_that_many_metres():
    samples = scattered(4000)
    block = Units.of(samples, "block", block_m=1000, crs=UTM).index
    for one in np.unique(block):
        x, y = samples.x[block == one], samples.y[block == one]
        assert np.ptp(x) <= 1000
        assert np.ptp(y) <= 1000
    assert len(np.unique(block)) == 100
    fold = folds(samples, by="block", count=4, block_m=1000, seed=0, crs=UTM)
    assert all(len(parts) == 1 for parts in parts_of(fold, block).values())


@pytest.mark.parametrize("latitude", [0.0, 45.0, -60.0])
def test_degrees_are_metres_that_shrink_with_the_latitude(latitude):
    from pyproj import Geod

    x, y = np.array([10.0, 10.01, 10.0]), np.array([latitude, latitude, latitude + 0.01])
    places = centres_m(made([1, 1, 1], x=x, y=y), "EPSG:4326")
    geod = Geod(ellps="WGS84")
    for other in (1, 2):
        true = geod.inv(x[0], y[0], x[other], y[other])[2]
        assert np.linalg.norm(places[other] - places[0]) == pytest.approx(true, rel=0.01)


def test_places_across_the_antimeridian_and_in_feet():
    places = centres_m(made([1, 1], x=[179.99, -179.99], y=[0, 0]), "EPSG:4326")
    assert abs(places[0, 0] - places[1, 0]) == pytest.approx(2224, abs=5)
    feet = centres_m(made([1, 1], x=[0, 1000], y=[0, 0]), "EPSG:2263")
    assert feet[1, 0] - feet[0, 0] == pytest.approx(304.8, abs=0.01)


def test_without_a_size_there_are_about_forty_blocks():
    assert 35 <= len(Units.of(scattered(4000), "block", block_m=None, crs=UTM)) <= 56


def test_far_apart_tiles_get_several_blocks_each():
    samples = scattered(400, side=2000)
    far = np.where(np.arange(400) % 2, 200_000, 0)
    samples = made(samples.code, x=samples.x + far, y=samples.y)
    units = Units.of(samples, "block", block_m=None, crs=UTM)
    assert len(units) >= 20
    assert set(folds(samples, by="block", count=5, block_m=None, seed=0, crs=UTM)) == set(range(5))


def test_a_group_lies_where_its_middle_lies():
    samples = made([1, 1, 2, 2], group=["a", "a", "b", "b"], x=[0, 900, 1100, 1900], y=[0] * 4)
    assert Units.of(samples, "block", block_m=1000, crs=UTM).index.tolist() == [0, 0, 1, 1]


def test_a_class_of_three_groups_is_in_each_of_three_splits_and_one_of_one_in_train():
    code = [1] * 100 + [2] * 3 + [3]
    for seed in range(20):
        split = assign(made(code), SampleSplit(by="random", seed=seed), crs=None)
        assert set(split[100:103]) == {"train", "val", "test"}
        assert split[103] == "train"


def test_values_of_a_column_are_held_out():
    years = [2017, 2018, 2019, 2020] * 25
    samples = made([1, 2] * 50, fold_by=years)
    split = assign(
        samples,
        SampleSplit(by="column", column="year", val=[2019], test="2020"),
        crs=None,
    )
    assert parts_of(split, samples.fold_by) == {
        "2017": {"train"},
        "2018": {"train"},
        "2019": {"val"},
        "2020": {"test"},
    }


def test_a_share_beside_values_is_cut_from_the_others():
    samples = scattered(800, fold_by=["north", "south"] * 400)
    how = SampleSplit(by="column", column="region", val=0.2, test="south")
    split = assign(samples, how, crs=UTM)
    south = samples.fold_by == "south"
    assert (split[south] == "test").all()
    assert (split[~south] == "val").mean() == pytest.approx(0.2, abs=0.05)
    assert "test" not in split[~south]
    # By block where they have a place, else at random.
    block = Units.of(samples.take(~south), "block", block_m=None, crs=UTM).index
    assert all(len(parts) == 1 for parts in parts_of(split[~south], block).values())
    assert (assign(samples, how, crs=None)[south] == "test").all()


def test_shares_of_a_column_are_whole_values():
    samples = made([1, 2, 3] * 100, fold_by=np.arange(300) % 20)
    how = SampleSplit(by="column", column="farm", val=0.2, test=0.2)
    split = assign(samples, how, crs=None)
    assert all(len(parts) == 1 for parts in parts_of(split, samples.fold_by).values())
    assert (split == "test").mean() == pytest.approx(0.2, abs=0.05)


def test_no_shares_train_all():
    assert set(assign(made([1, 2]), SampleSplit(val=0, test=0), crs=None)) == {"train"}


@pytest.mark.parametrize("count", [0, 3, 9])
def test_one_fold_per_value(count):
    samples = made([1, 2] * 30, fold_by=[2020, 2018, 2019] * 20)
    fold = folds(samples, by="column", count=count, block_m=None, seed=0, crs=None)
    assert parts_of(fold, samples.fold_by) == {"2018": {0}, "2019": {1}, "2020": {2}}


def test_fewer_folds_than_values_keep_values_whole():
    samples = made([1, 2, 3] * 40, fold_by=np.arange(120) % 8)
    fold = folds(samples, by="column", count=3, block_m=None, seed=0, crs=None)
    assert set(fold) == {0, 1, 2}
    assert all(len(parts) == 1 for parts in parts_of(fold, samples.fold_by).values())


def test_folds_try_until_each_has_every_class():
    """Classes that lie in hardly more units than there are folds: one greedy draw misses some."""
    found = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        code, unit = [], []
        for one in range(1, 11):
            for holder in random.choice(40, 5 + int(random.integers(0, 4)), replace=False):
                size = int(random.integers(1, 20))
                code += [one] * size
                unit += [holder] * size
        samples = made(code, group=unit)
        fold = folds(samples, by="random", count=5, block_m=None, seed=seed, crs=None)
        found += all(len(parts) == 5 for parts in parts_of(fold, samples.code).values())
    assert found == 20


def test_nearest_is_of_another_fold():
    places = np.array([[0, 0], [1, 0], [5, 0], [9, 0]], float)
    assert nearest_m(places, np.array([0, 0, 1, 1])).tolist() == [5, 4, 4, 8]
    assert np.isinf(nearest_m(places, np.zeros(4, int))).all()


def test_shares_are_drawn_by_name_for_any_units():
    counts = {f"u{i}": np.array([1, i % 2]) for i in range(40)}
    drawn = share_out(counts, {"a": 0.5, "b": 0.25, "c": 0.25}, seed=3)
    assert sorted(drawn) == sorted(counts)
    assert [sum(v == name for v in drawn.values()) for name in "abc"] == [20, 10, 10]
    assert share_out({}, {"a": 1.0}, seed=0) == {}


def test_no_small_share_gets_a_unit_that_is_larger():
    """One forest of 3000 px among small ones: held back for val it would be most of the class."""
    sizes = [3000, 300, 200, 150, 100, 60, 40, 30, 20, 10]
    counts = {number: np.array([size]) for number, size in enumerate(sizes)}
    for seed in range(20):
        drawn = share_out(counts, {"train": 0.7, "val": 0.15, "test": 0.15}, seed=seed)
        held = {s: sum(sizes[n] for n, own in drawn.items() if own == s) for s in ("val", "test")}
        assert drawn[0] == "train"
        assert all(0.05 < amount / sum(sizes) < 0.25 for amount in held.values())


def test_every_share_gets_something_of_every_class_where_there_is_enough():
    counts = {number: np.array([5, int(number < 3)]) for number in range(30)}
    for seed in range(20):
        drawn = share_out(counts, {"train": 0.7, "val": 0.15, "test": 0.15}, seed=seed)
        assert {drawn[number] for number in range(3)} == {"train", "val", "test"}
        found = list(drawn.values())
        assert all(3 <= found.count(name) <= 6 for name in ("val", "test"))


def test_samples_are_shared_out_by_their_pixels():
    samples = replace(made([1] * 8), pixels=np.array([500, 80, 70, 60, 50, 40, 30, 20]))
    part = assign(samples, SampleSplit(val=0.2, test=0.0, by="random"), crs=None, by_pixel=True)
    assert part[0] == "train"
    assert 0.1 < samples.pixels[part == "val"].sum() / samples.pixels.sum() < 0.3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"val": 0.6, "test": 0.5}, "nothing would be left"),
        ({"val": -0.1}, "a share in"),
        ({"val": 1.5}, "a share in"),
        ({"test": ["2020"]}, "need split.by=column"),
        ({"by": "circle"}, "choose from block, random, column"),
        ({"by": "column"}, "set split.column=<attribute>, or split.column=tile"),
        ({"block_m": 0}, "must be above 0"),
    ],
)
def test_bad_settings(values, words):
    with pytest.raises(InputError, match=words):
        SampleSplit(**values)


def test_bad_settings_are_said_together():
    with pytest.raises(InputError) as error:
        SampleSplit(by="circle", block_m=-1, val=-1, test=3)
    assert len(error.value.faults) == 4
    with pytest.raises(InputError, match=r"split\.by=strip: choose from"):
        Folding(by="strip")


def test_unknown_and_double_values_are_said_with_those_there_are():
    samples = made([1, 2] * 3, fold_by=[2018, 2019, 2020] * 2)
    split = SampleSplit(by="column", column="year", val=[2019, 2021], test=[2019, "x"])
    with pytest.raises(InputError) as error:
        assign(samples, split, crs=None)
    assert error.value.faults == (
        "split.val: no 2021 in year; there are 2018, 2019, 2020",
        "split.test: no x in year; there are 2018, 2019, 2020",
        "year 2019 is in split.val and split.test",
    )


@pytest.mark.parametrize("crs", [None, UTM])
def test_blocks_need_places(crs):
    samples = made([1, 2], x=[1, np.nan], y=[1, 1])
    with pytest.raises(InputError, match=r"1 of 2 have no coordinates.*split\.by=random"):
        assign(samples, SampleSplit(), crs=crs)
    if crs is None:
        with pytest.raises(InputError, match="CRS is unknown"):
            assign(made([1, 2], x=[1, 2], y=[1, 1]), SampleSplit(), crs=crs)


def test_a_split_that_gets_nothing_is_a_fault():
    samples = made([1, 2], x=[0, 1], y=[0, 0])
    with pytest.raises(InputError) as error:
        assign(samples, SampleSplit(), crs=UTM)
    assert len(error.value.faults) == 2
    assert "too few blocks" in str(error.value)
    assert "smaller split.block_m" in str(error.value)


def test_a_class_with_fewer_parcels_than_folds():
    with pytest.raises(InputError) as error:
        folds(made([1] * 50 + [7] * 3), by="random", count=5, block_m=None, seed=0, crs=None)
    assert error.value.faults == (
        "class of code 7: in 3 of 53 groups (samples: 3), but 5 folds need it in 5; set fewer"
        " folds, or join it with another class in the legend",
    )


@pytest.mark.parametrize(
    ("by", "count", "words"),
    [
        (
            "block",
            5,
            "5 folds need as many blocks, got 1; set fewer folds or a smaller split.block_m",
        ),
        ("column", 0, "2 folds need as many values of the column, got 1; set split.by=block"),
        ("random", 1, "folds=1: give at least 2"),
        ("random", 0, "or 0 with split.by=column"),
        ("random", 99, "99 folds need as many groups, got 60"),
        ("star", 2, "choose from"),
    ],
)
def test_too_few_units_for_the_folds(by, count, words):
    samples = made([1, 2] * 30, x=np.zeros(60), y=np.zeros(60))
    with pytest.raises(InputError, match=words):
        folds(samples, by=by, count=count, block_m=50, seed=0, crs=UTM)


def test_a_class_of_one_value_only_can_not_be_learnt_without_it():
    samples = made([1, 2, 1, 2, 1, 3], fold_by=[1, 1, 2, 2, 3, 3])
    with pytest.raises(
        InputError, match=r"class of code 3: in 1 of 3 values of the column .*3 folds need it in 2"
    ):
        folds(samples, by="column", count=0, block_m=None, seed=0, crs=None)
