"""Write vector layers with the same bytes each time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import geopandas

CRS = "EPSG:3035"
"""Other than the images', as it mostly is."""


def write_layer(frame: geopandas.GeoDataFrame, path: Path, layer: str) -> None:
    """Write a GeoPackage in `CRS`, whole or not at all."""
    import pyogrio

    from geoseg.outputs.files import replacing

    content = io.BytesIO()
    # GeoPackages note when they were changed; a fixed date keeps the demo the same.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2024-07-01T10:00:00.000Z"})
    try:
        pyogrio.write_dataframe(frame.to_crs(CRS), content, driver="GPKG", layer=layer)
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())
