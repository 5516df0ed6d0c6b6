"""Prediction on a Dask cluster: the same bytes as alone, and nothing lost with a worker."""

import multiprocessing
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import LocalCluster

from geoseg.errors import InputError
from geoseg.geo.tiling import Tiling
from geoseg.models import checkpoint
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.outputs.files import read_json
from geoseg.prediction.dask import pieces
from geoseg.prediction.images import predict
from geoseg.prediction.network import Engine, InferenceSettings, TrainedNetwork
from geoseg.prediction.panels import SceneJob, cut
from geoseg.scenes.neighbours import places
from geoseg.scenes.scene import find_scenes
from tests.made import started
from tests.made.deadly import Always, Deadly
from tests.made.scenes import CARD, Context, grid, write
from tests.prediction.test_images import classes, corrupt, files_of, noise

RUNNING = InferenceSettings("cpu", "32", batch_size=3)
NARROW = replace(RUNNING, memory=0.0025)
"""Holds 256 columns and a window on each side."""


@pytest.fixture(scope="module", autouse=True)
def _workers_load_nothing():
    """They are spawned, as they are for users, but by forks of what has loaded all they need."""
    multiprocessing.set_executable(str(started.python()))
    yield
    multiprocessing.set_executable(sys.executable)


@pytest.fixture(scope="module")
def address(_workers_load_nothing):
    """Of two workers that somebody else has started."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


def network(source=None, running=RUNNING) -> TrainedNetwork:
    return TrainedNetwork(CARD, "0" * 16, source or Context(3), running)


def scenes(folder: Path) -> Path:
    """Three small ones that adjoin, and a wide one apart."""
    for number, name in enumerate("abc"):
        place = grid(70, 60, left=500_000 + 60 * number)
        write(folder / f"{name}.tif", classes(70, 60, number), grid=place)
    write(folder / "wide.tif", classes(120, 700, 7), grid=grid(120, 700, left=600_000))
    return folder


@pytest.mark.parametrize("running", [RUNNING, NARROW])
def test_the_same_bytes_as_alone(tmp_path, address, running):
    folder = scenes(tmp_path / "scenes")
    predict(network(running=running), folder, tmp_path / "alone")
    engine = Engine("dask", address)
    report = predict(network(running=running), folder, tmp_path / "many", engine=engine)
    assert sorted(report.done) == ["a", "b", "c", "wide"]
    assert report.megapixels == pytest.approx((3 * 70 * 60 + 120 * 700) / 1e6)
    assert {"network", "write"} <= report.seconds.keys()
    assert files_of(tmp_path / "alone") == files_of(tmp_path / "many")
    again = predict(network(running=running), folder, tmp_path / "many", engine=engine)
    assert (again.done, sorted(again.before)) == ([], ["a", "b", "c", "wide"])


def test_workers_that_are_started_here_run_real_weights(tmp_path, monkeypatch):
    """Relative names, one worker that dies, and one bytes for all."""
    monkeypatch.chdir(tmp_path)
    scenes(Path("scenes"))
    card = replace(CARD, model=Model("pspnet", "tu-lcnet_050"))
    torch.manual_seed(0)
    checkpoint.save("run/best.safetensors", models.build(card.model, 1, 3), card)
    trained = TrainedNetwork.open("run", NARROW)
    predict(trained, "scenes", "alone")
    report = predict(trained, "scenes", "many", engine=Engine("dask", workers=2))
    assert not report.failed
    assert files_of(Path("alone")) == files_of(Path("many"))


def test_a_worker_that_is_killed_costs_its_job_only(tmp_path):
    folder = scenes(tmp_path / "scenes")
    predict(network(running=NARROW), folder, tmp_path / "alone")
    deadly = network(Deadly(tmp_path / "died"), NARROW)
    report = predict(deadly, folder, tmp_path / "many", engine=Engine("dask", workers=2))
    assert (tmp_path / "died").exists()
    assert sorted(report.done) == ["a", "b", "c", "wide"]
    assert files_of(tmp_path / "alone") == files_of(tmp_path / "many")


def test_a_job_that_kills_all_its_workers_fails_and_the_others_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr("geoseg.prediction.dask.BUNDLE", 1)
    for name, value in (("a", 100), ("b", 200), ("c", 150)):
        write(tmp_path / "scenes" / f"{name}.tif", np.full((40, 40), value, np.uint8))
    engine = Engine("dask", workers=1, retries=1)
    report = predict(network(Always(3)), tmp_path / "scenes", tmp_path / "maps", engine=engine)
    assert report.done == ["a", "c"]
    assert "b.tif: each worker that had it died" in report.failed["b"]
    assert read_json(tmp_path / "maps/predict.json")["scenes"]["b"]["status"] == "failed"
    with pytest.raises(InputError, match=r"1 failed \(b\)"):
        report.raise_if_incomplete()


def test_a_damaged_scene_fails_and_leaves_nothing(tmp_path, address):
    for name in "abc":
        write(tmp_path / "scenes" / f"{name}.tif", noise(900, 600))
    corrupt(tmp_path / "scenes" / "b.tif")
    report = predict(
        network(running=NARROW), tmp_path / "scenes", tmp_path / "maps",
        engine=Engine("dask", address),
    )  # fmt: skip
    assert sorted(report.done) == ["a", "c"]
    assert "damaged" in report.failed["b"]
    left = {p.name.split(".")[0] for p in (tmp_path / "maps/landcover").iterdir()}
    assert left == {"a", "c"}


def test_an_error_in_the_network_ends_it(tmp_path, address):
    write(tmp_path / "a.tif", classes(40, 40))
    broken = network(torch.nn.Conv2d(5, 3, 1))
    with pytest.raises(RuntimeError, match="channels"):
        predict(broken, tmp_path / "a.tif", tmp_path / "maps", engine=Engine("dask", address))


def test_what_is_wrong_with_a_cluster_is_said(tmp_path):
    write(tmp_path / "a.tif", classes(40, 40))
    engine = Engine("dask", "nowhere://x")
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        predict(network(), tmp_path / "a.tif", tmp_path / "maps", engine=engine)
    for settings in (
        {"name": "slurm"},
        {"address": "tcp://x:1"},
        {"name": "dask", "workers": 0},
        {"name": "dask", "address": "tcp://x:1", "workers": 2},
    ):
        with pytest.raises(InputError, match="engine"):
            Engine(**settings)


def test_pieces_are_panels_of_wide_scenes_and_bundles_of_small_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("geoseg.prediction.dask.BUNDLE", 2 * 70 * 60)
    monkeypatch.setattr("geoseg.prediction.dask.EACH", 1)
    found = find_scenes(scenes(tmp_path / "scenes"))
    tiling, jobs = Tiling(32, 8), []
    for scene, place in zip(found, places(found, tiling), strict=True):
        whole = tuple(cut(scene, place, 32, classes=3, memory=0.0025))
        jobs.append(SceneJob(whole, whole))
    assert len(list(pieces(jobs, 100))) == 3 + 3
    got = list(pieces(jobs, 1))
    small = [piece for piece in got if piece[0].joins]
    assert [[job.scene.name for job in piece] for piece in small] == [["a", "b"], ["c"]]
    wide = [job for piece in got for job in piece if not job.joins]
    assert [job.panels[0].number for job in wide] == [0, 1, 2]
    assert {job.scene.name for job in wide} == {"wide"}
    assert sum(job.pixels for piece in got for job in piece) == 3 * 70 * 60 + 120 * 700


def test_ctrl_c_ends_it_soon_and_says_how_to_go_on(tmp_path):
    write(tmp_path / "a.tif", classes(2000, 600))
    with started.Started("-m", "tests.jobs.interrupt_dask", tmp_path, programs=True) as process:
        while not (tmp_path / "began").exists() and process.poll() is None:
            time.sleep(0.05)
        time.sleep(1.5)  # until the first rows are written
        begin = time.perf_counter()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        seconds = time.perf_counter() - begin
        assert process.returncode == 130, said
    assert said == "geoseg predict: stopped; the same command goes on from here\n"
    assert seconds < 2
    assert not list((tmp_path / "maps").rglob("*.part"))
