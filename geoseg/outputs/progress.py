"""Show progress as a bar on a terminal, as lines in a log, as percent for another program."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn, track
from rich.progress import Progress as RichProgress

Item = TypeVar("Item")
ASKED = "GEOSEG_PROGRESS"
"""Variable of the environment: `lines` asks for `geoseg-progress <percent>` on stderr."""
EVERY = 0.5
"""Seconds between two such lines at least."""


class Percent:
    """Tells another program, as the one in QGIS, how far a command is, if that asked for it."""

    def __init__(self) -> None:
        self.asked = os.environ.get(ASKED) == "lines"
        self._told = -1.0
        self._when = 0.0

    def tell(self, share: float) -> None:
        """share: 0..1 of the work that is done."""
        if not self.asked:
            return
        percent = round(100 * min(1.0, share), 1)
        late = time.monotonic() - self._when >= EVERY
        if percent > self._told and (late or percent == 100):
            self._told, self._when = percent, time.monotonic()
            print(f"geoseg-progress {percent:g}", file=sys.stderr, flush=True)


def follow(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Go through items, and show how many are done. what: the command does with them."""
    shown = sys.stderr.isatty() and len(items) > 1
    percent = Percent()
    bar = track(items, what, console=Console(stderr=True), disable=not shown, transient=True)
    for number, item in enumerate(bar):
        percent.tell(number / len(items))
        yield item
    percent.tell(1.0)


class Progress:
    """Shows how many pixels of how many scenes are done; `with` takes the bar away at the end."""

    def __init__(self, scenes: int, pixels: int) -> None:
        self._console = Console(markup=False, emoji=False)  # names are no markup
        self._scenes = scenes
        self._done = 0
        self._pixels, self._pixels_done = pixels, 0
        self._percent = Percent()
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[speed]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("predict", total=pixels, speed="")

    def advance(self, pixels: int) -> None:
        self._bar.advance(self._task, pixels)
        self._pixels_done += pixels
        self._percent.tell(self._pixels_done / max(1, self._pixels))
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, speed=f"{speed / 1e6:.1f} Mpx/s" if speed else "")

    def scene(self, name: str, text: str) -> None:
        """Say what became of a scene."""
        self._done += 1
        self._bar.update(self._task, description=f"{self._done} of {self._scenes} scenes")
        if not self._console.is_terminal:
            self._console.print(
                f"{name}: {text} ({self._done} of {self._scenes})", highlight=False, soft_wrap=True
            )

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
