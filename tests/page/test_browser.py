"""The page in a real browser: seen, panned, clicked, taken back, reloaded, its server killed."""

import json
import signal

import pytest

from geoseg.labels.corrections import Corrections
from tests.made.scenes import LEGEND
from tests.page.browser import CHROMIUM, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

IDLE = "document.body.dataset.version && !document.body.dataset.busy"
DRAWN = "layers.corrections.getSource().getFeatures().filter((f) => f.get('id')).length"
MAP = """(async () => {
  const tiles = [0, 1].map((x) => fetch(`tiles/0/map/0/${x}/0.png`, {cache: 'no-store'}));
  const bytes = await Promise.all((await Promise.all(tiles)).map((one) => one.arrayBuffer()));
  return bytes.map((one) => Array.from(new Uint8Array(one)).join()).join(';');
})()"""


def test_clicks_in_a_browser(server, tmp_path):
    process, address = server
    file = tmp_path / "out/corrections.gpkg"
    with browser(tmp_path / "profile") as opened:
        one, two = opened.tab(), opened.tab()
        for tab in (one, two):
            tab.size(1000, 700)
            tab.go(address)
            tab.wait(IDLE)
        before = one.ask(MAP)
        rows = one.ask("document.querySelectorAll('#classes tbody tr').length")
        assert rows == len(LEGEND)
        # Pan, then click.
        centre = one.ask("map.getView().getCenter()")
        one.ask("map.getView().setResolution(0.5)")
        one.drag((300, 300), (340, 320))
        one.wait(f"map.getView().getCenter()[0] !== {centre[0]}")
        # How far it slides on is a matter of time, and with it what the map says below a click.
        one.ask("map.getView().cancelAnimations()")
        one.ask(f"map.getView().setCenter([{centre[0] - 20}, {centre[1] + 10}])")
        one.press("3")
        assert one.ask("info.classes[chosen].name") == LEGEND.names[2]
        one.click(300, 340)
        one.wait(f"{DRAWN} === 1")
        drawn = Corrections.read(file, LEGEND).drawn
        assert sum(len(part.codes) for part in drawn) == 1
        assert next(p.codes[0] for p in drawn if len(p.codes)) == LEGEND.codes[2]
        one.wait(f"state.tiles[0] > 1 && {IDLE}")
        changed = one.ask(MAP)
        assert changed != before
        # The other tab, and one that is loaded anew, show the same.
        two.wait(f"{DRAWN} === 1 && state.tiles[0] > 1")
        assert two.ask(MAP) == changed
        one.reload()
        one.wait(f"{IDLE} && {DRAWN} === 1")
        assert one.ask("map.getView().getResolution()") == pytest.approx(0.5)
        # A line by three clicks, taken back in the other tab; then the point.
        two.press("l")
        for x, y in ((200, 300), (260, 320), (260, 320)):
            two.click(x, y)
        one.wait(f"{DRAWN} === 2")
        two.press("u")
        one.wait(f"{DRAWN} === 1")
        two.wait(IDLE)
        two.press("u")
        one.wait(f"{DRAWN} === 0 && {IDLE}")
        assert one.ask(MAP) == before
        # Its server is killed: what was drawn is there, and the page says what happened.
        one.click(300, 340)
        one.wait(f"{DRAWN} === 1")
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        one.wait("!document.getElementById('alarm').hidden")
        assert "does not answer" in one.ask("document.getElementById('alarm').textContent")
        assert len(Corrections.read(file, LEGEND)) == 1
        one.click(420, 340)  # nothing that is not written looks as if it were
        one.wait("layers.corrections.getSource().getFeatures().length === 1")
        own = [fault for fault in one.faults + two.faults if "ERR_" not in fault]
        assert own == []
    notes = (tmp_path / "out/corrections.undone.jsonl").read_text().splitlines()
    assert [json.loads(note)["layer"] for note in notes] == ["lines", "points"]
