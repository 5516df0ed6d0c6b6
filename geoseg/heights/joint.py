"""Write a virtual raster over the rasters of a layer, so that they open as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from geoseg.geo.grid import Grid
from geoseg.outputs.files import replacing


def write_joint(path: Path, names: Sequence[str], grids: Sequence[Grid], *, nodata: float) -> bool:
    """Write a VRT of <the path without .vrt>/<name>.tif, float32, if all have one lattice.

    Where rasters overlap, the last one that has a value counts.
    Returns: False if another file has that name, which stays; True also if there is nothing to
    write, since their lattices differ.
    Raises: InputError if it can't be written.
    """
    text = _joint(path, names, grids, nodata=nodata).encode()
    if not text:
        return True
    if path.exists():
        return path.read_bytes().replace(b"\r\n", b"\n") == text  # older ones on Windows
    with replacing(path) as temporary:
        temporary.write_bytes(text)
    return True


def _joint(path: Path, names: Sequence[str], grids: Sequence[Grid], *, nodata: float) -> str:
    """The text of the VRT; empty if the rasters are not of one lattice."""
    corners = [corner for grid in grids if (corner := grids[0].offset(grid)) is not None]
    if len(corners) < len(grids):
        return ""
    top, left = (min(places) for places in zip(*corners, strict=True))
    ends = [
        (down + grid.height, right + grid.width)
        for (down, right), grid in zip(corners, grids, strict=True)
    ]
    bottom, last = (max(places) for places in zip(*ends, strict=True))
    lines = [f'<VRTDataset rasterXSize="{last - left}" rasterYSize="{bottom - top}">']
    lines.append(f"  <SRS>{escape(grids[0].crs)}</SRS>")
    t = grids[0].transform
    first = t @ (left, top)
    numbers = (first[0], t.a, t.b, first[1], t.d, t.e)
    lines.append(f"  <GeoTransform>{', '.join(map(repr, map(float, numbers)))}</GeoTransform>")
    lines.append('  <VRTRasterBand dataType="Float32" band="1">')
    lines.append(f"    <Description>{escape(path.stem)}</Description>")
    lines.append(f"    <NoDataValue>{nodata:g}</NoDataValue>")
    for name, (down, right), grid in zip(names, corners, grids, strict=True):
        file = escape(f"{path.stem}/{name}.tif")
        size = f'xSize="{grid.width}" ySize="{grid.height}"'
        lines += [
            "    <ComplexSource>",
            f'      <SourceFilename relativeToVRT="1">{file}</SourceFilename>',
            "      <SourceBand>1</SourceBand>",
            f'      <SrcRect xOff="0" yOff="0" {size}/>',
            f'      <DstRect xOff="{right - left}" yOff="{down - top}" {size}/>',
            f"      <NODATA>{nodata:g}</NODATA>",
            "    </ComplexSource>",
        ]
    lines += ["  </VRTRasterBand>", "</VRTDataset>"]
    return "\n".join(lines) + "\n"
