"""The whole way on real imagery: prepare, train, predict, mosaic, evaluate; one table at the end.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.real [row …] [--minutes N] [--out real]

Each row is trained by its file in conf/experiment, photographs from published weights, and judged
on a test part that neither training nor the choice of the epoch has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    """Also of its file in conf/experiment."""
    prepare: tuple[str, ...]
    """Keys of prepare; {data} stands for the folder of real data."""
    scenes: tuple[str, ...]
    """What is predicted, relative to the folder of real data."""
    test: str
    """What the test part is, in words."""
    score: str
    """Class whose IoU counts, or "miou"."""
    target: float


BUILDINGS = (
    "scenes=[{data}/buildings/kampala_1.tif,{data}/buildings/catanduanes_0.tif,"
    "{data}/buildings/kampala_0.tif,{data}/buildings/catanduanes_1.tif]",
    "labels.path=[{data}/buildings/kampala_buildings.geojson,"
    "{data}/buildings/catanduanes_buildings.geojson]",
    "labels.name=building",
    "labels.background=other",
    "legend=buildings",
    "split.train=[kampala_1,catanduanes_0]",
    "split.val=[kampala_0]",
    "split.test=[catanduanes_1]",
)
ROWS = (
    Row("buildings_unet", BUILDINGS, ("buildings/catanduanes_1.tif",), "catanduanes_1",
        "building", 0.70),
    Row("buildings_segnet", (*BUILDINGS, "tiling.size=192"), ("buildings/catanduanes_1.tif",),
        "catanduanes_1", "building", 0.60),
    Row(
        "new_brunswick",
        (
            "scenes={data}/new_brunswick",
            "labels.path={data}/new_brunswick/BakerLake_2017_clipped.gpkg",
            "labels.field=Niveau_2",
            "legend=settlement",
            "split.val=0",
            "split.test=[23322E759967N_clipped_1m_1of2]",
        ),
        ("new_brunswick/23322E759967N_clipped_1m_1of2.tif",),
        "scene 1of2",
        "miou",
        0.31,
    ),
    Row(
        "po_valley",
        (
            "scenes={data}/po_valley_modis/modis_ndvi_2010.tif",
            "labels.path={data}/po_valley_modis/clc_32632.tif",
            "legend=corine6",
            "tiling.size=64",
            "tiling.overlap=32",
            "split.by=west_east",
            "split.val=0",
            "split.test=0.5",
        ),
        ("po_valley_modis/modis_ndvi_2010.tif",),
        "eastern half",
        "miou",
        0.55,
    ),
    Row(
        "denmark",
        (
            "scenes={data}/denmark_s2/RGB_small.tif",
            "labels.path={data}/denmark_s2/marker2016_small.shp",
            "labels.name=field",
            "labels.background=other",
            "legend=fields",
            "tiling.size=128",
            "split.by=west_east",
            "split.val=0.1",
            "split.test=0.5",
        ),
        ("denmark_s2/RGB_small.tif",),
        "eastern half",
        "field",
        0.87,
    ),
)  # fmt: skip


def real_data() -> Path:
    """The folder of real data: GEOSEG_REAL_DATA, or ../shared/data from the project's root."""
    default = Path(__file__).parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("GEOSEG_REAL_DATA", default))


def run(row: Row, data: Path, out: Path, extra: list[str]) -> dict[str, float]:
    """The five commands for one row, in folders of its own; its scores and minutes."""
    folder = out / row.name
    began = time.monotonic()

    def geoseg(name: str, *arguments: str) -> None:
        subprocess.run([sys.executable, "-m", f"geoseg.{name}", *arguments], check=True)

    dataset, trained, maps = folder / "dataset", folder / "run", folder / "maps"
    scenes = ",".join(str(data / scene) for scene in row.scenes)
    geoseg("prepare", *(key.format(data=data) for key in row.prepare), f"dataset={dataset}")
    geoseg("train", f"experiment={row.name}", f"dataset={dataset}", f"run={trained}", *extra)
    geoseg("predict", f"checkpoint={trained}", f"scenes=[{scenes}]", f"out={maps}")
    geoseg("mosaic", f"maps={maps}", f"out={folder / 'landcover.tif'}")
    geoseg("evaluate", f"map={folder / 'landcover.tif'}", f"dataset={dataset}", "split=test",
           f"out={folder / 'report'}")  # fmt: skip
    scores = json.loads((folder / "report" / "scores.json").read_text(encoding="utf-8"))
    values = {entry["name"]: entry["iou"] for entry in scores["classes"]}
    values["miou"] = scores["miou"]
    minutes = (time.monotonic() - began) / 60
    return {"score": values[row.score], "minutes": minutes, "oa": scores["overall_accuracy"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(names)}; by default all")
    parser.add_argument(
        "--minutes", type=float, help="instead of each experiment's fit.max_minutes"
    )
    parser.add_argument("--out", type=Path, default=Path("real"))
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(names)
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(names)}")
    data = real_data()
    if not data.is_dir():
        parser.error(f"{data}: no such folder; set GEOSEG_REAL_DATA to the real data")
    extra = [f"fit.max_minutes={arguments.minutes}"] if arguments.minutes else []
    lines, missed = [], 0
    for row in ROWS:
        if arguments.rows and row.name not in arguments.rows:
            continue
        got = run(row, data, arguments.out, extra)
        what = "mIoU" if row.score == "miou" else f"IoU of {row.score}"
        lines.append(
            f"| {row.name} | {row.test} | {what} | {got['score']:.3f} | {row.target:.2f} |"
            f" {got['oa']:.3f} | {got['minutes']:.1f} |"
        )
        missed += got["score"] < row.target
    print(f"\nOn {os.cpu_count()} CPU cores, {date.today()}:\n")
    print("| row | test part | score | reached | to reach | overall accuracy | minutes |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
