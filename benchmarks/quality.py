"""What geoseg's defaults are worth: on all real data, beside plain scripts, a forest, peers.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.quality [--sets …] [--methods …] [--minutes N]

Each method gets the same minutes on the same cores, one after the other, each in a process of its
own; geoseg's know nothing but data set, network, seed and minutes. One function scores all of them
on the same pixels or samples. What is done is kept in --out; started again, it goes on.

Choose by --inner: it scores folds of the train parts, and there a method may be told more, after
commas: --inner --methods geoseg:ltae geoseg:ltae,model.width=128,fit.learning_rate=5e-3. Scores of
the test parts are for reporting, and each version of the code that is scored on them is written
down in --looks.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import alone
from benchmarks.arena.methods import GEOSEG, Limit, Place, digest_of, run, usual, why_not
from benchmarks.arena.results import (
    INNER,
    TEST,
    Result,
    as_text,
    counted,
    lines_of,
    load_all,
    looks,
    lost,
    note_look,
    path_of,
    tables,
)
from benchmarks.arena.sets import SETS, Set, describe, prepared
from benchmarks.real import real_data
from geoseg.models.device import choose

LOOKS = Path(__file__).parent / "looks.csv"
MINUTES = {"images": 2.0, "series": 1.0}
SEEDS = {"images": 3, "series": 5}
QUICK = {
    "buildings": (0.75, ("geoseg:unet", "plain")),
    "formosat": (0.33, ("geoseg:lstm", "plain")),
}
"""Set → minutes and methods of the quick form, for continuous integration."""


def main() -> int:
    options = parsed()
    data, out = real_data(), options.out
    sets = data_sets(out)
    part, failed = (INNER if options.inner else TEST), []
    for name in options.sets:
        made = SETS[name]
        limit = limit_of(options, made)
        methods, skipped = able(options, made)
        for line in skipped:
            print(line, flush=True)
        for seed in range(options.seeds or SEEDS[made.kind]):
            for method in methods:
                path = path_of(out, name, method, seed, limit, part)
                if path.exists() and not (options.fresh and stale(path, out, method)):
                    continue
                dataset = prepared(made, data, sets, seed=seed, inner=options.inner)
                trial = out / "trials" / f"{name}_{part}_{path.stem}"
                place = Place(data, dataset, trial)
                try:
                    told = run(method, made, place, seed=seed, limit=limit)
                except subprocess.CalledProcessError:
                    failed.append(f"{name}: {method}, seed {seed}: failed; see {trial}.log")
                    print(failed[-1], flush=True)
                    continue
                code = digest_of(method)
                if part == TEST and method.startswith(GEOSEG):
                    note_look(options.looks, name, limit, code)
                result = Result(
                    set=name, method=method, seed=seed, limit=str(limit), part=part, code=code,
                    counts=describe(made, dataset), machine=alone.machine(choose("cpu")), **told,
                )  # fmt: skip
                result.save(out)
                print(f"{name} {limit}, seed {seed}, {method}: {counted(told)}", flush=True)
    return report(options, part, failed)


def data_sets(out: Path) -> Path:
    """Where the data sets are that this version of the code makes; those of others are removed."""
    folder = out / "data" / digest_of(GEOSEG)
    for other in (out / "data").glob("*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def report(options: argparse.Namespace, part: str, failed: list[str]) -> int:
    """Write and print the tables; 1 if a default lost to the plain script, or a trial failed."""
    found = load_all(options.out)
    text = tables(found, looks(options.looks))
    (options.out / "quality.md").write_text(text, encoding="utf-8")
    print(f"\n{as_text(text)}\n\nas Markdown: {options.out / 'quality.md'}")
    losses = []
    for name in options.sets:
        limit = str(limit_of(options, SETS[name]))
        mine = [r for r in found if (r.set, r.limit, r.part) == (name, limit, part)]
        losses += lost(lines_of(mine))
    for line in (*failed, *(f"LOST: {line}" for line in losses)):
        print(line)
    return min(1, len(failed) + len(losses))


def limit_of(options: argparse.Namespace, made: Set) -> Limit:
    if options.steps is not None:
        return Limit(steps=options.steps)
    if options.minutes is not None:
        return Limit(minutes=options.minutes)
    return Limit(minutes=QUICK[made.name][0] if options.quick else MINUTES[made.kind])


def able(options: argparse.Namespace, made: Set) -> tuple[list[str], list[str]]:
    """The methods that can be tried on a set, and why others can't."""
    wanted = options.methods or (QUICK[made.name][1] if options.quick else usual(made))
    reasons = {method: why_not(method, made) for method in wanted}
    return (
        [method for method, reason in reasons.items() if reason is None],
        [f"{made.name}: {m} left out: {why}" for m, why in reasons.items() if why is not None],
    )


def stale(path: Path, out: Path, method: str) -> bool:
    """Whether a result was made by another version of the code."""
    from geoseg.outputs.files import read_json

    return bool(read_json(path)["code"] != digest_of(method))


def parsed() -> argparse.Namespace:
    """What the command line says. Ends the process if it can't be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", help=f"of {', '.join(SETS)}; by default all")
    parser.add_argument(
        "--methods", nargs="+", help="geoseg:<network>, plain, forest, majority, torchgeo, otb;"
        " by default all that are there. With --inner: geoseg:<network>,<key>=<value>,… as well",
    )  # fmt: skip
    parser.add_argument(
        "--minutes", type=float, help="of each training; by default 2 for images, 1 for series"
    )
    parser.add_argument("--steps", type=int, help="steps of each training, in place of minutes")
    parser.add_argument("--seeds", type=int, help="by default 3 for images, 5 for series")
    parser.add_argument("--inner", action="store_true", help="score folds of the train parts")
    parser.add_argument("--quick", action="store_true", help="two sets, one seed, under 4 minutes")
    parser.add_argument(
        "--fresh", action="store_true", help="redo what another version of the code made"
    )
    parser.add_argument("--out", type=Path, help="by default quality, or quality/quick")
    parser.add_argument("--looks", type=Path, help=f"by default {LOOKS.name} beside this file")
    options = parser.parse_args()
    options.sets = options.sets or list(QUICK if options.quick else SETS)
    for name in options.sets:
        if name not in (QUICK if options.quick else SETS):
            parser.error(f"no set {name}; there are {', '.join(QUICK if options.quick else SETS)}")
    if options.steps is not None and options.minutes is not None:
        parser.error("--steps and --minutes: give one of them")
    told = [method for method in options.methods or () if "," in method]
    if told and not options.inner:
        parser.error(f"{told[0]}: what is reported is by defaults; choose keys by --inner")
    if options.quick:
        options.seeds = options.seeds or 1
    options.out = options.out or Path("quality") / ("quick" if options.quick else "")
    # What CI looks at chooses nothing, and is not to change a file of the project.
    options.looks = options.looks or (options.out / "looks.csv" if options.quick else LOOKS)
    if not real_data().is_dir():
        parser.error(f"{real_data()}: no such folder; set GEOSEG_REAL_DATA to the real data")
    return options


if __name__ == "__main__":
    sys.exit(main())
