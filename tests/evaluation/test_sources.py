"""Scenes behind maps, as the record of predict leads to them."""

from types import SimpleNamespace

import numpy as np

from geoseg.evaluation.sources import scenes_of
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.files import write_json
from tests.made.scenes import write

IMAGE = np.ones((1, 20, 30), np.uint16)


def test_items_with_a_file_for_each_band_are_shown_by_these(tmp_path):
    entries = {}
    for name in ("a", "b"):
        paths = [str(write(tmp_path / name / f"{band}.tif", IMAGE)) for band in ("B02", "B03")]
        inputs = [fingerprint(path) for path in paths]
        entries[name] = {"status": "done", "paths": paths, "inputs": inputs}
    write_json(tmp_path / "maps/predict.json", {"settings": {"bands": {}}, "scenes": entries})
    (tmp_path / "maps/landcover").mkdir()
    scenes, notes = scenes_of(SimpleNamespace(path=tmp_path / "maps/landcover/a.tif", tags={}))
    assert ([scene.name for scene in scenes], notes) == (["B02", "B03"] * 2, [])


def test_dates_of_a_series_with_a_file_for_each_band_are_shown_by_these(tmp_path):
    paths = [str(write(tmp_path / f"{band}_20220110.tif", IMAGE)) for band in ("B02", "B03")]
    entry = {"status": "done", "paths": paths, "inputs": [fingerprint(path) for path in paths]}
    settings = {"bands": {"order": ["B02", "B03"]}, "series": {"path": str(tmp_path)}}
    write_json(tmp_path / "maps/predict.json", {"settings": settings, "scenes": {"a": entry}})
    (tmp_path / "maps/landcover").mkdir()
    scenes, notes = scenes_of(SimpleNamespace(path=tmp_path / "maps/landcover/a.tif", tags={}))
    assert ([scene.name for scene in scenes], notes) == (["B02_20220110", "B03_20220110"], [])
