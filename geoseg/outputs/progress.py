"""Show progress as a bar on a terminal, as lines in a log."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress:
    """Shows how many pixels of how many scenes are done; `with` takes the bar away at the end."""

    def __init__(self, scenes: int, pixels: int) -> None:
        self._console = Console()
        self._scenes = scenes
        self._done = 0
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
