"""The network for points: made-up clouds whose houses are known."""

import geopandas
import laspy
import numpy as np
import pyproj
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import box

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.legend import Legend
from geoseg.heights.cloud import Cloud
from geoseg.labels.settings import Labels
from geoseg.maps.landcover import ClassMap
from geoseg.maps.mosaic import mosaic
from geoseg.models.checkpoint import save_other
from geoseg.pointnet import PointnetConfig
from geoseg.pointnet import main as pointnet
from geoseg.points.classify import classify, map_of
from geoseg.points.gather import Gathered, grids_of, ground_below
from geoseg.points.model_file import read_card
from geoseg.points.network import PointNet
from geoseg.points.settings import PointNetSettings
from geoseg.points.tiles import Tiles, judging
from geoseg.points.train import train

EAST, NORTH, SIDE = 500_000.0, 5_300_000.0, 64.0
LEGEND = Legend.parse(
    [{"code": 40, "name": "ground", "color": "#ffffff"},
     {"code": 41, "name": "house", "color": "#ff0000"}], "test",
)  # fmt: skip
QUICK = {"tile_m": 16.0, "points": 128, "width": 32, "epochs": 30, "batch": 4, "device": "cpu"}


def houses(seed):
    """Boxes in metres from the upper left corner."""
    rng = np.random.default_rng(seed)
    corners = [(x + rng.uniform(0, 6), y + rng.uniform(0, 6)) for x in (2, 34) for y in (2, 34)]
    return [(x, y, x + 16, y + 12) for x, y in corners]


def cloud(path, seed, *, crs="EPSG:32632", point_format=6, left=0.0, per_m2=3):
    """Houses of 5 m on a slope, every point of class 1, a few of them withheld or noise."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, SIDE, (2, int(SIDE**2 * per_m2)))
    inside = np.zeros(len(x), bool)
    for x0, y0, x1, y1 in houses(seed):
        inside |= (x > x0) & (x < x1) & (y > y0) & (y < y1)
    header = laspy.LasHeader(point_format=point_format, version="1.4")
    if crs:
        header.add_crs(pyproj.CRS.from_user_input(crs))
    header.offsets, header.scales = np.array([EAST, NORTH, 0.0]), np.full(3, 0.001)
    made = laspy.LasData(header)
    z = 100 + 0.1 * x + 5.0 * inside
    code = np.ones(len(x), np.uint8)
    z[:5], code[:5] = 300.0, 7
    made.x, made.y, made.z, made.classification = EAST + left + x, NORTH - y, z, code
    made.intensity = rng.integers(0, 999, len(x), np.uint16)
    made.return_number = made.number_of_returns = np.ones(len(x), np.uint8)
    withheld = np.zeros(len(x), bool)
    withheld[5:8] = True
    made.withheld = withheld
    path.parent.mkdir(parents=True, exist_ok=True)
    made.write(path)
    return path


def labels(path, seed, *, left=0.0):
    shapes = [
        box(EAST + left + x0, NORTH - y1, EAST + left + x1, NORTH - y0)
        for x0, y0, x1, y1 in houses(seed)
    ]
    frame = geopandas.GeoDataFrame({"class": ["house"] * 4}, geometry=shapes, crs="EPSG:32632")
    frame.to_file(path)
    return Labels(path=str(path), field="class", background="ground")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a network that knows houses."""
    folder = tmp_path_factory.mktemp("pointnet")
    path = cloud(folder / "in" / "a.laz", 0)
    drawn = labels(folder / "labels.gpkg", 0)
    said = train(path, folder / "run", drawn, LEGEND, settings=PointNetSettings(**QUICK))
    assert "mean IoU" in str(said)
    return folder / "run"


def test_houses_are_found_in_another_cloud_as_points_and_as_map(trained, tmp_path):
    path = cloud(tmp_path / "in" / "b.laz", 1)
    assert not classify(trained, path, tmp_path / "out").warnings
    before, after = laspy.read(path), laspy.read(tmp_path / "out" / "clouds" / "b.laz")
    for name in ("X", "Y", "Z", "classification", "intensity", "withheld"):
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    assert after.header.parse_crs() == before.header.parse_crs()
    codes = np.asarray(after["landcover"])
    assert (codes[:8] == 0).all(), "what is withheld or noise has no class"
    x, y = np.asarray(before.x) - EAST, NORTH - np.asarray(before.y)
    true = np.zeros(len(x), bool)
    for x0, y0, x1, y1 in houses(1):
        true |= (x > x0) & (x < x1) & (y > y0) & (y < y1)
    found = codes == 41
    iou = (found & true)[8:].sum() / (found | true)[8:].sum()
    assert iou > 0.8, iou
    made = ClassMap.read(tmp_path / "out" / "landcover" / "b.tif")
    assert made.legend.names == ["ground", "house"]
    mosaic(tmp_path / "out", tmp_path / "mosaic.tif")
    with raster.Raster(tmp_path / "mosaic.tif") as file:
        seen = file.read(file.grid.window)[0][0]
    drawn = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in houses(1)) / 0.25
    assert abs((seen == 41).sum() / drawn - 1) < 0.25


def test_a_call_that_goes_on_makes_only_what_is_missing(trained, tmp_path):
    cloud(tmp_path / "in" / "b.laz", 1)
    cloud(tmp_path / "in" / "c.laz", 2)
    out = tmp_path / "out"
    classify(trained, tmp_path / "in", out)
    maps = [out / "landcover" / f"{name}.tif" for name in "bc"]
    bytes_ = [path.read_bytes() for path in maps]
    points = (out / "clouds" / "b.laz").read_bytes()
    (out / "clouds" / "b.laz").unlink()
    kept = maps[1].stat().st_mtime_ns
    classify(trained, tmp_path / "in", out)
    assert [path.read_bytes() for path in maps] == bytes_
    assert (out / "clouds" / "b.laz").read_bytes() == points
    assert maps[1].stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="made with other settings"):
        classify(trained, tmp_path / "in" / "b.laz", out)


def test_a_training_that_is_done_is_not_repeated(trained):
    weights = trained / "pointnet.safetensors"
    kept = weights.stat().st_mtime_ns
    place = trained.parent
    drawn = Labels(path=str(place / "labels.gpkg"), field="class", background="ground")
    how = PointNetSettings(**QUICK)
    said = train(place / "in" / "a.laz", trained, drawn, LEGEND, settings=how)
    assert "nothing to do" in str(said)
    assert weights.stat().st_mtime_ns == kept
    with pytest.raises(InputError, match="made with other settings"):
        train(place / "in" / "a.laz", trained, drawn, LEGEND, settings=how, seed=1)


def test_the_codes_take_the_place_of_the_classes_if_asked(trained, tmp_path):
    path = cloud(tmp_path / "in" / "b.laz", 1)
    both = PointNetSettings(classification=True)
    classify(trained, path, tmp_path / "out", settings=both)
    after = laspy.read(tmp_path / "out" / "clouds" / "b.laz")
    np.testing.assert_array_equal(after.classification, after["landcover"])
    assert set(np.unique(after.classification)) == {0, 40, 41}
    old = cloud(tmp_path / "old" / "b.las", 1, point_format=3)
    with pytest.raises(InputError, match="up to 31, the legend codes up to 41"):
        classify(trained, old, tmp_path / "other", settings=both)
    made = laspy.read(old)
    made.intensity = np.asarray(made.intensity) // 16  # another program's scale
    made.write(old)
    (said,) = classify(trained, old, tmp_path / "other").warnings
    assert "b: intensities of 31." in said
    assert len(laspy.read(tmp_path / "other" / "clouds" / "b.laz")["landcover"]) == len(made)


def test_what_cannot_be_is_said_in_a_sentence(trained, tmp_path):
    good = cloud(tmp_path / "in" / "a.laz", 0)
    drawn = labels(tmp_path / "labels.gpkg", 0)
    bare = cloud(tmp_path / "bare.laz", 0, crs=None)
    with pytest.raises(InputError, match=r"no CRS .* set pointnet\.crs=EPSG"):
        train(bare, tmp_path / "out", drawn, LEGEND)
    short = tmp_path / "short.laz"
    short.write_bytes(good.read_bytes()[:20_000])
    for call in (
        lambda: train(short, tmp_path / "out", drawn, LEGEND),
        lambda: classify(trained, short, tmp_path / "out"),
    ):
        with pytest.raises(InputError, match="cut short") as error:
            call()
        assert len(error.value.faults) == 1
    far = cloud(tmp_path / "far.laz", 0, left=5000.0)
    with pytest.raises(InputError, match="labels: they miss the scene"):
        train(far, tmp_path / "out", drawn, LEGEND)
    alone = Labels(path=drawn.path, field="class")
    with pytest.raises(InputError, match="all labelled points are house"):
        train(good, tmp_path / "out", alone, LEGEND)
    few = tmp_path / "few.gpkg"
    shape = [box(EAST, NORTH - 1, EAST + 1, NORTH)]
    geopandas.GeoDataFrame({"class": ["house"]}, geometry=shape, crs="EPSG:32632").to_file(few)
    with pytest.raises(InputError, match="too few have a label"):
        train(good, tmp_path / "out", Labels(path=str(few), field="class"), LEGEND)
    other = tmp_path / "other.safetensors"
    save_other(other, torch.nn.Linear(2, 2), {})
    with pytest.raises(InputError, match="holds no network for points"):
        classify(other, good, tmp_path / "out")
    weights = (trained / "pointnet.safetensors").read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(weights[:-8] + b"\x01" * 8)
    with pytest.raises(InputError, match="damaged"):
        classify(damaged, good, tmp_path / "out")
    left = [path.name for path in (tmp_path / "out").rglob("*")]
    assert left in ([], [".pointnet.json"])


@pytest.mark.parametrize("epochs", [1, 5])
def test_a_training_may_be_of_few_steps(trained, tmp_path, epochs):
    place = trained.parent
    drawn = Labels(path=str(place / "labels.gpkg"), field="class", background="ground")
    how = PointNetSettings(**(QUICK | {"epochs": epochs, "batch": 8, "width": 8, "points": 32}))
    train(place / "in" / "a.laz", tmp_path / "run", drawn, LEGEND, settings=how)
    assert read_card(tmp_path / "run").legend == LEGEND


def test_what_is_missing_is_said_all_at_once():
    with pytest.raises(InputError) as error:
        pointnet(PointnetConfig())
    assert [fault.partition(":")[0] for fault in error.value.faults] == [
        *("points", "out", "labels", "legend"),
    ]
    both = PointnetConfig(points="a", out="b", checkpoint="c", labels=Labels(path="d"))
    with pytest.raises(InputError, match="give labels to train, or a checkpoint"):
        pointnet(both)
    with pytest.raises(InputError) as error:
        PointNetSettings(tile_m=1, points=3, val=1.0)
    assert len(error.value.faults) == 3


def test_the_card_keeps_what_the_network_was_shown(trained):
    card = read_card(trained)
    assert card.legend == LEGEND
    used = card.settings(PointNetSettings(tile_m=50.0, resolution_m=1.0))
    assert (used.tile_m, used.points, used.resolution_m) == (16.0, 128, 1.0)


def test_the_order_of_points_is_of_no_account():
    torch.manual_seed(0)
    network = PointNet(4, 3, 32).eval()
    points = torch.randn(2, 40, 6)
    order = torch.randperm(40)
    with torch.no_grad():
        mixed, plain = network(points[:, order]), network(points)[:, :, order]
    torch.testing.assert_close(mixed, plain)


def gathered(x, y):
    said = Cloud("a.laz", len(x), (0.0, 0.0, 60.0, 60.0), "EPSG:32632", 1.0, 1.0)
    features = np.zeros((len(x), 4), np.float32)
    return Gathered(said, np.asarray(x), np.asarray(y), features, np.arange(len(x)))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(32, 200), st.sampled_from([0.0, 0.5]))
def test_each_point_is_drawn_in_its_tile(count, size, shift):
    rng = np.random.default_rng(count)
    points = gathered(*rng.uniform(-30, 60, (2, count)))
    tiles = Tiles(points, 20.0, shift=shift)
    members = np.concatenate([tiles.members(n) for n in range(len(tiles))])
    assert sorted(members) == list(range(count))
    for tile in range(len(tiles)):
        draws = list(tiles.draws(tile, size, rng))
        assert all(len(draw) == size for draw in draws)
        assert set(np.concatenate(draws)) == set(tiles.members(tile))
        place = tiles.seen(tile, tiles.members(tile))[:, :2]
        assert np.abs(place).max() <= 1 + 1e-5


def test_whole_blocks_judge():
    rows, columns = np.mgrid[:20, :20]
    keys = np.stack([rows.ravel(), columns.ravel()], axis=1)
    judges = judging(keys, 0.2, np.random.default_rng(0))
    assert judges.sum() == 5 * 16
    for block in np.unique(keys[judges] // 4, axis=0):
        assert judges[(keys // 4 == block).all(axis=1)].all()
    assert judging(keys[:2], 0.2, np.random.default_rng(0)).sum() == 1


def test_the_ground_goes_on_below_a_house_and_up_a_slope():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 100, (2, 30_000))
    house = (abs(x - 50) < 12) & (abs(y - 50) < 10)
    slope = 0.1 * x
    height = slope + 6 * house - ground_below(x, y, slope + 6 * house, reach_m=20.0)
    assert np.abs(height[house] - 6).max() < 0.3
    assert np.abs(height[~house]).max() < 0.45, "of the slope in a cell, also at the edge"


def test_gaps_take_the_nearest_class_but_not_from_afar():
    points = gathered([10.2, 10.3, 30.2], [10.2, 10.3, 10.2])
    ((_, grid),) = grids_of([points.cloud], PointNetSettings()).items()
    shares = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]], np.float32)
    codes = map_of(points, shares, grid, LEGEND)
    row = grid.height - 1 - 20
    assert codes[row, 20] == 40, "1.1 against 0.9"
    assert codes[row, 60] == 41
    assert codes[row, 25] == 40
    assert codes[row, 40] == 0
