"""Define the classes of a map, and convert between codes, indices and source values."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from geoseg.errors import Faults, InputError, shown
from geoseg.received.keys import text_yaml

NODATA = 0
"""Code of pixels without image."""
UNLABELLED = 255
"""Code of pixels without label."""
UNDECIDED = 255
"""Code of pixels of a map without decision: the network was not sure enough."""
NO_DECISION = "no decision"
"""What these are called."""
UNDECIDED_COLOR = "#808080"
IGNORED = 255
"""Index that loss and metrics leave out: nodata and unlabelled alike."""
NO_DECISION = "no decision"
"""Name of what no class was given, where no class was sure enough."""
LONGEST = 200
"""Characters of a class's name."""
COLUMNS = ("code", "name", "color", "values")
TAG = "GEOSEG_LEGEND"
"""Tag of class rasters that holds their legend."""


@dataclass
class LegendSettings:
    """Where the legend comes from: a file, or the classes of a group of conf/legend."""

    path: str | None = None
    """YAML or CSV file with the classes in burn order."""
    classes: list[Any] = field(default_factory=list)
    """Entries {code, name, color, values}; a later class covers an earlier one."""

    @property
    def is_given(self) -> bool:
        return bool(self.path or self.classes)

    def load_if_given(self) -> Legend | None:
        """Raises: InputError if it has faults."""
        return self.load() if self.is_given else None

    def load(self) -> Legend:
        """Raises: InputError if there is no legend or it has faults."""
        if self.path:
            return Legend.load(self.path)
        if not self.classes:
            raise InputError("legend: none given; set legend.path=<yaml or csv file>")
        return Legend.parse(self.classes, "legend")


@dataclass(frozen=True)
class LegendClass:
    """One class of a map."""

    code: int
    """Its number in GeoTIFFs, 1..254."""
    name: str
    color: str
    """#rrggbb."""
    values: tuple[str, ...]
    """What it is called in the labels, in canonical form."""


def composed(text: str) -> str:
    """A name in the one form of Unicode (NFC) in which equal names are equal: é is one letter."""
    return unicodedata.normalize("NFC", text)


def canonical(value: Any) -> str:
    """One text for 12, 12.0, "12" and " 12 ": labels store the same code in many types.

    Letters with accents that are written in two ways are one, too.
    """
    return composed(as_text(value))


def as_text(value: Any) -> str:
    """One text for 12, 12.0, "12" and " 12 ", its letters as they are written."""
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(value).strip())


@dataclass(frozen=True)
class Legend:
    """The classes of a map in burn order: the index of a class is its place in `classes`."""

    classes: tuple[LegendClass, ...]

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.classes]

    @property
    def codes(self) -> list[int]:
        return [c.code for c in self.classes]

    @property
    def meaning(self) -> list[tuple[int, str]]:
        """Code and name of each class: legends that share these mean the same, whatever the colours
        in them and the values in labels."""
        return list(zip(self.codes, self.names, strict=True))

    def __str__(self) -> str:
        return ", ".join(f"{code} {name}" for code, name in self.meaning)

    @classmethod
    def load(cls, path: str | Path) -> Legend:
        """Read a YAML file (`classes:` with entries) or a CSV file (code,name,color,values).

        In CSV several values of a class are separated by `|`.
        Raises: InputError with all faults of the file.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise InputError(f"{path}: no such legend file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: can't be read as UTF-8 text ({error})") from None
        if path.suffix.lower() == ".csv":
            try:
                return cls.parse(_csv_entries(text, str(path)), str(path))
            except csv.Error as error:
                raise InputError(f"{path}: can't be read as CSV ({error})") from None
        content = text_yaml(text, str(path))
        keys = content if isinstance(content, dict) else {}
        unknown = [shown(key).strip("'") for key in keys if key != "classes"]
        if not isinstance(content, dict) or "classes" not in content or unknown:
            raise InputError(
                f"{path}: expected one key `classes` with a list of {{code, name, color, values}}"
                + (f", got also {', '.join(sorted(unknown))}" if unknown else "")
            )
        return cls.parse(content["classes"], str(path))

    @classmethod
    def parse(cls, entries: Any, source: str) -> Legend:
        """Build from entries {code, name, color, values}. Raises: InputError with all faults."""
        faults = Faults()
        classes: list[LegendClass] = []
        if not isinstance(entries, (list, tuple)) or not entries:
            raise InputError(f"{source}: `classes` must be a list with at least one class")
        for number, entry in enumerate(entries, 1):
            with faults.collect():
                classes.append(_parse_class(entry, f"{source}, class {number}"))
        for what in ("code", "name"):
            seen: dict[Any, int] = {}
            for c in classes:
                seen[getattr(c, what)] = seen.get(getattr(c, what), 0) + 1
            for value, count in seen.items():
                if count > 1:
                    faults.add(
                        f"{source}: {what} {value} appears {count} times; each needs its own"
                    )
        owner: dict[str, str] = {}
        for c in classes:
            for value in c.values:
                if owner.setdefault(value, c.name) != c.name:
                    faults.add(f"{source}: value {value!r} is in {owner[value]} and in {c.name}")
        faults.raise_if_any()
        return cls(tuple(classes))

    def code_of(self, name: str, key: str = "") -> int:
        """Code of a class name. key: the setting that says it. Raises: InputError."""
        for c in self.classes:
            if c.name == composed(name):
                return c.code
        said = f"{key}={name}: " if key else ""
        has = ", ".join(self.names)
        raise InputError(f"{said}class {name!r} is not in the legend; it has {has}")

    def lookup(self) -> dict[str, int]:
        """Canonical source value → code."""
        return {value: c.code for c in self.classes for value in c.values}

    def meanings(self) -> dict[str, int]:
        """Canonical source value → code; a class's own name too, if no other class claims it."""
        # A name of digits could be a number of another meaning in a raster.
        names = {canonical(c.name): c.code for c in self.classes if not c.name.isdecimal()}
        values = self.lookup()
        return values | {name: code for name, code in names.items() if name not in values}

    def encode(self, codes: np.ndarray) -> np.ndarray:
        """Codes (any shape) uint8 → indices uint8; nodata, unlabelled and strangers → IGNORED."""
        if codes.dtype != np.uint8:
            return np.frombuffer(self._indices, np.uint8)[codes]
        # Bytes translate themselves six times as fast as numpy looks numbers up.
        indices = bytearray(np.ascontiguousarray(codes)).translate(self._indices)
        return np.ndarray(codes.shape, np.uint8, indices)

    @cached_property
    def _indices(self) -> bytes:
        """Index of each code 0..255."""
        table = np.full(256, IGNORED, np.uint8)
        table[self.codes] = np.arange(len(self), dtype=np.uint8)
        return table.tobytes()

    def decode(self, indices: np.ndarray) -> np.ndarray:
        """Indices (any shape) uint8 → codes uint8; IGNORED → UNLABELLED."""
        table = np.full(256, UNLABELLED, np.uint8)
        table[: len(self)] = self.codes
        return table[indices]

    def colors(self) -> dict[int, tuple[int, int, int, int]]:
        """Colour table of a GeoTIFF: code → red, green, blue, alpha in 0..255."""
        table = {NODATA: (0, 0, 0, 0), UNLABELLED: (*_rgb(UNDECIDED_COLOR), 255)}
        for c in self.classes:
            table[c.code] = (*_rgb(c.color), 255)
        return table

    def to_dict(self) -> dict[str, Any]:
        return {
            "classes": [
                {"code": c.code, "name": c.name, "color": c.color, "values": list(c.values)}
                for c in self.classes
            ]
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "legend") -> Legend:
        """Raises: InputError if these aren't the values of `to_dict`."""
        if not isinstance(values, dict):
            raise InputError(f"{source}: {shown(values)}, expected the classes of a legend")
        return cls.parse(values.get("classes"), source)

    def _shown(self, undecided: bool) -> list[tuple[int, str, str]]:
        """Code, name and colour of what a map holds."""
        rows = [(c.code, c.name, c.color) for c in self.classes]
        return rows + ([(UNDECIDED, NO_DECISION, UNDECIDED_COLOR)] if undecided else [])

    def aux_xml(self, *, undecided: bool = False) -> str:
        """GDAL's side file: class names by code, and a raster attribute table with colours.

        QGIS names the classes of a paletted raster from it (GDAL PAM, `CategoryNames`).
        undecided: whether the raster may hold pixels without decision.
        """
        rows = self._shown(undecided)
        names_by_code = {code: name for code, name, _ in rows}
        categories = ["nodata"]
        categories += [names_by_code.get(i, "") for i in range(1, max(names_by_code) + 1)]
        names = "".join(f"<Category>{escape(name)}</Category>" for name in categories)
        # Type: 0 integer, 2 text. Usage: 5 value, 2 name, 6..8 red, green, blue (GDAL's numbers).
        fields = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
        table = "".join(
            f'<FieldDefn index="{i}"><Name>{name}</Name><Type>{kind}</Type><Usage>{use}</Usage>'
            "</FieldDefn>"
            for i, (name, kind, use) in enumerate(fields)
        )
        for row, (code, name, color) in enumerate(rows):
            cells = "".join(f"<F>{escape(str(v))}</F>" for v in (code, name, *_rgb(color)))
            table += f'<Row index="{row}">{cells}</Row>'
        return (
            '<PAMDataset>\n <PAMRasterBand band="1">\n'
            f"  <CategoryNames>{names}</CategoryNames>\n"
            f'  <GDALRasterAttributeTable tableType="thematic">{table}</GDALRasterAttributeTable>\n'
            " </PAMRasterBand>\n</PAMDataset>\n"
        )

    def qml(self, *, undecided: bool = False) -> str:
        """QGIS style of a class raster: a paletted renderer with names and colours.

        undecided: whether the raster may hold pixels without decision: half transparent grey, for
        a renderer of rasters knows no hatching.
        """
        entries = "\n".join(
            f'    <paletteEntry value="{code}" color="{color}" label={quoteattr(name)}'
            f' alpha="{128 if code == UNDECIDED else 255}"/>'
            for code, name, color in self._shown(undecided)
        )
        return (
            "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
            '<qgis version="3.22" styleCategories="Symbology">\n <pipe>\n'
            '  <rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1">\n'
            f"   <colorPalette>\n{entries}\n   </colorPalette>\n"
            "  </rasterrenderer>\n </pipe>\n</qgis>\n"
        )


def _csv_entries(text: str, source: str) -> list[dict[str, Any]]:
    """Raises: InputError for cells that no column names."""
    sample = text.splitlines()[0] if text else ""
    mark = next((mark for mark in ";\t" if mark in sample), ",")
    entries = []
    for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=mark):
        more = [cell for cell in row.pop(None, ()) if cell.strip()]
        if more:
            first = next(iter(row.values()), "")
            raise InputError(
                f"{source}: the row of {first!r} has more cells than the header"
                f" ({mark.join(more)}); several values of a class are separated by |, and text"
                " that holds the separator is put in quotes"
            )
        # A column without a name is the index that pandas writes.
        filled = {k.strip(): v.strip() for k, v in row.items() if k and v and v.strip()}
        entry: dict[str, Any] = dict(filled)
        if "values" in entry:
            values = [value.strip() for value in entry["values"].split("|")]
            entry["values"] = [value for value in values if value]
        if entry:  # spreadsheets leave rows of nothing but separators
            entries.append(entry)
    return entries


def _parse_class(entry: Any, source: str) -> LegendClass:
    if not isinstance(entry, dict):
        raise InputError(f"{source}: expected {{code, name, color, values}}, got {shown(entry)}")
    faults = Faults()
    for key in entry:
        if key not in COLUMNS:
            faults.add(f"{source}: unknown key {shown(key)}; a class has {', '.join(COLUMNS)}")
    code = _parse_code(entry.get("code"), source, faults)
    name = ""
    with faults.collect():
        name = _parse_name(entry.get("name"), source)
    values = entry.get("values")
    if values is not None and not isinstance(values, (list, tuple)):
        values = [values]
    if any(isinstance(value, bool) for value in [entry.get("name"), *(values or [])]):
        faults.add(f"{source}: yes, no, on and off are read as true or false here; quote them")
    if any(value is None or isinstance(value, (dict, list)) for value in values or []):
        faults.add(f"{source}: values={values}: expected a list of texts or numbers")
    values = values or [name]
    color = "#000000"
    with faults.collect():
        color = _parse_color(entry.get("color"), source)
    faults.raise_if_any()
    return LegendClass(code, name, color, tuple(canonical(value) for value in values))


def _parse_name(value: Any, source: str) -> str:
    """Text that files can hold: XML, as of styles, knows no way to write some characters."""
    if isinstance(value, (list, tuple, dict)):
        raise InputError(f"{source}: name {shown(value)} is no text")
    name = composed("" if value is None else str(value).strip())
    if not name:
        raise InputError(f"{source}: no name")
    if len(name) > LONGEST:
        raise InputError(f"{source}: a name of {len(name)} characters; at most {LONGEST}")
    bad = next((c for c in name if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Zl", "Zp")), "")
    if bad:
        raise InputError(
            f"{source}: name {shown(name)} holds the character U+{ord(bad):04X}, which can't be"
            " shown or written; leave it out"
        )
    return name


def _parse_code(value: Any, source: str, faults: Faults) -> int:
    try:
        code = int(str(value))
    except ValueError:
        faults.add(f"{source}: code {shown(value)} is not a whole number")
        return 1
    if not 1 <= code <= 254:
        reserved = {NODATA: " (0 means nodata)", UNLABELLED: " (255 means unlabelled)"}
        faults.add(f"{source}: code {shown(code)} is outside 1..254{reserved.get(code, '')}")
    return code


def _parse_color(value: Any, source: str) -> str:
    text = str(value).strip().lower()
    if re.fullmatch(r"#[0-9a-f]{6}", text):
        return text
    if re.fullmatch(r"#[0-9a-f]{3}", text):
        return "#" + "".join(2 * digit for digit in text[1:])
    from matplotlib.colors import CSS4_COLORS  # only for names; takes a third of a second

    if text in CSS4_COLORS:
        return str(CSS4_COLORS[text]).lower()
    raise InputError(
        f'{source}: unknown color {shown(value)}; write "#rrggbb" (in quotes) or a CSS name'
    )


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
