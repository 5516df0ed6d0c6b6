"""Polygons of a map over the pictures of a report."""

import re

import numpy as np
import pytest
import shapely

from geoseg.errors import InputError
from geoseg.evaluation.evaluate import Showing, evaluate
from geoseg.evaluation.outlines import Outlines
from geoseg.evaluation.truth import from_labels
from geoseg.geo.grid import Window
from geoseg.labels.settings import Labels
from geoseg.vectors.vectorize import vectorize
from tests.made.maps import LEGEND, place, truth, write

SIDE = 64


@pytest.fixture
def made(tmp_path):
    """A map, its codes, and its polygons."""
    codes = truth(SIDE, SIDE)
    codes[20:40, 20:40] = 2
    codes[28:32, 28:32] = 1  # in a hole
    found = write(tmp_path / "map.tif", codes)
    vectorize(found.path, tmp_path / "map.gpkg")
    return found, codes, str(tmp_path / "map.gpkg")


def drawn(path, shape):
    """Area of an SVG path in pixels, its holes left out."""
    rings = [np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", part), float)
             for part in path["d"].split("M")[1:]]  # fmt: skip
    whole = shapely.Polygon()
    for ring in rings:
        whole = whole.symmetric_difference(shapely.Polygon(ring))
    assert shapely.box(0, 0, shape[1], shape[0]).covers(whole)
    return whole.area


def test_outlines_cover_the_pixels_of_their_class(made):
    found, codes, path = made
    outlines = Outlines.open(path, found.grid.crs, LEGEND)
    assert outlines.title == "map.gpkg"
    window = Window(10, 15, 33, 28)
    paths = outlines.paths(found.grid.crop(window))
    part = codes[10:43, 15:43]
    for c in LEGEND.classes:
        area = sum(drawn(p, part.shape) for p in paths if p["color"] == c.color)
        assert area == (part == c.code).sum()


def test_a_report_shows_them_over_its_pictures(made, tmp_path):
    found, _, path = made
    labels = from_labels(Labels(path=path, field="name"), found, legend=LEGEND)
    outlines = Outlines.open(path, found.grid.crs, LEGEND)
    showing = Showing(pictures=3, outlines=outlines)
    evaluate(found, labels, tmp_path / "out", showing=showing)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "map.gpkg over labels" in page  # there is no image
    assert page.count("<svg viewBox") > 0
    assert '<path d="M' in page
    evaluate(found, labels, tmp_path / "plain", showing=Showing(pictures=3))
    assert "<svg viewBox" not in (tmp_path / "plain" / "report.html").read_text("utf-8")


def test_files_that_are_no_polygons_of_the_map(made, tmp_path):
    found, _, path = made
    with pytest.raises(InputError, match="another CRS than the map"):
        Outlines.open(path, "EPSG:32633", LEGEND)
    with pytest.raises(InputError, match=r"expected a file of geoseg\.vectorize"):
        Outlines.open(found.path, place(1, 1).crs, LEGEND)
    with pytest.raises(InputError, match="no such file"):
        Outlines.open(str(tmp_path / "none.gpkg"), found.grid.crs, LEGEND)
