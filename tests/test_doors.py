"""Each third-party library has few doors; imports go down; nobody waits for torch without need."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "geoseg"
COMMANDS = {
    *("demo", "prepare", "prepare_series", "train", "crossvalidate"),
    *("pretrain", "predict", "mosaic", "evaluate"),
}
TENSOR_ROOMS = {
    *(
        "advice",
        "samples",
        "models",
        "weights",
        "transfer",
        "loss",
        "fit",
        "average",
        "books",
        "difficulty",
        "judge",
        "lesson",
        "loggers",
        "lr_find",
        "meanteacher",
        "reconstruction",
        "learnencoder",
        "tilepictures",
        "schedule",
        "ranks",
        "learn",
        "checkpoint",
        "device",
        "backends",
        "blend",
        "forward",
        "network",
        "work",
        "cluster",
        "collect",
        "mapping",
        "predictseries",
        "parcelmaps",
        "tablemaps",
        "learnseries",
        "learnmap",
        "learnfold",
        "learnforest",
        "classify",
    ),
}
DOORS = {
    "rasterio": {"raster", "drivers", "burn", "blocks"},
    "geopandas": {"dataset", "demo", "demo_layer", "demo_series", "labels"},
    "pyogrio": {"labels", "dataset", "demo_layer"},
    "albumentations": {"augment"},
    "segmentation_models_pytorch": {"models"},
    "lightning": {
        *("fit", "ranks", "judge", "loggers", "difficulty", "lr_find"),
        *("learn", "learnseries", "learnencoder", "learnfold", "reconstruction", "tilepictures"),
    },
    "torchmetrics": {"judge"},
    "sklearn": {"grow"},
    "mlflow": {"loggers"},
    "wandb": {"loggers"},
    "safetensors": {"checkpoint", "weights"},
    "openvino": {"backends"},
    "onnx": {"backends"},
    "onnxruntime": {"backends"},
    "onnxscript": {"backends"},
    "hydra": {"command", "given", "search", "sweep"},
    "omegaconf": {"command", "given", "search", "sweep"},
    "jinja2": {"report"},
    "pandas": {"dataset", "demo_series", "parcelmaps", "table"},
    "dask": {"cluster"},
    "distributed": {"cluster"},
    "osgeo": set(),
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("library", DOORS)
def test_doors(library):
    users = {
        room(path) for path in FILES if any(name.split(".")[0] == library for name in imports(path))
    }
    assert users <= DOORS[library]


def storey(name: str) -> int:
    return 2 if name in COMMANDS else 1 if name in TENSOR_ROOMS else 0


def test_imports_go_down_only():
    upward = []
    for path in FILES:
        here = room(path)
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "geoseg" or len(parts) < 2 or parts[1] == here:
                continue
            if storey(parts[1]) > storey(here) or storey(parts[1]) == storey(here) == 2:
                upward.append(f"{here} → {parts[1]}")
    assert not upward


def test_map_rooms_know_nothing_of_torch():
    users = {room(p) for p in FILES if any(n.split(".")[0] == "torch" for n in imports(p))}
    assert users <= TENSOR_ROOMS | COMMANDS


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_waits_for_no_heavy_library(name):
    call = [sys.executable, "-X", "importtime", "-m", f"geoseg.{name}", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python -m geoseg.{name}" in done.stdout
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "geoseg" in loaded
    heavy = {"torch", "albumentations", "matplotlib", "scipy", "lightning", "cv2"}
    assert not heavy & loaded
