"""What was asked for is what is done: encodings, GeoParquet, ids, spellings of paths, one class."""

import os
import re
import unicodedata
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine

from geoseg.dataset.prepare import PrepareSettings, prepare
from geoseg.dataset.settings import SampleSettings
from geoseg.dataset.split import Split
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.geo.tiling import Tiling
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.parcels.parcels import codes_of, read_parcels
from geoseg.scenes.scene import find_scenes

GRID = Grid("EPSG:32632", Affine(1, 0, 500_000, 0, -1, 5_000_000), 64, 64)
LEGEND = Legend.parse(
    [
        {"code": 1, "name": "wood", "color": "red", "values": ["forêt fermée"]},
        {"code": 2, "name": "building", "color": "blue", "values": ["bâtiment"]},
    ],
    "test",
)
LEFT, RIGHT = (shapely.box(500_000 + x, 4_999_936, 500_032 + x, 5_000_000) for x in (0, 32))
TWO = [(LEFT, "forêt fermée"), (RIGHT, "bâtiment")]


def layer(path, shapes=TWO, *, crs="EPSG:32632", field="classe", **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    geometry = np.array([shape for shape, _ in shapes], object)
    columns = {field: [value for _, value in shapes]} | options.pop("columns", {})
    frame = geopandas.GeoDataFrame(columns, geometry=geometry, crs=crs)
    if str(path).endswith("parquet"):
        frame.to_parquet(path, **options)
    else:
        pyogrio.write_dataframe(frame, path, **options)
    return str(path)


def target(path, **options):
    labels = Labels(path=path, **{"field": "classe"} | options)
    with open_labels(labels, LEGEND, scenes={"s": GRID}) as source:
        return source.burn(GRID)


def is_right(codes):
    return (codes[:, :32] == 1).all() and (codes[:, 32:] == 2).all()


def scene(path, grid=GRID):
    image = np.random.default_rng(0).integers(1, 255, (1, grid.height, grid.width), np.uint8)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with raster.create(path, grid, dtype="uint8", nodata=0) as writer:
        writer.write(image, grid.window)
    return str(path)


# Encodings ------------------------------------------------------------------------------------


def shapefile(folder, written, cpg):
    path = layer(folder / "l.shp", encoding=written)
    (folder / "l.cpg").unlink(missing_ok=True)
    if cpg:
        (folder / "l.cpg").write_text(cpg)
    content = bytearray((folder / "l.dbf").read_bytes())
    content[29] = 0  # the language of the driver: not said
    (folder / "l.dbf").write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("written", "cpg"),
    [("ISO-8859-1", "UTF-8"), ("UTF-8", None), ("UTF-8", "ISO-8859-1"), ("CP850", "ISO-8859-1")],
)
def test_a_wrong_encoding_is_named_and_can_be_set(tmp_path, written, cpg):
    path = shapefile(tmp_path, written, cpg)
    with pytest.raises(InputError, match=r"labels\.encoding") as error:
        target(path)
    with pytest.raises(InputError, match=r"labels\.encoding"):
        codes_of(read_parcels(Labels(path=path, field="classe")), Labels(field="classe"), LEGEND)
    assert is_right(target(path, encoding=written))
    named = re.search(r"labels\.encoding=(\S+)", str(error.value))
    if named and "<" not in named[1]:
        assert is_right(target(path, encoding=named[1]))
    parcels = read_parcels(Labels(path=path, field="classe", encoding=written))
    assert parcels.value.tolist() == ["forêt fermée", "bâtiment"]


def test_an_unknown_encoding_is_refused(tmp_path):
    with pytest.raises(InputError, match="latin99: unknown"):
        target(layer(tmp_path / "l.shp"), encoding="latin99")


def test_a_name_that_a_shapefile_cut_is_said(tmp_path):
    path = layer(tmp_path / "l.shp", field="nature_occ")
    with pytest.raises(InputError, match="cuts names to 10 letters: it has 'nature_occ'"):
        target(path, field="nature_occupation")
    assert is_right(target(path, field="nature_occ"))


def test_attributes_and_values_are_found_in_either_form_of_unicode(tmp_path):
    apart = [(shape, unicodedata.normalize("NFD", value)) for shape, value in TWO]
    path = layer(tmp_path / "l.gpkg", apart, field=unicodedata.normalize("NFD", "clé"))
    assert is_right(target(path, field="clé"))


# GeoParquet -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["WKB", "geoarrow"])
def test_geoparquet_is_read_as_labels_and_as_parcels(tmp_path, encoding):
    path = layer(tmp_path / "l.parquet", geometry_encoding=encoding, columns={"id": ["007", "8"]})
    assert is_right(target(path))
    parcels = read_parcels(Labels(path=str(tmp_path), field="classe"))
    assert parcels.id.tolist() == ["007", "8"]
    assert parcels.value.tolist() == [value for _, value in TWO]
    assert parcels.geometry[0].equals(LEFT)


def test_geoparquet_in_degrees_without_a_word_on_its_crs(tmp_path):
    frame = geopandas.GeoDataFrame({"classe": [v for _, v in TWO]}, geometry=[LEFT, RIGHT])
    frame = frame.set_crs("EPSG:32632").to_crs("OGC:CRS84")
    frame.to_parquet(tmp_path / "l.parquet")
    codes = target(str(tmp_path / "l.parquet"))
    assert (codes[2:-2, 2:30] == 1).all()
    assert (codes[2:-2, 34:62] == 2).all()


def test_a_parquet_file_without_geometry_is_refused_with_the_remedy(tmp_path):
    geopandas.pd.DataFrame({"classe": ["a"]}).to_parquet(tmp_path / "l.parquet")
    with pytest.raises(InputError, match=r"l\.parquet: can't be read as GeoParquet.*GeoPackage"):
        target(str(tmp_path / "l.parquet"))
    with pytest.raises(InputError, match=r"labels\.where=.*not for GeoParquet"):
        target(layer(tmp_path / "m.parquet"), where="classe = 'a'")


# Ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "first"), [("p.gpkg", 1), ("p.fgb", 0), ("p.parquet", 0)])
def test_ids_are_those_of_the_features_whatever_is_left_out(tmp_path, name, first):
    shapes = [(shapely.box(x, 0, x + 1, 1), "a") for x in range(6)]
    shapes[2] = (None, "a")
    options = {"SPATIAL_INDEX": "NO"} if name.endswith("fgb") else {}
    path = layer(tmp_path / name, shapes, **options)
    parcels = read_parcels(Labels(path=path, field="classe"))
    kept = [0, 1, 3, 4, 5]
    assert parcels.id.tolist() == [str(first + place) for place in kept]
    assert [g.bounds[0] for g in parcels.geometry] == kept
    assert any("no attribute id" in note for note in parcels.notes)


def test_ids_of_several_files_name_the_file(tmp_path):
    for name in ("a", "b"):
        layer(tmp_path / f"{name}.gpkg", [(LEFT, name)])
    parcels = read_parcels(Labels(path=str(tmp_path), field="classe"))
    assert parcels.id.tolist() == ["a:1", "b:1"]


def test_ids_are_kept_as_text(tmp_path):
    path = layer(tmp_path / "p.gpkg", columns={"nr": ["0012", "12"]})
    parcels = read_parcels(Labels(path=path, field="classe"), SampleSettings(id="nr"))
    assert parcels.id.tolist() == ["0012", "12"]


# Paths ----------------------------------------------------------------------------------------


def test_a_file_spelt_in_several_ways_is_one_scene(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene(tmp_path / "s" / "a.tif")
    os.symlink(tmp_path / "s", tmp_path / "link")
    spec = ["s/a.tif", "./s/a.tif", str(tmp_path / "s" / "a.tif"), "link/a.tif", "s/../s/*.tif"]
    assert [(found.name, found.paths) for found in find_scenes(spec)] == [("a", ("s/a.tif",))]
    layer("l.gpkg")
    assert len(read_parcels(Labels(path=["l.gpkg", "./l.gpkg"], field="classe"))) == 2


def test_a_second_name_for_one_file_is_refused(tmp_path):
    scene(tmp_path / "a.tif")
    os.symlink(tmp_path / "a.tif", tmp_path / "b.tif")
    with pytest.raises(InputError, match=r"a\.tif and .*b\.tif are one file"):
        find_scenes(str(tmp_path))


def test_globs_work_in_folders_with_brackets(tmp_path):
    for name in ("[2021] ortho", "a{b}", "l'été (1)", "日本 #1%"):
        path = scene(tmp_path / name / "x.tif")
        assert find_scenes(str(tmp_path / name / "*.tif"))[0].paths == (path,)
        assert find_scenes(str(tmp_path / name))[0].paths == (path,)


@pytest.mark.parametrize(("written", "read"), [("link", "real"), ("real", "link")])
def test_a_data_set_is_found_through_links(tmp_path, written, read):
    real, link = tmp_path / "scratch" / "deep" / "u", tmp_path / "home" / "work"
    real.mkdir(parents=True)
    link.parent.mkdir()
    os.symlink(real, link)
    folders = {"real": real / "ds", "link": link / "ds"}
    scenes = find_scenes(scene(tmp_path / "home" / "s" / "a.tif"))
    labels = Labels(path=layer(tmp_path / "l.gpkg"), field="classe")
    options = {"tiling": Tiling(size=16), "split": Split(val=0.3, test=0, by="north_south")}
    prepare(tuple(scenes), labels, LEGEND, folders[written], settings=PrepareSettings(**options))
    (found,) = Dataset.load(folders[read]).scenes
    assert os.path.samefile(found.paths[0], tmp_path / "home" / "s" / "a.tif")
    found.open().close()


# One class, small objects, scenes left out ----------------------------------------------------


def prepared(folder, labels, legend=LEGEND, **split):
    scenes = tuple(find_scenes(str(folder / "s")))
    chosen = Split(**({"val": 0.3, "test": 0, "by": "north_south"} | split))
    settings = PrepareSettings(tiling=Tiling(size=32), split=chosen)
    return str(prepare(scenes, labels, legend, folder / "ds", settings=settings))


def test_labels_of_one_class_are_refused_until_there_is_a_background(tmp_path):
    scene(tmp_path / "s" / "a.tif")
    path = layer(tmp_path / "l.gpkg", [(shapely.box(500_010, 4_999_940, 500_050, 4_999_990), "x")])
    for labels in (Labels(path=path, name="building"), Labels(path=path, field="classe")):
        legend = LEGEND if labels.name else replaced(LEGEND)
        with pytest.raises(InputError, match=r"building.*nothing of wood.*labels\.background"):
            prepared(tmp_path, labels, legend)
    assert not (tmp_path / "ds").exists()
    said = prepared(tmp_path, Labels(path=path, name="building", background="wood"))
    assert "data set:" in said


def replaced(legend):
    """A legend whose second class is called x in the labels."""
    entries = legend.to_dict()["classes"]
    return Legend.parse([entries[0], entries[1] | {"values": ["x"]}], "test")


def test_a_legend_of_one_class_is_refused(tmp_path):
    scene(tmp_path / "s" / "a.tif")
    legend = Legend.parse([{"code": 1, "name": "building", "color": "red"}], "test")
    with pytest.raises(InputError, match=r"only class.*labels\.background"):
        prepared(tmp_path, Labels(path=layer(tmp_path / "l.gpkg"), name="building"), legend)


def test_objects_below_a_pixel_are_counted_with_the_remedy(tmp_path):
    scene(tmp_path / "s" / "a.tif")
    dots = [
        (shapely.box(x, 4_999_950, x + 0.2, 4_999_950.2), "bâtiment") for x in (500_010, 500_020)
    ]
    path = layer(tmp_path / "l.gpkg", dots)
    with pytest.raises(InputError, match=r"2 of 2 polygons are smaller than a pixel of 1 m"):
        prepared(tmp_path, Labels(path=path, field="classe"))
    touched = Labels(path=path, field="classe", all_touched=True, background="wood")
    assert "smaller" not in prepared(tmp_path, touched)


def test_scenes_that_no_split_names_and_narrow_ones_are_said(tmp_path):
    for number, name in enumerate(("a", "b", "c")):
        place = Affine(1, 0, 500_000, 0, -1, 5_000_000 - 30 * number)
        scene(tmp_path / "s" / f"{name}.tif", Grid("EPSG:32632", place, 20, 64))
    labels = Labels(path=layer(tmp_path / "l.gpkg"), field="classe")
    said = prepared(tmp_path, labels, train=["a"], val=["b.TIF"], test=0)
    assert "WARNING: scenes c: no split names them" in said
    assert "scenes a, b, c: narrower than a tile of 32 pixels" in said


def test_a_local_crs_is_said(tmp_path):
    wkt = 'LOCAL_CS["site",UNIT["metre",1]]'
    with pytest.raises(InputError, match="local one"):
        target(layer(tmp_path / "l.gpkg", crs=wkt))
