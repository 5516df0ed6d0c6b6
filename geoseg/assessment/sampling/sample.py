"""Draw a sample of a map for interpretation."""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.assessment.sampling.count import Lattice, count
from geoseg.assessment.sampling.draw import (
    Blocks,
    Drawn,
    cluster_points,
    random_points,
    systematic_points,
)
from geoseg.assessment.sampling.plan import FEW, Plan
from geoseg.assessment.sampling.population import Frame, Population, Where
from geoseg.assessment.sampling.sample_file import POINTS, write_sample
from geoseg.assessment.sampling.settings import (
    CLASS,
    CLASS_CONFIDENCE,
    NONE,
    Cluster,
    Sampling,
)
from geoseg.errors import InputError
from geoseg.geo.grid import Grid
from geoseg.geo.legend import UNLABELLED
from geoseg.labels.zones import is_zones
from geoseg.maps.landcover import MODEL_TAG
from geoseg.outputs.claims import claim, is_claimed
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.counted import counted, few
from geoseg.outputs.files import clearing, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.stamp import stamp_of
from geoseg.outputs.summary import Summary
from geoseg.received import sqlite_file

FILE, RECORD = "sample.gpkg", "design.json"
PRODUCTS = (RECORD, FILE)


def plan_sample(frame: Frame, sampling: Sampling, *, cluster: Cluster | None = None) -> Summary:
    """The table of sizes and allocations, without drawing anything. Raises: InputError."""
    with Population(frame, sampling) as population:
        work = _Drawing(population, sampling, cluster or Cluster())
        summary = Summary()
        work.plan.describe(summary)
        summary.notes(work.notes())
        return summary


@alone("sample", "out")
def sample(
    frame: Frame,
    sampling: Sampling,
    out: str | Path,
    *,
    cluster: Cluster | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Summary:
    """Draw points from the strata of a map and write them for interpretation to a folder.

    Returns: what was drawn, as a text for people.
    Raises: InputError if the settings or files have faults, or `out` holds another sample.
    """
    out, cluster = Path(out), cluster or Cluster()
    settings = {
        "map": fingerprint(frame.map.path),
        "sample": dataclasses.asdict(sampling),
        "cluster": dataclasses.asdict(cluster),
        "where": dataclasses.asdict(frame.where),
        "seed": seed,
    }
    summary = Summary()
    if (out / FILE).exists() and is_claimed(out, settings, command="sample"):
        summary.note(f"{out / FILE}: already drawn with these settings; nothing to do")
        return summary
    _protect(out / FILE)
    with clearing(out, PRODUCTS):
        claim(out, settings, command="sample", products=PRODUCTS, overwrite=overwrite)
        with Population(frame, sampling) as population:
            work = _Drawing(population, sampling, cluster)
            drawn = work.draw(seed)
            about = work.about(frame.where, seed)
        write_json(out / RECORD, about | {"strata": work.strata(drawn)})
        write_sample(out / FILE, frame.map, work.plan, drawn, about, units=work.units)
    work.plan.describe(summary)
    summary.notes(work.notes())
    work.warn(summary, drawn)
    main = int((~drawn.reserve).sum())
    spare = f", {len(drawn) - main} in reserve" if len(drawn) > main else ""
    summary.note(
        f"sample: {out / FILE}: {counted(main, 'point')}{spare} (open it in QGIS, layer {POINTS}:"
        " the form offers the classes; any points from the first on are a sample)"
    )
    return summary


def _protect(path: Path) -> None:
    """Raises: InputError for a sample that somebody has worked on."""
    if not path.exists():
        return
    try:
        with sqlite_file.reading(path) as connection:
            if POINTS not in sqlite_file.tables(connection):
                return  # no sample of ours
            query = (
                f"SELECT count(*) FROM {POINTS}"
                " WHERE reference IS NOT NULL OR reference2 IS NOT NULL"
            )
            done = int(connection.execute(query).fetchone()[0])
    except sqlite3.Error as error:
        remedy = "choose another out=, or move this file away"
        raise InputError(f"{path}: {sqlite_file.unread(error, remedy)}") from None
    if done:
        raise InputError(
            f"{path}: {done} of its points are interpreted already, and it was drawn with other"
            " settings or from another map; choose another out=, or move this file away"
        )


class _Drawing:
    """Counts a map, plans the sample and draws it."""

    def __init__(self, population: Population, sampling: Sampling, cluster: Cluster) -> None:
        self._population, self._sampling, self._cluster = population, sampling, cluster
        self._grid = population.grid
        self._blocks: Blocks | None = None
        lattice = Lattice.of(self._grid)
        if sampling.design == "cluster":
            lattice = _block_lattice(self._grid, cluster)
        self._counts = count(population, lattice)
        for code in self._counts.classes:
            population.check(code)
        if not self._counts.strata:
            raise InputError(
                f"{population.map.path}: no pixel with a class lies where it is to be sampled; does"
                " area= lie on the map, and exclude= leave some of it?"
            )
        if sampling.design == "cluster":
            self._blocks = Blocks.of(self._counts)
        most = None
        if self._blocks is not None:
            most = {k: n * cluster.points for k, n in self._blocks.number_of().items()}
        self.plan = Plan.of(
            population.strata, self._measures(), sampling, population.map.legend, most=most
        )
        self.units = {k: int(n) for k, n in zip(self.plan.numbers, self.plan.pixels, strict=True)}
        if self._blocks:
            self.units = self._blocks.number_of()

    def _measures(self) -> dict[int, tuple[int, float]]:
        """Pixels and hectares of each stratum that has any."""
        made = self._counts
        if self._blocks is None:
            return {k: (made.pixels(k), made.hectares(cells)) for k, cells in made.strata.items()}
        whole = self._blocks.pixels
        return {
            k: (int(whole[inside].sum()), made.hectares(whole * inside))
            for k in self._blocks.number_of()
            for inside in [self._blocks.stratum == k]
        }

    def draw(self, seed: int) -> Drawn:
        """Points in the order in which they are to be interpreted. Raises: InputError."""
        plan, sampling = self.plan, self._sampling
        sizes = dict(zip(plan.numbers, plan.points.tolist(), strict=True))
        with_reserve = {k: (n, math.ceil(n * sampling.reserve)) for k, n in sizes.items()}
        if self._blocks is not None:
            drawn = self._draw_blocks(sizes, seed)
        elif sampling.design == "systematic":
            drawn = systematic_points(self._population, self._counts, with_reserve, seed)
        else:
            drawn = random_points(self._population, self._counts, with_reserve, seed)
        self._check(drawn)
        return drawn.take(_order(drawn, seed, blocks=self._blocks is not None))

    def _draw_blocks(self, sizes: dict[int, int], seed: int) -> Drawn:
        assert self._blocks is not None
        points = self._cluster.points
        wanted = {k: max(2, math.ceil(n / points)) for k, n in sizes.items()}
        return cluster_points(self._population, self._blocks, wanted, points, seed)

    def _check(self, drawn: Drawn) -> None:
        """Raises: InputError for strata whose points give no variance."""
        poor = []
        for number, one in zip(self.plan.numbers, self.plan.strata, strict=True):
            units = len(np.unique(drawn.block[drawn.number == number]))
            if units < min(2, self.units[number]):
                poor.append(f"{one.name} ({units})")
        if poor:
            raise InputError(
                f"sample.design={self._sampling.design}: fewer than 2 points, so that there is no"
                f" variance, in {', '.join(poor)}; set sample.design=random, or a larger"
                " sample.size or sample.minimum"
            )

    def about(self, where: Where, seed: int) -> dict[str, Any]:
        """What must be known of a sample to assess a map with it; JSON values."""
        found, made = self._population.map, self._counts
        known = {*found.legend.codes, UNLABELLED}
        classes = [
            {"code": code, "pixels": int(cells.sum()), "hectares": made.hectares(cells)}
            for code, cells in sorted(made.classes.items())
            if code in known
        ]
        lattice = made.lattice
        return {
            "map": str(Path(found.path).absolute()),
            "map_stamp": stamp_of(found.path),
            "model": found.tags.get(MODEL_TAG),
            "grid": found.grid.to_dict(),
            "legend": found.legend.to_dict(),
            "design": self._sampling.design,
            "block": [lattice.height, lattice.width] if self._blocks else None,
            "sample": _located(dataclasses.asdict(self._sampling)),
            "cluster": dataclasses.asdict(self._cluster),
            "where": _located(dataclasses.asdict(where)),
            "seed": seed,
            "hectares": float(self.plan.hectares.sum()),
            "classes": classes,
            "outside": made.outside,
            "drawn_by_geoseg": __version__,
        }

    def strata(self, drawn: Drawn) -> list[dict[str, Any]]:
        """The strata as JSON values."""
        plan = self.plan
        return [
            {
                "stratum": number,
                "code": one.code,
                "name": one.name,
                "pixels": int(plan.pixels[i]),
                "hectares": float(plan.hectares[i]),
                "expected_accuracy": float(plan.expected[i]),
                "n": int(((drawn.number == number) & ~drawn.reserve).sum()),
                "allocations": {way: int(points[i]) for way, points in plan.ways.items()},
            }
            for i, (number, one) in enumerate(zip(plan.numbers, plan.strata, strict=True))
        ]

    def notes(self) -> list[str]:
        """What a summary must say of the population."""
        notes = list(self._population.notes)
        if UNLABELLED in self._counts.classes and self._population.map.doubt:
            notes.append(self._population.map.doubt)
        if self._counts.outside:
            share = self._counts.outside / (self._counts.outside + int(self.plan.pixels.sum()))
            notes.append(
                f"{100 * share:.1f} % of the mapped pixels are not sampled (area, exclude, strata):"
                " what is estimated holds for the rest"
            )
        if self._blocks is None and (missing := self._without_pixel()):
            notes.append(f"no pixel in the map, so no stratum: {few(missing, 8)}")
        return notes

    def _without_pixel(self) -> list[str]:
        """Names of classes or zones that could have been strata."""
        if is_zones(self._sampling.strata):
            strata = self._population.strata
            drawn = {*self.plan.numbers}
            return [one.name for number, one in strata.items() if number not in drawn]
        present = {one.code for one in self.plan.strata}
        if present == {None}:
            return []
        return [c.name for c in self._population.map.legend.classes if c.code not in present]

    def warn(self, summary: Summary, drawn: Drawn) -> None:
        for number, one in zip(self.plan.numbers, self.plan.strata, strict=True):
            n = int(((drawn.number == number) & ~drawn.reserve).sum())
            if n < min(FEW, self.units[number]):
                summary.warn(f"{one.name}: {n} points; below {FEW} its intervals may be too narrow")


def _located(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON values, with whole paths: whoever assesses may stand in another folder."""
    values = dict(json.loads(json.dumps(settings, default=str)))
    for key in ("strata", "maps", "area", "exclude"):
        value = values.get(key)
        if not isinstance(value, str) or value in (NONE, CLASS, CLASS_CONFIDENCE):
            continue
        path, _, attribute = value.rpartition(":")
        if Path(value).exists():
            values[key] = str(Path(value).absolute())
        elif path and Path(path).exists():
            values[key] = f"{Path(path).absolute()}:{attribute}"
    return values


def _block_lattice(grid: Grid, cluster: Cluster) -> Lattice:
    """Blocks of a cluster sample. Raises: InputError."""
    if cluster.side_m is None:
        raise InputError("sample.design=cluster: set cluster.side_m=<side of a block in metres>")
    height, width = (max(1, round(cluster.side_m / side)) for side in grid.pixel_sides_m)
    lattice = Lattice(grid, height, width)
    if lattice.rows * lattice.columns < 4:
        raise InputError(
            f"cluster.side_m={cluster.side_m:g}: the map holds {lattice.rows * lattice.columns}"
            " such blocks; choose smaller ones"
        )
    if height * width < 2 * cluster.points:
        raise InputError(
            f"cluster.side_m={cluster.side_m:g}: {height} × {width} pixels for"
            f" {cluster.points} points; choose larger blocks, or fewer points"
        )
    return lattice


def _order(drawn: Drawn, seed: int, *, blocks: bool) -> np.ndarray:
    """Places of the points in random order, those in reserve last; blocks stay together."""
    random = np.random.default_rng([seed, 0])
    _, inverse = np.unique(drawn.block, return_inverse=True)
    ranks = random.permutation(int(inverse.max()) + 1)[inverse.ravel()]
    within = np.arange(len(drawn)) if blocks else ranks
    return np.lexsort((within, ranks, drawn.reserve))
