"""Detect Sentinel-2 reflectance with and without its offset of 1000 in one series.

Since baseline 04.00 (25 January 2022) products hold reflectance × 10,000 + 1000: a shadow or a
forest in the visible then lies above 1000, and below 700 before. Told by the floor of each date:
the 5th percentile of its clear pixels, in its darkest band. Reflectance 0..1 is looked at as such
numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.geo.grid import Grid, Window
from geoseg.scenes.stack import Stack, observed

OFFSET = 1000
DARK = 700
"""Floors without the offset lie below; 200 to 400 over land without snow and clouds."""
BRIGHT = 2000
"""Floors with it lie below; what is brighter is snow or clouds, with or without."""
GAP = 400
"""Between the two groups; clouds and seasons fill it."""
SPREAD = 700
"""Of the floors with it: clouds that hide all of a scene differ more."""
SHARE = {"step": 0.1, "turns": 0.2}
"""Of the dates in the smaller group, at least: chance makes two groups of few dates."""
FEW = {"step": 2, "turns": 3}
"""Dates in the smaller group, at least."""
SWITCHES = 3
"""Changes from one group to the other that a season does not make."""
BESIDE = 3
"""Dates on either side of a step that tell that it lasts."""
ALIKE = 200
"""By which the lifts of bands may differ from each other, and from the offset, to be one."""
BANDS = 4
"""Looked at, spread over the spectrum: snow is bright in some and dark in others."""
SIDE = 32
"""Of the five windows looked at, in pixels: of a file that is large only a few blocks are read."""
UNIT, REAL = 1e-4, 2.0
"""Of reflectance 0..1, and what it does not pass."""
FEWEST = 50
"""Clear pixels of a date that tell something."""


def check(stacks: Sequence[Stack], looks: Sequence[np.ndarray]) -> None:
    """Raises: InputError if a stack, or all of them together, mix them.

    looks: of each stack, what `look` found.
    """
    faults = Faults()
    known = [
        (stack, _floors(values) / unit_of(values), unit_of(values))
        for stack, values in zip(stacks, looks, strict=True)
        if _can_tell(len(stack.bands), unit_of(values))
    ]
    for stack, floors, unit in known:
        faults.attempt(_check_one, stack, floors, unit)
    faults.raise_if_any()
    alike: dict[tuple[tuple[str, ...], float], list[tuple[Stack, np.ndarray]]] = {}
    for stack, floors, unit in known:
        alike.setdefault((stack.bands, unit), []).append((stack, floors))
    for (_, unit), group in alike.items():
        _check_all(group, unit)


def check_against(stack: Stack, lowest: Sequence[float], unit: float = 1.0) -> None:
    """Raises: InputError if a stack seems to have the offset and the training not, or the reverse.

    lowest: 2nd percentile per band of the training's observations. unit: theirs, as `unit_of`.
    """
    if not _can_tell(len(stack.bands), unit):
        return
    some = _some_bands(stack)
    before = np.array([lowest[stack.bands.index(band)] for band in some.bands]) / unit
    values = _values(some)
    clear = [band[observed(band)] / unit for band in values.swapaxes(0, 1)]
    now = np.array([_percentile(values, 2) for values in clear])
    if not np.isfinite(now).all() or max(_percentile(values, 98) for values in clear) < GAP:
        return  # not reflectance × 10,000
    if unit_of(values) != unit:
        return  # other units, which others tell
    lift = now - before
    up, down = _is_offset(lift, unit), _is_offset(-lift, unit)
    low, high = (before, now) if up else (now, before)
    if not (up or down) or low.min() >= DARK or high.min() < OFFSET:
        return
    raise InputError(
        f"series {stack.name}: the darkest pixels lie near {now.min() * unit:.4g}, those of the"
        f" training near {before.min() * unit:.4g}, all bands shifted so: reflectance"
        f" {'with' if up else 'without'} Sentinel-2's offset of {OFFSET * unit:g}, and the network"
        f" was trained {'without' if up else 'with'} it; set"
        f" series.offset={(-OFFSET if up else OFFSET) * unit:g}, or series.check=false if the"
        " images really differ so"
    )


def unit_of(values: np.ndarray) -> float:
    """What stands for 1 of reflectance × 10,000 in values of a stack: 0.0001 if they are 0..1."""
    if values.dtype.kind != "f":
        return 1.0
    return unit_up_to(_percentile(values[observed(values)], 98))


def unit_up_to(bright: float) -> float:
    """The same of real numbers, by how bright they are: their 98th percentile."""
    return UNIT if 0 < bright <= REAL else 1.0


def _can_tell(bands: int, unit: float) -> bool:
    """Two or three bands of 0..1 may be indices, which rise together in spring, or are higher
    together in another place."""
    return bands >= (BANDS if unit == UNIT else 2)


def _some_bands(stack: Stack) -> Stack:
    chosen = np.unique(np.linspace(0, len(stack.bands) - 1, BANDS).round().astype(int))
    return stack.select(stack.bands[place] for place in chosen)


def _is_offset(lift: np.ndarray, unit: float) -> bool:
    """Whether all bands (C,) are lifted by about the offset; other ground lifts some of them.

    By just that where they are 0..1, as indices are, too: these rise by more, or less.
    """
    if unit == UNIT:
        return bool(_all_alike(lift[None]).all())
    return bool(((lift > GAP) & (lift < 2 * OFFSET - GAP)).all())


def _check_all(known: list[tuple[Stack, np.ndarray]], unit: float) -> None:
    """Raises: InputError if some stacks have the offset and others not."""
    dates = [day for stack, _ in known for day in stack.dates]
    names = [stack.name for stack, _ in known for _ in stack.dates]
    order = sorted(range(len(dates)), key=lambda n: (dates[n], names[n]))
    floors = np.concatenate([floors for _, floors in known])[order]
    groups = mixed(floors)
    if groups is None:
        return
    high, low = groups
    if not _is_offset(np.median(floors[high], axis=0) - np.median(floors[low], axis=0), unit):
        return
    (first, theirs), (other, others) = (
        (dates[order[part[0]]], ", ".join(sorted({names[order[n]] for n in part})))
        for part in (high, low)
    )
    raise InputError(
        f"series {theirs} and {others}: reflectance with and without Sentinel-2's offset of"
        f" {OFFSET * unit:g} is mixed: the darkest pixels lie near {_floor(floors[high], unit)} in"
        f" {theirs} (from {first}) and near {_floor(floors[low], unit)} in {others} (from {other});"
        f" set series.offset={-OFFSET * unit:g} series.offset_from={first} if all images since then"
        " have it, else bring all to one form, or set series.check=false if the images really"
        " differ so"
    )


def check_rows(
    where: str,
    dates: Sequence[date],
    parts: Sequence[np.ndarray],
    bands: Sequence[int],
    *,
    unit: float = 1.0,
) -> None:
    """Raises: InputError if rows of a table mix them.

    parts: of each date its rows (n, C), NaN where there is no value. bands: those looked at, as
    reflectances are. unit: theirs, as `unit_of`. A date may show other ground than the next one, so
    all bands must be lifted by about the offset, as between stacks.
    """
    floors = np.array(
        [[_percentile(part[np.isfinite(part[:, c]), c], 5) for c in bands] for part in parts]
    ).reshape(len(parts), -1)
    floors /= unit
    if not _can_tell(floors.shape[1], unit):
        return
    groups = mixed(floors)
    if groups is not None:
        lift = np.median(floors[groups[0]], axis=0) - np.median(floors[groups[1]], axis=0)
        groups = groups if _is_offset(lift, unit) else None
    groups = groups or jumps(floors)
    if groups is None:
        return
    high, low = groups
    raise InputError(
        f"{where}: reflectance with and without Sentinel-2's offset of {OFFSET * unit:g} is mixed:"
        f" the darkest values lie near {_floor(floors[high], unit)} on {len(high)} dates (first"
        f" {dates[high[0]]}) and near {_floor(floors[low], unit)} on {len(low)} others (first"
        f" {dates[low[0]]}); subtract {OFFSET * unit:g} from the former, or set series.check=false"
        " if the values really differ so"
    )


def _floor(floors: np.ndarray, unit: float) -> str:
    """The middle of the floors (n, C) of some dates, for people."""
    return f"{np.median(floors.min(axis=1)) * unit:.4g}"


def _check_one(stack: Stack, floors: np.ndarray, unit: float) -> None:
    groups = mixed(floors)
    if groups is not None and unit == UNIT:
        # Indices are from 0 to 1 too, and rise by more, or by less in some of them.
        lift = np.median(floors[groups[0]], axis=0) - np.median(floors[groups[1]], axis=0)
        groups = groups if _is_offset(lift, unit) else None
    groups = groups or jumps(floors)
    if groups is None:
        return
    high, low = groups
    first, other = stack.dates[high[0]], stack.dates[low[0]]
    raise InputError(
        f"series {stack.name}: reflectance with and without Sentinel-2's offset of"
        f" {OFFSET * unit:g} is mixed: the darkest pixels lie near {_floor(floors[high], unit)} on"
        f" {len(high)} dates (first {first}) and near {_floor(floors[low], unit)} on"
        f" {len(low)} others (first {other}); set"
        f" series.offset={-OFFSET * unit:g} series.offset_from={first}, or series.check=false if"
        " the images really differ so"
    )


def mixed(floors: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Numbers of the dates that seem to have the offset, and of the others; None if all agree.

    floors: (T, C), per date and band the 5th percentile of clear pixels; NaN if there are too few.
    A group of dates above 1000 and one below 700, nothing between them over a gap of 400, each
    band darker in the lower group; and either all the high ones come last (a step), or the two
    take turns.
    """
    known = np.flatnonzero(np.isfinite(floors).all(axis=1))
    floor = floors[known].min(axis=1)
    sound = floor < BRIGHT
    known, floor = known[sound], floor[sound]
    high = floor >= OFFSET
    switches = int(np.count_nonzero(high[1:] != high[:-1]))
    kind = "step" if switches == 1 and high[-1] else "turns"
    if kind == "turns" and switches < SWITCHES:
        return None
    if min(high.sum(), (~high).sum()) < max(FEW[kind], SHARE[kind] * len(known)):
        return None
    if floor[~high].max() >= DARK or floor[high].min() - floor[~high].max() < GAP:
        return None
    if np.ptp(floor[high]) > SPREAD:
        return None
    # Snow lifts the visible but not the short-wave infrared.
    lift = np.median(floors[known[high]], axis=0) - np.median(floors[known[~high]], axis=0)
    if (lift < GAP).any():
        return None
    return known[high], known[~high]


def jumps(floors: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """As `mixed`, for ground that is not dark enough: told by jumps of 1000, alike in all bands.

    No cloud, season or harvest lifts all bands by the same. Either one such step, up or down, that
    lasts; or dates most of which stand 1000 above or below those beside them.
    """
    known = np.flatnonzero(np.isfinite(floors).all(axis=1))
    rows = floors[known]
    count = len(rows)
    if count < 2 * FEW["step"]:
        return None
    apart = np.array([rows[i] - (rows[i - 1] + rows[i + 1]) / 2 for i in range(1, count - 1)])
    above, below = _all_alike(apart), _all_alike(-apart)
    if above.any() and below.any() and (above | below).mean() > 0.5 and len(apart) >= SWITCHES:
        return known[1:-1][above], known[1:-1][below]
    places = np.arange(BESIDE, count - BESIDE + 1)
    lifts = np.array(
        [np.median(rows[i : i + BESIDE], axis=0) - np.median(rows[i - BESIDE : i], axis=0)
         for i in places]
    ).reshape(-1, rows.shape[1])  # fmt: skip
    at_once = rows[places] - rows[places - 1] if len(places) else lifts
    up = _all_alike(lifts) & _all_alike(at_once, 2 * ALIKE)
    down = _all_alike(-lifts) & _all_alike(-at_once, 2 * ALIKE)
    if (up | down).sum() != 1:
        return None
    place = int(places[up | down][0])
    late, early = known[place:], known[:place]
    return (late, early) if up.any() else (early, late)


def _all_alike(lifts: np.ndarray, tolerance: float = ALIKE) -> np.ndarray:
    """Which lifts (N, C) are the offset in all bands."""
    near: np.ndarray = (np.abs(lifts - OFFSET) <= tolerance).all(axis=1)
    return near & (np.ptp(lifts, axis=1) <= tolerance)


def look(stack: Stack) -> np.ndarray:
    """Values (T, C, pixels) of some bands of a stack, in some windows spread over it."""
    return _values(_some_bands(stack))


def _floors(values: np.ndarray) -> np.ndarray:
    """(T, C) float: the 5th percentile of clear pixels per date and band, NaN if too few."""
    floors = np.full(values.shape[:2], np.nan)
    seen = observed(values)
    for place in np.ndindex(*floors.shape):
        floors[place] = _percentile(values[place][seen[place]], 5)
    return floors


def _values(stack: Stack) -> np.ndarray:
    """(T, C, pixels) of some windows."""
    with stack.open() as reader:
        shape = (len(stack.dates), len(stack.bands), -1)
        parts = [reader.read(window).reshape(shape) for window in _spread(stack.grid)]
    values = np.concatenate(parts, axis=2)
    # Where all bands are 0 nothing was imaged, whether files say so or not.
    empty = (values == 0).all(axis=1, keepdims=True)
    return np.where(empty, stack.missing, values).astype(values.dtype)


def _percentile(clear: np.ndarray, share: int) -> float:
    return float(np.percentile(clear, share)) if clear.size >= FEWEST else float("nan")


def _spread(grid: Grid) -> list[Window]:
    """Small windows spread over the grid."""
    height, width = min(SIDE, grid.height), min(SIDE, grid.width)
    places = {
        (round(down * (grid.height - height)), round(right * (grid.width - width)))
        for down, right in ((0.1, 0.1), (0.1, 0.9), (0.5, 0.5), (0.9, 0.1), (0.9, 0.9))
    }
    return [Window(*place, height, width) for place in sorted(places)]
