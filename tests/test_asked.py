"""What was asked for is what is done: encodings, GeoParquet, ids, spellings of paths, one class."""

import json
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

from geoseg import raster
from geoseg.dataset import Dataset
from geoseg.errors import InputError
from geoseg.grid import Grid
from geoseg.labels import Labels, open_labels
from geoseg.labels.parcels import codes_of, read_parcels
from geoseg.legend import Legend
from geoseg.prepare import prepare
from geoseg.samplesettings import SampleSettings
from geoseg.scene import find_scenes
from geoseg.split import Split
from geoseg.tiling import Tiling

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
    with pytest.raises(InputError, match="labels.encoding") as error:
        target(path)
    with pytest.raises(InputError, match="labels.encoding"):
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
    path = layer(tmp_path / "l.shp", field="nature_occupation")
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
    assert is_right(codes[:, [*range(30), *range(34, 64)]][:, :60].repeat(1, 0)) or (
        (codes[8:-8, 2:30] == 1).all() and (codes[8:-8, 34:62] == 2).all()
    )


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
