import csv
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from geoseg.evaluation.accuracy import BoundaryF1, Scores, confusion, write_confusion_csv

NAN = float("nan")

CONGALTON = np.array([[65, 4, 22, 24], [6, 81, 5, 8], [0, 11, 85, 19], [4, 7, 3, 90]]).T
"""Congalton (1991), Remote Sensing of Environment 37, table 1, turned to rows = reference."""
COVERS = ("deciduous", "conifer", "agriculture", "shrub")

COHEN = np.array([[88, 10, 2], [14, 40, 6], [18, 10, 12]])
"""Cohen (1960), Educational and Psychological Measurement 20, the example in counts of 200."""


@st.composite
def pairs(draw, *, side: int = 24, classes: int = 4):
    """Labels and a map of one shape with ignored pixels on both sides; blobs, not only noise."""
    shape = draw(st.tuples(st.integers(1, side), st.integers(1, side)))
    block = draw(st.integers(1, 6))
    indices = st.sampled_from([*range(classes), 255])
    small = tuple(-(-n // block) for n in shape)
    both = [draw(arrays.arrays(np.uint8, small, elements=indices)) for _ in range(2)]
    return tuple(
        np.kron(a, np.ones((block, block), np.uint8))[: shape[0], : shape[1]] for a in both
    )


# Confusion matrices


def confusion_by_hand(truth, predicted, classes):
    counts = np.zeros((classes, classes), np.int64)
    for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
        if t != 255 and p != 255:
            counts[t, p] += 1
    return counts


@given(pairs())
def test_confusion_counts_pixels(pair):
    counts = confusion(*pair, 4)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, confusion_by_hand(*pair, 4))


def test_rows_are_labels_and_columns_the_map():
    counts = confusion(np.array([0, 0, 1, 255, 1]), np.array([1, 1, 1, 0, 255]), 2)
    assert counts.tolist() == [[0, 2], [0, 1]]


def test_confusion_of_more_pixels_than_one_chunk():
    generator = np.random.default_rng(0)
    truth, predicted = generator.integers(0, 3, (2, 300, 500)).astype(np.uint8)
    counts = confusion(truth, predicted, 3)
    expected = [[((truth == t) & (predicted == p)).sum() for p in range(3)] for t in range(3)]
    assert counts.tolist() == expected


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.uint16, np.uint8])
def test_confusion_takes_any_integers(kind):
    truth, predicted = np.array([[0, 253, 255]], kind), np.array([[253, 253, 0]], np.uint8)
    counts = confusion(truth, predicted, 254)
    assert counts.sum() == 2
    assert counts[0, 253] == counts[253, 253] == 1


def test_confusion_of_nothing():
    assert confusion(np.full((3, 3), 255), np.zeros((3, 3), int), 2).tolist() == [[0, 0], [0, 0]]
    assert confusion(np.empty((0, 5), int), np.empty((0, 5), int), 1).tolist() == [[0]]


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        ([0, 1], [0, 2], "index 2 but only 2 classes"),
        ([0, -1], [0, 1], "-1 to 0"),
        ([0, 256], [0, 1], "0 to 256"),
        ([0, 1], [0], r"\(2,\) but the map is \(1,\)"),
    ],
)
def test_indices_that_do_not_fit_are_refused(truth, predicted, message):
    with pytest.raises(ValueError, match=message):
        confusion(np.array(truth), np.array(predicted), 2)


def test_the_arrays_given_stay_as_they_are():
    truth, predicted = np.array([[0, 255, 1]], np.uint8), np.array([[1, 1, 255]], np.uint8)
    for array in (truth, predicted):
        array.flags.writeable = False
    confusion(truth, predicted, 2)
    BoundaryF1(2).add(truth, predicted)


# Scores


def test_scores_of_a_published_error_matrix():
    scores = Scores.of(CONGALTON, COVERS)
    assert scores.truth_pixels == (75, 103, 115, 141)
    assert scores.map_pixels == (115, 100, 115, 104)
    # As printed there, in whole percent.
    assert [round(100 * a) for a in scores.producers_accuracy] == [87, 79, 74, 64]
    assert [round(100 * a) for a in scores.users_accuracy] == [57, 81, 74, 87]
    assert round(100 * scores.overall_accuracy) == 74
    # Congalton & Green (1999), chapter 5, give KHAT = 65 % for the same matrix.
    assert round(100 * scores.kappa) == 65


def test_kappa_of_cohens_example():
    assert Scores.of(COHEN, "abc").kappa == pytest.approx(0.492, abs=5e-4)
    assert Scores.of(COHEN.T, "abc").kappa == pytest.approx(0.492, abs=5e-4)


def test_scores_by_hand():
    scores = Scores.of(np.array([[3, 1], [2, 4]]), ("a", "b"))
    assert scores.iou == pytest.approx((3 / 6, 4 / 7))
    assert scores.f1 == pytest.approx((6 / 9, 8 / 11))
    assert scores.users_accuracy == pytest.approx((3 / 5, 4 / 5))
    assert scores.producers_accuracy == pytest.approx((3 / 4, 4 / 6))
    assert scores.miou == pytest.approx((3 / 6 + 4 / 7) / 2)
    assert scores.macro_f1 == pytest.approx((6 / 9 + 8 / 11) / 2)
    assert scores.overall_accuracy == pytest.approx(0.7)
    assert scores.kappa == pytest.approx((0.7 - 0.5) / 0.5)  # chance: 0.4 · 0.5 + 0.6 · 0.5


def test_a_class_on_one_side_counts_as_zero_and_one_on_neither_not_at_all():
    counts = np.array([[5, 0, 1, 0], [3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    scores = Scores.of(counts, ("kept", "missed", "invented", "absent"))
    np.testing.assert_allclose(scores.iou, (5 / 9, 0, 0, NAN))
    np.testing.assert_allclose(scores.f1, (10 / 14, 0, 0, NAN))
    np.testing.assert_allclose(scores.users_accuracy, (5 / 8, NAN, 0, NAN))
    np.testing.assert_allclose(scores.producers_accuracy, (5 / 6, 0, NAN, NAN))
    assert scores.miou == pytest.approx(5 / 27)
    assert scores.macro_f1 == pytest.approx(10 / 42)


def test_one_class_everywhere():
    scores = Scores.of(np.array([[7]]), ("all",))
    assert scores.miou == scores.overall_accuracy == 1
    assert math.isnan(scores.kappa)


def test_nothing_counted():
    scores = Scores.of(np.zeros((2, 2), np.int64), ("a", "b"))
    assert math.isnan(scores.miou)
    assert math.isnan(scores.overall_accuracy)
    assert math.isnan(scores.kappa)
    assert "–" in scores.table()


def test_counts_of_a_continent_do_not_overflow():
    scores = Scores.of(CONGALTON * 10**11, COVERS)
    assert scores.kappa == pytest.approx(Scores.of(CONGALTON, COVERS).kappa)
    assert scores.truth_pixels[0] == 75 * 10**11


def test_a_matrix_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\) for 3 classes"):
        Scores.of(np.eye(2), "abc")


@given(arrays.arrays(np.int64, (3, 3), elements=st.integers(0, 9)))
def test_scores_hold_together(counts):
    scores = Scores.of(counts, "abc")
    for iou, f1 in zip(scores.iou, scores.f1, strict=True):
        assert math.isnan(iou) == math.isnan(f1)
        assert math.isnan(iou) or f1 == pytest.approx(2 * iou / (1 + iou))
    turned = Scores.of(counts.T, "abc")
    np.testing.assert_array_equal(turned.users_accuracy, scores.producers_accuracy)
    np.testing.assert_allclose(turned.kappa, scores.kappa)
    if not math.isnan(scores.kappa):
        assert scores.kappa <= scores.overall_accuracy + 1e-12


def test_scores_as_json():
    counts = np.array([[5, 0, 1], [3, 0, 0], [0, 0, 0]])
    values = json.loads(json.dumps(Scores.of(counts, ("a", "b", "c")).to_dict(), allow_nan=False))
    assert set(values) == {"classes", "miou", "macro_f1", "overall_accuracy", "kappa"}
    assert values["classes"][1] == {
        "name": "b",
        "truth_pixels": 3,
        "map_pixels": 0,
        "iou": 0.0,
        "f1": 0.0,
        "users_accuracy": None,
        "producers_accuracy": 0.0,
    }


def test_the_table_lists_every_class_in_line():
    lines = Scores.of(CONGALTON, COVERS).table().splitlines()
    assert [line.split()[0] for line in lines] == ["class", *COVERS, "mean", "overall"]
    assert lines[1].split() == ["deciduous", "0.520", "0.684", "0.565", "0.867", "75", "115"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert lines[-1] == "overall accuracy 0.740"


def test_confusion_csv(tmp_path):
    path = tmp_path / "report" / "confusion.csv"
    write_confusion_csv(path, np.array([[3, 1], [2, 4]]), ("road, paved", "été"))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["labels \\ map", "road, paved", "été"],
        ["road, paved", "3", "1"],
        ["été", "2", "4"],
    ]
    assert b"\r" not in path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["confusion.csv"]


# Boundary F1


def boundary_by_hand(truth, predicted, classes, tolerance):
    """Straight from the definition, pixel by pixel."""
    H, W = truth.shape
    void = (truth == 255) | (predicted == 255)

    def boundary(a):
        points = [set() for _ in range(classes)]
        for y, x in np.ndindex(H, W):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < H and 0 <= u < W
                if inside and not void[y, x] and not void[v, u] and a[y, x] != a[v, u]:
                    points[a[y, x]].add((y, x))
        return points

    counts = np.zeros((4, classes), int)
    sides = boundary(truth), boundary(predicted)
    for row, (own, other) in enumerate((sides, sides[::-1])):
        for c in range(classes):
            near = [
                any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in other[c])
                for y, x in own[c]
            ]
            counts[2 * row, c], counts[2 * row + 1, c] = len(near), sum(near)
    return counts


@settings(deadline=None)
@given(pairs(side=12), st.integers(0, 3))
def test_boundaries_as_defined(pair, tolerance):
    score = BoundaryF1(4, tolerance)
    score.add(*pair)
    np.testing.assert_array_equal(score.counts, boundary_by_hand(*pair, 4, tolerance))


@settings(deadline=None)
@given(pairs(side=40), st.integers(0, 4), st.integers(1, 17), st.integers(1, 17))
def test_boundaries_do_not_depend_on_the_windows(pair, tolerance, height, width):
    whole, windowed = BoundaryF1(4, tolerance), BoundaryF1(4, tolerance)
    whole.add(*pair)
    halo = windowed.halo
    for top in range(0, pair[0].shape[0], height):
        for left in range(0, pair[0].shape[1], width):
            y, x = max(0, top - halo), max(0, left - halo)
            read = slice(y, top + height + halo), slice(x, left + width + halo)
            keep = slice(top - y, top - y + height), slice(left - x, left - x + width)
            windowed.add(pair[0][read], pair[1][read], keep)
    np.testing.assert_array_equal(windowed.counts, whole.counts)
    np.testing.assert_array_equal(windowed.f1, whole.f1)


def edge_at(column: int, width: int = 20):
    """Two classes, parted by a vertical edge before a column."""
    return np.where(np.arange(width) < column, 0, 1)[None].repeat(10, axis=0)


@pytest.mark.parametrize(("shift", "f1"), [(0, 1.0), (1, 1.0), (2, 1.0), (3, 0.0)])
def test_a_boundary_may_be_off_by_the_tolerance(shift, f1):
    score = BoundaryF1(2, tolerance=2)
    score.add(edge_at(10), edge_at(10 + shift))
    assert score.f1 == (f1, f1)
    assert score.mean == f1
    # Each class has its own side of the edge.
    assert score.counts[0].tolist() == score.counts[2].tolist() == [10, 10]


def test_precision_and_recall_of_an_invented_boundary():
    predicted = edge_at(10)
    predicted[:, 16:] = 0  # two edges, one of them wrong
    score = BoundaryF1(2, tolerance=1)
    score.add(edge_at(10), predicted)
    assert score.precision == (0.5, 0.5)
    assert score.recall == (1.0, 1.0)
    assert score.f1 == pytest.approx((2 / 3, 2 / 3))


def test_precision_is_of_the_map_and_recall_of_the_labels():
    score = BoundaryF1(1)
    score.counts[:, 0] = (10, 7, 8, 6)
    assert (score.precision, score.recall) == ((0.75,), (0.7,))
    assert score.f1 == pytest.approx((2 * 0.75 * 0.7 / 1.45,))


@pytest.mark.parametrize(("place", "found"), [((5, 7), 1), ((6, 6), 1), ((6, 7), 0), ((5, 8), 0)])
def test_the_tolerance_is_a_distance_as_the_crow_flies(place, found):
    truth, predicted = np.zeros((2, 11, 11), np.uint8)
    truth[5, 5] = predicted[place] = 1
    score = BoundaryF1(2, tolerance=2)
    score.add(truth, predicted)
    assert score.counts[:, 1].tolist() == [1, found, 1, found]


def test_the_edge_of_ignored_pixels_is_no_boundary():
    truth = np.zeros((9, 9), np.uint8)
    truth[:, 4] = 255
    predicted = np.zeros((9, 9), np.int64)
    predicted[:, 5:] = 1
    score = BoundaryF1(2)
    score.add(truth, predicted)
    assert score.counts.sum() == 0
    score.add(predicted, truth)
    assert score.counts.sum() == 0
    assert math.isnan(score.mean)


def test_a_boundary_of_another_class_does_not_count():
    truth, predicted = edge_at(10), edge_at(10)
    predicted[:, 10:] = 2
    score = BoundaryF1(3)
    score.add(truth, predicted)
    assert score.f1 == (1.0, 0.0, 0.0)
    assert score.mean == pytest.approx(1 / 3)
    assert math.isnan(score.recall[2])
    assert math.isnan(score.precision[1])


def test_windows_add_up():
    score = BoundaryF1(2, tolerance=2)
    score.add(edge_at(10), edge_at(10))
    score.add(edge_at(10), edge_at(15))
    assert score.f1 == (0.5, 0.5)


def test_boundary_scores_as_json():
    score = BoundaryF1(3)
    score.add(edge_at(10), edge_at(11))
    values = json.loads(json.dumps(score.to_dict("abc"), allow_nan=False))
    assert values == {
        "tolerance": 2,
        "mean": 1.0,
        "classes": [
            {"name": "a", "precision": 1.0, "recall": 1.0, "f1": 1.0},
            {"name": "b", "precision": 1.0, "recall": 1.0, "f1": 1.0},
            {"name": "c", "precision": None, "recall": None, "f1": None},
        ],
    }


def test_boundaries_of_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="labels are"):
        BoundaryF1(2).add(np.zeros((3, 3), int), np.zeros((3, 4), int))
    with pytest.raises(ValueError, match="index 2 but only 2 classes"):
        BoundaryF1(2).add(np.zeros((3, 3), int), np.full((3, 3), 2))
    with pytest.raises(ValueError, match="tolerance -1"):
        BoundaryF1(2, -1)


def test_accuracy_needs_numpy_only():
    code = (
        "import sys, geoseg.evaluation.accuracy\n"
        "print([m for m in ('torch', 'rasterio', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
