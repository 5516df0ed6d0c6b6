"""Bring the maps of an output to the step that its journal names, file by file."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.raster import BLOCK, Raster
from geoseg.maps import landcover
from geoseg.maps.folder import FILES, NAME, map_paths, write_side_files
from geoseg.outputs.files import read_note, replacing, write_json
from geoseg.outputs.stamp import are_whole, sha256, stamps
from geoseg.prediction.writer.map_writer import MapWriter
from geoseg.refinement.old_maps import OldMap, OldMaps
from geoseg.refinement.patch import Patch
from geoseg.refinement.steps import Journal

TAG = "GEOSEG_REFINED"
"""Of a map: which corrections were worked into it."""
STATE = "refined"
"""Key of a scene's entry: the same; "" = as predicted."""
STRIP = 4 * BLOCK
"""Rows that are held at a time."""


def settle(out: Path, old: OldMaps, journal: Journal, here: dict[str, OldMap]) -> list[str]:
    """Write those maps that are not as the journal says, and the record of all.

    here: maps of scenes that were given. Others are copied as they are, as long as no step is
    about them. What a call that was killed left is made good.
    Returns: names of the scenes whose maps were written.
    Raises: InputError for scenes that steps are about and that were not given; a full disk.
    """
    noted = (read_note(out / NAME) or {}).get("scenes")
    before = noted if isinstance(noted, dict) else {}
    entries, written = {}, []
    for name, entry in old.entries.items():
        patch = journal.patch_of(name)
        state = "" if patch is None else sha256(patch)[:16]
        known = before.get(name, {})
        step = journal.step
        if patch is not None and step and step.stamps.get(name) != old.stamp_of(name):
            raise InputError(
                f"{old.folder}: the map of scene {name} was predicted anew since step"
                f" {step.number}; refine again with corrections={out / step.corrections}"
            )
        same = patch is not None or known.get("stamp") == entry.get("stamp")
        if same and known.get(STATE) == state and are_whole(out, known.get(FILES)):
            entries[name] = known
            continue
        if patch is None:
            _copy(old.folder, out, entry)
        elif name not in here:
            raise InputError(
                f"scenes: {name} was corrected before and is not among them; give all scenes that"
                " were corrected, or go back by undo=…"
            )
        else:
            _write(out, here[name], Patch.load(patch), state)
        written.append(name)
        files = [out / path for path in _files(entry)]
        entries[name] = entry | {STATE: state, FILES: stamps(out, files)}
        if patch is not None:  # whoever is killed after this need not write the map again
            write_json(out / NAME, old.record | {"scenes": before | entries})
    write_json(out / NAME, old.record | {"scenes": entries})
    return written


def _files(entry: dict[str, object]) -> list[str]:
    """Class map and layers of a scene, relative to the output."""
    files = entry.get(FILES)
    return list(files) if isinstance(files, dict) else []


def _copy(source: Path, out: Path, entry: dict[str, object]) -> None:
    """Copy the maps of a scene with what lies beside them, each whole or not at all."""
    for name in _files(entry):
        path = source / name
        beside = (path.with_name(f"{path.name}.aux.xml"), path.with_suffix(".qml"))
        for one in (path, *(file for file in beside if file.is_file())):
            with replacing(out / one.relative_to(source)) as temporary:
                try:
                    shutil.copyfile(one, temporary)
                except FileNotFoundError:
                    raise InputError(
                        f"{one}: is gone; predict again, which makes what is missing"
                    ) from None


def _write(out: Path, old: OldMap, patch: Patch, state: str) -> None:
    """Write the maps of a scene with what changes in them; the others' blocks stay as they are."""
    grid, legend = old.map.grid, old.map.legend
    tags = landcover.tags(legend, old.map.tags.get(landcover.MODEL_TAG), undecided=old.undecided)
    paths = map_paths(out, old.scene.name, old.layers)
    with raster.environment():
        writer = MapWriter(paths, grid, legend, tags | {TAG: state}, old.layers)
        try:
            with ExitStack() as stack:
                files = [stack.enter_context(Raster(path)) for path in old.paths]
                for window in grid.window.blocks(STRIP):
                    writer.put(patch.apply(old.read(files, window), window), window)
            writer.close()
        except BaseException:
            writer.abort()
            raise
    undecided = bool(old.undecided)
    write_side_files(out, old.scene.name, legend, layers=old.layers, undecided=undecided)
