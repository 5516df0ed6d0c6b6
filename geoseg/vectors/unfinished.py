"""Keep what is done of a file of polygons, from which a run that was killed goes on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.maps.cog.pack import Pack, Record
from geoseg.vectors.components import Components, Measures
from geoseg.vectors.feature_stream import Features
from geoseg.vectors.outlines import Pieces
from geoseg.vectors.polygons import RowDone

AT_ONCE = 1 << 22
"""Values of an array that are written at once: a copy of them is in memory."""
REGIONS, ROW, LINES = "regions", "row", "lines"
"""Steps of the work: all regions of the map, a row of blocks, the centre lines of a class."""


def unfinished(path: Path) -> Path:
    """The hidden file beside an output in which it is kept."""
    return path.with_name(f".{path.name}.pack")


class Unfinished:
    """Regions, features and rows of blocks in the order of the work, step by step.

    A step that was not ended is done again.
    """

    def __init__(self, path: Path, key: str) -> None:
        """Open what there is for the output `path`. key: all that the features depend on.

        Raises: InputError if it can't be written.
        """
        self._pack = Pack(unfinished(path), key, owner=path)
        self.is_void = self._pack.is_void
        """Whether what was there is of another key, and so begun anew."""
        ends = [n for n, record in enumerate(self._pack.records, 1) if "end" in record.note]
        self._pack.cut(ends[-1] if ends else 0)
        self._records = list(self._pack.records)

    def __enter__(self) -> Unfinished:
        return self

    def __exit__(self, *error: Any) -> None:
        self._pack.__exit__(*error)

    @property
    def has_regions(self) -> bool:
        return bool(self._ends(REGIONS))

    def regions(self) -> tuple[Components, int] | None:
        """The regions of the map, and how many areas it has; None if they are not done."""
        ends = self._ends(REGIONS)
        if not ends:
            return None
        areas, lengths = ends[0].note["at"]
        pieces: dict[str, list[np.ndarray]] = {}
        for record in self._records:
            if "array" in record.note:
                values = np.frombuffer(bytearray(self._content(record)), record.note["type"])
                pieces.setdefault(record.note["array"], []).append(values)
        whole = {name: np.concatenate(values) for name, values in pieces.items()}
        parts = np.split(whole.pop("parts"), np.cumsum(lengths)[:-1])
        code, bottom = whole.pop("code"), whole.pop("bottom")
        return Components(code, Measures(**whole), bottom, parts), areas

    def add_regions(self, regions: Components, areas: int) -> None:
        arrays = [("code", regions.code), ("bottom", regions.bottom)]
        arrays += [*vars(regions.measures).items(), *(("parts", part) for part in regions.parts)]
        for name, values in arrays:
            note = {"array": name, "type": values.dtype.str}
            for begin in range(0, max(1, len(values)), AT_ONCE):
                self._add([values[begin : begin + AT_ONCE].tobytes()], note)
        self._end(REGIONS, (areas, [len(part) for part in regions.parts]))

    def features(self, layer: str) -> Iterator[Features]:
        """What is done of a layer."""
        for record in list(self._records):
            if record.note.get("layer") == layer:
                yield Features.unpacked(self._content(record), record.note["bounds"])

    def add(self, layer: str, features: Features) -> None:
        self._add([features.packed()], {"layer": layer, "bounds": features.bounds})

    @property
    def end(self) -> int:
        """Row of the map up to which blocks are done."""
        rows = self._ends(ROW)
        return int(rows[-1].note["at"]) if rows else 0

    def rows(self) -> Iterator[RowDone]:
        """The rows of blocks that are done, from above."""
        return (RowDone(r.note["at"], self._pieces(r)) for r in self._ends(ROW))

    def add_row(self, row: RowDone) -> None:
        wkb = shapely.to_wkb(row.goes_on.polygons).tolist()
        self._end(ROW, row.end, [row.goes_on.region.astype("<i8").tobytes(), *wkb])

    def lines(self) -> list[int]:
        """Codes of the classes of which centre lines are done."""
        return [record.note["at"] for record in self._ends(LINES)]

    def add_lines(self, code: int) -> None:
        self._end(LINES, code)

    def _add(self, parts: list[bytes], note: dict[str, Any]) -> None:
        self._records.append(self._pack.add(parts, note))

    def _end(self, step: str, at: Any, parts: list[bytes] | None = None) -> None:
        self._add(parts or [], {"end": step, "at": at})

    def _ends(self, step: str) -> list[Record]:
        return [record for record in self._records if record.note.get("end") == step]

    def _content(self, record: Record) -> bytes:
        return self._pack.read(record.offset, sum(record.sizes))

    def _pieces(self, record: Record) -> Pieces:
        content, ends = self._content(record), np.cumsum(record.sizes).tolist()
        wkb = [content[begin:end] for begin, end in pairwise(ends)]
        made = np.array(shapely.from_wkb(wkb), object) if wkb else np.zeros(0, object)
        return Pieces(made, np.frombuffer(content[: ends[0]], "<i8"))
