"""Damaged files of all kinds: only an InputError may come out of what reads them.

FUZZ=<examples of each kind> looks longer (`make fuzz`).
"""

import copy
import json
import os
import struct
from contextlib import suppress
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoseg.dataset.settings import SampleSettings
from geoseg.dataset.tiles import DESCRIPTION, TILES, Dataset
from geoseg.errors import InputError
from geoseg.evaluation.sources import scenes_of
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.legend import Legend
from geoseg.geo.vector import Layer
from geoseg.maps import landcover
from geoseg.maps.folder import NAME
from geoseg.models.card import KEY, ModelCard, find_card
from geoseg.parcels import points
from geoseg.parcels.table import load_table
from geoseg.prediction.record import Record
from tests.made.scenes import write
from tests.made.tiles import LEGEND, make_dataset

EXAMPLES = int(os.environ.get("FUZZ", "100"))
LIMITS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.filterwarnings("default")

EDITS = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["set", "cut", "insert", "repeat", "flip"]),
        st.one_of(
            st.binary(max_size=8),
            st.sampled_from([b"\0", b"\xff\xff\xff\xff", b"../../", b"<", b"{" * 3000, b"=1+1"]),
        ),
    ),
    min_size=1,
    max_size=4,
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([[], {}, [[]], {"a": None}, "../../a", "/vsicurl/http://203.0.113.1/a", 0, -1]),
)


def edited(data: bytes, edits) -> bytes:
    for share, how, payload in edits:
        place = int(share * len(data))
        if how == "set":
            data = data[:place] + payload + data[place + len(payload) :]
        elif how == "cut":
            data = data[:place] + data[place + 1 + len(payload) :]
        elif how == "insert":
            data = data[:place] + payload + data[place:]
        elif how == "repeat":
            data = data[:place] + data[max(0, place - 50) :]
        elif data:
            place = min(place, len(data) - 1)
            flipped = data[place] ^ (payload[0] if payload else 1)
            data = data[:place] + bytes([flipped]) + data[place + 1 :]
    return data


def places(value, way=()):
    """Ways to all values within a JSON document."""
    yield way
    items = enumerate(value) if isinstance(value, list) else ()
    for key, part in value.items() if isinstance(value, dict) else items:
        yield from places(part, (*way, key))


def altered(document, share: float, value):
    """A JSON document with another value at one place."""
    ways = [way for way in places(document) if way]
    way = ways[int(share * (len(ways) - 1))]
    document = copy.deepcopy(document)
    part = document
    for key in way[:-1]:
        part = part[key]
    part[way[-1]] = value
    return document


def survives(call, *arguments) -> None:
    with suppress(InputError):
        call(*arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One whole file of each kind."""
    here = tmp_path_factory.mktemp("whole")
    make_dataset(here)
    write(here / "a.tif", np.arange(2 * 40 * 40, dtype=np.uint16).reshape(2, 40, 40))
    landcover.write(
        here / "landcover/m.tif",
        raster.info(here / "a.tif").grid,
        LEGEND,
        lambda window: np.full((window.height, window.width), 3, np.uint8),
        tags=landcover.tags(LEGEND, "model"),
    )
    frame = geopandas.GeoDataFrame(
        {"class": ["low"]}, geometry=[shapely.box(0, 0, 9, 9)], crs="EPSG:32632"
    )
    frame.to_file(here / "l.gpkg", layer="l")
    frame.to_crs(4326).to_file(here / "l.geojson")
    frame.to_file(here / "l.fgb")
    (here / "t.csv").write_text(
        "id,date,b1,b2\n1,2020-01-01,1,2\n1,2020-02-01,3,4\n2,2020-01-05,5,6\n"
    )
    (here / "p.csv").write_text("x,y,label\n1,2,low\n3,4,high\n")
    (here / "l.csv").write_text("code,name,color,values\n1,a,#ff0000,x|y\n2,b,red,\n")
    (here / "l.yaml").write_text(
        "classes:\n  - {code: 1, name: a, color: '#ff0000', values: [x, 7]}\n"
        "  - {code: 2, name: b, color: red}\n"
    )
    (here / "v.vrt").write_text(
        '<VRTDataset rasterXSize="40" rasterYSize="40"><SRS>EPSG:32632</SRS><GeoTransform>0,'
        ' 1, 0, 0, 0, -1</GeoTransform><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">a.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    return here


def read_raster(path: Path) -> None:
    with raster.Raster(path) as file:
        grid = file.grid
        file.read(Window(0, 0, min(grid.height, 64), min(grid.width, 64)))


def read_layer(path: Path) -> None:
    layer = Layer(str(path), columns=("class",))
    for _ in layer.scan():
        pass
    layer.read((0, 0, 5, 5))


def read_points(path: Path) -> None:
    points._rows(str(path))


READERS = {
    "a.tif": read_raster,
    "v.vrt": read_raster,
    "landcover/m.tif": landcover.ClassMap.read,
    "l.gpkg": read_layer,
    "l.geojson": read_layer,
    "l.fgb": read_layer,
    "l.csv": Legend.load,
    "l.yaml": Legend.load,
    "p.csv": read_points,
    "t.csv": lambda path: load_table(path, SampleSettings()),
}


@pytest.mark.parametrize("name", READERS)
def test_files_with_other_bytes(place, tmp_path_factory, name):
    whole = (place / name).read_bytes()
    here = tmp_path_factory.mktemp("damaged")
    target = here / Path(name).name
    (here / "a.tif").write_bytes((place / "a.tif").read_bytes())
    READERS[name](place / name)

    @LIMITS
    @given(EDITS)
    def run(edits):
        target.write_bytes(edited(whole, edits))
        survives(READERS[name], target)

    run()


def test_data_sets_with_other_values(place, tmp_path_factory):
    here = tmp_path_factory.mktemp("dataset")
    whole = json.loads((place / "dataset" / DESCRIPTION).read_text())

    @LIMITS
    @given(st.floats(0, 1), VALUES)
    def run(share, value):
        (here / DESCRIPTION).write_text(json.dumps(altered(whole, share, value)))
        survives(Dataset.load, here)

    run()


def test_tiles_with_other_bytes(place, tmp_path_factory):
    here = tmp_path_factory.mktemp("tiles")
    (here / DESCRIPTION).write_bytes((place / "dataset" / DESCRIPTION).read_bytes())
    whole = (place / "dataset" / TILES).read_bytes()

    @LIMITS
    @given(EDITS)
    def run(edits):
        (here / TILES).write_bytes(edited(whole, edits))
        survives(Dataset.load(here).tiles, "train")

    run()


def test_records_with_other_values(place, tmp_path_factory):
    here = tmp_path_factory.mktemp("maps")
    (here / "landcover").mkdir()
    path = here / "landcover/m.tif"
    path.write_bytes((place / "landcover/m.tif").read_bytes())
    entry = {"status": "done", "paths": [str(path)], "inputs": [[str(path), 1, 1]], "reason": ""}
    whole = {"settings": {"bands": {"order": []}}, "scenes": {"m": entry}, "backend": "eager"}
    found = landcover.ClassMap.read(path)

    @LIMITS
    @given(st.floats(0, 1), VALUES)
    def run(share, value):
        (here / NAME).write_text(json.dumps(altered(whole, share, value)))
        survives(Record, here, "model", {})
        survives(scenes_of, found)

    run()


def test_cards_with_other_values(tmp_path_factory):
    from tests.prediction.test_images import CARD

    path = tmp_path_factory.mktemp("cards") / "a.safetensors"
    whole = json.loads(CARD.to_json())

    @LIMITS
    @given(st.floats(0, 1), VALUES, st.one_of(st.none(), EDITS))
    def run(share, value, edits):
        card = json.dumps(altered(whole, share, value))
        header = json.dumps({"__metadata__": {KEY: card}}).encode()
        data = struct.pack("<Q", len(header)) + header
        path.write_bytes(edited(data, edits) if edits else data)
        survives(ModelCard.read, path)
        survives(find_card, path)

    run()
