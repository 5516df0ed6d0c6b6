"""The page's server: who may ask, what is shown, and that nothing drawn is lost."""

import io
import json
import signal
import sys
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pytest
import shapely
from PIL import Image
from starlette.testclient import TestClient

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.raster import Raster
from geoseg.labels.corrections import Corrections
from geoseg.page import guard, serve
from geoseg.page.guard import Guard
from geoseg.page.server import Server
from geoseg.page.session import open_session
from tests.made.scenes import LEGEND
from tests.page.conftest import HEIGHT, SETTINGS, WIDTH

TOKEN, PORT = "secret", 8765
HOME = f"http://127.0.0.1:{PORT}/{TOKEN}/"
POINT = {"scene": 0, "kind": "Point", "places": [[50.4, 40.6]], "code": 3, "width": None}


def client_of(session):
    app = Guard(Server(session).app(), token=TOKEN, port=PORT)
    return TestClient(app, base_url=HOME)


@pytest.fixture
def client(session):
    session.settle(300)
    return client_of(session)


@pytest.fixture(scope="package")
def reader(shared):
    """For tests that draw nothing."""
    return client_of(shared)


def ask(client, path, **options):
    return client.get(HOME + path, **options)


def send(client, path, body, **options):
    return client.post(HOME + path, json=body, **options)


def picture(answer):
    assert answer.status_code == 200
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def codes_of(folder, name="a"):
    with raster.environment(), Raster(folder / f"landcover/{name}.tif") as file:
        return file.read(file.grid.window)[0][0]


def tile(client, layer="map", scene=0):
    """The whole scene, in two tiles."""
    parts = [picture(ask(client, f"tiles/{scene}/{layer}/0/{x}/0.png")) for x in (0, 1)]
    return np.concatenate(parts, axis=1)[:HEIGHT, :WIDTH]


def in_colours(codes):
    table = np.zeros((256, 4), np.uint8)
    for code, color in LEGEND.colors().items():
        table[code] = color
    return table[codes]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", {}, 404),
        ("/info", {}, 404),
        ("/secrets/info", {}, 404),
        (f"/{TOKEN}", {}, 404),
        (f"/{TOKEN}/info", {"host": "evil.example:8765"}, 421),
        (f"/{TOKEN}/info", {"host": "127.0.0.1:1"}, 421),
        (f"/{TOKEN}/info", {"origin": "http://evil.example"}, 403),
        (f"/{TOKEN}/info", {"origin": "null"}, 403),
        (f"/{TOKEN}/tiles/0/map/0/0/0.png", {"sec-fetch-site": "cross-site"}, 403),
        (f"/{TOKEN}/tiles/0/map/0/0/0.png", {"sec-fetch-site": "same-site"}, 403),
        (f"/{TOKEN}/", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        (f"/{TOKEN}/info", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        (f"/{TOKEN}/info", {"sec-fetch-site": "same-origin", "origin": HOME[:21]}, 200),
        (f"/{TOKEN}/info", {"host": "localhost:8765"}, 200),
    ],
)
def test_only_the_page_itself_is_answered(reader, path, headers, status):
    answer = reader.get(f"http://127.0.0.1:{PORT}{path}", headers=headers)
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    if status != 200:
        assert TOKEN not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        *("../pyproject.toml", "..%2f..%2fetc%2fpasswd", "static/page.js", "png.py", "ol.js/"),
        *("tiles/0/..%2f..%2flandcover/0/0/0.png", "tiles/9/map/0/0/0.png"),
        *("tiles/0/second/0/0/0.png", "tiles/-1/map/0/0/0.png", "tiles/0/map/9/0/0.png"),
        *("tiles/0/map/0/99/0.png", "tiles/0/map/0/1e3/0.png", "tiles/0/map/0/٣/0.png"),
        *("tiles/0/image/0/0/0.png?bands=0,0", "tiles/0/image/0/0/0.png?bands=0,0,1"),
        *("tiles/0/image/0/0/0.png?cut=nan", "tiles/0/image/0/0/0.png?cut=99"),
        *("corrections/2", "corrections/..", "xyz/second/1/0/0.png", "xyz/map/1/2/0.png"),
        "xyz/map/99/0/0.png",
    ],
)
def test_no_request_becomes_a_path(reader, path):
    assert ask(reader, path).status_code == 404


def test_bodies_are_bounded_and_checked(reader, shared):
    before = shared.file.count()
    large = b'{"x":"' + b"a" * guard.LARGEST + b'"}'
    kind = {"content-type": "application/json"}
    assert reader.post(HOME + "add", content=large, headers=kind).status_code == 413
    parts = (large[i : i + 65536] for i in range(0, len(large), 65536))  # of no stated length
    assert reader.post(HOME + "add", content=parts, headers=kind).status_code == 413
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert reader.post(HOME + "undo", content=b"{}", headers=form).status_code == 415
    assert reader.post(HOME + "add", content=b"[" * 9999, headers=kind).status_code == 400
    assert reader.delete(HOME + "undo").status_code == 405
    assert reader.get(HOME + "undo").status_code in (404, 405)
    for change in (
        *({"scene": 2}, {"scene": True}, {"scene": "0"}, {"scene": -1}),
        *({"kind": "../x"}, {"kind": ["Point"]}, {"code": 7}, {"code": "3"}, {"code": 3.0}),
        *({"width": -1}, {"width": "1"}, {"width": 1e9}, {"places": []}, {"places": [[1]]}),
        *({"places": [[1, "2"]]}, {"places": [[9000, 9000]]}, {"places": [[1e300, 1]]}),
        *({"kind": "LineString"}, {"kind": "Polygon", "places": [[0, 0], [9, 9]]}),
        {"kind": "Polygon", "places": [[0, 0], [9, 9], [9, 0], [0, 9]]},
        {"kind": "LineString", "places": [[1, 1]] * 10_001},
    ):
        answer = send(reader, "add", POINT | change)
        assert answer.status_code == 400, change
        assert answer.json()["error"]
    bad = b'{"scene":0,"kind":"Point","code":3,"places":[[NaN,1]]}'
    assert reader.post(HOME + "add", content=bad, headers=kind).status_code == 400
    for body in ({"layer": "gpkg_contents", "id": 1}, {"layer": "points", "id": "1 OR 1"}, []):
        assert send(reader, "remove", body).status_code == 400
    assert shared.file.count() == before


def test_the_page_needs_nothing_from_elsewhere(reader):
    page = ask(reader, "")
    assert "http" not in page.text
    for name in ("page.js", "page.css", "ol.js", "ol.css"):
        assert name in page.text
        assert ask(reader, name).status_code == 200
    told = ask(reader, "info").json()
    assert [one["name"] for one in told["scenes"]] == ["a", "b"]
    assert told["classes"][0] == {"code": 3, "name": "low", "color": "#1f78b4"}
    assert list(told["ramps"]) == ["confidence", "entropy"]


def test_tiles_are_what_lies_on_disk(reader, place):
    assert np.array_equal(tile(reader), in_colours(codes_of(place / "maps")))
    image = tile(reader, "image")
    with Raster(place / "scenes/a.tif") as file:
        band = file.read(file.grid.window)[0][0].astype(float)
    low, high = np.percentile(band, [2, 98])
    wanted = np.clip((band - low) / (high - low) * 255, 0, 255)
    assert np.abs(image[..., 0] - wanted).max() <= 1
    assert (image[..., 3] == 255).all()
    plain = picture(ask(reader, "tiles/0/image/0/0/0.png?cut=0"))
    assert not np.array_equal(plain[:HEIGHT, :256], image[:, :256])
    small = picture(ask(reader, "tiles/0/confidence/1/0/0.png"))
    assert (small[:75, :150, 3] == 255).all()
    assert not small[75:].any()


def test_a_click_is_kept_shown_and_taken_back(client, session, place):
    before = tile(client)
    old = codes_of(place / "maps")
    code = next(c for c in LEGEND.codes if c != old[40, 50])
    areas = session.told()["areas"][0]
    assert areas["now"] == areas["predicted"]
    assert sum(areas["now"]) == pytest.approx(HEIGHT * WIDTH / 1e4, rel=0.01)
    answer = send(client, "add", POINT | {"code": code})
    assert answer.json() == {"layer": "points", "id": 1}
    # On disk before anything was computed.
    drawn = Corrections.read(session.file.path, LEGEND).drawn
    assert [(len(part.codes), part.codes.tolist()) for part in drawn] == [(1, [code])]
    session.settle(300)
    assert Corrections.read(session.file.path, LEGEND).burn(session.scenes[0].grid)[40, 50] == code
    after = tile(client)
    assert after[40, 50].tolist() == in_colours(np.array(code)).tolist()
    assert np.array_equal(tile(client, "predicted"), before)
    assert np.array_equal(tile(client, scene=1), in_colours(codes_of(place / "maps", "b")))
    told = session.told()
    assert told["unsaved"]
    assert told["tiles"][0] == 2
    changed = (after != before).any(axis=-1)
    gain = np.array(told["areas"][0]["now"]) - told["areas"][0]["predicted"]
    assert np.abs(gain).sum() / 2 == pytest.approx(changed.sum() / 1e4, rel=0.01, abs=1e-3)
    features = ask(client, "corrections/0").json()["features"]
    x, y = features[0]["geometry"]["coordinates"]
    assert (x, y) == (pytest.approx(50.4), pytest.approx(-40.6))
    assert ask(client, "corrections/1").json()["features"] == []
    assert send(client, "undo", {}).json() == {"removed": True}
    session.settle(300)
    assert np.array_equal(tile(client), before)
    assert not session.told()["unsaved"]
    assert send(client, "undo", {}).json() == {"removed": False}
    note = json.loads(session.file.undone.read_text())
    assert (note["layer"], note["class"], note["wkt"][:5]) == ("points", code, "POINT")


def test_two_tabs_see_the_same_and_a_further_session_goes_on(client, session, inputs, tmp_path):
    version = session.told()["version"]
    line = {"kind": "LineString", "places": [[10, 10], [30, 10]], "width": 3.0}
    area = {"kind": "Polygon", "places": [[200, 50], [220, 50], [220, 70]], "scene": 1}
    other = TestClient(client.app, base_url=HOME)
    send(client, "add", POINT | {"code": 9})
    send(other, "add", POINT | line)
    send(client, "add", POINT | area)
    news = ask(other, f"state?since={version}").json()
    assert news["version"] > version
    session.settle(300)
    for one in (client, other):
        assert len(ask(one, "corrections/0").json()["features"]) == 2
        kinds = ask(one, "corrections/1").json()["features"]
        assert [f["geometry"]["type"] for f in kinds] == ["Polygon"]
    found = ask(client, "corrections/0").json()["features"]
    chosen = next(f["properties"] for f in found if f["properties"]["layer"] == "lines")
    assert chosen["width"] == 3.0
    assert send(other, "remove", {"layer": "lines", "id": chosen["id"]}).json()["removed"]
    session.settle(300)
    shown = tile(client)
    # Killed here: nothing but the file of corrections tells of what was drawn.
    again = open_session(inputs, None, tmp_path / "out", settings=SETTINGS)
    again.start()
    later = client_of(again)
    again.settle(300)
    assert again.told()["corrections"] == 2
    assert np.array_equal(tile(later), shown)
    send(later, "save", {})
    again.settle(300)
    told = again.told()
    assert (told["unsaved"], told["error"]) == (False, "")
    assert np.array_equal(in_colours(codes_of(tmp_path / "out")), shown)
    again.stop()


def test_what_others_save_to_the_file_is_seen_and_faults_are_told(client, session):
    session.file.add(shapely.Point(500_060, 4_000_000), 3)
    with session._changed:
        assert session._changed.wait_for(lambda: session.corrections is not None, timeout=60)
    session.settle(300)
    with session.file._database() as database:
        database.execute("UPDATE points SET class = NULL")
    with session._changed:
        assert session._changed.wait_for(lambda: session.state.error, timeout=60)
    assert "have no class" in ask(client, "state").json()["error"]


def test_suggestions_and_tiles_for_qgis(reader, shared):
    found = ask(reader, "suggestions").json()
    assert shared.told()["suggestions"] == len(found) > 0
    assert {one["scene"] for one in found} <= {0, 1}
    assert "entropy" in found[0]["reason"]
    left, bottom, right, top = shared.scenes[0].grid.bounds_in("EPSG:3857")
    world = 2 * np.pi * 6378137
    zoom = 17
    column = int(((left + right) / 2 / world + 0.5) * 2**zoom)
    row = int((0.5 - (bottom + top) / 2 / world) * 2**zoom)
    shown = picture(ask(reader, f"xyz/map/{zoom}/{column}/{row}.png"))
    colours = {tuple(c) for c in shown[shown[..., 3] > 0].tolist()}
    assert colours
    assert colours <= set(LEGEND.colors().values())
    assert not picture(ask(reader, "xyz/map/2/0/3.png")).any()


def test_a_port_that_is_taken_and_packages_that_lack_are_said(monkeypatch, tmp_path, place):
    with serve._bound(0) as door:
        door.listen()
        with pytest.raises(InputError, match=r"port=\d+: cannot be opened"):
            serve._bound(door.getsockname()[1])
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"pip install 'geoseg\[page\]'"):
        serve.check_packages()


def test_another_file_of_corrections_is_refused(inputs, tmp_path):
    (tmp_path / "x.geojson").write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"class":3},'
        '"geometry":{"type":"Point","coordinates":[9,46]}}]}'
    )
    with pytest.raises(InputError, match="no file of corrections as geoseg"):
        open_session(inputs, tmp_path / "x.geojson", tmp_path / "out", settings=SETTINGS)
    with pytest.raises(InputError, match="no such file"):
        open_session(inputs, tmp_path / "none.gpkg", tmp_path / "out", settings=SETTINGS)


def test_ctrl_c_writes_what_was_drawn_last_and_says_so(server, tmp_path, place):
    process, address = server
    code = next(c for c in LEGEND.codes if c != codes_of(place / "maps")[40, 50])
    body = json.dumps(POINT | {"code": code}).encode()
    asked = Request(f"{address}add", body, {"content-type": "application/json"})
    with build_opener(ProxyHandler({})).open(asked, timeout=60) as answer:
        assert json.load(answer) == {"layer": "points", "id": 1}
    process.send_signal(signal.SIGINT)  # at once, before the maps can have followed
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "step 1 of 1 (1 correction)" in said
    assert codes_of(tmp_path / "out")[40, 50] == code
    assert len(Corrections.read(tmp_path / "out/corrections.gpkg", LEGEND)) == 1
