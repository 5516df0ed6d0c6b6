"""Scenes out of STAC catalogs that pystac wrote: the right files, bands, units and nodata."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime

import numpy as np
import pystac
import pytest

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.received import offline
from geoseg.scenes.bands import Bands
from geoseg.scenes.inspection import said_of_clouds, said_of_masks
from geoseg.scenes.scene import Scene, find_scenes, harmonize
from tests.made.scenes import grid, write
from tests.made.stac import catalogued, sentinel

WHEN = datetime(2021, 5, 4, 10, 20, 30)


def item(folder, name="a", scale=None, nodata=0, **values):
    """Red and nir in files of their own, nir of pixels twice as large."""
    red = np.full((20, 30), values.get("red", 5), np.uint16)
    nir = np.full((10, 15), values.get("nir", 9), np.uint16)
    red[0, 0] = 0
    files = {key: folder / "files" / name / f"{key}.tif" for key in ("nir", "red")}
    write(files["red"], red, nodata=nodata, names=("whatever",), grid=grid(20, 30))
    write(files["nir"], nir, nodata=nodata, names=("whatever",), grid=grid(10, 15, pixel=2.0))
    made = sentinel(folder, name, WHEN, files)
    for asset in made.assets.values():
        (band,) = asset.extra_fields["bands"]
        band |= {"nodata": 0} | ({} if scale is None else {"raster:scale": scale})
    return made


def read(scene):
    with scene.open() as reader:
        return reader.read(scene.grid.window)


def test_a_catalog_s_items_are_scenes(tmp_path):
    path = catalogued(tmp_path, [item(tmp_path, "a"), item(tmp_path, "b", red=6)])
    a, b = find_scenes(str(path), Bands(order=["red", "nir"]))
    assert (a.name, b.name) == ("a", "b")
    assert a.bands == ("red", "nir")
    assert a.grid.coincides(grid(20, 30))  # the finest
    image, valid = read(a)
    assert (image[0][valid] == 5).all()
    assert (image[1][valid] == 9).all()
    assert not valid[0, 0]
    assert valid.sum() == 20 * 30 - 1
    assert (read(b)[0][0] == 6).sum() == valid.sum()


def test_nodata_that_only_the_item_says_counts(tmp_path):
    path = catalogued(tmp_path, [item(tmp_path, nodata=None)])
    (scene,) = find_scenes(str(path))
    assert scene.nodata == 0
    assert not read(scene)[1][0, 0]
    (scene,) = find_scenes(str(path), Bands(nodata="none"))
    assert read(scene)[1].all()


def test_scales_that_the_items_say_are_brought_together(tmp_path):
    parts = [item(tmp_path, n, scale) for n, scale in (("a", 1e-4), ("b", 1e-4), ("c", 2e-4))]
    scenes = harmonize(find_scenes(str(catalogued(tmp_path, parts)), Bands(order=["red"])))
    assert [read(scene)[0][0, 5, 5] for scene in scenes] == [5, 5, 10]


def test_clouds_that_an_item_tells_are_said_to_count_as_image(tmp_path):
    cloudy, clear = item(tmp_path, "a"), item(tmp_path, "b")
    mask = pystac.Asset(cloudy.assets["red"].href, media_type="image/tiff", roles=["cloud"])
    cloudy.add_asset("qa_pixel", mask)
    path = str(catalogued(tmp_path, [cloudy, clear]))
    found = find_scenes(path, Bands(order=["red"]))
    assert [scene.unheeded for scene in found] == [("qa_pixel",), ()]
    assert [scene.taken for scene in found] == [(WHEN, WHEN)] * 2
    (note,) = said_of_clouds(found)
    assert note.startswith("a: qa_pixel would tell clouds")
    cloudy.datetime = None
    cloudy.properties["start_datetime"] = "2021-05-04T00:00:00Z"
    cloudy.properties["end_datetime"] = "2021-05-06T01:00:00+01:00"
    path = str(catalogued(tmp_path, [cloudy]))
    (asked,) = find_scenes(path, Bands(order=["red", "QA_pixel"]))
    assert said_of_clouds([asked]) == []
    assert asked.taken == (datetime(2021, 5, 4), datetime(2021, 5, 6))


def clouded(folder, name="a", classes=None, at=None, **values):
    """As `item`, with scene classes of pixels twice as large: cloud, snow and nodata in corners."""
    made = item(folder, name, **values)
    if classes is None:
        classes = np.full((10, 15), 4, np.uint8)
        classes[:2, :5], classes[-1, -1], classes[0, -1], classes[5, 5] = 9, 11, 0, 2
    place = at or grid(*classes.shape, pixel=2.0)
    path = write(folder / "files" / name / "scl.tif", classes, nodata=0, grid=place)
    made.add_asset("scl", pystac.Asset(str(path), media_type="image/tiff", roles=["data"]))
    return made


def test_what_an_item_s_scene_classes_hide_is_no_data(tmp_path):
    path = str(catalogued(tmp_path, [clouded(tmp_path, "a"), item(tmp_path, "b")]))
    a, b = find_scenes(path, Bands(order=["red", "nir"]))
    clear = np.ones((20, 30), bool)
    clear[:4, :10] = clear[-2:, -2:] = clear[:2, -2:] = False
    image, valid = read(a)
    np.testing.assert_array_equal(valid, clear)
    assert (image[0][4:] == 5).all()
    np.testing.assert_array_equal(read(Scene.from_dict(a.to_dict(tmp_path), tmp_path))[1], clear)
    with a.open() as reader:
        window = Window(3, -2, 8, 16)  # reaches out of the scene
        np.testing.assert_array_equal(
            reader.read(window)[1], np.pad(clear, ((0, 0), (2, 0)))[3:11, :16]
        )
        thin = reader.read(a.grid.window, shape=(5, 5))[1]
    np.testing.assert_array_equal(thin, clear[2::4, 3::6])
    assert a.paths == tuple(p for p in a.inputs if not p.endswith("scl.tif"))
    assert len(a.inputs) == len(a.paths) + 1
    assert b.inputs == b.paths
    assert "mask" not in b.to_dict(tmp_path)
    (note,) = said_of_masks([a, b])
    assert "7% of the pixels (a 7%)" in note
    assert said_of_clouds([a, b]) == said_of_masks([b]) == []


def test_masks_that_are_not_to_be_heeded_are_not(tmp_path):
    path = str(catalogued(tmp_path, [clouded(tmp_path)]))
    (scene,) = find_scenes(path, Bands(order=["red"], masks=False))
    assert read(scene)[1].sum() == 20 * 30 - 1
    assert said_of_clouds([scene]) == said_of_masks([scene]) == []
    assert "masks" not in Bands().settings()
    assert Bands(masks=False).settings()["masks"] is False


def test_a_mask_hides_pixels_of_which_only_some_bands_have_data_too(tmp_path):
    path = str(catalogued(tmp_path, [clouded(tmp_path)]))
    (scene,) = find_scenes(path, Bands(order=["red", "nir"], partial=True))
    valid = read(scene)[1]
    assert not valid[:4, :10].any()
    assert valid.sum() == 20 * 30 - 40 - 4 - 4


def test_a_mask_on_another_grid_is_brought_to_the_scene_s(tmp_path):
    classes = np.full((40, 60), 4, np.uint8)
    classes[:, :22] = 8
    at = grid(40, 60, pixel=0.5)
    path = str(catalogued(tmp_path, [clouded(tmp_path, classes=classes, at=at)]))
    (scene,) = find_scenes(path, Bands(order=["red"]))
    valid = read(scene)[1]
    assert not valid[:, :11].any()
    assert valid[:, 11:].all()
    resampled = replace(scene, grid=grid(10, 15, pixel=2.0), resampling="average")
    valid = read(resampled)[1]
    assert not valid[:, :5].any()
    assert valid[:, 6:].all()


def test_what_a_mask_does_not_reach_is_hidden_and_counted(tmp_path):
    classes, at = np.full((10, 5), 4, np.uint8), grid(10, 5, pixel=2.0)
    path = str(catalogued(tmp_path, [clouded(tmp_path, classes=classes, at=at)]))
    (scene,) = find_scenes(path, Bands(order=["red"]))
    assert read(scene)[1].sum() == 20 * 10 - 1
    assert "67% of the pixels" in said_of_masks([scene])[0]


def test_a_mask_of_real_numbers_hides_where_it_says_nothing(tmp_path):
    classes = np.full((10, 15), 4.0, np.float32)
    classes[:5], classes[5:, :3] = 8.0, np.nan
    path = str(catalogued(tmp_path, [clouded(tmp_path, classes=classes)]))
    (scene,) = find_scenes(path, Bands(order=["red"]))
    valid = read(scene)[1]
    assert not valid[:10].any()
    assert not valid[:, :6].any()
    assert valid[10:, 6:].all()
    (note,) = said_of_masks([scene])
    assert "60% of the pixels" in note


def test_odd_masks_are_told_or_refused(tmp_path):
    classes = np.full((10, 15), 4, np.uint8)
    classes[3] = 200
    odd = clouded(tmp_path, "odd", classes=classes)
    far = clouded(tmp_path, "far", at=grid(10, 15, pixel=2.0, left=9_000))
    gone = clouded(tmp_path, "gone")
    path = str(catalogued(tmp_path, [odd, far, gone]))
    (tmp_path / "files/gone/scl.tif").unlink()
    refused = {}
    scene, without = find_scenes(path, Bands(order=["red"]), refused=refused)
    assert (without.name, without.mask, without.unheeded) == ("gone", None, ("scl",))
    assert "fetch it" in said_of_clouds([scene, without])[0]
    assert "holds 200, which is none of the scene classes" in said_of_masks([scene])[1]
    assert "lies elsewhere than" in str(refused["far"])
    assert list(refused) == ["far"]
    assert "it is the cloud mask of" in str(refused["far"])
    assert "bands.masks=false" in str(refused["far"])
    assert len(find_scenes(path, Bands(order=["red"], masks=False))) == 3


def test_settings_that_contradict_a_catalog(tmp_path):
    path = catalogued(tmp_path, [item(tmp_path)])
    with pytest.raises(InputError) as caught:
        find_scenes(str(path), Bands(names=["x"], pattern="(?P<scene>.)(?P<band>.)"))
    assert len(caught.value.faults) == 2


def test_an_item_without_the_bands_is_refused_and_the_others_are_not(tmp_path):
    lame = item(tmp_path, "lame")
    del lame.assets["nir"]
    path = catalogued(tmp_path, [item(tmp_path, "a"), lame])
    refused = {}
    (scene,) = find_scenes(str(path), Bands(order=["nir"]), refused=refused)
    assert scene.name == "a"
    assert "no band nir; it has red" in str(refused["lame"])
    with pytest.raises(InputError, match="no band nir"):
        find_scenes(str(path), Bands(order=["nir"]))


def test_rasters_and_catalogs_go_together(tmp_path):
    path = catalogued(tmp_path, [item(tmp_path, "a")])
    plain = write(tmp_path / "plain.tif", np.ones((2, 4, 4), np.uint16), names=("red", "nir"))
    found = find_scenes([str(path), str(plain)], Bands(order=["red"]))
    assert [scene.name for scene in found] == ["plain", "a"]


@pytest.fixture
def server(tmp_path):
    """Address of a process that serves tmp_path: GDAL holds up the threads of this one."""
    call = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(call, cwd=tmp_path, **pipes) as run:
        port = run.stdout.readline().partition("port ")[2].split()[0]
        yield f"http://127.0.0.1:{port}/"
        run.kill()
    offline.shut()


def test_files_of_servers_are_read_only_from_those_that_are_named(tmp_path, server, monkeypatch):
    address = server
    made = item(tmp_path)
    path = catalogued(tmp_path / "cat", [made])
    text = (tmp_path / "cat/a/a.json").read_text()
    (tmp_path / "cat/a/a.json").write_text(text.replace("../../files/", f"{address}files/"))
    with pytest.raises(InputError, match=f"GEOSEG_SERVERS={address}"):
        find_scenes(str(path))
    monkeypatch.setenv(offline.SERVERS, f"https://example.org/ {address}other")
    with pytest.raises(InputError, match="no server is asked unless you name it"):
        find_scenes(str(path))
    monkeypatch.setenv(offline.SERVERS, f"{address}files/")
    (scene,) = find_scenes(str(path), Bands(order=["red"]))
    kept = json.loads(json.dumps(scene.to_dict(tmp_path / "data")))
    for one in (scene, Scene.from_dict(kept, tmp_path / "data")):  # as a data set keeps it
        image, valid = read(one)
        assert (image[0][valid] == 5).all()
        assert valid.sum() == 20 * 30 - 1
    assert fingerprint(scene.paths[0]) == [f"{address}files/a/red.tif"]
    monkeypatch.delenv(offline.SERVERS)
    with pytest.raises(InputError, match="no server is asked unless you name it"):
        Scene.from_dict(kept, tmp_path / "data")


def test_an_address_that_only_looks_like_a_named_one(monkeypatch):
    monkeypatch.setenv(offline.SERVERS, "https://good.org/data/")
    assert offline.may_ask("https://good.org/data/a.tif")
    for address in ("https://good.org.evil.com/data/a.tif", "https://good.org@evil.com/data/a.tif",
                    "http://good.org/data/a.tif", "https://good.org/other/a.tif"):  # fmt: skip
        assert not offline.may_ask(address)
    monkeypatch.setenv(offline.SERVERS, "https: / https://")
    assert not offline.may_ask("https://good.org/data/a.tif")
