import numpy as np
import pytest
import rasterio
from affine import Affine

from geoseg.evaluation.accuracy import confusion
from geoseg.evaluation.disagreements import largest
from geoseg.evaluation.error_map import RIGHT, STRIP, error_codes, pair_raster
from geoseg.evaluation.pairs import PairNumbers
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend

GRID = Grid("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000), STRIP + 40, 90)


def legend(size):
    return Legend.parse(
        [{"code": k, "name": f"class {k}", "color": "#336699"} for k in range(1, size + 1)], "x"
    )


@pytest.mark.parametrize("size", [3, 20])
def test_errors_of_few_and_many_classes(tmp_path, size):
    rng = np.random.default_rng(size)
    labels, mapped = rng.integers(0, size, (2, GRID.height, GRID.width)).astype(np.uint8)
    labels[:, :5] = 255
    pairs = PairNumbers(size)
    counts = confusion(labels, mapped, size)
    codes = error_codes(legend(size), counts)
    path = tmp_path / "errors.tif"
    with pair_raster(path, GRID, pairs) as plain:
        with plain.writing() as writer:
            writer.write(pairs.of_indices(labels, mapped), GRID.window)
        plain.write_map(path, codes, {})
    assert [p.name for p in tmp_path.glob(".*")] == [], "the hidden file is gone"
    with rasterio.open(path) as dataset:
        found = dataset.read(1)
    compared = labels < 255
    table = np.where(np.eye(size, dtype=bool), RIGHT, codes.table)
    assert np.array_equal(found[compared], table[labels[compared], mapped[compared]])
    assert not found[~compared].any()
    assert (codes.other == 254) is (size == 20)
    assert len(codes.legend) == (254 if size == 20 else 1 + 6)


def test_an_error_across_strips_is_one_polygon_with_its_hole(tmp_path):
    labels = np.zeros((GRID.height, GRID.width), np.uint8)
    mapped = labels.copy()
    mapped[STRIP - 10 : STRIP + 10, 20:40] = 1
    mapped[STRIP - 1 : STRIP + 1, 30:32] = 0
    mapped[3, 3] = 2
    pairs = PairNumbers(3)
    with pair_raster(tmp_path / "errors.tif", GRID, pairs) as plain:
        with plain.writing() as writer:
            writer.write(pairs.of_indices(labels, mapped), GRID.window)
        found = largest(plain, 9)
        assert len(largest(plain, 1)) == 1
        assert largest(plain, 0) == []
    assert [(one.label, one.mapped) for one in found] == [(0, 1), (0, 2)]
    assert found[0].polygon.geom_type == "Polygon"
    assert len(found[0].polygon.interiors) == 1
    assert found[0].polygon.area == pytest.approx((400 - 4) * 100)
    assert found[0].hectares == pytest.approx(3.96, rel=2e-3)
    x, y = GRID.transform @ (20, STRIP - 10)
    assert found[0].polygon.bounds == pytest.approx((x, y - 200, x + 200, y))
