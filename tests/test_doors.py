"""Each third-party library has few doors, and nobody waits for torch without need."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "geoseg"
COMMANDS = {
    *("demo", "prepare", "prepare_series", "train", "crossvalidate"),
    *("pretrain", "calibrate", "predict", "mosaic", "vectorize"),
    *("export", "evaluate", "sample", "assess", "compare"),
    *("height", "adapt", "stress", "explain", "suggest", "refine"),
    *("pointnet", "translate"),
}
RUN_LOOP = {"training.loop", "training.lr_find", "training.validation"}
HYDRA = ("run", "given", "search", "sweep", "explain", "command_line")
DOORS = {
    "rasterio": {
        *(f"geo.raster.{name}" for name in ("file_info", "gdal", "reader", "writer")),
        *("geo.drivers", "geo.rasterize", "dataset.retile", "geo.cubes.virtual_tiff"),
    },
    "xarray": {"geo.cubes.cube", "geo.cubes.axes", "geo.cubes.netcdf"},
    "zarr": {"geo.cubes.cube"},
    "geopandas": {"geo.vector", "geo.geoparquet", "demo.__main__", "demo.layer", "demo.series"},
    "pyogrio": {"geo.vector", "vectors.feature_stream", "demo.layer"},
    "albumentations": {"samples.augment", "samples.own_augment"},
    "segmentation_models_pytorch": {
        *("models.networks.smp", "models.networks.transformers.decoders"),
        "prediction.backends.merge",
    },
    "lightning_fabric": {
        *RUN_LOOP,
        *("training.processes.ranks", "training.objectives.reconstruction"),
        *("training.objectives.distillation", "training.objectives.clicks"),
        "training.objectives.several",
        *("training.run.pictures", "training.run.tensorboard"),
    },
    "laspy": {"heights.cloud", "demo.lidar"},
    "lazrs": set(),
    "sklearn": {"training.tasks.grow"},
    "mlflow": {"training.run.mlflow"},
    "wandb": {"training.run.wandb"},
    "safetensors": {"models.checkpoint", "models.weights"},
    "openvino": {"prediction.backends.openvino"},
    "onnx": {"prediction.backends.onnx", "models.published.dialects", "export.onnx"},
    "onnxruntime": {"prediction.backends.onnx", "export.check"},
    "onnxscript": {"prediction.backends.onnx", "export.onnx"},
    "hydra": {
        *(f"commands.{n}" for n in HYDRA),
        "training.run.folder",
    },
    "omegaconf": {
        *(f"commands.{n}" for n in HYDRA),
        "training.run.folder",
    },
    "jinja2": {"outputs.page"},
    "pandas": {
        *("geo.vector", "demo.series", "parcels.predict", "parcels.table"),
        "parcels.band_columns",
        *("parcels.observations", "assessment.sampling.sample_file"),
    },
    "starlette": {"page.server", "page.serve"},
    "uvicorn": {"page.serve"},
    "dask": {"prediction.dask"},
    "distributed": {"prediction.dask"},
    "osgeo": set(),
}
"""Library → the modules that may import it. Which room may import which: see pyproject.toml."""
FILES = sorted(PACKAGE.rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@cache
def imports(path: Path) -> set[str]:
    """All libraries that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("library", DOORS)
def test_doors(library):
    assert {module(path) for path in FILES if library in imports(path)} <= DOORS[library]


def test_rooms_are_no_larger_than_can_be_seen_at_a_glance():
    # The package itself holds the commands, which the next test names one by one.
    for folder in {path.parent for path in FILES} - {PACKAGE}:
        names = {path.name for path in folder.iterdir() if path.suffix == ".py"}
        assert len(names - {"__init__.py"}) <= 16, folder


def test_nothing_is_flat_but_commands():
    ground = {"__init__", "__main__", "errors", "lazily"}
    flat = {path.stem for path in PACKAGE.glob("*.py")} - ground
    assert flat == COMMANDS - {"demo", "export"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_waits_for_no_heavy_library(name):
    call = [sys.executable, "-X", "importtime", "-m", f"geoseg.{name}", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"python -m geoseg.{name}" in done.stdout
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "geoseg" in loaded
    heavy = {"torch", "albumentations", "matplotlib", "scipy", "lightning_fabric", "cv2"}
    assert not heavy & loaded
