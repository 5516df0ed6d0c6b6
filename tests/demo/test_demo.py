"""The made-up landscape: the same by seed, its scenes fit together, its labels need the legend."""

import dataclasses
import hashlib
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.features import rasterize
from shapely.geometry import Polygon, box

from geoseg.demo.__main__ import BANDS, DRAWING, DemoConfig, _footprint, demo, shots
from geoseg.demo.landscape.camera import Flight, photograph
from geoseg.demo.landscape.countryside import make
from geoseg.demo.landscape.ground import Ground, fill
from geoseg.demo.landscape.land import Body, Warp, Waves
from geoseg.demo.landscape.paint import _body, paint
from geoseg.demo.landscape.texture import Textures
from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.geo.legend import Legend
from geoseg.outputs.files import read_json

SIZE = 256
LEGEND = Path(__file__).parents[2] / "conf" / "legend" / "demo.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "demo"
    demo(out, seed=3, size=SIZE)
    return out


@pytest.fixture(scope="module")
def scenes(made):
    found = {}
    for path in sorted((made / "scenes").glob("*.tif")):
        with rasterio.open(path) as dataset:
            found[path.stem] = (dataset.profile | {"names": dataset.descriptions}, dataset.read())
    return found


@pytest.fixture(scope="module")
def labels(made):
    return geopandas.read_file(made / "labels.gpkg")


def digests(out: Path) -> dict[str, str]:
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(out)): hashlib.sha1(path.read_bytes()).hexdigest() for path in files
    }


def burnt(labels: geopandas.GeoDataFrame, profile: dict, shape: tuple[int, int]) -> np.ndarray:
    """A naive burn in the legend's order: enough to see that image and labels agree."""
    lookup = Legend.load(LEGEND).lookup()
    here = labels.to_crs(profile["crs"])
    lines = here["width_m"].notna()
    here.loc[lines, "geometry"] = here[lines].buffer(here[lines]["width_m"] / 2, cap_style="flat")
    codes = here["class"].map(lookup)
    pairs = sorted(zip(codes, here.geometry, strict=True), key=lambda pair: pair[0])
    shapes = [(geometry, code) for code, geometry in pairs]
    return rasterize(shapes, shape, transform=profile["transform"], fill=255, dtype="uint8")


# ── files ──────────────────────────────────────────────────────────────────────────────────────


def test_scenes_are_what_they_promise(scenes):
    assert sorted(scenes) == sorted(shot.name for shot in shots())
    for profile, image in scenes.values():
        assert image.shape == (4, SIZE, SIZE)
        assert image.dtype == np.uint16
        assert profile["names"] == BANDS == ("red", "green", "blue", "nir")
        assert (profile["nodata"], profile["transform"].a, profile["transform"].e) == (0, 0.5, -0.5)
        assert profile["crs"].to_epsg() == 32632
        assert profile["blockxsize"] == profile["blockysize"] == 256
        assert profile["compress"] == "deflate"


def test_the_same_seed_gives_the_same_bytes(made, tmp_path):
    demo(tmp_path / "again", seed=3, size=SIZE)
    assert digests(tmp_path / "again") == digests(made)


def test_another_seed_gives_another_landscape(made, tmp_path):
    demo(tmp_path / "other", seed=4, size=SIZE)
    first, second = digests(made), digests(tmp_path / "other")
    assert first.keys() == second.keys()
    different = {name for name in first if first[name] != second[name]}
    assert different >= {name for name in first if name != "labelled_area.gpkg"}


def test_a_second_run_leaves_what_is_there_and_makes_what_is_missing(made):
    before = digests(made)
    (made / "scenes" / "east.tif").unlink()
    kept = made / "scenes" / "north_east.tif"
    time = kept.stat().st_mtime_ns
    demo(made, seed=3, size=SIZE)
    assert digests(made) == before
    assert kept.stat().st_mtime_ns == time


def test_other_settings_are_refused_unless_overwrite(tmp_path):
    (tmp_path / "labels.gpkg").write_bytes(b"somebody's own")
    with pytest.raises(InputError, match=r"labels\.gpkg.*overwrite=true"):
        demo(tmp_path, size=SIZE)
    assert (tmp_path / "labels.gpkg").read_bytes() == b"somebody's own"
    demo(tmp_path, size=SIZE, overwrite=True)
    assert read_json(tmp_path / ".demo.json") == {"seed": 0, "size": SIZE, "drawing": DRAWING}
    with pytest.raises(InputError, match=r"other settings \(seed\)"):
        demo(tmp_path, seed=1, size=SIZE)


def test_impossible_settings_are_all_named():
    with pytest.raises(InputError, match="at least 256") as caught:
        DemoConfig(seed=-1, size=100)
    assert len(caught.value.faults) == 2


def test_previews_are_pictures(made):
    from matplotlib.image import imread

    for shot in shots():
        picture = imread(made / "preview" / f"{shot.name}.png")
        assert picture.shape[:2] == (SIZE, SIZE)
        assert picture[..., :3].std() > 0.05


# ── how the scenes fit together ────────────────────────────────────────────────────────────────


def corner(profile: dict) -> tuple[int, int]:
    """Column and row of a scene's corner, counted from the CRS's origin; exactly whole."""
    place = profile["transform"].c / 0.5, -profile["transform"].f / 0.5
    assert all(value.is_integer() for value in place)
    return int(place[0]), int(place[1])


def test_two_scenes_adjoin_and_go_on_in_each_other(scenes):
    (west, left), (east, right) = scenes["north_west"], scenes["north_east"]
    assert corner(east) == (corner(west)[0] + SIZE, corner(west)[1])
    seam = np.abs(left[..., -1].astype(int) - right[..., 0]).mean()
    within = np.abs(np.diff(left[..., -40:].astype(int), axis=2)).mean()
    apart = np.abs(left[..., -1].astype(int) - right[..., 60]).mean()
    assert seam < 1.25 * within
    assert apart > 2 * seam


def test_two_scenes_overlap_with_other_light_but_in_the_same_place(scenes):
    (west, left), (east, right) = scenes["south_west"], scenes["south_east"]
    column, row = (b - a for a, b in zip(corner(west), corner(east), strict=True))
    assert 0 < column < SIZE - 30
    rows = slice(max(0, row), SIZE + min(0, row))
    a = left[:, rows, column:].astype(float)
    b = right[:, rows.start - row : rows.stop - row, : SIZE - column].astype(float)
    valid = (b > 0).all(axis=0)
    assert valid.mean() > 0.5
    ratio = (a / np.maximum(b, 1))[:, valid]
    assert (np.abs(ratio - 1) > 0.02).mean() > 0.5  # other light

    def agreement(shift: int) -> float:
        moved = np.roll(b[1], shift, axis=1)
        inner = valid & np.roll(valid, shift, axis=1)
        return float(np.corrcoef(a[1][inner], moved[inner])[0, 1])

    shifts = {shift: agreement(shift) for shift in range(-4, 5)}
    assert max(shifts, key=lambda shift: shifts[shift]) == 0  # same place
    assert shifts[0] > 0.5


def test_turned_scenes_have_corners_without_data(scenes):
    for shot in shots():
        empty = (scenes[shot.name][1] == 0).all(axis=0)
        corners = empty[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.all() == corners.any() == bool(shot.turned)
        assert empty.mean() < 0.2
        assert np.array_equal(empty, (scenes[shot.name][1] == 0).any(axis=0))  # 0 is nodata only


@given(st.integers(2, 60), st.floats(-40, 40))
def test_a_footprint_is_the_same_upside_down(size, turned):
    seen = _footprint(size, turned)
    assert np.array_equal(seen, seen[::-1, ::-1])


# ── labels ─────────────────────────────────────────────────────────────────────────────────────


def test_labels_are_in_another_crs_and_hold_polygons_and_lines(labels):
    assert labels.crs.to_epsg() == 3035
    lines = labels.geom_type.str.contains("LineString")
    assert set(labels.geom_type[~lines]) <= {"Polygon", "MultiPolygon"}
    assert labels["width_m"].notna().equals(lines)
    assert set(labels["class"][lines]) >= {"main road"}
    assert labels.is_valid.all()


def test_the_legend_knows_every_value_and_every_class_occurs(labels, scenes):
    legend = Legend.load(LEGEND)
    assert set(labels["class"]) <= set(legend.lookup())
    seen = set()
    for profile, image in scenes.values():
        seen |= set(np.unique(burnt(labels, profile, image.shape[1:])).tolist())
    assert seen == {*legend.codes, 255}


def test_classes_overlap_and_a_part_is_unlabelled(labels, scenes):
    lookup = Legend.load(LEGEND).lookup()
    shapes = labels[labels.geom_type.str.contains("Polygon")].to_crs(32632)
    shapes = shapes.assign(code=shapes["class"].map(lookup))
    crops, woods = shapes[shapes.code == 2].union_all(), shapes[shapes.code == 3].union_all()
    houses, lawns = shapes[shapes.code == 6].union_all(), shapes[shapes.code == 1].union_all()
    assert crops.intersection(woods).area > 50
    assert houses.intersection(lawns).area > 0.5 * houses.area
    profile, image = scenes["south_west"]
    share = (burnt(labels, profile, image.shape[1:]) == 255).mean()
    assert 0.03 < share < 0.3


def test_the_labelled_area_is_where_labels_are(made, labels, scenes):
    area = geopandas.read_file(made / "labelled_area.gpkg").to_crs(32632).union_all()
    profile, image = scenes["south_west"]
    inside = rasterize([(area, 1)], image.shape[1:], transform=profile["transform"], fill=0)
    labelled = burnt(labels, profile, image.shape[1:]) != 255
    assert (labelled == (inside == 1)).mean() > 0.98


def test_near_infrared_tells_water_from_vegetation(labels, scenes):
    values = {}
    for profile, image in scenes.values():
        target = burnt(labels, profile, image.shape[1:])
        for code in (1, 3, 4, 5):
            values.setdefault(code, []).append(image[3][(target == code) & (image[3] > 0)])
    grass, forest, water, road = (np.median(np.concatenate(values[c])) for c in (1, 3, 4, 5))
    assert water < 0.3 * forest < forest < grass
    assert water < road < grass


# ── the landscape's parts ──────────────────────────────────────────────────────────────────────


def test_waves_are_the_same_on_a_grid_and_at_points():
    waves = Waves(np.random.default_rng(0), (50, 500))
    x, y = np.arange(0.0, 90, 10), np.arange(0.0, 50, 10)
    points = np.array([(a, b) for b in y for a in x])
    np.testing.assert_allclose(waves.on(x, y).ravel(), waves.at(points), atol=1e-5)


@given(st.integers(0, 50), st.floats(-500, 3000), st.floats(-500, 3000))
def test_the_warp_goes_back(seed, x, y):
    warp = Warp(np.random.default_rng(seed))
    point = np.array([[x, y]])
    np.testing.assert_allclose(warp.plane(warp.ground(point)), point, atol=0.01)


@given(st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), min_size=3, max_size=6))
def test_fill_takes_the_pixels_whose_centres_lie_inside(corners):
    shape = Polygon(corners).buffer(0)
    if shape.is_empty:
        return
    mask = fill(shape, (0.25, 0.25), (40, 40))
    expected = rasterize([(shape, 1)], (40, 40), transform=rasterio.Affine.scale(0.5), fill=0)
    y, x = np.nonzero(mask != (expected == 1))
    on_edge = shapely.distance(shape.boundary, shapely.points(x / 2 + 0.25, y / 2 + 0.25)) < 1e-6
    assert on_edge.all()  # centres on an edge may go either way


def test_parcels_do_not_overlap_and_leave_no_gap():
    land = make(1, 500, 400)
    shapes = geopandas.GeoSeries([parcel.outline for parcel in land.parcels])
    taken = geopandas.GeoSeries([land.bank, *land.villages]).union_all()
    whole = shapes.union_all().union(taken)
    # Borders bend in steps of 12 m, each parcel from its own corner: hairs remain between them.
    assert box(0, 0, 500, 400).difference(whole).area < 0.0005 * 500 * 400
    assert shapes.area.sum() == pytest.approx(shapes.union_all().area, rel=1e-3)


@pytest.mark.parametrize("azimuth", [90, 180, 270])
def test_shadows_fall_away_from_the_sun(azimuth):
    land = dataclasses.replace(make(1, 130, 130), roads=[], houses=[], trees=None)
    ground = Ground(land, Window(0, 0, 120, 120), Textures(0))
    ground.albedo[:] = 0.2
    _body(ground, Body(30, 30, 0, 10, 10, 6, 6, "slate"))
    flight = Flight(azimuth, 45, slant=0, blur=0.1)
    image = photograph(ground, flight, np.random.default_rng(0))[0].astype(float)
    sides = {90: image[60, 74], 270: image[60, 46], 180: image[74, 60], 0: image[46, 60]}
    lit, dark = sides[azimuth], sides[(azimuth + 180) % 360]
    assert dark < 0.5 * lit


def test_neighbouring_windows_are_painted_alike():
    land, textures = make(1, 400, 300), Textures(1)
    whole = paint(land, Window(100, 100, 200, 300), textures)
    part = paint(land, Window(140, 180, 100, 120), textures)
    view = (slice(40, 140), slice(80, 200))
    far = np.abs(whole.albedo[(slice(None), *view)] - part.albedo).max(axis=0) > 1e-3
    assert far.mean() < 0.01
