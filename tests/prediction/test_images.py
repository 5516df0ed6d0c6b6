"""Prediction: from files to maps; what is refused, what goes on, what is never lost."""

import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pystac
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.maps import landcover
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.device import choose
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.outputs.files import read_json
from geoseg.outputs.lock import held
from geoseg.predict import PredictConfig, TilingChoice, main
from geoseg.prediction.backends.build import prepare
from geoseg.prediction.backends.choice import Choice
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.writer.scene_writer import SceneWriter
from geoseg.scenes.bands import Bands
from tests.made import started
from tests.made.narrow import few_neighbourhoods
from tests.made.scenes import (
    CARD,
    LEGEND,
    Constant,
    Context,
    Identity,
    grid,
    plain,
    with_bands,
    write,
)
from tests.made.stac import catalogued, checked, sentinel

CODES = np.array([0, *LEGEND.codes], np.uint8)
RUNNING = InferenceSettings(device="cpu", precision="32", batch_size=3)


def identity(card: ModelCard = CARD, running: InferenceSettings = RUNNING) -> TrainedNetwork:
    """Class k where the first band is k + 1."""
    return TrainedNetwork(card, "0" * 16, Identity(len(card.legend), first=1), running)


def read(path):
    with raster.Raster(path) as file:
        data, valid = file.read(file.grid.window)
    return data[0], valid


def classes(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8)


def files_of(folder):
    """Bytes of all files but the record, which holds times, by path."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "predict.json")
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_maps_hold_codes_confidence_legend_and_provenance(tmp_path):
    image = classes(70, 45)
    write(tmp_path / "scenes" / "a.tif", image)
    report = predict(identity(), tmp_path / "scenes", tmp_path / "maps")
    assert report.done == ["a"]
    codes, valid = read(tmp_path / "maps/landcover/a.tif")
    assert (codes == CODES[image]).all()
    assert (valid == (image > 0)).all()
    confidence, _ = read(tmp_path / "maps/confidence/a.tif")
    assert ((confidence == 0) == (image == 0)).all()
    assert confidence.max() <= 100
    found = landcover.ClassMap.read(tmp_path / "maps/landcover/a.tif")
    assert found.legend == LEGEND
    assert found.grid == raster.info(tmp_path / "scenes/a.tif").grid
    assert found.tags[landcover.MODEL_TAG] == "0" * 16
    assert (tmp_path / "maps/landcover/a.tif.aux.xml").read_text() == LEGEND.aux_xml()
    assert (tmp_path / "maps/landcover/a.qml").read_text() == LEGEND.qml()
    record = read_json(tmp_path / "maps/predict.json")
    assert record["model"] == "0" * 16
    entry = record["scenes"]["a"]
    assert entry["status"] == "done"
    assert entry["paths"] == [str(tmp_path / "scenes/a.tif")]
    assert entry["seconds"] > 0
    assert entry["megapixels_per_second"] > 0
    assert not list((tmp_path / "maps").rglob("*.part"))


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 300),
    width=st.integers(1, 600),
    size=st.integers(8, 64),
    share=st.floats(0, 0.5),
    seed=st.integers(0, 99),
)
def test_identity_through_files(tmp_path_factory, height, width, size, share, seed):
    folder = tmp_path_factory.mktemp("identity")
    image = classes(height, width, seed)
    write(folder / "a.tif", image)
    tiling = Tiling(size, int(share * size))
    predict(identity(), folder / "a.tif", folder / "maps", tiling=tiling)
    assert (read(folder / "maps/landcover/a.tif")[0] == CODES[image]).all()


def test_a_handful_of_pixels_tells_nothing_of_units(tmp_path):
    write(tmp_path / "a.tif", np.ones((7, 9), np.uint8))
    predict(identity(), tmp_path / "a.tif", tmp_path / "maps")
    assert (read(tmp_path / "maps/landcover/a.tif")[0] == CODES[1]).all()
    write(tmp_path / "b.tif", np.ones((8, 9), np.uint8))
    report = predict(identity(), tmp_path / "b.tif", tmp_path / "maps")
    assert "other units" in str(report.refused)


@pytest.mark.parametrize("side", [31, 32, 33, 1])
def test_scenes_about_the_size_of_a_window(tmp_path, side):
    image = np.maximum(classes(side, side), side == 1).astype(np.uint8)
    write(tmp_path / "a.tif", image)
    predict(identity(), tmp_path / "a.tif", tmp_path / "maps")
    assert (read(tmp_path / "maps/landcover/a.tif")[0] == CODES[image]).all()


def test_probabilities_are_smoothed_as_the_training_found_best(tmp_path):
    """Unless the settings say otherwise; of several networks the least counts."""
    write(tmp_path / "scenes/a.tif", classes(40, 50))
    made = {}
    wanted, plain_ = identity(replace(CARD, smooth=3)), identity()
    cases = {
        "unasked": wanted,
        "asked": replace(plain_, running=replace(RUNNING, smooth=3)),
        "none": replace(wanted, running=replace(RUNNING, smooth=0)),
        "plain": plain_,
        "pair": replace(wanted, others=(plain_,)),
    }
    for name, network in cases.items():
        report = str(predict(network, tmp_path / "scenes", tmp_path / name))
        assert ("averaged over 3 × 3 pixels" in report) == (name == "unasked")
        made[name] = read(tmp_path / name / "landcover/a.tif")[0]
    assert (made["unasked"] == made["asked"]).all()
    assert all((made[name] == made["plain"]).all() for name in ("none", "pair"))
    assert (made["unasked"] != made["plain"]).mean() > 0.1
    assert read_json(tmp_path / "unasked/predict.json")["settings"]["smooth"] == 3


def test_panels_write_the_same_bytes(tmp_path):
    image = classes(300, 1100)
    write(tmp_path / "a.tif", image)
    network = replace(identity(), source=Context(3))
    predict(network, tmp_path / "a.tif", tmp_path / "one")
    # Windows of 32 pixels take 2.6 kB a column; this holds 256 columns and a window on each side.
    narrow = replace(network, running=replace(RUNNING, memory=0.0025))
    report = predict(narrow, tmp_path / "a.tif", tmp_path / "many")
    assert report.done == ["a"]
    assert files_of(tmp_path / "one") == files_of(tmp_path / "many")


def test_panels_that_wait_to_be_joined(tmp_path, monkeypatch):
    """Stopped before the join: only that is done; a fault of it costs its scene, not the others."""
    for name in "ab":
        write(tmp_path / "scenes" / f"{name}.tif", classes(100, 900, ord(name)))
    source = Context(3)
    network = replace(identity(), source=source, running=replace(RUNNING, memory=0.0025))
    predict(network, tmp_path / "scenes", tmp_path / "undisturbed")

    def stopped(self, paths):
        raise RuntimeError("stopped")

    def full(self, paths):
        raise InputError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(SceneWriter, "_join", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            predict(network, tmp_path / "scenes", tmp_path / "maps")
    with monkeypatch.context() as patch:
        patch.setattr(SceneWriter, "_join", full)
        report = predict(network, tmp_path / "scenes", tmp_path / "maps")
        assert report.failed == {"a": "disk full", "b": "disk full"}
    with monkeypatch.context() as patch:
        patch.setattr(SceneWriter, "_join", stopped)
        with pytest.raises(RuntimeError, match="stopped"):
            predict(network, tmp_path / "scenes/a.tif", tmp_path / "maps")
    seen = source.seen
    assert predict(network, tmp_path / "scenes/a.tif", tmp_path / "maps").done == ["a"]
    assert source.seen == seen
    assert predict(network, tmp_path / "scenes", tmp_path / "maps").done == ["b"]
    assert files_of(tmp_path / "maps") == files_of(tmp_path / "undisturbed")


def test_threads_that_read_change_no_byte(tmp_path):
    """Windows of 1,600 columns, read in three parts."""
    write(tmp_path / "scenes/a.tif", classes(200, 1500))
    write(tmp_path / "scenes/b.tif", classes(200, 100, 1), grid=grid(200, 100, left=501_500.0))
    network = replace(identity(), source=Context(3))
    predict(network, tmp_path / "scenes", tmp_path / "one")
    several = replace(network, running=replace(RUNNING, readers=3))
    predict(several, tmp_path / "scenes", tmp_path / "three")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "three")


def test_a_scene_without_data_gives_a_map_without_data(tmp_path):
    write(tmp_path / "a.tif", np.zeros((40, 50), np.uint8))
    report = predict(identity(), tmp_path / "a.tif", tmp_path / "maps")
    assert report.done == ["a"]
    for kind in ("landcover", "confidence"):
        assert not read(tmp_path / f"maps/{kind}/a.tif")[0].any()


def test_bands_are_picked_by_name(tmp_path):
    image = classes(40, 50)
    stack = np.stack([image * 0 + 1, image * 0 + 2, image])
    write(tmp_path / "a.tif", stack, names=("blue", "green", "red"))
    network = identity(with_bands(CARD, "red", "green"))
    predict(network, tmp_path / "a.tif", tmp_path / "maps")
    expected = np.where(image > 0, CODES[image], 0)
    got = read(tmp_path / "maps/landcover/a.tif")[0]
    assert (got[image > 0] == expected[image > 0]).all()


def test_bands_without_names_are_taken_as_they_come_and_that_is_said(tmp_path, capsys):
    image = classes(40, 50)
    write(tmp_path / "a.tif", np.stack([image, image]))
    network = identity(with_bands(CARD, "red", "green"))
    assert predict(network, tmp_path / "a.tif", tmp_path / "maps").done == ["a"]
    assert (read(tmp_path / "maps/landcover/a.tif")[0] == CODES[image]).all()
    said = capsys.readouterr().err
    said_so = "as only one of scene and training names them: band_1 for red, band_2 for green; if"
    assert f"WARNING: a: bands are taken as they come, {said_so}" in said


def test_what_does_not_suit_is_refused_and_the_rest_is_done(tmp_path, capsys):
    scenes = tmp_path / "scenes"
    image = classes(60, 50)
    write(scenes / "good.tif", image)
    write(scenes / "small_values_in_uint16.tif", image.astype(np.uint16))
    write(scenes / "bands.tif", np.stack([image] * 3))
    write(scenes / "bright.tif", image.astype(np.uint16) * 20_000)
    write(scenes / "dark.tif", image.astype(np.float32) / 255)
    write(scenes / "coarse.tif", image, grid=grid(60, 50, pixel=1.3))
    write(scenes / "unplaced.tif", image, grid=replace(grid(60, 50), crs=""))
    card = replace(CARD, statistics=plain(high=255))
    report = predict(identity(card), scenes, tmp_path / "maps")
    assert report.done == ["good", "small_values_in_uint16"]
    assert set(report.refused) == {"bands", "bright", "dark", "coarse", "unplaced"}
    for name, words in {
        "bands": ("3 bands", "expected 1 (gray)", "bands.names"),
        "bright": ("uint16 values up to 60000", "uint8 up to 255", "divide by 256"),
        "dark": ("float32 values", "uint8 up to 255", "multiply"),
        "coarse": ("1.3 m", "1 m", "predict.resample=true"),
        "unplaced": ("no CRS",),
    }.items():
        assert f"{name}.tif" in report.refused[name]
        for word in words:
            assert word in report.refused[name]
    said = capsys.readouterr().err
    assert all(reason in said for reason in report.refused.values())
    record = read_json(tmp_path / "maps/predict.json")["scenes"]
    assert {n for n, e in record.items() if e["status"] == "refused"} == set(report.refused)
    assert record["coarse"]["reason"] == report.refused["coarse"]
    with pytest.raises(InputError, match=r"5 refused"):
        report.raise_if_incomplete()
    assert (read(tmp_path / "maps/landcover/small_values_in_uint16.tif")[0] == CODES[image]).all()


def test_dark_corners_are_no_proof_of_other_units(tmp_path):
    image = np.ones((300, 300), np.uint8)
    image[140:160, 140:160] = 200
    write(tmp_path / "a.tif", image)
    card = replace(CARD, statistics=plain(high=255))
    assert predict(identity(card), tmp_path / "a.tif", tmp_path / "maps").done == ["a"]


def corrupt(path):
    """Damage pixels near the end of a file, and leave its header whole."""
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 4000] = b"\xff" * 4000
    path.write_bytes(data)


def noise(height, width):
    return np.random.default_rng(1).integers(1, 4, (height, width)).astype(np.uint8)


def test_a_damaged_file_among_good_ones(tmp_path, capsys):
    for name in "abc":
        write(tmp_path / "scenes" / f"{name}.tif", noise(900, 600))
    corrupt(tmp_path / "scenes" / "b.tif")
    report = predict(identity(), tmp_path / "scenes", tmp_path / "maps")
    assert report.done == ["a", "c"]
    assert "b.tif" in report.failed["b"]
    assert "damaged" in report.failed["b"]
    assert "b.tif" in capsys.readouterr().err
    assert sorted(p.name for p in (tmp_path / "maps/landcover").glob("*")) == sorted(
        f"{name}{end}" for name in "ac" for end in (".tif", ".tif.aux.xml", ".qml")
    )
    assert read_json(tmp_path / "maps/predict.json")["scenes"]["b"]["status"] == "failed"
    with pytest.raises(InputError, match=r"1 failed \(b\)"):
        report.raise_if_incomplete()
    # Mended and started again: only it is done.
    write(tmp_path / "scenes" / "b.tif", noise(900, 600))
    report = predict(identity(), tmp_path / "scenes", tmp_path / "maps")
    assert (report.done, report.before, report.failed) == (["b"], ["a", "c"], {})


def test_a_map_is_made_anew_if_its_scene_changed_and_goes_if_it_no_longer_suits(tmp_path):
    write(tmp_path / "a.tif", classes(40, 40))
    predict(identity(), tmp_path / "a.tif", tmp_path / "maps")
    assert predict(identity(), tmp_path / "a.tif", tmp_path / "maps").before == ["a"]
    image = classes(44, 40, seed=1)
    write(tmp_path / "a.tif", image)
    assert predict(identity(), tmp_path / "a.tif", tmp_path / "maps").done == ["a"]
    assert (read(tmp_path / "maps/landcover/a.tif")[0] == CODES[image]).all()
    write(tmp_path / "a.tif", np.stack([image] * 2))
    assert set(predict(identity(), tmp_path / "a.tif", tmp_path / "maps").refused) == {"a"}
    assert not list((tmp_path / "maps/landcover").iterdir())


def test_maps_of_earlier_calls_are_mentioned(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.tif", classes(40, 40))
    predict(identity(), tmp_path / "a.tif", tmp_path / "maps")
    report = predict(identity(), tmp_path / "b.tif", tmp_path / "maps")
    assert report.others == ["a"]
    assert "1 more" in str(report)
    told = read_json(tmp_path / "maps/predict.json")
    assert set(told["scenes"]) == {"a", "b"}
    assert "refit" not in told
    predict(identity(replace(CARD, refit=True)), tmp_path / "a.tif", tmp_path / "refit")
    assert read_json(tmp_path / "refit/predict.json")["refit"] is True


def test_an_output_of_other_settings_is_not_touched(tmp_path):
    write(tmp_path / "a.tif", classes(40, 40))
    predict(identity(), tmp_path / "a.tif", tmp_path / "maps")
    before = files_of(tmp_path / "maps")
    other = replace(identity(), hash="1" * 16)
    with pytest.raises(InputError, match=r"other settings \(model\).*overwrite=true"):
        predict(other, tmp_path / "a.tif", tmp_path / "maps")
    with pytest.raises(InputError, match=r"tiling\.size"):
        predict(identity(), tmp_path / "a.tif", tmp_path / "maps", tiling=Tiling(24, 8))
    assert files_of(tmp_path / "maps") == before
    predict(other, tmp_path / "a.tif", tmp_path / "maps", overwrite=True)
    assert (
        landcover.ClassMap.read(tmp_path / "maps/landcover/a.tif").tags["GEOSEG_MODEL"] == "1" * 16
    )


@pytest.mark.parametrize("overwrite", [False, True])
def test_scenes_that_lie_where_maps_are_written_are_kept(tmp_path, overwrite):
    write(tmp_path / "scenes" / "a.tif", noise(30, 30))
    predict(identity(), tmp_path / "scenes", tmp_path / "maps")
    lying = [tmp_path / "maps/landcover" / name for name in ("b.tif", "c.tif")]
    write(lying[0], noise(30, 30))
    # One that has faults counts, too: what there is of it is removed.
    lying[1].write_bytes(b"")
    for scenes in (lying, lying[1:], [tmp_path / "maps" / "landcover" / "a.tif"]):
        with pytest.raises(InputError, match=r"maps: holds .*[abc]\.tif, which is read, under"):
            predict(identity(), scenes, tmp_path / "maps", overwrite=overwrite)
    assert all(path.is_file() for path in lying)


def test_what_is_broken_is_made_again_and_only_that(tmp_path):
    for name in "abc":
        write(tmp_path / "scenes" / f"{name}.tif", classes(40, 40))
    out = tmp_path / "maps"
    predict(identity(), tmp_path / "scenes", out)
    before = files_of(out)
    with open(out / "landcover/a.tif", "r+b") as file:
        file.truncate(300)
    (out / "confidence/b.tif").write_bytes(b"")
    (out / "landcover/c.tif.aux.xml").write_bytes(b"")
    report = predict(identity(), tmp_path / "scenes", out)
    assert (report.done, report.before) == (["a", "b"], ["c"])
    assert files_of(out) == before
    for record in ("", "[]", '{"scenes": [1]}', '{"scenes": {"a": 1}}'):
        (out / "predict.json").write_text(record)
        assert predict(identity(), tmp_path / "scenes", out).done == ["a", "b", "c"]
        assert predict(identity(), tmp_path / "scenes", out).before == ["a", "b", "c"]
    (out / ".predict.json").write_text("")
    with pytest.raises(InputError, match="overwrite=true"):
        predict(identity(), tmp_path / "scenes", out)
    predict(identity(), tmp_path / "scenes", out, overwrite=True)
    assert files_of(out) == before
    with held(out, "predict"), pytest.raises(InputError, match="is writing there"):
        predict(identity(), tmp_path / "scenes", out)


def test_a_full_disk_fails_the_scene_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    for name in "abc":
        write(tmp_path / "scenes" / f"{name}.tif", classes(600, 40))
    original, calls = raster.Writer.write, []

    def write_some(self, array, window):
        calls.append(self)
        if "b.tif" in str(self._path) and len(calls) > 3:
            raise InputError(f"{self._path}: can't be written (No space left on device)")
        original(self, array, window)

    monkeypatch.setattr(raster.Writer, "write", write_some)
    report = predict(identity(), tmp_path / "scenes", tmp_path / "maps")
    assert report.done == ["a", "c"]
    assert "No space left" in report.failed["b"]
    assert not [p for p in (tmp_path / "maps").rglob("*") if p.name.startswith((".b", "b"))]


@pytest.mark.parametrize("trouble", ["damaged", "disk"])
def test_trouble_with_the_seventh_of_ten_scenes(tmp_path, run_folder, trouble):
    """Files that the system itself refuses to make longer are a full disk."""
    limit = ["tests.jobs.few_bytes", "20000"] if trouble == "disk" else []
    for number in range(10):
        large = 900 if number == 7 else 40
        write(tmp_path / "scenes" / f"s{number}.tif", noise(large, large) * 80)
    if trouble == "damaged":
        corrupt(tmp_path / "scenes" / "s7.tif")

    settings = ["predict.precision=32", "predict.device=cpu", "predict.backend=torch"]
    done = started.run(
        *("-m", *limit, "geoseg.predict", f"checkpoint={run_folder}", "scenes=scenes", "out=maps"),
        *settings,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    first, last = done.stderr.splitlines()[-2:]  # libtiff has its say before
    assert "s7.tif" in first
    assert ("is the disk full?" if trouble == "disk" else "damaged") in first
    assert last == "geoseg predict: scenes without map: 1 failed (s7); see maps/predict.json"
    record = read_json(tmp_path / "maps/predict.json")["scenes"]
    assert [name for name, entry in record.items() if entry["status"] == "done"] == [
        f"s{n}" for n in range(10) if n != 7
    ]
    left = {path.name.partition(".")[0] for path in (tmp_path / "maps/landcover").iterdir()}
    assert left == {f"s{n}" for n in range(10) if n != 7}


def test_memory_does_not_grow_with_the_height(tmp_path):
    """Most rows held at a time, of image and sums, whatever the height."""
    import tracemalloc

    peaks = []
    for height in (1600, 6400):
        write(tmp_path / f"{height}.tif", classes(height, 300))
        tracemalloc.start()
        predict(identity(), tmp_path / f"{height}.tif", tmp_path / "maps")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 1e5


def test_an_unwritable_folder(tmp_path):
    write(tmp_path / "a.tif", classes(40, 40))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another"):
        predict(identity(), tmp_path / "a.tif", tmp_path / "file" / "maps")


def test_an_error_in_the_network_ends_the_threads_and_leaves_nothing(tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, image):
            raise RuntimeError("boom")

    write(tmp_path / "a.tif", classes(400, 400))
    network = replace(identity(), source=Broken())
    with pytest.raises(RuntimeError, match="boom"):
        predict(network, tmp_path / "a.tif", tmp_path / "maps")
    assert not list((tmp_path / "maps").rglob("*.part"))


def test_a_constant_network_gives_a_constant_map(tmp_path):
    image = np.full((100, 90), 5, np.uint8)
    write(tmp_path / "a.tif", image)
    network = replace(identity(), source=Constant([0.0, 1.0, 0.5]))
    predict(network, tmp_path / "a.tif", tmp_path / "maps")
    assert set(read(tmp_path / "maps/landcover/a.tif")[0].flat) == {9}
    assert len(set(read(tmp_path / "maps/confidence/a.tif")[0].flat)) == 1


def test_added_rasters_come_from_the_training_or_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # one's own folder
    image = classes(40, 40)
    write(tmp_path / "scenes/a.tif", image)
    write(tmp_path / "height.tif", np.full((20, 20), 2, np.uint8), grid=grid(20, 20, pixel=2))
    card = with_bands(CARD, "gray", "height", extra={"height": str(tmp_path / "height.tif")})
    predict(identity(card), tmp_path / "scenes", tmp_path / "maps")
    assert (read(tmp_path / "maps/landcover/a.tif")[0] == CODES[image]).all()
    gone = replace(card, extra={"height": str(tmp_path / "gone.tif")})
    with pytest.raises(InputError, match=r"bands\.extra\.height=<file"):
        predict(identity(gone), tmp_path / "scenes", tmp_path / "other")
    found = Bands(extra={"height": str(tmp_path / "height.tif")})
    assert predict(identity(gone), tmp_path / "scenes", tmp_path / "other", bands=found).done


def test_one_file_per_band(tmp_path):
    image = classes(40, 40)
    for band, values in (("B04", image), ("B03", image * 0 + 1), ("B99", image * 0 + 1)):
        write(tmp_path / f"scenes/x_{band}.tif", values, names=())
    bands = Bands(pattern=r"(?P<scene>.+)_(?P<band>B\d+)\.tif")
    network = identity(with_bands(CARD, "B04", "B03"))
    assert predict(network, tmp_path / "scenes", tmp_path / "maps", bands=bands).done == ["x"]
    got = read(tmp_path / "maps/landcover/x.tif")[0]
    assert (got[image > 0] == CODES[image][image > 0]).all()


def in_a_process(task, scenes, folder):
    done = started.run("-m", "tests.jobs.kill_prediction", task, scenes, folder, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path):
    for name in "abcdefgh":
        write(tmp_path / "scenes" / f"{name}.tif", classes(300, 600, seed=ord(name)))
    result = in_a_process("kill", tmp_path / "scenes", tmp_path)
    assert result["killed"] >= 20
    assert result["finished"] >= 2
    assert result["redone"] == 0
    assert result["status"] == 0
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "undisturbed")


def test_ctrl_c_ends_it_soon_and_says_how_to_go_on(tmp_path):
    write(tmp_path / "scenes" / "a.tif", classes(2000, 600))
    result = in_a_process("interrupt", tmp_path / "scenes", tmp_path)
    assert result["status"] == 130
    assert result["seconds"] < 2
    assert "goes on from here" in result["said"]
    assert not list((tmp_path / "stopped").rglob("*.part"))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run with a real network of random weights, whose encoder is small."""
    return save_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def leanest(tmp_path_factory):
    with few_neighbourhoods():
        return save_run(tmp_path_factory.mktemp("lean"))


@pytest.fixture
def lean_folder(leanest):
    """The same with a network that takes exporters less time."""
    with few_neighbourhoods():
        yield leanest


def save_run(folder):
    card = replace(CARD, model=Model("pspnet", "tu-lcnet_050"))
    torch.manual_seed(0)
    checkpoint.save(folder / "best.safetensors", models.build(card.model, 1, len(LEGEND)), card)
    return folder


def test_the_command_predicts_with_saved_weights(tmp_path, run_folder, capsys):
    write(tmp_path / "scenes/a.tif", classes(70, 60) * 50)
    config = PredictConfig(str(run_folder), str(tmp_path / "scenes"), str(tmp_path / "maps"))
    main(config)
    assert "1 scene done" in capsys.readouterr().out
    codes, _ = read(tmp_path / "maps/landcover/a.tif")
    assert set(np.unique(codes)) <= set(CODES)
    first = files_of(tmp_path / "maps")
    main(config)
    assert "1 were done before" in capsys.readouterr().out
    # The same weights under another name, in batches of another size.
    write(tmp_path / "scenes/b.tif", np.stack([classes(9, 9)] * 2))
    weights = str(run_folder / "best.safetensors")
    running = InferenceSettings("cpu", "auto", batch_size=1)
    other = PredictConfig(weights, config.scenes, str(tmp_path / "other"), predict=running)
    with pytest.raises(InputError, match=r"1 refused \(b\)"):
        main(other)
    second = files_of(tmp_path / "other")
    assert first.keys() == second.keys()
    agreement = read(tmp_path / "other/landcover/a.tif")[0] == codes
    assert agreement.mean() > 0.99


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_backends_say_the_same(tmp_path, lean_folder, backend):
    write(tmp_path / "a.tif", classes(100, 90) * 50)
    for name in ("torch", backend):
        network = TrainedNetwork.open(lean_folder, InferenceSettings("cpu", "32", name))
        predict(network, tmp_path / "a.tif", tmp_path / name)
        assert read_json(tmp_path / name / "predict.json")["backend"] == name
    codes = [read(tmp_path / name / "landcover/a.tif")[0] for name in ("torch", backend)]
    assert (codes[0] == codes[1]).mean() > 0.999


def test_the_backend_is_measured_once_and_kept(tmp_path, run_folder, monkeypatch, capsys):
    asked, built = [], []

    def build(network, device, *, backend, shape):
        built.append(backend)  # to build it takes seconds
        return prepare(network, device, backend="torch", shape=shape)

    def choose_backend(network, device, *, images, windows, known):
        assert known.ratio("openvino", "torch", limit=1) is None
        assert images.shape == (16, 1, 32, 32)
        assert images.is_floating_point()
        asked.append(windows)
        return Choice("openvino", None, {"torch": 0.2, "openvino": 0.1}, notes=["onnx: too slow"])

    monkeypatch.setattr("geoseg.prediction.worker.choose_backend", choose_backend)
    monkeypatch.setattr("geoseg.prediction.worker.prepare", build)
    monkeypatch.setattr("geoseg.prediction.worker.WORTH_A_LOOK", 50)
    write(tmp_path / "scenes/small.tif", classes(40, 40) * 50)
    network = TrainedNetwork.open(run_folder, InferenceSettings("cpu", "32", batch_size=16))
    predict(network, tmp_path / "scenes", tmp_path / "few")
    assert (asked, read_json(tmp_path / "few/predict.json")["backend"]) == ([], "torch")
    assert built == ["torch"]
    write(tmp_path / "scenes/large.tif", classes(160, 180) * 50)
    predict(network, tmp_path / "scenes", tmp_path / "many")
    assert asked == [7 * 8 + 2 * 2]
    said = capsys.readouterr()
    assert "backend: openvino (per batch of the first windows: torch 200 ms" in said.out
    assert "onnx: too slow" in said.err
    (tmp_path / "many/landcover/large.tif").unlink()
    predict(network, tmp_path / "scenes", tmp_path / "many")
    record = read_json(tmp_path / "many/predict.json")
    assert len(asked) == 1
    assert record["backend"] == record["scenes"]["large"]["backend"] == "openvino"
    assert built[-1] == "openvino"
    assert built.count("torch") == 1
    network = TrainedNetwork.open(run_folder, InferenceSettings("cpu", "32", "torch"))
    with pytest.raises(InputError, match=r"other settings \(backend\)"):
        predict(network, tmp_path / "scenes", tmp_path / "many")


def test_a_window_gives_the_same_bits_anywhere_in_a_batch():
    """What makes maps independent of panels, restarts and other scenes."""
    torch.manual_seed(0)
    source = models.build(CARD.model, 1, len(LEGEND))
    network = TrainedNetwork(CARD, "0" * 16, source, InferenceSettings("cpu", "auto"))
    module = network.load().to(memory_format=torch.channels_last)
    images = torch.randn(4, 1, 64, 64).contiguous(memory_format=torch.channels_last)
    shuffled = images[[2, 3, 1, 0]].contiguous(memory_format=torch.channels_last)
    alone = torch.zeros_like(images)
    alone[3] = images[1]
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), torch.autocast("cpu", dtype, dtype == torch.bfloat16):
            first, second, third = module(images), module(shuffled), module(alone)
        assert torch.equal(first[2], second[0])
        assert torch.equal(first[0], second[3])
        assert torch.equal(first[1], third[3])


def test_what_the_command_asks_for(tmp_path, run_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="runs/demo: no such file; set checkpoint="):
        main(PredictConfig())
    with pytest.raises(InputError) as caught:
        main(PredictConfig(checkpoint=str(run_folder)))
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["scenes", "out"]
    with pytest.raises(InputError, match="no such file or folder"):
        main(PredictConfig(str(run_folder), "nowhere", "maps"))
    assert not (tmp_path / "maps").exists()


def test_tiling_comes_from_the_card_unless_given():
    assert TilingChoice().over(Tiling(32, 8)) == Tiling(32, 8)
    assert TilingChoice(size=32).over(Tiling(32, 4)) == Tiling(32, 4)
    assert TilingChoice(size=64).over(Tiling(32, 4)) == Tiling(64, 16)
    assert TilingChoice(overlap=16).over(Tiling(32, 4)) == Tiling(32, 16)
    with pytest.raises(InputError, match=r"tiling\.overlap=8"):
        TilingChoice(size=10, overlap=8).over(Tiling(32, 8))


def test_settings_of_running_are_checked():
    with pytest.raises(InputError) as caught:
        InferenceSettings(precision="64", batch_size=0, memory=0)
    assert len(caught.value.faults) == 3
    for device in ("tpu", "cuda:99", "cuda:x"):
        with pytest.raises(InputError, match=f"device={device}"):
            choose(device, "32")
    with pytest.raises(InputError, match="precision=16"):
        choose("cpu", "16")


def test_the_configuration_composes_and_knows_its_keys(tmp_path, run_folder):
    def run(*overrides):
        return started.run("-m", "geoseg.predict", *overrides, cwd=tmp_path)

    done = run(f"checkpoint={run_folder}", "scenes=nowhere", "out=maps", "tiling.size=64")
    assert done.returncode == 1
    assert done.stderr == (
        "geoseg predict: nowhere: no such file or folder, and no rasters match it\n"
    )
    done = run("tiling.sise=64")
    assert done.returncode == 1
    assert "sise" in done.stderr
    assert "memory" in run("--help").stdout


@pytest.mark.real
def test_real_odd_rasters(tmp_path, real_data):
    """A corrupt file among good ones, of an odd CRS and of other pixel sizes."""
    folder = real_data / "io_odd"
    names = ("cogeo.tif", "corrupt.tif", "RGB.byte.tif", "RGBA.byte.tif", "shade.tif", "goes.tif")
    card = with_bands(CARD, "red", "green", "blue", pixel_size_m=0.472, tiling=Tiling(256, 64))
    spec = [folder / name for name in names]
    report = predict(identity(card), spec, tmp_path / "maps")
    assert report.done == ["cogeo"]
    assert set(report.failed) == {"corrupt"}
    assert set(report.refused) == {"RGB.byte", "RGBA.byte", "shade", "goes"}
    far = replace(card, pixel_size_m=20_000.0)
    assert predict(identity(far), folder / "goes.tif", tmp_path / "far").done == ["goes"]
    made = landcover.ClassMap.read(tmp_path / "far/landcover/goes.tif")
    assert made.grid.coincides(raster.info(folder / "goes.tif").grid)
    assert not [p for p in (tmp_path / "far").rglob(".*") if p.name != ".predict.json"]


def test_items_of_catalogs_describe_the_maps_that_are_there(tmp_path):
    write(tmp_path / "scenes/ortho_20200504.tif", classes(40, 45))
    write(tmp_path / "scenes/b.tif", classes(40, 45, 1))

    def run(**options):
        return predict(identity(), tmp_path / "scenes", tmp_path / "maps", **options)

    dated, undated = (tmp_path / f"maps/landcover/{n}.stac.json" for n in ("ortho_20200504", "b"))
    run()
    assert not dated.exists()
    assert sorted(run(stac=True).before) == ["b", "ortho_20200504"]
    made = checked(dated)
    assert set(made.assets) == {"landcover", "confidence"}
    assert made.common_metadata.start_datetime.isoformat() == "2020-05-04T00:00:00+00:00"
    assert made.properties["geoseg:model"] == "0" * 16
    assert "not known" in checked(undated).properties["description"]
    # What is whole is left alone, what is damaged is written again.
    before = dated.stat().st_mtime_ns
    undated.write_text("{")
    run(stac=True)
    assert dated.stat().st_mtime_ns == before
    checked(undated)
    # A map that is made anew must not lie beside the checksum of the one before.
    write(tmp_path / "scenes/b.tif", classes(40, 45, 2))
    assert run().done == ["b"]
    assert dated.exists()
    assert not undated.exists()


def test_scenes_of_a_catalog_are_found_by_the_network_s_bands(tmp_path, monkeypatch):
    images = {}
    for number, name in enumerate(("b", "a")):
        files = {"nir": tmp_path / f"files/{name}/x.tif", "gray": tmp_path / f"files/{name}/y.tif"}
        images[name] = classes(40, 45, number)
        write(files["gray"], images[name])
        write(files["nir"], images[name] * 0 + 99)
        when = datetime(2021, 5, 4, 10, 20, 30)
        images[name, "item"] = sentinel(tmp_path, name, when, files)
    scene_classes = np.full((20, 23), 5, np.uint8)
    scene_classes[:5, :10] = 9  # cloud
    mask = write(tmp_path / "files/a/SCL.tif", scene_classes, grid=grid(20, 23, pixel=2.0))
    images["a", "item"].add_asset("SCL", pystac.Asset(str(mask), media_type="image/tiff"))
    path = catalogued(tmp_path / "cat", [images["a", "item"], images["b", "item"]])
    monkeypatch.setenv("GEOSEG_FOLDERS", str(tmp_path))
    report = predict(identity(), str(path), tmp_path / "maps", stac=True)
    assert sorted(report.done) == ["a", "b"]
    (note,) = read_json(tmp_path / "maps/predict.json")["scenes"]["a"]["notes"]
    assert "count as nodata: 11% of the pixels (a 11%)" in note
    images["a"][:10, :20] = 0
    for name in report.done:
        codes, _ = read(tmp_path / f"maps/landcover/{name}.tif")
        assert (codes == CODES[images[name]]).all()
        made = checked(tmp_path / f"maps/landcover/{name}.stac.json")
        assert made.properties["datetime"] == "2021-05-04T10:20:30Z"
        assert "description" not in made.properties
    assert sorted(predict(identity(), str(path), tmp_path / "maps").before) == ["a", "b"]
    scene_classes[:] = 5
    write(mask, scene_classes, grid=grid(20, 23, pixel=2.0))
    assert predict(identity(), str(path), tmp_path / "maps").done == ["a"]
    codes, _ = read(tmp_path / "maps/landcover/a.tif")
    assert (codes[:10, :20] > 0).any()
    assert not read_json(tmp_path / "maps/predict.json")["scenes"]["b"].get("notes")
