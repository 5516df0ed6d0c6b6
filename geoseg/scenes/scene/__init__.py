"""A scene: one acquisition in one or several files; find, read and harmonize them."""

from geoseg.scenes.scene.find import (
    SceneFiles,
    bands_of,
    find_files,
    find_scenes,
    image_info,
    match_names,
)
from geoseg.scenes.scene.harmonize import harmonize, said_of_changes, said_of_names
from geoseg.scenes.scene.image import Scene, SceneReader, Source, fit_bands

__all__ = [
    "Scene",
    "SceneFiles",
    "SceneReader",
    "Source",
    "bands_of",
    "find_files",
    "find_scenes",
    "fit_bands",
    "harmonize",
    "image_info",
    "match_names",
    "said_of_changes",
    "said_of_names",
]
