"""Tell what of a command's output QGIS loads, and load it with its own style."""

import glob
import os

from qgis.core import QgsProcessingContext, QgsProcessingLayerPostProcessorInterface

RESULTS = {
    "prepare": ("targets/*.tif", "tiles.gpkg"),
    "predict": ("confidence/*.tif", "landcover/*.tif", "parcels.gpkg"),
    "evaluate": ("errors.tif", "disagreements.gpkg", "zones.gpkg"),
    "sample": ("sample.gpkg|layername=units", "sample.gpkg|layername=points"),
    "assess": ("zones.gpkg", "points.gpkg"),
    "compare": ("change.tif", "zones.gpkg"),
    "refine": (
        "landcover/*.tif",
        "corrections.gpkg|layername=polygons",
        "corrections.gpkg|layername=lines",
        "corrections.gpkg|layername=points",
    ),
}
"""What of an output folder is loaded, the lowest first."""
FOLDERS = ("targets", "confidence")
"""Whose rasters have the names of scenes, as the class maps have."""
MOST = 12
"""Layers of a kind that are loaded: hundreds would keep a person waiting."""


class _Styled(QgsProcessingLayerPostProcessorInterface):
    """Gives a layer the style that lies beside or inside its file."""

    def postProcessLayer(self, layer, context, feedback):
        layer.loadDefaultStyle()
        layer.triggerRepaint()


_kept = []
"""QGIS keeps no Python objects alive, so these are kept here: a few bytes for each loaded layer."""


def _styled():
    """One for each layer: QGIS deletes that of every layer, so a common one would crash it."""
    _kept.append(_Styled())
    return _kept[-1]


def layers_of(command, folder):
    """Sources of the layers in an output folder, and how many were left out of each kind."""
    sources, left_out = [], {}
    for pattern in RESULTS.get(command, ()):
        name, _, layer = pattern.partition("|")
        found = sorted(glob.glob(os.path.join(glob.escape(folder), name)))
        if len(found) > MOST:
            left_out[name] = len(found) - MOST
        sources += [path + ("|" + layer if layer else "") for path in found[:MOST]]
    return sources, left_out


def load(source, context, output):
    """Have QGIS load a layer when the algorithm has ended. output: name of the parameter."""
    path, _, layer = source.partition("|layername=")
    name = os.path.splitext(os.path.basename(path))[0]
    kind = os.path.basename(os.path.dirname(path))
    if layer:
        name = f"{name} {layer}"
    elif kind in FOLDERS:
        name = f"{name} {kind}"
    details = QgsProcessingContext.LayerDetails(name, context.project(), output)
    details.setPostProcessor(_styled())
    context.addLayerToLoadOnCompletion(source, details)


def style(destination, context):
    """Have a layer that is loaded anyhow take its own style."""
    if context.willLoadLayerOnCompletion(destination):
        details = context.layerToLoadOnCompletionDetails(destination)
        details.setPostProcessor(_styled())
