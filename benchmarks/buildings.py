"""The U-Net of the buildings that benchmarks of real maps share, and scenes for it."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.real import ROWS, real_data, run

ROW = next(row for row in ROWS if row.name == "buildings_unet")
OUT = Path("real")


def add_options(parser: argparse.ArgumentParser, scenes: tuple[str, ...]) -> None:
    """Options for the run and the scenes; by default those of the buildings."""
    parser.add_argument(
        "--run", type=Path, help=f"folder of a training; by default {OUT / ROW.name / 'run'},"
        " which is trained first if it is not there (6 minutes)",
    )  # fmt: skip
    parser.add_argument(
        "--scenes", type=Path, nargs="+", help=f"GeoTIFFs; by default {', '.join(scenes)}"
    )


def chosen(
    parser: argparse.ArgumentParser, options: argparse.Namespace, scenes: tuple[str, ...]
) -> tuple[Path, list[Path]]:
    """Run folder and scenes that the options stand for; trains if it must."""
    data = real_data()
    if (options.run is None or options.scenes is None) and not data.is_dir():
        parser.error(f"{data}: no such folder; set GEOSEG_REAL_DATA to the real data")
    folder = options.run or OUT / ROW.name / "run"
    if options.run is None and not (folder / "best.safetensors").exists():
        run(ROW, data, OUT, [])
    return folder, options.scenes or [path_of(name) for name in scenes]


def path_of(scene: str) -> Path:
    """Where a scene of the buildings lies."""
    return real_data() / "buildings" / f"{scene}.tif"
