"""Number pairs of classes, and give those that occur a code, a name and a colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from geoseg.geo.legend import LONGEST, Legend, LegendClass
from geoseg.geo.raster import counts
from geoseg.geo.raster.counts import CHUNK

REASONS = 4
LAST = 254
"""Highest code of a class."""
OTHER_COLOR = "#7f7f7f"
Pair = tuple[int, int]
"""Places of two classes in a list of classes."""
Names = Callable[[int, int], str]
Colors = Callable[[int, int], str]


@dataclass(frozen=True)
class PairCodes:
    """Which code of a class raster stands for which pair of classes."""

    legend: Legend
    table: np.ndarray
    """(K, K) uint8: code of each pair; 0 = none, for a pair that does not occur."""
    other: int | None
    """Code of all pairs for which no code was left."""

    @classmethod
    def of(
        cls,
        weights: np.ndarray,
        *,
        name: Names,
        color: Colors,
        before: Iterable[LegendClass] = (),
        other: str = "other",
    ) -> PairCodes:
        """Give codes to the pairs that occur.

        weights: (K, K) pixels or hectares of the pairs that need a code; 0 = does not occur.
        before: classes of the legend with codes of their own, the lowest ones.
        Pair (i, j) has the code first + i·K + j, whether or not the others occur, as long as all
        pairs fit into 254; else those that occur are numbered in this order, the smallest of them
        falling to `other` where there are too many.
        """
        fixed = tuple(before)
        first = max((c.code for c in fixed), default=0) + 1
        size = len(weights)
        occur = [(int(i), int(j)) for i, j in np.argwhere(weights > 0)]
        rest: set[Pair] = set()
        if first + size * size - 1 <= LAST:
            codes = {(i, j): first + i * size + j for i, j in occur}
        else:
            room = LAST - first + 1
            if len(occur) > room:
                ranked = sorted(occur, key=lambda pair: (-weights[pair], pair))
                rest = set(ranked[room - 1 :])
            kept = [pair for pair in occur if pair not in rest]
            codes = {pair: first + number for number, pair in enumerate(kept)}
        classes = [*fixed, *_classes(codes, name, color, {c.name for c in fixed} | {other})]
        last = LAST if rest else None
        if last is not None:
            classes.append(LegendClass(last, other, OTHER_COLOR, (other,)))
            codes |= dict.fromkeys(rest, last)
        table = np.zeros((size, size), np.uint8)
        for pair, code in codes.items():
            table[pair] = code
        return cls(Legend(tuple(classes)), table, last)

    def only(self, weights: np.ndarray) -> PairCodes:
        """The same codes, without those whose pairs have no weight (K, K)."""
        table = np.where(weights > 0, self.table, np.uint8(0))
        used = set(table.ravel().tolist())
        own = set(self.table.ravel().tolist())
        kept = tuple(c for c in self.legend.classes if c.code in used or c.code not in own)
        return PairCodes(Legend(kept), table, self.other if self.other in used else None)


def _classes(
    codes: dict[Pair, int], name: Names, color: Colors, taken: set[str]
) -> list[LegendClass]:
    """Entries of a legend; names are cut where they are too long, and never the same twice."""
    made = []
    for (i, j), code in codes.items():
        text = whole = name(i, j)
        if len(text) > LONGEST or text in taken:
            text = f"{whole[: LONGEST - 6]} ({code})"
        taken.add(text)
        made.append(LegendClass(code, text, color(i, j), (text,)))
    return made


class PairNumbers:
    """Makes one number of two classes at each pixel: 1 + i·K + j, 0 = no pair.

    uint8 where that is enough, for speed; else uint16. Above the pairs there is room for the
    REASONS that a pixel may have for being no pair.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = size * size + 1 + REASONS
        """Of all numbers."""
        self.dtype = np.dtype(np.uint8 if self.count <= 256 else np.uint16)

    def reason(self, number: int) -> int:
        """Number of pixels without pair for one of the reasons 1..REASONS."""
        return self.size * self.size + number

    def split(self, counts: np.ndarray) -> np.ndarray:
        """Counts by number (…, count) as matrices (…, K, K)."""
        size = self.size
        inner = counts[..., 1 : 1 + size * size]
        return np.asarray(inner.reshape(*counts.shape[:-1], size, size))

    def table(self, matrix: np.ndarray) -> np.ndarray:
        """What a (K, K) table holds, by number: as long as numbers of the type may be."""
        table = np.zeros(2 ** (8 * self.dtype.itemsize), matrix.dtype)
        table[1 : 1 + self.size**2] = matrix.ravel()
        return table

    def of_indices(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Numbers of indices (any shape) uint8, 255 = no class."""
        wide = first.astype(self.dtype)
        numbers = wide * self.dtype.type(self.size) + second.astype(self.dtype)
        numbers += self.dtype.type(1)
        numbers[(first == 255) | (second == 255)] = 0
        return np.asarray(numbers)

    def look_up(self, table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Values of a `table` of uint8 or bool for numbers (any shape)."""
        if self.dtype.itemsize > 1:
            return np.asarray(table[numbers])
        # Bytes translate themselves six times as fast as numpy looks numbers up.
        found = bytearray(np.ascontiguousarray(numbers)).translate(table.astype(np.uint8).tobytes())
        return np.ndarray(numbers.shape, table.dtype, found)

    def counts(self, numbers: np.ndarray) -> np.ndarray:
        """How often each number occurs (count,) int64."""
        return counts(numbers, 2 ** (8 * self.dtype.itemsize))[: self.count]

    def changed(self, numbers: np.ndarray) -> np.ndarray:
        """Where the two classes of numbers (h, w) differ, bool; False where there is no pair."""
        found = np.empty(numbers.shape, bool)
        size = self.size
        step = self.dtype.type(size + 1)
        rows = max(1, CHUNK // max(1, numbers.shape[1]))
        for top in range(0, len(numbers), rows):
            # i·K + j is a multiple of K + 1 only where i = j. 0, no pair, becomes the largest one.
            part = numbers[top : top + rows] - self.dtype.type(1)
            differ = np.not_equal(part // step * step, part, out=found[top : top + rows])
            differ &= part < size * size
        return found

    def counts_by(self, numbers: np.ndarray, zoned: np.ndarray, rows: int) -> dict[int, np.ndarray]:
        """As `counts`, by zone: 0..rows-1 at each pixel; only of zones that occur."""
        zones = np.flatnonzero(np.bincount(zoned.ravel(), minlength=rows))
        if len(zones) == 1:
            return {int(zones[0]): self.counts(numbers)}
        places = np.zeros(rows, np.intp)
        places[zones] = np.arange(len(zones)) * self.count
        joint = places[zoned.ravel()]
        joint += numbers.ravel()
        table = np.bincount(joint, minlength=len(zones) * self.count)
        return dict(zip(zones.tolist(), table.reshape(len(zones), self.count), strict=True))


def blend(one: str, other: str, share: float) -> str:
    """A colour between two (#rrggbb): `share` of the second."""
    mixed = (
        round(int(one[i : i + 2], 16) * (1 - share) + int(other[i : i + 2], 16) * share)
        for i in (1, 3, 5)
    )
    return "#" + "".join(f"{value:02x}" for value in mixed)
