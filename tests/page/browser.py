"""Drive a headless Chromium by its DevTools protocol."""

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from websockets.sync.client import connect

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)


class Tab:
    """One page of the browser."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.faults: list[str] = []
        """What its console says of errors."""
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            told = json.loads(self._socket.recv(timeout=120))
            if told.get("id") == number:
                assert "error" not in told, (method, told["error"])
                return told["result"]
            self._note(told)

    def _note(self, told: dict) -> None:
        params = told.get("params", {})
        if told.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description", details["text"]))
        elif told.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.faults.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def go(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def reload(self) -> None:
        self.call("Page.reload")

    def ask(self, script: str) -> Any:
        """What a script comes to."""
        told = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, script: str, seconds: float = 120) -> Any:
        """What a script comes to as soon as that is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            told = self.call(
                "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
            )
            if told["result"].get("value"):
                return told["result"]["value"]
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s: {script}")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Page.bringToFront")  # a tab behind another one draws nothing
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float) -> None:
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        self.mouse("mouseReleased", x, y, button="left", clickCount=1)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.mouse("mouseMoved", *start)
        self.mouse("mousePressed", *start, button="left", buttons=1, clickCount=1)
        for share in (0.3, 0.6, 1.0):
            x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
            self.mouse("mouseMoved", x, y, button="left", buttons=1)
        self.mouse("mouseReleased", *end, button="left", clickCount=1)

    def press(self, key: str) -> None:
        self.call("Page.bringToFront")
        for kind in ("keyDown", "keyUp"):
            text = key if kind == "keyDown" else ""
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text)

    def picture(self, path: Path) -> None:
        made = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(made["data"]))


class Browser:
    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port, self._stack = port, stack

    def tab(self) -> Tab:
        asked = Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with build_opener(ProxyHandler({})).open(asked, timeout=60) as answer:
            target = json.load(answer)
        connection = connect(target["webSocketDebuggerUrl"], max_size=None)
        return Tab(self._stack.enter_context(connection))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Yield a Browser with a profile of its own."""
    options = (
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--remote-debugging-port=0", f"--user-data-dir={folder}", "--disable-dev-shm-usage"),
        *("--disable-background-networking", "--hide-scrollbars", "--remote-allow-origins=*"),
    )
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [CHROMIUM, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        note = folder / "DevToolsActivePort"
        end = time.monotonic() + 120
        while not (note.is_file() and note.read_text().count("\n")):
            assert process.poll() is None, "the browser ended"
            assert time.monotonic() < end, "the browser did not begin"
            time.sleep(0.1)
        with ExitStack() as stack:
            yield Browser(int(note.read_text().split("\n")[0]), stack)
    finally:
        process.terminate()
        process.wait(60)
