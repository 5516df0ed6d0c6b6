"""Benchmarks run, at toy sizes and far from quiet machines: they must not rot."""

import pickle
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest

from benchmarks import buildings, comparison, made, peers, process
from geoseg.geo.tiling import Tiling
from geoseg.models.settings import Model

SMALL = Tiling(64, 16)
"""Windows of a sixteenth of the usual area: a network takes so much less time for each."""
QUICK = Model("pspnet", "tu-lcnet_050")
"""Of few layers: OpenVINO builds it in a quarter of the time that it takes for a U-Net."""


def run(monkeypatch, capsys, name, *arguments):
    """What a benchmark prints, called as from the command line."""
    module = import_module(f"benchmarks.{name}")
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    status = module.main()
    return capsys.readouterr().out, status


class Here:
    """A pool whose process is this one; what it is to do must be such that another could do it."""

    def __init__(self, processes):
        assert processes == 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def apply(self, work, given):
        work, given = pickle.loads(pickle.dumps((work, given)))
        return work(*given)


@pytest.fixture
def no_processes(monkeypatch):
    """What is measured in a process of its own is done in this one, which has loaded torch."""
    here = SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=Here))
    for name in ("scale", "plans"):
        monkeypatch.setattr(f"benchmarks.{name}.multiprocessing", here)


@pytest.fixture
def small_windows(monkeypatch):
    """The modules that take their windows from `made`, with small ones and a small network."""
    monkeypatch.setattr(made, "TILING", SMALL)
    monkeypatch.setattr(made, "MODEL", QUICK)
    for name, side in (("peers", "SIZE"), ("training", "SIDE")):
        monkeypatch.setattr(f"benchmarks.{name}.{side}", SMALL.size)
    monkeypatch.setattr("benchmarks.peers.OVERLAP", SMALL.overlap)
    monkeypatch.setattr("benchmarks.peers.STEP", SMALL.size - SMALL.overlap)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder whose network knows nothing, and a scene that takes several windows each way."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(made, "TILING", SMALL)
        patched.setattr(made, "MODEL", QUICK)
        made.unet(folder / "run" / "best.safetensors")
    scene = made.scene(folder / "scene.tif", made.grid(125, 110))
    return folder / "run", scene


@pytest.mark.usefixtures("small_windows")
def test_predict(monkeypatch, capsys):
    text, _ = run(
        monkeypatch, capsys, "predict", "--size", 120, "--runs", 1, "--device", "cpu",
        "--precision", 32,
    )  # fmt: skip
    assert "end to end" in text
    assert "of the network alone (median of 1)" in text
    assert "(cpu, float32)" in text


@pytest.mark.usefixtures("small_windows")
def test_process(monkeypatch, capsys):
    monkeypatch.setattr(process, "SIZE", SMALL.size)
    monkeypatch.setattr(process, "STEP", SMALL.size - SMALL.overlap)
    calls = []

    def start(call, **settings):
        calls.append((call, settings["env"]["GEOSEG_CACHE"]))

    monkeypatch.setattr(process.subprocess, "run", start)
    text, _ = run(monkeypatch, capsys, "process", "--steps", 1, "--runs", 2)
    assert "112² pixels, median of 2" in text
    assert "times as fast as the loop" in text
    outs = [word for call, _ in calls for word in call if word.startswith("out=")]
    assert len(outs) == 1 + 2 * 2
    assert len(set(outs)) == len(outs)  # a scene that lies there already would not be done again
    assert len({cache for _, cache in calls}) == 1


def test_comparison(tmp_path):
    paths = comparison.make_maps(tmp_path, 300, 600)
    for work in comparison.WORK.values():
        work(*paths, tmp_path / "out")
    assert (tmp_path / "out" / "change.html").exists()


def test_assessment(monkeypatch, capsys):
    text, _ = run(monkeypatch, capsys, "assessment", "--side", 600, "--runs", 1)
    assert "600² pixels" in text
    assert "sample of 1000 points" in text


@pytest.mark.usefixtures("no_processes")
def test_scale_of_memory(monkeypatch, capsys):
    text, _ = run(monkeypatch, capsys, "scale", "memory", "--sides", 300)
    assert "full of data     300²" in text
    assert "all but empty    300²" in text


@pytest.mark.parametrize("more", [(), ("--adjoining",)])
def test_scale_of_small_scenes(monkeypatch, capsys, more):
    monkeypatch.setattr("benchmarks.scale.LARGE", 256 + 2 * 192)
    text, _ = run(monkeypatch, capsys, "scale", "scenes", "--count", 3, "--runs", 1, *more)
    assert "beyond the network" in text
    assert "3 scenes of 512²" in text


@pytest.mark.usefixtures("no_processes")
def test_scale_without_the_network(monkeypatch, capsys):
    text, _ = run(
        monkeypatch, capsys, "scale", "planning", "vrt", "parcels", "--counts", 4, "--vrt-sides",
        600, "--files-across", 2, "--parcels", 30,
    )  # fmt: skip
    assert "4       " in text.split("finding all done")[1]
    assert "600²" in text
    assert "one VRT of 4 files" in text
    assert "30 " in text.split("prepare_series")[-1]


@pytest.mark.usefixtures("small_windows")
@pytest.mark.filterwarnings("default")  # the peers warn of their own
def test_peers(monkeypatch, capsys):
    """By torch alone: that OpenVINO makes the same maps is seen elsewhere, and building takes it
    long."""
    found = peers.find_spec
    monkeypatch.setattr(peers, "find_spec", lambda name: name != "openvino" and found(name))
    text, _ = run(monkeypatch, capsys, "peers", "--steps", 0, "--runs", 1, "--warm-ups", 0)
    assert "rasterio loop" in text
    assert "TorchGeo" in text
    assert "Raster Vision" in text
    assert "can't run here" not in text


@pytest.mark.usefixtures("small_windows")
@pytest.mark.filterwarnings("default")  # TorchGeo and Lightning warn of their own
def test_training(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.training.WARM", 1)
    text, _ = run(monkeypatch, capsys, "training", "--size", 150, "--scenes", 1, "--windows", 4,
                  "--steps", 1, "--rounds", 1, "--batch", 2, "--precision", 32)  # fmt: skip
    assert "reading: rasterio" in text
    assert "training, cpu, float32: PyTorch" in text
    assert "reached: 0.95" in text or "MISSED: 0.95" in text


def test_precision(monkeypatch, capsys, trained):
    folder, scene = trained
    text, status = run(monkeypatch, capsys, "precision", "--run", folder, "--scenes", scene,
                       "--precision", 32, "--device", "cpu")  # fmt: skip
    assert "100.000%" in text
    assert status == 0


def test_seams(monkeypatch, capsys, trained):
    folder, scene = trained
    text, _ = run(monkeypatch, capsys, "seams", "--run", folder, "--scenes", scene,
                  "--offsets", 2, "--device", "cpu")  # fmt: skip
    for name in ("geoseg's blending", "uniform averaging", "hard cuts"):
        assert name in text


@pytest.mark.real
def test_real_scenes_are_there(real_data, monkeypatch):
    monkeypatch.setenv("GEOSEG_REAL_DATA", str(real_data))
    for name in ("precision", "seams"):
        module = import_module(f"benchmarks.{name}")
        for scene in module.SCENES:
            assert buildings.path_of(scene).exists()
