"""What losses for wrong labels and ignored borders are worth, on nairobi's shifted buildings.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.noise [--out real/noise] [--epochs 15]

The outlines of nairobi lie 2 to 3 m beside the buildings. A U-Net learns from nairobi_1 (val
nairobi_0, shifted too) and is judged where labels lie right: on kampala and catanduanes, which
nothing has seen, and which look different. Equal numbers of steps, three seeds each. What is done
is kept: started again, it goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev

from benchmarks.little import SIDE, building_iou, geoseg, parsed

BORDER = 5
"""Pixels on either side of an outline that are ignored: 1.5 m."""
VARIANTS = {
    "cross-entropy": ("shifted", ("loss=cross_entropy",)),
    "bootstrapped": ("shifted", ("loss=bootstrapped",)),
    "symmetric": ("shifted", ("loss=symmetric",)),
    "ignored borders": ("borders", ("loss=cross_entropy",)),
}
"""Name → data set, and settings of the training."""
TRUE = ("kampala_0", "kampala_1", "catanduanes_0", "catanduanes_1")


def prepare(data: Path, out: Path, border: int) -> None:
    names = ("nairobi_0", "nairobi_1", *TRUE)
    scenes = ",".join(str(data / "buildings" / f"{name}.tif") for name in names)
    places = ("nairobi", "kampala", "catanduanes")
    labels = ",".join(str(data / "buildings" / f"{name}_buildings.geojson") for name in places)
    geoseg("prepare", f"scenes=[{scenes}]", f"labels.path=[{labels}]", "labels.name=building",
           "labels.background=other", "legend=buildings", "split.train=[nairobi_1]",
           "split.val=[nairobi_0]", f"split.test=[{','.join(TRUE)}]", f"tiling.size={SIDE}",
           f"labels.ignore_border={border}", f"dataset={out}")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options, data = parsed(parser, "real/noise")
    out = options.out
    prepare(data, out / "shifted", 0)
    prepare(data, out / "borders", BORDER)
    found: dict[str, dict[str, list[float]]] = {}
    for seed in options.seeds:
        for name, (dataset, extra) in VARIANTS.items():
            run = out / f"{name.replace(' ', '_')}_{seed}"
            geoseg("train", f"dataset={out / dataset}", f"run={run}", f"seed={seed}",
                   f"fit.epochs={options.epochs}", "fit.batch_size=8", "fit.pictures=0",
                   f"fit.workers={options.workers}", *extra)  # fmt: skip
            for where, split in (("true labels", "test"), ("shifted labels", "val")):
                score = building_iou(run, out / "shifted", split)
                found.setdefault(name, {}).setdefault(where, []).append(score)
            scores = ", ".join(f"{where} {s[-1]:.3f}" for where, s in found[name].items())
            print(f"{name:<16} seed {seed}: {scores}", flush=True)
    (out / "noise.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print("\nIoU of building, mean ± standard deviation over seeds")
    print(f"{'':<16}{'true labels':>18}{'shifted labels':>18}")
    for name, by_labels in found.items():
        cells = [f"{mean(s):.3f} ± {stdev(s):.3f}" if len(s) > 1 else f"{s[0]:.3f}"
                 for s in by_labels.values()]  # fmt: skip
        print(f"{name:<16}" + "".join(f"{cell:>18}" for cell in cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
