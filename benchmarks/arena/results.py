"""What the trials of the arena gave: a JSON each, looks at test parts, and tables of them."""

from __future__ import annotations

import csv
import math
import re
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.arena.methods import GEOSEG, Limit
from benchmarks.arena.sets import SETS, Set
from geoseg.outputs.files import read_json, write_json

TEST, INNER = "test", "inner"
PLAIN = "plain"
TOLERANCE = {"images": 0.15, "series": 0.05}
"""What a default may lose by where there is one seed: between seeds, the IoU of buildings after
some hundred steps spreads by 0.03 to 0.11."""
LABELS = {"oa": "OA", "f1": "macro F1", "miou": "mIoU"}
LOOKS = ("date", "set", "limit", "code")


@dataclass(frozen=True)
class Result:
    """One trial: a method on a set, with a seed, for some time."""

    set: str
    method: str
    seed: int
    limit: str
    part: str
    """test: what is reported; inner: a fold of the train part."""
    code: str
    """Names the code that it was made by."""
    scores: dict[str, float]
    """oa, miou and f1."""
    iou: dict[str, float]
    """By class."""
    compared: int
    """Pixels or samples."""
    seconds: float
    """Of all that was done, prediction included."""
    train_seconds: float
    counts: dict[str, int]
    """Tiles, pixels or samples of train, val and test."""
    steps: int | None = None
    samples: int | None = None
    machine: str = ""
    day: str = field(default_factory=lambda: date.today().isoformat())

    def value(self, score: str) -> float:
        """oa, miou, f1, or the IoU of a class."""
        return self.scores[score] if score in self.scores else self.iou[score]

    def save(self, out: Path) -> None:
        write_json(path_of(out, self.set, self.method, self.seed, self.limit, self.part),
                   asdict(self))  # fmt: skip


def path_of(out: Path, name: str, method: str, seed: int, limit: Limit | str, part: str) -> Path:
    """Where the result of a trial is kept."""
    file = f"{re.sub(r'[:/]', '_', method)}_{seed}.json"
    return out / "results" / f"{name}_{part}_{limit}" / file


def load_all(out: Path) -> list[Result]:
    """All results of a folder."""
    return [Result(**read_json(path)) for path in sorted((out / "results").glob("*/*.json"))]


def note_look(path: Path, name: str, limit: Limit, code: str) -> None:
    """Count that a version of geoseg is scored on the test part of a set, once for each limit."""
    line = (name, str(limit), code)
    if line in {tuple(row[key] for key in LOOKS[1:]) for row in _looks(path)}:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(LOOKS)
        writer.writerow((date.today().isoformat(), *line))


def looks(path: Path) -> dict[str, int]:
    """Set → how often its test part was looked at."""
    counts: dict[str, int] = {}
    for row in _looks(path):
        counts[row["set"]] = counts.get(row["set"], 0) + 1
    return counts


def _looks(path: Path) -> Iterator[dict[str, str]]:
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)


@dataclass(frozen=True)
class Line:
    """The results of a method on a set, of all seeds."""

    made: Set
    method: str
    results: tuple[Result, ...]

    def values(self, score: str) -> list[float]:
        return [result.value(score) for result in self.results]

    @property
    def main(self) -> list[float]:
        """The score that decides."""
        return self.values(self.made.scores[0])

    def rate(self, what: str) -> float | None:
        """steps or samples per second of training, None where nobody knows."""
        known = [(r, getattr(r, what)) for r in self.results if getattr(r, what) is not None]
        if not known:
            return None
        return statistics.median(count / max(r.train_seconds, 1e-9) for r, count in known)


def lines_of(results: Iterable[Result]) -> list[Line]:
    """A line for each set and method, in the order of the sets."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.set, result.method), []).append(result)
    order = {name: number for number, name in enumerate(SETS)}
    keys = sorted(groups, key=lambda key: (order[key[0]], not key[1].startswith(GEOSEG), key[1]))
    return [Line(SETS[name], method, tuple(groups[name, method])) for name, method in keys]


def spread(values: list[float]) -> float:
    """Standard deviation; NaN of one value."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def lost(lines: Iterable[Line]) -> list[str]:
    """Defaults of geoseg that lose to the plain script by more than the spread, in words.

    The spread is that of the two over their seeds, (sd² + sd²)½; of one seed TOLERANCE.
    """
    lines = list(lines)
    plain = {line.made.name: line for line in lines if line.method == PLAIN}
    said = []
    for line in lines:
        other = plain.get(line.made.name)
        if other is None or not line.method.startswith(GEOSEG):
            continue
        gain = statistics.mean(line.main) - statistics.mean(other.main)
        most = math.hypot(spread(line.main), spread(other.main))
        most = TOLERANCE[line.made.kind] if math.isnan(most) else most
        if gain < -most:
            said.append(
                f"{line.made.name}: {line.method} {statistics.mean(line.main):.3f}, plain"
                f" {statistics.mean(other.main):.3f}; it may lose by {most:.3f}"
            )
    return said


def tables(results: list[Result], looked: dict[str, int]) -> str:
    """All results as Markdown: a table for each kind of data, part and limit."""
    parts = []
    for part in (TEST, INNER):
        for kind in ("images", "series"):
            mine = [r for r in results if r.part == part and SETS[r.set].kind == kind]
            for limit in sorted({r.limit for r in mine}):
                chosen = [r for r in mine if r.limit == limit]
                parts.append(_table(lines_of(chosen), kind, part, limit, looked))
    return "\n\n".join(parts) + "\n"


def _table(lines: list[Line], kind: str, part: str, limit: str, looked: dict[str, int]) -> str:
    told = "test parts" if part == TEST else "inner folds of the train parts"
    unit, amount = ("min", "minutes") if limit.endswith("min") else ("steps", "steps")
    title = f"{kind.capitalize()}, {limit.removesuffix(unit)} {amount} each, {told}"
    images = kind == "images"
    head = ["set", "test part", "method", "IoU or mIoU" if images else "OA",
            "OA" if images else "macro F1", "− plain", "seeds", "steps/s", "samples/s"]  # fmt: skip
    plain = {line.made.name: line for line in lines if line.method == PLAIN}
    rows, before = [], ""
    for line in lines:
        made, other = line.made, plain.get(line.made.name)
        first, before = made.name != before, made.name
        gain = "" if other in (None, line) else _gain(line, other)
        rows.append([
            _named(made) if first else "", (made.test if part == TEST else "fold") if first else "",
            f"`{line.method}`", *(_mean(line.values(score)) for score in made.scores), gain,
            str(len(line.results)), _rate(line.rate("steps")), _rate(line.rate("samples")),
        ])  # fmt: skip
    notes = [_about(lines)]
    if part == TEST:
        names = dict.fromkeys(line.made.name for line in lines)
        counted = ", ".join(f"{name} {looked.get(name, 0)}" for name in names)
        notes.append(f"Test parts looked at: n times: {counted}.")
    return "\n\n".join([f"**{title}**", _markdown(head, rows), *notes])


def _named(made: Set) -> str:
    score = made.scores[0]
    what = "" if score == "oa" else f", {LABELS.get(score, f'IoU of {score}')}"
    reach = "" if math.isnan(made.target) else f" (to reach: {made.target:g})"
    return f"{made.name}{what}{reach}"


def _about(lines: list[Line]) -> str:
    """Where and when, and by how many versions of the code."""
    results = [result for line in lines for result in line.results]
    days = sorted({result.day for result in results})
    machines = ", ".join(sorted({result.machine for result in results if result.machine}))
    codes = {result.code for result in results if result.method.startswith(GEOSEG)}
    said = (
        f"Mean ± standard deviation over the seeds; {machines}; {' to '.join({days[0], days[-1]})}."
    )
    if len(codes) > 1:
        said += f" geoseg's rows are of {len(codes)} versions of its code: run with --fresh."
    return said


def _mean(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {spread(values):.3f}"


def _gain(line: Line, other: Line) -> str:
    return f"{statistics.mean(line.main) - statistics.mean(other.main):+.3f}"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_text(markdown: str) -> str:
    """The same for a terminal: columns in line."""
    blocks = []
    for block in markdown.strip().split("\n\n"):
        rows = [line.strip("|").split("|") for line in block.splitlines() if line.startswith("|")]
        if not rows:
            blocks.append(block)
            continue
        cells = [[cell.strip().strip("`") for cell in row] for row in rows if row[0] != " --- "]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        blocks.append("\n".join(
            "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ))  # fmt: skip
    return "\n\n".join(blocks)


def counted(told: dict[str, Any]) -> str:
    """What a trial says when it is done."""
    scores = ", ".join(f"{LABELS[key]} {value:.3f}" for key, value in told["scores"].items())
    return f"{scores} ({told['seconds']:.0f} s)"
