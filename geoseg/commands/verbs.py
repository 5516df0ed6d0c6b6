"""Name the commands of geoseg, in the order in which people come to need them."""

from __future__ import annotations

import ast
from pathlib import Path

GROUPS = {
    "Try it": ("demo",),
    "Prepare data": ("height", "prepare", "prepare_series"),
    "Train": ("train", "pretrain", "crossvalidate", "adapt", "translate", "calibrate"),
    "Make maps": ("predict", "mosaic", "vectorize", "pointnet"),
    "Hand over": ("export",),
    "Judge maps": ("evaluate", "sample", "assess", "compare"),
    "Judge networks": ("stress", "explain"),
    "Mend maps": ("suggest", "refine"),
}
VERBS = tuple(verb for verbs in GROUPS.values() for verb in verbs)
USUAL = {
    "prepare": (
        *("scenes", "labels.path", "labels.field", "labels.name", "legend.path", "dataset"),
        *("labels.background", "tiling.size", "split.val", "split.test", "overwrite"),
    ),
    "prepare_series": (
        *("series.path", "series.pattern", "table", "labels.path", "labels.field", "legend.path"),
        *("unit", "dataset", "split.val", "split.test", "overwrite"),
    ),
    "train": (
        *("dataset", "run", "model.name", "model.encoder", "model.weights", "fit.max_minutes"),
        *("fit.epochs", "fit.device", "seed", "overwrite"),
    ),
    "pretrain": (
        *("scenes", "run", "model.encoder", "fit.max_minutes", "fit.epochs", "fit.device"),
        *("tiling.size", "seed", "overwrite"),
    ),
    "crossvalidate": (
        *("dataset", "run", "folds", "seeds", "split.by", "model.name", "fit.epochs"),
        *("fit.device", "seed", "overwrite"),
    ),
    "predict": (
        *("checkpoint", "scenes", "out", "tiling.size", "tiling.overlap", "predict.device"),
        *("tta", "overwrite"),
    ),
    "evaluate": (
        *("map", "dataset", "split", "labels.path", "labels.field", "legend.path", "out"),
        *("scenes", "overwrite"),
    ),
}
"""Keys that help shows first, of commands with many; of others those with no dot in them."""
PACKAGE = Path(__file__).parent.parent


def source(verb: str) -> Path:
    """The file of a command."""
    path = PACKAGE / f"{verb}.py"
    return path if path.exists() else PACKAGE / verb / "__main__.py"


def summary(verb: str) -> str:
    """What a command does: the first line of its file, which need not be imported for that."""
    with source(verb).open(encoding="utf-8") as file:
        return file.readline().strip().strip('"')


def schema_of(verb: str) -> str:
    """Name of the dataclass with a command's settings: what its file hands to `run`."""
    for node in ast.walk(ast.parse(source(verb).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and len(node.args) > 2:
            name, schema = node.args[:2]
            if isinstance(name, ast.Constant) and name.value == verb:
                assert isinstance(schema, ast.Name)
                return schema.id
    raise LookupError(f"{source(verb)}: calls run({verb!r}, …) nowhere")
