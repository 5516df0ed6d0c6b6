"""What a person waits for on the page of corrections, over one large scene in a real browser.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.page [--run <folder>] [--side 20000]
        [--clicks 5] [--overviews] [--pictures]

A scene of the buildings is mirrored until it is as large as asked for, and mapped, which is not
counted. Then the command is started, and a headless Chromium (Debian's package chromium, and the
tests' way of driving it) opens the page: seconds until the address is printed, until the whole
scene is drawn, after a jump to full resolution, after each pan there, and from each click until
the changed map is drawn. The most memory that the server took is beside them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window

from benchmarks.buildings import add_options, chosen, path_of
from benchmarks.little import geoseg
from benchmarks.resident import peak_resident
from tests.page.browser import CHROMIUM, Tab, browser

SCENE = "catanduanes_1"
RENDERED = """new Promise((done) => {
  map.once('rendercomplete', () => done(true));
  map.render();
})"""
PAN = "map.getView().setCenter([map.getView().getCenter()[0] + 1400, map.getView().getCenter()[1]])"
IDLE = "document.body.dataset.version && !document.body.dataset.busy"
STRIPE = 512
SMALLEST = 16_384


def mirrored(source: Path, path: Path, side: int, *, overviews: bool) -> None:
    """Write a scene of `side` pixels a side: the source, mirrored at its edges again and again."""
    with rasterio.open(source) as file:
        image, profile = file.read(), file.profile
    rows, columns = (
        np.pad(np.arange(length), (0, side - length), mode="symmetric")
        for length in image.shape[1:]
    )
    profile.update(height=side, width=side, tiled=True, blockxsize=512, blockysize=512)
    profile.update(driver="GTiff", compress="deflate", zlevel=1, bigtiff="if_safer")
    with rasterio.open(path, "w", **profile) as file:
        for top in range(0, side, STRIPE):
            part = image[:, rows[top : top + STRIPE]][:, :, columns]
            file.write(part, window=Window(0, top, side, part.shape[1]))
    if overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4, 8, 16, 32], Resampling.average)


def timed(tab: Tab, act: Callable[[], object]) -> float:
    """Seconds until all tiles are drawn after an act that moves the view."""
    begin = time.perf_counter()
    act()
    tab.ask(RENDERED)
    return time.perf_counter() - begin


def measured(keys: list[str], clicks: int, pictures: Path | None) -> dict[str, float]:
    """Seconds of each thing that a person waits for, and the server's memory.

    keys: of the command. pictures: folder for what the browser shows.
    """
    begin = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "geoseg.refine", *keys], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        found = (re.search(r"http://127\.0\.0\.1:\d+/\S+/", line) for line in server.stdout)
        address = next(at[0] for at in found if at)
        seconds = {"start until the address": time.perf_counter() - begin}
        with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as opened:
            seconds |= looked(opened.tab(), address, clicks, pictures)
        return seconds | {"server's memory, MB": peak_resident(server.pid)}
    finally:
        server.kill()
        server.wait()


def looked(tab: Tab, address: str, clicks: int, pictures: Path | None) -> dict[str, float]:
    """Seconds of the first view, of moving, and of clicks at full resolution."""
    tab.size(1400, 900)
    begin = time.perf_counter()
    tab.go(address)
    tab.wait(IDLE)
    tab.ask(RENDERED)
    seconds = {"first view": time.perf_counter() - begin}
    if pictures is not None:
        tab.picture(pictures / "whole.png")
    seconds["jump to full resolution"] = timed(
        tab, lambda: tab.ask("map.getView().setResolution(1)")
    )
    pans = [timed(tab, lambda: tab.ask(PAN)) for _ in range(5)]
    seconds["pan by a view (median of 5)"] = median(pans)
    waits = []
    for number in range(clicks):
        tab.press("12"[number % 2])
        version = tab.ask("state.tiles[0]")
        begin = time.perf_counter()
        tab.click(500 + 60 * number, 300 + 40 * number)
        tab.wait(f"state.tiles[0] > {version} && {IDLE}")
        tab.ask(RENDERED)
        waits.append(time.perf_counter() - begin)
    seconds |= {"first click": waits[0], "later click (median)": median(waits[1:])}
    if pictures is not None:
        tab.picture(pictures / "clicked.png")
        tab.size(800, 900)
        tab.ask(RENDERED)
        tab.picture(pictures / "narrow.png")
    assert tab.faults == [], tab.faults
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, (SCENE,))
    parser.add_argument("--out", type=Path, default=Path("real/page"))
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--overviews", action="store_true", help="let the scene have overviews")
    parser.add_argument("--pictures", action="store_true", help="keep what the browser shows")
    options = parser.parse_args()
    if CHROMIUM is None:
        parser.error("no Chromium on the path")
    if options.side < SMALLEST:
        parser.error(f"--side: at least {SMALLEST}: five views to the right of the middle are seen")
    if options.clicks < 2:
        parser.error("--clicks: at least 2, as the first is told apart")
    run, _ = chosen(parser, options, (SCENE,))
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    scene = out / f"scene_{options.side}{'_overviews' if options.overviews else ''}.tif"
    if not scene.exists():
        mirrored(path_of(SCENE), scene, options.side, overviews=options.overviews)
    maps, made = out / f"maps_{scene.stem}", out / "corrected"
    geoseg("predict", f"checkpoint={run}", f"scenes={scene}", f"out={maps}",
           "predict.layers=[confidence,entropy]")  # fmt: skip
    shutil.rmtree(made, ignore_errors=True)
    keys = [f"checkpoint={run}", f"scenes={scene}", f"maps={maps}", f"out={made}", "serve=true"]
    found = measured(keys, options.clicks, out if options.pictures else None)
    for name, value in found.items():
        print(f"{name:32}{value:10.2f}" if "MB" not in name else f"{name:32}{value:10.0f}")
    (out / "page.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
