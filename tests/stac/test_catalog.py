"""STAC catalogs: what lies below them, which files and bands are meant, and what is not read."""

import json
from contextlib import suppress
from datetime import datetime
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo.band_tags import BandTags
from geoseg.stac import bands, catalog
from geoseg.stac.bands import Said, choose, cloud_mask

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def feature(name="a", assets=None, **more):
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None, "links": [],
        "properties": {"datetime": "2021-05-04T10:20:30.5Z"},
        "assets": {"image": {"href": "a.tif"}} if assets is None else assets,
    } | more  # fmt: skip


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")
    return str(path)


def items(path, values=None):
    if values is not None:
        write(path, values)
    return catalog.read_items([str(path)])


def fault(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


def of(tmp_path, assets, **more):
    (found,) = items(tmp_path / "item.json", feature(assets=assets, **more))
    return found


def linked(*hrefs, kind="Catalog", **more):
    links = [{"rel": "item", "href": href} for href in hrefs]
    return {"type": kind, "stac_version": "1.1.0", "id": "c", "links": links, **more}


class TestWalk:
    def test_items_come_in_the_order_of_the_links_each_once(self, tmp_path):
        child = {"rel": "child", "href": "./sub/collection.json"}
        top = linked("z.json", "b%20c.json", "z.json")
        top["links"][1:1] = [child, {"rel": "root", "href": "./catalog.json"}]
        write(tmp_path / "z.json", feature("z"))
        write(tmp_path / "b c.json", feature("b"))
        write(tmp_path / "sub/a.json", feature("a"))
        under = linked("a.json", "../catalog.json", kind="Collection")
        write(tmp_path / "sub/collection.json", under)
        found = items(tmp_path / "catalog.json", top)
        assert [item.id for item in found] == ["z", "a", "b"]

    def test_a_saved_search_holds_its_items(self, tmp_path):
        found = {"type": "FeatureCollection", "features": [feature("a"), feature("b")]}
        assert [item.id for item in items(tmp_path / "found.json", found)] == ["a", "b"]

    def test_what_a_collection_says_of_its_assets_goes_for_those_of_its_items(self, tmp_path):
        said = {"image": {"type": TIFF, "bands": [{"name": "red"}, {"name": "nir"}]}}
        whole = linked("a.json", kind="Collection", item_assets=said)
        write(tmp_path / "collection.json", whole)
        to = [{"rel": "collection", "href": "./collection.json"}]
        write(tmp_path / "a.json", feature(links=to))
        for start in ("collection.json", "a.json"):
            (item,) = items(tmp_path / start)
            (file,) = choose(item)
            assert (file.bands, file.places) == (("red", "nir"), (0, 1))

    def test_a_server_that_keeps_the_collection_is_not_asked(self, tmp_path):
        to = [{"rel": "collection", "href": "https://example.org/collection.json"}]
        (item,) = items(tmp_path / "a.json", feature(links=to))
        assert item.id == "a"

    @pytest.mark.parametrize(
        ("href", "said"),
        [
            ("https://example.org/a.json", "only files of this machine"),
            ("/vsicurl/https://example.org/a.json", "only files of this machine"),
            ("s3://bucket/a.json", "only files of this machine"),
            ("//server/share/a.json", "only files of this machine"),
            ("../outside.json", "lies outside the catalog's folder"),
            ("file:///etc/passwd", "lies outside the catalog's folder"),
            ("%2e%2e/outside.json", "lies outside the catalog's folder"),
            ("missing.json", "there is no such file"),
            (7, "expected an address"),
        ],
    )
    def test_what_is_not_read(self, tmp_path, href, said):
        write(tmp_path / "outside.json", feature())
        write(tmp_path / "own/catalog.json", linked(href))
        assert said in fault(items, tmp_path / "own/catalog.json")

    def test_folders_that_are_named_are_read(self, tmp_path, monkeypatch):
        write(tmp_path / "other/a.json", feature())
        path = tmp_path / "own/catalog.json"
        write(path, linked("../other/a.json"))
        assert f"GEOSEG_FOLDERS={tmp_path / 'other'}" in fault(items, path)
        monkeypatch.setenv("GEOSEG_FOLDERS", str(tmp_path / "other"))
        assert [item.id for item in items(path)] == ["a"]

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"type": "FeatureCollection", "features": [{"type": "Feature"}]}, "no STAC"),
            ({"type": "FeatureCollection", "features": 3}, "expected a list of items"),
            ({"type": "Topology"}, "expected STAC"),
            (feature(stac_version="0.9.0"), "expected 1.0 or 1.1"),
            (feature(name="../a"), "not a name"),
            (linked(), "without items"),
            ([1], "expected an object"),
        ],
    )
    def test_what_is_no_catalog(self, tmp_path, values, said):
        assert said in fault(items, tmp_path / "x.json", values)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                st.sampled_from(
                    ["href", "type", "roles", "bands", "eo:bands", "raster:bands", "name", "scale"]
                ), inner, max_size=4,
            ), max_leaves=12,
        )
    )  # fmt: skip
    def test_odd_assets_are_a_fault_or_left_out(self, tmp_path_factory, asset):
        path = tmp_path_factory.getbasetemp() / "odd.json"
        (item,) = items(path, feature(assets={"x": asset, "y": {"href": "a.tif"}}))
        with suppress(InputError):
            assert choose(item)


def test_times(tmp_path):
    def when(**properties):
        return of(tmp_path, None, properties=properties).when()

    assert when(datetime="2021-05-04T10:20:30Z") == datetime(2021, 5, 4, 10, 20, 30)
    assert when(datetime="2021-05-04T01:00:00+02:00") == datetime(2021, 5, 3, 23)
    assert when(datetime=None, start_datetime="2021-05-01T00:00:00Z") == datetime(2021, 5, 1)
    assert "is no time" in fault(lambda: when(datetime="May"))
    assert "no datetime" in fault(when)


def asset(href, *names, roles=("data",), kind=TIFF, **more):
    told = [{"name": name, "eo:common_name": common} for name, common in names]
    return {"href": href, "type": kind, "roles": list(roles), "bands": told} | more


class TestChoose:
    LIKE_EARTH_SEARCH: ClassVar = {
        "thumbnail": {"href": "t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
        "visual": asset("tci.tif", ("red", "red"), ("green", "green"), roles=("visual",)),
        "red-jp2": asset("red.jp2", ("red", "red"), kind="image/jp2"),
        "red": asset("red.tif", ("red", "red")),
        "rededge1": asset("e1.tif", ("rededge1", "rededge")),
        "rededge2": asset("e2.tif", ("rededge2", "rededge")),
        "nir": asset("nir.tif", ("nir", "nir")),
        "aot": asset("aot.tif", roles=("data",)),
        "scl": asset("scl.tif", roles=("data",)),
        "granule": {"href": "m.xml", "type": "application/xml", "roles": ["metadata"]},
    }

    def names(self, found):
        return {file.path.rpartition("/")[2]: file.bands for file in found}

    def test_images_count_and_previews_masks_and_copies_do_not(self, tmp_path):
        item = of(tmp_path, self.LIKE_EARTH_SEARCH)
        assert self.names(choose(item)) == {
            "red.tif": ("red",), "e1.tif": ("rededge1",), "e2.tif": ("rededge2",),
            "nir.tif": ("nir",),
        }  # fmt: skip
        assert cloud_mask(item) == str(tmp_path / "scl.tif")

    def test_bands_are_found_by_name_key_or_common_name(self, tmp_path):
        item = of(tmp_path, self.LIKE_EARTH_SEARCH)
        assert self.names(choose(item, ["NIR", "red", "aot"])) == {
            "nir.tif": ("NIR",), "red.tif": ("red",), "aot.tif": ("aot",),
        }  # fmt: skip
        said = fault(choose, item, ["rededge", "swir"])
        assert "rededge could be rededge1, rededge2" in said
        assert "no band swir; it has red, " in said

    def test_the_names_of_esa_are_known(self, tmp_path):
        place = {"datetime": "2021-05-04T10:20:30Z", "platform": "sentinel-2a"}
        item = of(tmp_path, self.LIKE_EARTH_SEARCH, properties=place)
        assert self.names(choose(item, ["B04", "B05"])) == {
            "red.tif": ("B04",), "e1.tif": ("B05",),
        }  # fmt: skip
        older = {"B04": {"href": "b4.tif", "type": TIFF, "eo:bands": [{"name": "B04"}]}}
        assert self.names(choose(of(tmp_path, older, properties=place), ["red"])) == {
            "b4.tif": ("red",)
        }

    def test_bands_of_one_file_are_read_at_once_in_the_wanted_order(self, tmp_path):
        both = {"image": asset("a.tif", ("r", "red"), ("g", "green"), ("n", "nir"))}
        (file,) = choose(of(tmp_path, both), ["nir", "red"])
        assert (file.bands, file.places) == (("nir", "red"), (2, 0))

    def test_a_lone_image_that_says_nothing_is_taken_as_its_file_says(self, tmp_path):
        (file,) = choose(of(tmp_path, {"data": {"href": "a.tif"}}), ["red"])
        assert file.bands == ()
        assert "no asset is an image (x)" in fault(choose, of(tmp_path, {"x": {"href": "a.csv"}}))

    def test_scale_offset_and_nodata_of_both_versions(self, tmp_path):
        old = {"scale": 1e-4, "offset": -0.1, "nodata": 0}
        new = {"raster:scale": 1e-4, "raster:offset": -0.1, "nodata": 0}
        for said in (
            {"eo:bands": [{"name": "red"}], "raster:bands": [old]},
            {"bands": [{"name": "red", **new}]},
            {"bands": [{"name": "red"}], **new},
        ):
            item = of(tmp_path, {"red": {"href": "r.tif", "type": TIFF, **said}})
            (file,) = choose(item)
            assert file.said == (Said(0.0, 1e-4, -0.1),)

    def test_an_offset_that_was_applied_is_none(self, tmp_path):
        when = {"datetime": "2022-05-04T10:20:30Z", "earthsearch:boa_offset_applied": True}
        said = {"scale": 1e-4, "offset": -0.1}
        red = {"href": "r.tif", "type": TIFF, "raster:bands": [said]}
        (file,) = choose(
            of(tmp_path, {"red": red, "nir": red | {"href": "n.tif"}}, properties=when), ["red"]
        )
        assert file.said == (Said(None, 1e-4, 0.0),)

    @pytest.mark.parametrize("value", ["1", True, 10**400, [1]])
    def test_a_scale_that_is_no_number_is_a_fault(self, tmp_path, value):
        red = {"href": "r.tif", "type": TIFF, "raster:bands": [{"scale": value}]}
        assert "expected a number" in fault(choose, of(tmp_path, {"red": red}))


def test_what_items_say_goes_over_what_files_say_but_nodata_does_not():
    own = BandTags(7.0, 2.0, 3.0)
    assert Said(0.0, 1e-4, None).over(own) == BandTags(7.0, 1e-4, 0.0)
    assert Said(0.0).over(own) == own
    assert Said(0.0).over(BandTags(None)) == BandTags(0.0)


def test_nodata_of_the_items_only_must_be_one():
    none, said = BandTags(None), BandTags(0.0)
    assert bands.nodata_for_all([(Said(0.0), none), (Said(0.0), said)], "x") == 0
    assert bands.nodata_for_all([(Said(0.0), said)], "x") is None
    assert bands.nodata_for_all([(Said(), none)], "x") is None
    assert "0.0, 9.0" in fault(bands.nodata_for_all, [(Said(0.0), none), (Said(9.0), none)], "x")
