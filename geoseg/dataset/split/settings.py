"""Say how scenes are split, and check it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from geoseg.dataset.split.blocks import blocks
from geoseg.dataset.split.region import SPLITS, Count, Region
from geoseg.dataset.split.strips import strips
from geoseg.errors import Faults
from geoseg.geo.grid import Grid
from geoseg.received.keys import NUMERIC
from geoseg.scenes.scene import match_names

WAYS = ("block", "west_east", "east_west", "north_south", "south_north")


@dataclass
class Split:
    """Scenes by name, or shares that are cut out of the scenes in space."""

    train: Any = field(default=None, metadata=NUMERIC)
    """Names of scenes; by default all that val and test leave."""
    val: Any = field(default=0.15, metadata=NUMERIC)
    """Share of the labelled area, or names of scenes."""
    test: Any = field(default=0.15, metadata=NUMERIC)
    """Share of the labelled area, or names of scenes."""
    by: str = "block"
    """How shares are cut: block (squares at random), or strips from train over val to test:
    west_east, east_west, north_south, south_north."""
    block_m: float | None = None
    """Side of a block in metres; by default so that there are about 40, of whole tiles."""
    buffer_m: float | None = None
    """Metres left out between splits that touch; by default an eighth of a tile."""
    seed: int = 0
    """Of the draw of blocks."""

    def __post_init__(self) -> None:
        faults = Faults()
        for name in SPLITS:
            value = getattr(self, name)
            # A name of plain digits arrives from a command line as a number.
            if isinstance(value, str) or (isinstance(value, int) and value > 1):
                setattr(self, name, [value])
            elif isinstance(value, Mapping) or (
                isinstance(value, (int, float)) and (name == "train" or not 0 <= value < 1)
            ):
                faults.add(f"split.{name}={value}: give a share in [0, 1) or names of scenes")
        shares = self.share("val") + self.share("test")
        if shares >= 1:
            faults.add(f"split.val + split.test = {shares:g}: nothing would be left to train on")
        faults.one_of(self, "split.", by=WAYS)
        faults.above_zero(self, "split.", "block_m")
        faults.at_least(self, "split.", buffer_m=0)
        faults.raise_if_any()

    def share(self, name: str) -> float:
        """Share of a split, 0 where it has names of scenes."""
        value = getattr(self, name)
        return float(value) if isinstance(value, (int, float)) else 0.0

    def check_names(self, scenes: Iterable[str]) -> None:
        """Raises: InputError for names that aren't scenes, and for scenes named twice."""
        self._named(list(scenes))

    def regions(self, grids: Mapping[str, Grid], tile: int, count: Count) -> list[Region]:
        """Rectangles of the scenes with their split; what lies in none is a buffer or unused.

        Raises: InputError for names that aren't scenes, and for scenes named twice.
        """
        named = self._named(list(grids))
        regions = [
            Region(scene, grids[scene].window, name) for name in SPLITS for scene in named[name]
        ]
        shared = named["share"]
        if self.by == "block":
            regions += blocks(self, {name: grids[name] for name in shared}, tile, count)
        else:
            for name in shared:
                regions += strips(self, name, grids[name], tile, count)
        return regions

    def _named(self, scenes: list[str]) -> dict[str, list[str]]:
        """Scenes of each split, and under "share" those that shares are cut from."""
        faults = Faults()
        named: dict[str, list[str]] = {}
        for name in SPLITS:
            value = getattr(self, name)
            wanted = value if isinstance(value, (list, tuple)) else []
            named[name], missing = match_names(wanted, scenes)
            if missing:
                faults.add(
                    f"split.{name}: no scene {', '.join(missing)}; there are {', '.join(scenes)}"
                )
        for scene in scenes:
            owners = [name for name in SPLITS if scene in named[name]]
            if len(owners) > 1:
                faults.add(f"scene {scene} is in split.{' and split.'.join(owners)}")
        faults.raise_if_any()
        taken = {scene for names in named.values() for scene in names}
        rest = [scene for scene in scenes if scene not in taken]
        if self.train is not None:
            rest, named["train"] = named["train"], []
        if not self.share("val") and not self.share("test"):
            named["train"], rest = rest, []
        return named | {"share": rest}


def check_used(regions: list[Region], split: Split) -> None:
    """Raises: InputError if a split that was asked for got nothing."""
    faults = Faults()
    for name in SPLITS:
        asked = name == "train" or getattr(split, name)
        if asked and not any(region.split == name for region in regions):
            faults.add(
                f"split.{name}: no labelled pixel is left for it; give more labels, other shares,"
                " a smaller split.block_m or split.buffer_m, or names of scenes"
                + ("; split.test=0 does without" if name == "test" else "")
            )
    faults.raise_if_any()
