"""Halo: a scene read beyond its edges, where its neighbours show what lies there."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from geoseg.datedscene import AnyScene
from geoseg.errors import InputError
from geoseg.grid import Window
from geoseg.lattice import Neighbour

OPEN_SCENES = 32
"""Scenes kept open: a folder is gone through in order, and neighbours come up again and again."""
OPEN_FILES = 300
"""Files that these may have, more only if a single scene does; systems allow 1,024 or so."""


class OpenScenes:
    """Open scenes; the one that was longest not asked for is closed first. For one thread."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, tuple[AnyScene, Any]] = OrderedDict()
        self.broken: dict[str, InputError] = {}
        """By name: scenes that were needed as neighbours and can't be read."""

    def reader(self, scene: AnyScene) -> Any:
        """Its reader. Raises: InputError if it can't be opened."""
        key = id(scene)
        if key in self._open:
            self._open.move_to_end(key)
        else:
            while self._open and not self._has_room(scene):
                self._open.popitem(last=False)[1][1].close()
            self._open[key] = scene, scene.open()  # the scene too: ids of the living are unique
        return self._open[key][1]

    def _has_room(self, scene: AnyScene) -> bool:
        files = sum(len(set(one.paths)) for one in (scene, *(s for s, _ in self._open.values())))
        return len(self._open) < OPEN_SCENES and files <= OPEN_FILES

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1][1].close()

    def __enter__(self) -> OpenScenes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class HaloReader:
    """A scene with what its neighbours show around it."""

    def __init__(
        self, scene: AnyScene, neighbours: Sequence[Neighbour], scenes: OpenScenes
    ) -> None:
        self._scene = scene
        self._neighbours = neighbours
        self._scenes = scenes

    def block_height(self) -> int:
        """Rows that are read at once best. Raises: InputError if the scene can't be opened."""
        height: int = self._scenes.reader(self._scene).block_height
        return height

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of a window, which may reach beyond the scene.

        Returns: image (C, h, w), where it shows anything (h, w), and where the scene itself does.
        Raises: InputError if the scene is damaged. A damaged neighbour shows nothing.
        """
        image, valid = self._scenes.reader(self._scene).read(window)
        outside = list(_outside(window, self._scene.grid.window)) if self._neighbours else []
        if not outside:
            return image, valid, valid
        seen = valid.copy()
        for part in outside:
            self._fill(part, image[(slice(None), *part.within(window))], seen[part.within(window)])
        return image, seen, valid

    def _fill(self, part: Window, image: np.ndarray, seen: np.ndarray) -> None:
        for neighbour in self._neighbours:
            there = part.shift(*neighbour.offset)
            name = neighbour.scene.name
            if there.intersect(neighbour.scene.grid.window) is None or name in self._scenes.broken:
                continue
            try:
                more, shown = self._scenes.reader(neighbour.scene).read(there)
            except InputError as error:
                self._scenes.broken[name] = error
                continue
            new = shown & ~seen
            image[:, new] = more[:, new]
            seen |= shown
            if seen.all():
                return


def _outside(window: Window, inner: Window) -> Iterator[Window]:
    """Rectangles that make up what of a window lies outside another."""
    common = window.intersect(inner)
    if common is None:
        yield window
        return
    top, bottom = common.top - window.top, window.bottom - common.bottom
    left, right = common.left - window.left, window.right - common.right
    if top:
        yield Window(window.top, window.left, top, window.width)
    if bottom:
        yield Window(common.bottom, window.left, bottom, window.width)
    if left:
        yield Window(common.top, window.left, common.height, left)
    if right:
        yield Window(common.top, common.right, common.height, right)
