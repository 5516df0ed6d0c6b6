"""Answer the page's requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from importlib import resources
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from geoseg.errors import InputError
from geoseg.labels.correction_file import LAYER_OF
from geoseg.maps.layers import LAYERS
from geoseg.outputs.files import parse_json
from geoseg.page import mercator
from geoseg.page.guard import TooLargeError
from geoseg.page.layers import IMAGE, MAP, PREDICTED, TILE, Pictures, bands_first_shown
from geoseg.page.png import png
from geoseg.page.requests import (
    Drawing,
    UnknownError,
    chosen,
    layer_of,
    scene_of,
    shading,
    shown_on,
    tile_of,
)
from geoseg.page.session import Session

FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "ol.js": ("ol.js", "text/javascript; charset=utf-8"),
    "ol.css": ("ol.css", "text/css; charset=utf-8"),
}
"""All files that are served, and nothing beside them."""
WAIT = 20.0
"""Seconds that a question for news stays open."""
BEAT = 0.1
KEPT = {"cache-control": "private, max-age=3600"}
"""Of tiles, whose address says which version they are."""
FRESH = {"cache-control": "no-store"}


class Server:
    """The page of a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._clear = png(np.zeros((TILE, TILE, 4), np.uint8))

    def app(self) -> Starlette:
        read, write = ["GET"], ["POST"]
        tiles = "/tiles/{scene}/{layer}/{level}/{column}/{row}.png"
        return Starlette(
            routes=[
                Route("/info", self.info, methods=read),
                Route("/state", self.state, methods=read),
                Route("/corrections/{scene}", self.corrections, methods=read),
                Route("/suggestions", self.suggestions, methods=read),
                Route(tiles, self.tile, methods=read),
                Route("/xyz/{layer}/{zoom}/{column}/{row}.png", self.xyz, methods=read),
                Route("/add", self.add, methods=write),
                Route("/remove", self.remove, methods=write),
                Route("/undo", self.undo, methods=write),
                Route("/save", self.save, methods=write),
                Route("/{name:path}", self.file, methods=read),
            ],
            exception_handlers={
                UnknownError: _unknown,
                InputError: _input_error,
                TooLargeError: _too_large,
            },
        )

    def file(self, request: Request) -> Response:
        found = FILES.get(request.path_params["name"])
        if found is None:
            raise UnknownError
        name, kind = found
        content = resources.files("geoseg.page").joinpath("static", name).read_bytes()
        return Response(content, headers={"content-type": kind, "cache-control": "no-cache"})

    def info(self, request: Request) -> Response:
        """What does not change."""
        session = self._session
        legend = session.scenes[0].legend
        scenes = [
            {
                "name": pictures.old.scene.name,
                "width": pictures.grid.width,
                "height": pictures.grid.height,
                "levels": pictures.levels,
                "pixel": pictures.grid.pixel_size_m,
                "bands": list(pictures.old.scene.bands),
                "first": list(bands_first_shown(pictures.old.scene.bands)),
                "layers": list(pictures.layers),
            }
            for pictures in session.scenes
        ]
        classes = [{"code": c.code, "name": c.name, "color": c.color} for c in legend.classes]
        told = {
            "scenes": scenes,
            "classes": classes,
            "ramps": {name: _gradient(name) for name in session.scenes[0].layers},
            "file": str(session.file.path),
            "out": str(session.out),
        }
        return JSONResponse(told, headers=FRESH)

    async def state(self, request: Request) -> Response:
        """The state; with ?since=<version> as soon as it is another one."""
        session = self._session
        since = request.query_params.get("since", "")
        waited = 0.0
        while str(session.state.version) == since and waited < WAIT and not session.stopped:
            await asyncio.sleep(BEAT)
            waited += BEAT
        return JSONResponse(session.told(), headers=FRESH)

    def corrections(self, request: Request) -> Response:
        pictures = scene_of(request.path_params["scene"], self._session.scenes)
        return JSONResponse(shown_on(self._session.corrections, pictures), headers=FRESH)

    def suggestions(self, request: Request) -> Response:
        numbers = {p.old.scene.name: n for n, p in enumerate(self._session.scenes)}
        told = [
            {"scene": numbers[s.map], "reason": s.reason, **asdict(s.window)}
            for s in self._session.state.suggestions
            if s.map in numbers
        ]
        return JSONResponse(told, headers=FRESH)

    def tile(self, request: Request) -> Response:
        """In the scene's own pixels."""
        asked = request.path_params
        pictures = scene_of(asked["scene"], self._session.scenes)
        name = layer_of(asked["layer"], pictures)
        level, column, row = tile_of(
            asked["level"], asked["column"], asked["row"], most=pictures.levels
        )
        window = pictures.window(level, column, row)
        made = np.zeros((TILE, TILE, 4), np.uint8)
        if window is None:
            side = TILE << level
            if column * side >= pictures.grid.width or row * side >= pictures.grid.height:
                raise UnknownError
            # Of the scene's last pixels, which fill no whole one of this level.
            return Response(png(made), media_type="image/png", headers=KEPT)
        made[: window.height, : window.width] = self._drawer(pictures, name, request)(window, level)
        return Response(png(made), media_type="image/png", headers=KEPT)

    def xyz(self, request: Request) -> Response:
        """In web mercator, of all scenes; of several that hold a pixel the first one counts."""
        asked = request.path_params
        if asked["layer"] not in (IMAGE, MAP, PREDICTED, *self._session.scenes[0].layers):
            raise UnknownError
        zoom, column, row = tile_of(
            asked["zoom"], asked["column"], asked["row"], most=mercator.MOST_ZOOM
        )
        if max(column, row) >= 2**zoom:
            raise UnknownError
        made: np.ndarray | None = None
        for pictures in self._session.scenes:
            name = layer_of(asked["layer"], pictures)
            draw = self._drawer(pictures, name, request)
            found = mercator.tile(pictures, draw, zoom, column, row)
            if found is not None:
                made = found if made is None else np.where(made[..., 3:] > 0, made, found)
        picture = self._clear if made is None else png(made)
        return Response(picture, media_type="image/png", headers=FRESH)

    def _drawer(self, pictures: Pictures, name: str, request: Request) -> mercator.Draw:
        if name != IMAGE:
            return lambda window, level: pictures.picture(name, window, level)
        names = pictures.old.scene.bands
        bands, cut = shading(request.query_params, len(names), bands_first_shown(names))
        return lambda window, level: pictures.image(window, level, bands=bands, cut=cut)

    async def add(self, request: Request) -> Response:
        """Write a correction: what is answered has reached the disk."""
        drawing = Drawing.parse(await _body(request), self._session.scenes)

        def write() -> dict[str, Any]:
            session = self._session
            pictures = session.scenes[drawing.scene]
            shape = drawing.on(pictures, session.file.crs[LAYER_OF[drawing.kind]])
            width = None if drawing.kind == "Polygon" else drawing.width_m
            layer, number = session.file.add(shape, drawing.code, width_m=width)
            return {"layer": layer, "id": number}

        return await self._followed(write)

    async def remove(self, request: Request) -> Response:
        layer, number = chosen(await _body(request))
        return await self._followed(lambda: {"removed": self._session.file.remove(layer, number)})

    async def undo(self, request: Request) -> Response:
        """Take back what was drawn last, by whomever and in whatever tab."""
        await _body(request)

        def take_back() -> dict[str, Any]:
            last = self._session.file.last()
            return {"removed": last is not None and self._session.file.remove(*last)}

        return await self._followed(take_back)

    async def save(self, request: Request) -> Response:
        await _body(request)
        self._session.ask("save")
        return JSONResponse({}, headers=FRESH)

    async def _followed(self, change: Callable[[], dict[str, Any]]) -> Response:
        """Change the file, and have the maps follow."""
        told = await run_in_threadpool(change)
        self._session.ask("follow")
        return JSONResponse(told, headers=FRESH)


def _gradient(name: str) -> list[str]:
    """Colours of a layer, each with its place, for CSS."""
    layer = LAYERS[name]
    stops = layer.stops or np.linspace(0, 100, len(layer.ramp))
    return [f"{color} {stop:g}%" for color, stop in zip(layer.ramp, stops, strict=True)]


async def _body(request: Request) -> Any:
    """JSON of a request. Raises: InputError."""
    try:
        return parse_json(await request.body())
    except ValueError:
        raise InputError("the body is no JSON") from None


def _unknown(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "no such thing"}, status_code=404, headers=FRESH)


def _too_large(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "too large"}, status_code=413, headers=FRESH)


def _input_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400, headers=FRESH)
