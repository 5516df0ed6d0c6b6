"""Join the layers that lie beside maps, such as confidence, into one raster each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.errors import Faults
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import Legend
from geoseg.maps.cog import write as cog
from geoseg.maps.cog.write import Progress, Running
from geoseg.maps.folder import beside_of
from geoseg.maps.join import LayerJoin, Part
from geoseg.maps.landcover import VERSION_TAG
from geoseg.maps.layers import LAYERS, Layer, parse
from geoseg.maps.mosaic_note import begin, key, note
from geoseg.outputs.claims import read_claim
from geoseg.outputs.lock import held


def layer_path(out: Path, layer: str) -> Path:
    """Raster of a layer of a mosaic, beside it."""
    return out.with_name(f"{out.stem}_{layer}{out.suffix}")


def side_paths(out: Path) -> Iterable[Path]:
    """Where the layers of a mosaic would lie."""
    return (layer_path(out, name) for name in LAYERS)


def joinable(names: Any) -> tuple[str, ...]:
    """Names of layers that a mosaic can have. Raises: InputError."""
    found = parse(names, "layers")
    faults = Faults()
    for name in found:
        if LAYERS[name].by_class:
            faults.add(
                f"layers: {name} has a band for each class and isn't joined; choose from"
                f" {', '.join(n for n, layer in LAYERS.items() if not layer.by_class)}"
            )
    faults.raise_if_any()
    return found


def with_layers(parts: Sequence[Part], names: Sequence[str]) -> dict[str, list[Part]]:
    """The maps with each of these layers beside them.

    Raises: InputError with all maps that lack one.
    """
    faults = Faults()
    found: dict[str, list[Part]] = {}
    for name in names:
        found[name] = []
        for part in parts:
            with faults.collect(), raster.environment():
                beside = beside_of(part.map.path, part.map.grid, name)
                if beside is None:
                    faults.add(
                        f"{part.map.path}: has no {name} beside it (…/{name}/"
                        f"{Path(part.map.path).name}); predict with predict.layers=[{name}], or"
                        f" leave {name} out of layers="
                    )
                    continue
                found[name].append(replace(part, layer=str(beside)))
    faults.raise_if_any()
    return found


def join_layer(
    parts: Sequence[Part], grid: Grid, out: Path, name: str, *, overwrite: bool, progress: Progress
) -> Path:
    """Join a layer beside a mosaic on the mosaic's grid; nothing is done if it is there already.

    parts: with the layer, in the order of the mosaic's. Each pixel is that of the map which gives
    the mosaic its class.
    Raises: InputError if files are damaged, or it was made with other settings.
    """
    path, layer, legend = layer_path(out, name), LAYERS[name], parts[0].map.legend
    files = [str(p) for part in parts for p in (part.map.path, part.confidence, part.layer) if p]
    products = (path.name, *(beside.name for beside in layer.side_files(path)))
    settings = {"layer": name, "mosaic": out.name, "grid": str(grid)}
    with held(path.parent, "mosaic", name=path.name):
        if begin(path, settings, files, products=products, overwrite=overwrite):
            with LayerJoin(parts, grid, mode=not layer.ramp) as join:
                template = _header(grid, layer, legend)
                running = Running(key=key(path), progress=progress)
                cog.write(path, grid, join.read, template=template, running=running)
        layer.complete(path, legend)
        cog.unfinished(path).unlink(missing_ok=True)
        note(path)
    return path


def drop_stale(out: Path, kept: Sequence[str]) -> list[Path]:
    """Remove layers that were joined for an earlier mosaic of this name, but for those `kept`.

    Files of that name that no call has joined stay. Returns: the rasters that are gone.
    """
    gone = []
    for name in LAYERS:
        path = layer_path(out, name)
        claimed = read_claim(path.parent, command="mosaic", name=path.name) is not None
        if name not in kept and claimed and path.exists():
            for one in (path, *LAYERS[name].side_files(path)):
                one.unlink(missing_ok=True)
            gone.append(path)
    return gone


def _header(grid: Grid, layer: Layer, legend: Legend) -> bytes:
    return raster.header(
        grid,
        nodata=layer.nodata,
        colors=None if layer.ramp else legend.colors(),
        description=layer.meaning,
        tags={VERSION_TAG: __version__},
    )
