"""Sizes on the ground: the same place has them in whatever CRS it is drawn."""

import json
import math
from dataclasses import replace

import geopandas
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine

from geoseg.dataset.sample_split import centres_m
from geoseg.dataset.split import Split, buffer_px, leakage_m
from geoseg.dataset.tiles import GROUND, ON_MAP
from geoseg.errors import InputError
from geoseg.evaluation.evaluate import Showing, evaluate
from geoseg.evaluation.truth import from_labels
from geoseg.geo.grid import Grid, Window
from geoseg.geo.ground import HECTARE, ground
from geoseg.geo.rasterize import burn
from geoseg.labels.settings import Labels
from geoseg.labels.shapes import project
from geoseg.maps import landcover, mosaic
from geoseg.maps.landcover import ClassMap
from geoseg.models import suitability
from geoseg.models.card import ModelCard
from geoseg.parcels.outlines import outlines, shape_features
from geoseg.scenes.scene import find_scenes
from tests.made.samples import samples_of
from tests.made.scenes import CARD, LEGEND, with_bands, write

WGS84 = "EPSG:4326"
LOCAL = 'LOCAL_CS["building site",UNIT["foot",0.3048]]'
FOOT_UTM = "+proj=utm +zone=32 +ellps=GRS80 +units=us-ft +no_defs"
EVERYWHERE = (
    *(WGS84, "EPSG:3857", "EPSG:32632", "EPSG:32631", "EPSG:3035", "EPSG:2154", "EPSG:4807"),
    *("EPSG:4258", "EPSG:3995", FOOT_UTM, "EPSG:25832+5783", "+proj=sinu +datum=WGS84"),
)
"""Degrees and grads, true and untrue projections, feet, far outside of a zone, with heights."""


def to_crs(geometry, crs):
    moved, _ = project(
        np.array([geometry]), WGS84, crs, pixel=pixel_of(crs), within=(-180, -90, 180, 90)
    )
    return moved[0]


def pixel_of(crs, metres=5.0):
    """Roughly that many metres in units of a CRS."""
    system = pyproj.CRS(crs)
    unit = system.axis_info[0].unit_conversion_factor
    return metres / (6_371_000 if system.is_geographic else 1) / unit


def grid_over(geometry, crs, metres=5.0):
    """A grid with a margin around a geometry in WGS84."""
    shape, pixel = to_crs(geometry, crs), pixel_of(crs, metres)
    left, bottom, right, top = shape.bounds
    width, height = (math.ceil(side / pixel) + 20 for side in (right - left, top - bottom))
    at = Affine(pixel, 0, left - 10 * pixel, 0, -pixel, top + 10 * pixel)
    return Grid(pyproj.CRS(crs).to_wkt(), at, height, width)


def field(latitude, longitude=9.0, size=0.02):
    x, y = longitude, latitude
    corners = [(0, 0.3), (0.7, 0), (1, 0.6), (0.2, 1)]
    return shapely.Polygon([(x + size * east, y + size * north) for east, north in corners])


def true_hectares(geometry):
    dense = shapely.segmentize(geometry, 1e-3)
    return abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(dense)[0]) / HECTARE


def map_of(path, geometry, grid):
    """A map of two classes, one of them inside of a geometry."""
    codes = burn(np.array([to_crs(geometry, grid.crs)]), np.array([9], np.uint8), grid)
    codes[codes == 0] = 3
    tags = landcover.tags(LEGEND, "made up")

    def read(window):
        return codes[window.top : window.bottom, window.left : window.right]

    return landcover.write(path, grid, LEGEND, read, tags=tags)


@pytest.mark.parametrize("crs", EVERYWHERE)
@pytest.mark.parametrize("latitude", [0.5, 48.0, 60.0])
def test_a_field_has_its_hectares_in_any_crs(tmp_path, crs, latitude):
    here = field(latitude)
    tally = map_of(tmp_path / "a.tif", here, grid_over(here, crs))
    assert tally.hectares[9] == pytest.approx(true_hectares(here), rel=1e-3)
    assert tally.pixels.sum() == grid_over(here, crs).window.area


@pytest.mark.parametrize("crs", [WGS84, "EPSG:3857", "EPSG:32632", "EPSG:3035"])
def test_a_report_and_its_scores_have_the_hectares_of_the_ground(tmp_path, crs):
    here = field(60.0)
    map_of(tmp_path / "map.tif", here, grid_over(here, crs, 10.0))
    table = geopandas.GeoDataFrame({"class": ["middle"]}, geometry=[here], crs=WGS84)
    table.to_file(tmp_path / "labels.gpkg")
    found = ClassMap.read(tmp_path / "map.tif")
    labels = Labels(path=str(tmp_path / "labels.gpkg"), field="class", background="low")
    truth = from_labels(labels, found, legend=found.legend)
    evaluate(found, truth, tmp_path / "out", showing=Showing(pictures=0))
    scores = json.loads((tmp_path / "out" / "scores.json").read_text("utf-8"))
    expected = true_hectares(here)
    said = {entry["name"]: entry for entry in scores["hectares"]["classes"]}
    assert scores["hectares"]["measured"] == "on the ground"
    for key in ("labels", "map", "map_everywhere"):
        assert said["middle"][key] == pytest.approx(expected, rel=1e-3)
    assert sum(scores["hectares"]["grid"].values()) == pytest.approx(
        sum(entry["map_everywhere"] for entry in said.values())
    )
    pixels = scores["map_pixels_everywhere"]["middle"]
    assert pixels * scores["hectares_per_pixel"] == pytest.approx(expected, rel=2e-3)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Measured on the ground" in page
    assert page.count(f"<td>{said['middle']['labels']:.1f}</td>") >= 1


def test_a_tall_map_counts_each_row_with_its_own_area(tmp_path):
    """Two classes, of equal pixels, north and south of a line: one mean area would be wrong."""
    grid = Grid("EPSG:3857", Affine(2000, 0, 0, 0, -2000, 8_000_000), 2000, 30)
    codes = np.full((2000, 30), 3, np.uint8)
    codes[1000:] = 9
    made = landcover.write(
        tmp_path / "tall.tif",
        grid,
        LEGEND,
        lambda w: codes[w.top : w.bottom, w.left : w.right],
    )
    to_degrees = pyproj.Transformer.from_crs("EPSG:3857", WGS84, always_xy=True)
    for code, top in ((3, 8_000_000), (9, 6_000_000)):
        west, south, east, north = to_degrees.transform_bounds(0, top - 2_000_000, 60_000, top)
        box = shapely.box(west, south, east, north)
        assert made.hectares[code] == pytest.approx(true_hectares(box), rel=1e-4)
    assert made.hectares[9] > 1.5 * made.hectares[3]


def test_the_whole_earth_has_its_area():
    east, north = pyproj.Transformer.from_crs(WGS84, "EPSG:6933", always_xy=True).transform(180, 90)
    for grid in (
        Grid(WGS84, Affine(0.5, 0, -180, 0, -0.5, 90), 360, 720),
        Grid("EPSG:6933", Affine(east / 90, 0, -east, 0, -north / 90, north), 180, 180),
    ):
        area = sum(part.area * m2 for part, m2 in grid.alike(grid.window))
        assert area == pytest.approx(510_065_622e6, rel=1e-3)
    # Rows whose centres lie beyond a pole, and what lies beside a round map, have no ground.
    over = Grid(WGS84, Affine(0.5, 0, -180, 0, -0.5, 91), 364, 720)
    assert sum(p.area * m2 for p, m2 in over.alike(over.window)) == pytest.approx(
        510_065_622e6, rel=1e-3
    )
    beside = Grid("EPSG:3571", Affine(1e5, 0, 2e7, 0, -1e5, 3e7), 10, 10)
    assert [m2 for _, m2 in beside.alike(Window(0, 0, 1, 1))] == [0.0]


def test_parts_that_are_alike_partition_a_window():
    grid = Grid("EPSG:3857", Affine(10, 0, 0, 0, -10, 8e6), 3000, 3000)
    window = Window(100, 200, 1000, 900)
    parts = grid.alike(window)
    assert 10 < len(parts) < 100
    assert sum(part.area for part, _ in parts) == window.area
    assert all(part.intersect(window) == part for part, _ in parts)
    true = Grid("EPSG:3035", Affine(10, 0, 4e6, 0, -10, 3e6), 3000, 3000)
    assert len(true.alike(window)) == 1


def test_a_local_crs_is_taken_at_its_word():
    grid = Grid(LOCAL, Affine(10, 0, 0, 0, -10, 0), 50, 40)
    assert grid.is_local
    assert grid.pixel_size_m == pytest.approx(3.048)
    assert grid.alike(grid.window) == [(grid.window, pytest.approx(3.048**2))]


def test_mosaics_sum_up_what_lies_on_the_ground(tmp_path):
    here = field(60.0)
    map_of(tmp_path / "a.tif", here, grid_over(here, "EPSG:3857", 10.0))
    said = str(mosaic.mosaic([str(tmp_path / "a.tif")], tmp_path / "all.tif"))
    row = next(line for line in said.splitlines() if line.split()[:1] == ["middle"])
    assert float(row.split()[1]) == pytest.approx(true_hectares(here), rel=1e-3)
    assert "pixels of 5.0" in said


@pytest.mark.parametrize("crs", EVERYWHERE)
def test_pixels_have_one_size_in_any_crs(crs):
    here = field(48.0)
    grid = grid_over(here, crs)
    left, bottom, right, top = to_crs(here, crs).bounds
    x, y = (left + right) / 2, (bottom + top) / 2
    ends = [(x - grid.resolution[1] / 2, y), (x + grid.resolution[1] / 2, y)]
    base = pyproj.CRS(crs).geodetic_crs
    factor = math.degrees(base.axis_info[0].unit_conversion_factor)
    back = pyproj.Transformer.from_crs(crs, base, always_xy=True)
    (x0, y0), (x1, y1) = (np.multiply(back.transform(*end), factor) for end in ends)
    width = base.get_geod().inv(x0, y0, x1, y1)[2]
    assert grid.pixel_sides_m[1] == pytest.approx(width, rel=1e-3)


def scene_in(tmp_path, crs, pixel, latitude):
    x, y = pyproj.Transformer.from_crs(WGS84, crs, always_xy=True).transform(9.0, latitude)
    grid = Grid(pyproj.CRS(crs).to_wkt(), Affine(pixel, 0, x, 0, -pixel, y), 40, 40)
    folder = tmp_path / f"{crs.replace(':', '')}_{latitude}_{pixel}"
    write(folder / "scene.tif", np.ones((1, 40, 40), np.uint8), grid=grid)
    return find_scenes(str(folder / "scene.tif"))[0]


def test_a_network_takes_its_own_ground_in_any_crs(tmp_path):
    home = scene_in(tmp_path, "EPSG:32632", 0.4, 48.0)
    card = with_bands(CARD, "gray", pixel_size_m=home.grid.pixel_size_m)
    suitability.fit(home, card)
    suitability.fit(scene_in(tmp_path, "EPSG:3857", 0.6, 48.0), card)
    suitability.fit(scene_in(tmp_path, WGS84, 0.4 / 90_000, 48.0), card)
    suitability.fit(scene_in(tmp_path, "EPSG:3857", 0.8, 60.0), card)
    for crs, pixel in (("EPSG:3857", 0.4), ("EPSG:3857", 1.2)):
        with pytest.raises(InputError, match=r"the model saw 0\.4 m \(on the ground"):
            suitability.fit(scene_in(tmp_path, crs, pixel, 60.0), card)


def test_a_remedy_is_to_resample_or_with_dates_to_warp_to_what_suits(tmp_path, monkeypatch):
    card = with_bands(CARD, "gray", pixel_size_m=0.4)
    scene = scene_in(tmp_path, "EPSG:3857", 0.4, 60.0)
    with pytest.raises(InputError, match=r"with predict\.resample=true"):
        suitability.fit(scene, card)
    with monkeypatch.context() as dated:
        dated.setattr(type(scene), "dates", ("2024-06-01",))
        with pytest.raises(InputError, match=r"--res 0\.79\d? ") as caught:
            suitability.fit(scene, card)
    wanted = float(str(caught.value).partition("--res ")[2].split()[0])
    suitability.fit(scene_in(tmp_path, "EPSG:3857", wanted, 60.0), card)


def test_pixels_of_another_shape_are_said(tmp_path, capsys):
    """At 60° N a degree is half as wide as high: of the right area, and stretched all the same."""
    home = scene_in(tmp_path, "EPSG:32632", 1.0, 60.0)
    stretched = scene_in(tmp_path, WGS84, 1.41 / 111_400, 60.0)
    trained = with_bands(CARD, "gray", pixel_size_m=1.0)
    for card, scene, said in (
        (trained, home, ""),
        (trained, stretched, "1.41 m high and 0.706 m wide on the ground, those of the training"),
        (replace(trained, pixel_ratio=suitability.median_ratio([stretched])), stretched, ""),
    ):
        suitability.fit(scene, card)
        suitability.say_doubts([scene], ModelCard.from_json(card.to_json()))
        told = capsys.readouterr().err
        assert (said in told) if said else not told
    assert "pixel_ratio" not in trained.to_json()


def test_cards_of_older_versions_hold_the_size_on_the_map(tmp_path, capsys):
    """As before, what suits them on the map is taken; as nobody knows which map, that is said."""
    values = json.loads(replace(CARD, pixel_size_m=0.6).to_json())
    assert values.pop("pixel_size_on") == GROUND
    card = ModelCard.from_json(json.dumps(values))
    assert card.pixel_size_on == ON_MAP
    mercator = scene_in(tmp_path, "EPSG:3857", 0.6, 48.0)
    suitability.fit(mercator, card)
    suitability.say_doubts([mercator, mercator], card)
    said = capsys.readouterr().err
    assert "0.402 m on the ground and 0.6 m on its map" in said
    assert "1 more scene" in said
    for suited in (("EPSG:32632", 0.6), ("EPSG:3857", 0.9)):
        scene = scene_in(tmp_path, *suited, 48.0)
        suitability.fit(scene, card)
        assert suitability.doubt(scene, card) is None
    with pytest.raises(InputError, match=r"the model saw 0\.6 m"):
        suitability.fit(scene_in(tmp_path, "EPSG:3857", 2.0, 48.0), card)
    assert suitability.doubt(mercator, replace(card, pixel_size_on=GROUND)) is None


def test_buffers_are_as_wide_on_the_ground_as_asked():
    split = Split(buffer_m=200.0)
    for crs in (WGS84, "EPSG:3857", "EPSG:32632", FOOT_UTM):
        grid = grid_over(field(60.0), crs, 10.0)
        left, bottom, right, top = grid.bounds
        x, y = (left + right) / 2, (bottom + top) / 2
        for across, down in ((1, 0), (0, 1)):
            pixels = buffer_px(split.buffer_m, grid, 256)
            end = (x + across * pixels * grid.resolution[1], y + down * pixels * grid.resolution[0])
            metres = ground(grid.crs).distance(np.array([[x, y]]), np.array([end]))[0]
            assert metres >= 200 * 0.999
            assert metres < 2.2 * 200


@pytest.mark.parametrize("crs", [WGS84, "EPSG:3857", "EPSG:32632", FOOT_UTM])
def test_leakage_is_measured_on_the_ground(crs):
    grid = grid_over(field(60.0), crs, 10.0)
    parts = {
        "train": [(grid, Window(0, 0, 40, 40)), (grid, Window(0, 200, 40, 10))],
        "test": [(grid, Window(0, 90, 40, 40))],
    }
    left, _, _, top = grid.bounds_of(Window(20, 40, 1, 1))
    right = grid.bounds_of(Window(20, 90, 1, 1))[0]
    wanted = ground(grid.crs).distance(np.array([[left, top]]), np.array([[right, top]]))[0]
    assert leakage_m(parts, "train", "test") == pytest.approx(wanted, rel=1e-3)
    touching = parts | {"test": [(grid, Window(0, 40, 40, 40))]}
    assert leakage_m(touching, "train", "test") == 0


@pytest.mark.parametrize("crs", EVERYWHERE)
def test_parcels_have_one_shape_in_any_crs(crs):
    """At the edge of a large tile as well, where a projection's scale is another."""
    here = field(60.0, size=0.01)
    wide = field(56.0, longitude=7.0, size=4.0)
    grid = replace(grid_over(wide, crs, 1000.0), crs=pyproj.CRS(crs).to_wkt())
    features = shape_features(outlines(np.array([here]), WGS84, grid), grid)[0]
    assert features[1] / HECTARE == pytest.approx(true_hectares(here), rel=2e-3)
    geod = pyproj.Geod(ellps="WGS84")
    assert features[0] == pytest.approx(geod.geometry_length(here.exterior), rel=5e-3)


@pytest.mark.parametrize("crs", EVERYWHERE)
def test_the_inner_buffer_of_parcels_is_in_metres_on_the_ground(crs):
    here = field(60.0, size=0.01)
    grid = grid_over(here, crs)
    inner = outlines(np.array([here]), WGS84, grid).inside(50.0, grid)
    area = shape_features(inner, grid)[0, 1]
    to_true = pyproj.Transformer.from_crs(WGS84, "EPSG:32632", always_xy=True).transform
    true = shapely.transform(shapely.segmentize(here, 1e-3), to_true, interleaved=False)
    assert area == pytest.approx(true.buffer(-50).area, rel=1e-2)


@pytest.mark.parametrize("crs", [WGS84, "EPSG:3857", "EPSG:32632", "EPSG:3035", FOOT_UTM])
def test_distances_between_samples_are_on_the_ground(crs):
    degrees = np.array([[9.0, 60.0], [9.01, 60.0], [9.0, 60.01], [9.5, 60.3]])
    move = pyproj.Transformer.from_crs(WGS84, crs, always_xy=True).transform
    places = np.stack(move(*degrees.T), axis=1)
    samples = samples_of(["a"] * 4, [1] * 4, [4] * 4)
    found = centres_m(replace(samples, x=places[:, 0], y=places[:, 1]), crs)
    geod = pyproj.Geod(ellps="WGS84")
    for a, b in ((0, 1), (0, 2), (1, 2), (0, 3)):
        wanted = geod.inv(*degrees[a], *degrees[b])[2]
        assert np.hypot(*(found[a] - found[b])) == pytest.approx(wanted, rel=1e-2)


def test_places_on_both_sides_of_the_date_line_are_near():
    places = np.array([[179.9, 10.0], [-179.9, 10.0]])
    flat = ground(WGS84).flat(places)
    wanted = pyproj.Geod(ellps="WGS84").inv(179.9, 10, -179.9, 10)[2]
    assert np.hypot(*(flat[0] - flat[1])) == pytest.approx(wanted, rel=1e-3)
    assert ground(WGS84).distance(places[:1], places[1:])[0] == pytest.approx(wanted, rel=1e-3)
