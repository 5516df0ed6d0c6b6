import numpy as np
import pytest
from scipy import ndimage

from geoseg.maps.patches import Patches, Runs


def naive(values):
    """Patch of each pixel, by one labelling for each value."""
    found, count = np.zeros(values.shape, int), 0
    for value in np.unique(values[values > 0]):
        labels, more = ndimage.label(values == value)
        found[labels > 0] = labels[labels > 0] + count
        count += more
    return found, count


@pytest.mark.parametrize("height", [1, 3, 7, 60])
@pytest.mark.parametrize("values", [2, 4])
def test_patches_are_those_of_the_whole_raster_however_high_strips_are(height, values):
    rng = np.random.default_rng(values)
    raster = rng.integers(0, values, (60, 41)).astype(np.uint16)
    raster[20:24] = 0
    expected, count = naive(raster)
    patches = Patches(41)
    tops = range(0, 60, height)
    for top in tops:
        runs = Runs.of(raster[top : top + height], top)
        patches.add(runs, runs.lengths * 0.5)
    patches.finish()
    assert len(patches.areas) == count
    found = np.full(raster.shape, -1)
    for top in tops:
        runs = Runs.of(raster[top : top + height], top)
        for patch, row, start, end in zip(
            patches.patches_of(runs), runs.rows, runs.starts, runs.ends, strict=True
        ):
            found[row, start:end] = patch
    assert np.array_equal(found >= 0, raster > 0)
    pairs = np.unique(np.stack([found[raster > 0], expected[raster > 0]]), axis=1)
    assert pairs.shape[1] == count, "one patch for one"
    areas = np.bincount(found[raster > 0], minlength=count) * 0.5
    assert patches.areas == pytest.approx(areas)
    assert np.array_equal(patches.values[found[raster > 0]], raster[raster > 0])


def test_a_raster_without_patches():
    patches = Patches(5)
    runs = Runs.of(np.zeros((3, 5), np.uint8), 0)
    patches.add(runs, runs.lengths)
    patches.finish()
    assert len(patches.areas) == len(patches.patches_of(runs)) == 0
