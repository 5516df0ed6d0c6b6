import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.maps import landcover
from geoseg.received import keys
from geoseg.vectorize import VectorizeConfig, main
from geoseg.vectors import components as components_
from geoseg.vectors import merge as merge_
from geoseg.vectors import polygons as blocks
from geoseg.vectors import vectorize as vectorize_
from geoseg.vectors.components import Strips, components
from geoseg.vectors.edges import PixelEdges
from geoseg.vectors.merge import Rule, merge
from geoseg.vectors.outlines import Pieces
from geoseg.vectors.polygons import polygons
from geoseg.vectors.settings import VectorSettings
from geoseg.vectors.vectorize import vectorize

LEGEND = Legend.parse(
    [
        {"code": 1, "name": "forest", "color": "#33a02c"},
        {"code": 2, "name": "road", "color": "#999999"},
        {"code": 5, "name": "building", "color": "#e31a1c"},
    ],
    "test",
)
UTM = "EPSG:32633"
NONE = np.zeros(256, bool)


def grid(height: int, width: int, side: float = 1.0, crs: str = UTM) -> Grid:
    x, y = (500_000, 5_000_000) if crs == UTM else (15.0, 60.0)
    return Grid(crs, Affine(side, 0, x, 0, -side, y), height, width)


def strips(codes: np.ndarray, height: int = 1000, confidence: np.ndarray | None = None) -> Strips:
    def reader(array):
        return lambda w: array[w.top : w.bottom, w.left : w.right]

    percent = None if confidence is None else reader(confidence)
    return Strips(grid(*codes.shape), reader(codes), percent, height)


def pieces(parts) -> list[Pieces]:
    return [part for part in parts if isinstance(part, Pieces)]


def made(codes, *, height=1000, minimum=0.0, tolerance=0.0, keep=NONE, confidence=None):
    """Polygons in pixels and their codes."""
    given = strips(codes, height, confidence)
    found = components(given, 0.5)
    minima = np.broadcast_to(np.asarray(minimum, float), 256)
    regions = merge(given, found, minima, keep)
    parts = pieces(polygons(given, regions, tolerance))
    if not parts:
        return np.zeros(0, object), np.zeros(0, int)
    return (
        np.concatenate([part.polygons for part in parts]),
        np.concatenate([regions.code[part.region - 1] for part in parts]),
    )


def burnt(shapes, codes, shape):
    if not len(shapes):
        return np.zeros(shape, np.uint8)
    pairs = zip(shapes, codes.tolist(), strict=True)
    return rasterio.features.rasterize(pairs, out_shape=shape, dtype="uint8")


TAGS = landcover.tags(LEGEND, "abcdef0123456789", undecided="threshold")


def write_map(folder: Path, codes, *, at=None, confidence=None, tags=TAGS, name="town") -> Path:
    path = folder / "landcover" / f"{name}.tif"
    at = at or grid(*codes.shape)
    pairs = [(path, codes)]
    if confidence is not None:
        pairs.append((folder / "confidence" / path.name, confidence))
    for where, pixels in pairs:
        with raster.create(where, at, dtype="uint8", nodata=0, tags=tags) as writer:
            writer.write(pixels, at.window)
    return path


def patches(seed: int, shape=(60, 70), classes=(0, 1, 2, 5, 255)) -> np.ndarray:
    """A map with areas of all sizes."""
    random = np.random.default_rng(seed)
    coarse = random.choice(classes, (shape[0] // 5 + 1, shape[1] // 5 + 1))
    codes = np.kron(coarse, np.ones((5, 5), int))[: shape[0], : shape[1]]
    noise = random.random(shape) < 0.1
    codes[noise] = random.choice(classes, noise.sum())
    return codes.astype(np.uint8)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 8)
    monkeypatch.setattr(merge_, "SQUARE", 8)


maps = arrays(
    np.uint8,
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    elements=st.sampled_from([0, 1, 2, 5, 255]),
)
few = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@few
@given(maps, st.integers(1, 20))
def test_exact_outlines_burn_to_the_same_bytes(small_blocks, codes, height):
    shapes, values = made(codes, height=height)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == (codes > 0).sum()
    np.testing.assert_array_equal(burnt(shapes, values, codes.shape), codes)


@few
@given(maps, st.floats(0.5, 4.0), st.integers(1, 40), st.integers(1, 20))
def test_simplified_outlines_are_a_coverage(small_blocks, codes, tolerance, minimum, height):
    shapes, _ = made(codes, height=height, minimum=minimum, tolerance=tolerance)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == pytest.approx((codes > 0).sum(), rel=1e-9)


@few
@given(maps, st.integers(2, 40))
def test_nothing_small_stays_that_has_a_neighbour(small_blocks, codes, minimum):
    shapes, values = made(codes, minimum=minimum)
    np.testing.assert_array_equal(burnt(shapes, values, codes.shape) > 0, codes > 0)
    small = shapely.area(shapes) < minimum * 0.99  # a pixel of UTM is not quite 1 m²
    tree = shapely.STRtree(shapes)
    for number in np.flatnonzero(small):
        near = tree.query(shapes[number], predicate="touches")
        shared = shapely.length(shapely.intersection(shapes[near], shapes[number]))
        beside = values[near][shared > 0]
        assert (beside == 255).all()  # an island, or one in what has no decision


@few
@given(maps, st.integers(1, 20), st.integers(1, 20))
def test_strips_of_any_height_give_the_same_polygons(small_blocks, codes, a, b):
    one, two = (made(codes, height=h, minimum=5, tolerance=1.0) for h in (a, b))
    assert shapely.to_wkb(one[0]).tolist() == shapely.to_wkb(two[0]).tolist()
    assert one[1].tolist() == two[1].tolist()


def test_where_two_areas_meet_below_a_block_the_one_above_has_a_vertex(small_blocks):
    codes = np.ones((16, 16), np.uint8)
    codes[8:, :5], codes[8:, 5:] = 2, 5
    shapes, _ = made(codes)
    assert shapely.coverage_is_valid(shapes)
    assert (5, 8) in shapes[0].exterior.coords


def test_other_processes_make_the_same_polygons(small_blocks):
    given = strips(patches(4))
    found = components(given, 0.5)
    regions = merge(given, found, np.zeros(256), NONE)
    one, two = (pieces(polygons(given, regions, 1.0, processes=n)) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert shapely.to_wkb(a.polygons).tolist() == shapely.to_wkb(b.polygons).tolist()
        assert a.region.tolist() == b.region.tolist()


def test_blocks_leave_no_vertices_on_straight_edges(small_blocks):
    codes = np.ones((40, 40), np.uint8)
    codes[:, 20:] = 2
    shapes, _ = made(codes, height=7)
    assert [shapely.get_num_coordinates(s) for s in shapes] == [5, 5]


def test_a_block_changes_little_of_a_simplified_outline(monkeypatch):
    codes = patches(3, classes=(1, 2, 5))
    whole, values = made(codes, minimum=30, tolerance=2.0)
    monkeypatch.setattr(blocks, "BLOCK", 16)
    cut, again = made(codes, minimum=30, tolerance=2.0)
    one, two = burnt(whole, values, codes.shape), burnt(cut, again, codes.shape)
    assert (one != two).mean() < 0.05
    assert shapely.coverage_is_valid(cut)


def test_a_small_area_goes_to_the_longest_edge():
    codes = np.full((6, 8), 1, np.uint8)
    codes[:, 4:] = 5
    codes[2:4, 3:6] = 2  # an edge of 4 on the left, of 6 on the right
    shapes, values = made(codes, minimum=10)
    assert values.tolist() == [1, 5]
    assert burnt(shapes, values, codes.shape)[2, 3] == 5


@pytest.mark.parametrize(("left", "right", "winner"), [(90, 60, 5), (60, 90, 1), (70, 70, 1)])
def test_of_equal_edges_the_surer_then_the_lower_code_wins(left, right, winner):
    codes = np.full((4, 8), 5, np.uint8)
    codes[:, 4:] = 1
    codes[:, 3:5] = 2
    percent = np.full(codes.shape, left, np.uint8)
    percent[:, 4:] = right
    shapes, values = made(codes, minimum=9, confidence=percent)
    assert burnt(shapes, values, codes.shape)[0, 3] == winner


def test_areas_that_meet_after_a_merge_are_one():
    codes = np.full((3, 9), 1, np.uint8)
    codes[:, 4] = 2
    shapes, values = made(codes, minimum=4)
    assert values.tolist() == [1]
    assert shapely.area(shapes).tolist() == [27]


def test_no_decision_stays_apart_and_takes_nothing():
    codes = np.full((10, 10), 1, np.uint8)
    codes[2:8, 2:8] = 255
    codes[4, 4] = 2  # one pixel in it
    codes[0, 0] = 255  # too small for itself
    shapes, values = made(codes, minimum=4)
    assert sorted(values.tolist()) == [1, 2, 255]
    assert shapely.area(shapes)[values == 255].tolist() == [35]


def test_kept_classes_are_never_merged_away():
    codes = np.full((10, 10), 1, np.uint8)
    codes[5, 5], codes[2, 2] = 5, 2
    keep = NONE.copy()
    keep[5] = True
    _, values = made(codes, minimum=10, keep=keep)
    assert sorted(values.tolist()) == [1, 5]


def test_minimum_by_class():
    codes = np.full((10, 10), 1, np.uint8)
    codes[5, 5], codes[2, 2] = 5, 2
    minimum = np.zeros(256)
    minimum[5] = 3
    _, values = made(codes, minimum=minimum)
    assert sorted(values.tolist()) == [1, 2]


def test_holes_and_islands_in_them():
    codes = np.full((9, 9), 1, np.uint8)
    codes[2:7, 2:7] = 2
    codes[4, 4] = 5
    codes[0, 8] = 0
    shapes, values = made(codes)
    by_code = dict(zip(values.tolist(), shapes, strict=True))
    assert len(by_code[1].interiors) == len(by_code[2].interiors) == 1
    assert len(by_code[5].interiors) == 0
    assert by_code[2].area == 24


def test_pixels_that_touch_crosswise_are_two_polygons():
    codes = np.array([[1, 2], [2, 1]], np.uint8)
    shapes, values = made(codes)
    assert sorted(values.tolist()) == [1, 1, 2, 2]
    assert shapely.coverage_is_valid(shapes)


def test_noise_of_twenty_thousand_areas_merges():
    codes = np.random.default_rng(0).choice([1, 2, 5], (200, 200)).astype(np.uint8)
    shapes, _ = made(codes, height=60, minimum=50)
    assert shapely.area(shapes).min() >= 49.5
    assert shapely.area(shapes).sum() == 40_000


def looked_at(codes) -> float:
    """Edges that the merging looks at, for each area of the map."""
    given = strips(codes)
    found = components(given, 0.5)
    rule = Rule(np.full(256, 20 * components_.UNIT), NONE)
    merging = merge_._Map(given, found, rule)
    small = rule.applies(found.code, found.measures.size)
    merging.merged(PixelEdges.of(given.grid, small))
    return merging.looked_at / len(found.code)


def test_the_work_of_merging_grows_with_the_map_and_no_faster(small_blocks):
    codes = np.random.default_rng(0).choice([1, 2, 3, 4, 5], (192, 192)).astype(np.uint8)
    assert looked_at(codes) < 1.15 * looked_at(codes[:64, :64])


def test_a_chequerboard_takes_few_rounds():
    # In the order of their pixels, each would wait for the one before: a round for each diagonal.
    board = (np.indices((96, 96)).sum(axis=0) % 2 + 1).astype(np.uint8)
    assert looked_at(board) < 2 * looked_at(board[:24, :24])


def test_few_areas_wait_for_other_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 32)
    waited = []
    whole = blocks._whole
    monkeypatch.setattr(blocks, "_whole", lambda done, s: waited.extend(done) or whole(done, s))
    codes = np.random.default_rng(0).choice([1, 2, 3, 4, 5], (128, 128)).astype(np.uint8)
    shapes, _ = made(codes)
    assert len(waited) < 0.2 * len(shapes)


def test_too_many_polygons_are_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(vectorize_, "MOST_POLYGONS", 100)
    monkeypatch.setattr(vectorize_, "polygons", None)
    codes = np.random.default_rng(0).choice([1, 2], (50, 50)).astype(np.uint8)
    path, out = write_map(tmp_path, codes), tmp_path / "out" / "a.gpkg"
    with pytest.raises(InputError, match=r"polygons, of at most 100 .*vector.minimum_m2=…"):
        vectorize(path, out)
    assert not list(out.parent.glob("[!.]*"))


def test_too_many_areas_are_refused(monkeypatch):
    monkeypatch.setattr(components_, "MOST", 100)
    codes = np.random.default_rng(0).choice([1, 2], (50, 50)).astype(np.uint8)
    with pytest.raises(InputError, match="more than 100 connected areas"):
        components(strips(codes), 0.5)


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_each_format_holds_the_same(tmp_path, suffix):
    codes = patches(1)
    percent = np.where(codes > 0, 40 + codes % 50, 0).astype(np.uint8)
    path = write_map(tmp_path, codes, confidence=percent)
    out = tmp_path / f"out{suffix}"
    print(vectorize(path, out, settings=VectorSettings(minimum_m2=4)))
    layer = _read(out)
    assert layer.crs == pyproj.CRS(UTM)
    assert set(layer.name) == {"forest", "road", "building", "no decision"}
    assert set(layer.scene) == {"town"}
    assert layer.area_m2.sum() == pytest.approx(
        _geodesic(shapely.union_all(layer.geometry.values)), rel=1e-7
    )
    to_degrees = layer.to_crs(4326).geometry
    np.testing.assert_allclose(layer.perimeter_m, [_perimeter(s) for s in to_degrees], rtol=1e-6)
    assert layer.confidence.between(0.4, 0.9).all()
    assert (layer.confidence_min <= layer.confidence).all()
    assert layer.share_unsure.between(0, 1).all()
    told = json.loads(out.with_name(f"{out.name}.vectorize.json").read_text())
    assert told["layers"] == {"landcover": len(layer)}
    assert sum(entry["polygons"] for entry in told["classes"]) == len(layer)
    assert (tmp_path / "out.qml").exists() == (suffix != ".gpkg")


def _read(path):
    import geopandas

    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    layer = "landcover" if path.suffix == ".gpkg" else None  # it holds a table of styles, too
    return pyogrio.read_dataframe(path, layer=layer)


def _geodesic(shape) -> float:
    transformer = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True)
    moved = shapely.transform(shape, lambda c: np.stack(transformer.transform(*c.T), axis=1))
    geod = pyproj.CRS(UTM).get_geod()
    return sum(abs(geod.geometry_area_perimeter(p)[0]) for p in shapely.get_parts(moved))


def _perimeter(shape) -> float:
    geod = pyproj.CRS(UTM).get_geod()
    return sum(geod.line_length(*shapely.get_coordinates(r).T) for r in shapely.get_rings(shape))


def test_columns_tell_the_confidence_of_their_pixels(tmp_path):
    codes = np.full((4, 4), 1, np.uint8)
    codes[:, 2:] = 2
    percent = np.full((4, 4), 90, np.uint8)
    percent[:2, :2] = 30
    vectorize(write_map(tmp_path, codes, confidence=percent), tmp_path / "a.gpkg")
    layer = _read(tmp_path / "a.gpkg").set_index("name")
    assert layer.loc["forest", ["confidence", "confidence_min", "share_unsure"]].tolist() == [
        pytest.approx(0.6),
        0.3,
        0.5,
    ]
    assert layer.loc["road", "share_unsure"] == 0


def test_confidence_of_a_mosaic_comes_from_its_maps(tmp_path):
    codes = np.full((4, 4), 1, np.uint8)
    write_map(tmp_path / "maps", codes, confidence=np.full((4, 4), 80, np.uint8), name="a")
    other = np.full((4, 4), 2, np.uint8)
    write_map(tmp_path / "maps", other, confidence=np.full((4, 4), 99, np.uint8), name="b")
    mosaic = write_map(tmp_path / "joined", codes, name="all")
    mosaic = mosaic.rename(tmp_path / "all.tif")
    vectorize(mosaic, tmp_path / "a.gpkg", maps=tmp_path / "maps")
    layer = _read(tmp_path / "a.gpkg")
    assert layer.confidence.tolist() == [0.8]
    assert "scene" not in layer
    with pytest.raises(InputError, match="no landcover/"):
        vectorize(mosaic, tmp_path / "b.gpkg", maps=tmp_path / "joined")


def test_areas_in_degrees_are_those_on_the_ground(tmp_path):
    codes = patches(2, (30, 30))
    at = grid(30, 30, 1e-5, "EPSG:4326")
    path = write_map(tmp_path, codes, at=at)
    vectorize(path, tmp_path / "a.gpkg")
    layer = _read(tmp_path / "a.gpkg")
    expected = (codes > 0).sum() * at.pixel_size_m**2
    assert layer.area_m2.sum() == pytest.approx(expected, rel=1e-5)
    assert layer.area_m2.sum() < (codes > 0).sum() * 1.113**2 * 0.6  # at 60° N


def test_the_same_bytes_with_any_strip(tmp_path):
    path = write_map(tmp_path, patches(4))
    files = []
    for height in (7, 64):
        out = tmp_path / str(height) / "a.gpkg"
        chosen = VectorSettings(
            minimum_m2=6, simplify_m=1.5, strip=height, regular=["building"], lines=["road"]
        )
        vectorize(path, out, settings=chosen)
        files.append(out.read_bytes())
    assert files[0] == files[1]


def test_a_geopackage_brings_its_layers_with_styles(tmp_path):
    out = tmp_path / "a.gpkg"
    chosen = VectorSettings(regular=["building"], lines=["road"])
    path = write_map(tmp_path, patches(5))
    vectorize(path, out, settings=chosen)
    assert pyogrio.list_layers(out)[:, 0].tolist()[:3] == [
        "landcover",
        "buildings_regular",
        "roads",
    ]
    with sqlite3.connect(out) as file:
        styles = dict(file.execute("SELECT f_table_name, styleQML FROM layer_styles"))
    assert set(styles) == {"landcover", "buildings_regular", "roads"}
    assert 'label="forest"' in styles["landcover"]
    assert 'type="line"' in styles["roads"]
    again = vectorize(path, out, settings=replace(chosen, strip=5))
    assert "nothing to do" in str(again)


def test_other_settings_are_refused_until_overwritten(tmp_path):
    path, out = write_map(tmp_path, patches(6)), tmp_path / "a.gpkg"
    vectorize(path, out)
    before = out.read_bytes()
    with pytest.raises(InputError, match="other settings"):
        vectorize(path, out, settings=VectorSettings(minimum_m2=9))
    assert out.read_bytes() == before
    vectorize(path, out, settings=VectorSettings(minimum_m2=9), overwrite=True)
    assert out.read_bytes() != before
    foreign = tmp_path / "b.gpkg"
    foreign.write_bytes(before)
    with pytest.raises(InputError, match="knows nothing of"):
        vectorize(path, foreign)


def test_faults_leave_nothing_behind(tmp_path):
    codes = patches(7)
    path = write_map(tmp_path, codes)
    bare = write_map(tmp_path, codes, tags={}, name="bare")
    strange = codes.copy()
    strange[3, 3], strange[50, 3] = 77, 78
    odd = write_map(tmp_path, strange, name="odd")
    out = tmp_path / "out" / "a.gpkg"
    cases = [
        (bare, out, {}, "no tag GEOSEG_LEGEND"),
        (odd, out, {}, "codes 77, 78, which its legend does not know"),
        (path, path.with_suffix(".fgb"), {}, "would replace that of"),
        (path, path.with_suffix(".shp"), {}, "must end in .gpkg"),
        (path, out, {"minimum_m2": 1e9}, "larger than the whole map"),
        (path, out, {"minimum_m2": {"lake": 5}}, "vector.minimum_m2: class 'lake'"),
        (path, out, {"lines": ["street"]}, "vector.lines: class 'street'"),
        (tmp_path / "none.tif", out, {}, "no such file"),
        (path.parent, out, {}, "is a folder; give one of its maps"),
    ]
    for given_, where, options, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            vectorize(given_, where, settings=VectorSettings(**options))
        assert len(caught.value.faults) == 1
        found = [f.name for f in out.parent.glob("*")] if out.parent.exists() else []
        assert [name for name in found if "json" not in name] == []


@pytest.mark.parametrize(
    "options",
    [
        {"minimum_m2": "much"},
        {"minimum_m2": {"forest": True}},
        {"minimum_m2": -1},
        {"simplify_m": -2},
        {"strip": 0},
        {"unsure": 2},
    ],
)
def test_settings_are_checked(options):
    with pytest.raises(InputError, match=next(iter(options))):
        VectorSettings(**options)


def test_a_map_without_any_class_gives_an_empty_layer(tmp_path):
    path = write_map(tmp_path, np.zeros((5, 5), np.uint8))
    vectorize(path, tmp_path / "a.gpkg", settings=VectorSettings(lines=["road"]))
    assert len(_read(tmp_path / "a.gpkg")) == 0


def test_255_of_a_map_that_leaves_nothing_open_is_no_class(tmp_path):
    codes = np.full((4, 4), 1, np.uint8)
    codes[:, 3] = 255
    vectorize(write_map(tmp_path, codes, tags=landcover.tags(LEGEND, None)), tmp_path / "a.gpkg")
    layer = _read(tmp_path / "a.gpkg")
    assert layer.name.tolist() == ["forest"]
    assert layer.area.tolist() == [12]


def test_the_command_takes_minima_by_class(tmp_path, capsys):
    said = keys.for_hydra(["vector.minimum_m2={building: 20, forest: 5}"], VectorizeConfig)
    assert said.words == ["++vector.minimum_m2={building: 20, forest: 5}"]
    path = write_map(tmp_path, patches(8, classes=(1, 2, 5)))
    chosen = VectorSettings(minimum_m2={"building": 20})
    main(VectorizeConfig(map=str(path), out=str(tmp_path / "a.fgb"), vector=chosen))
    assert "connected areas in the map" in capsys.readouterr().out
    assert (_read(tmp_path / "a.fgb").query("name == 'building'").area_m2 > 19).all()
    with pytest.raises(InputError, match="out: none given"):
        main(VectorizeConfig(map=str(path), out=""))
