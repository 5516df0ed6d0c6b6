"""Sweeps: a folder per job, a table of all, with each of Hydra's launchers and with Optuna."""

import csv
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from geoseg.commands import sweep
from geoseg.errors import InputError
from tests.made.started import Started, run
from tests.made.tiles import make_dataset

TRAIN = ("-m", "geoseg.train")
QUICK = (
    *("dataset=data/dataset", "model=pspnet"),
    *("fit.epochs=1", "fit.epoch_tiles=4", "fit.batch_size=4", "fit.workers=0", "fit.precision=32"),
    # What ends by the clock isn't the same twice.
    *("fit.device=cpu", "fit.max_minutes=null", "model.pixels=0", "fit.pictures=0"),
)
ENCODER, BETTER = "tu-lcnet_050", "tu-tf_mobilenetv3_small_minimal_100"
"""The first takes half the time; with the second, an epoch finds scores that differ."""
EXPLODES = "1e30"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with a data set; all tests sweep below it, each into its own folder."""
    here = tmp_path_factory.mktemp("place")
    (here / "data").mkdir()
    make_dataset(here / "data")
    return here


def train(
    place: Path, *words: str, programs: bool = False, encoder: str = ENCODER
) -> subprocess.CompletedProcess[str]:
    call = [*TRAIN, *QUICK, f"model.encoder={encoder}", *words]
    done = run(*call, cwd=place, programs=programs)
    assert "Traceback" not in done.stderr
    assert not {p.name for p in place.iterdir()} - {"data", "runs"}, "Hydra left something behind"
    return done


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def swept(place):
    """Two jobs, of which the first has a fault, on top of an experiment."""
    words = (f"fit.learning_rate={EXPLODES},1e-3", "experiment=demo", "run=runs/basic")
    return train(place, "--multirun", *words)


def test_learning_rates_are_not_tried_in_a_sweep(place):
    done = train(place, "--multirun", "lr_find=true", "seed=1", "run=runs/tried")
    assert done.returncode == 1
    assert "lr_find=true: trains nothing to be compared" in done.stderr
    assert not list((place / "runs/tried").rglob("lr_find.png"))


def test_a_job_with_a_fault_is_named_and_the_others_go_on(swept, place):
    assert swept.returncode == 1
    assert f"geoseg train: fit.learning_rate={float(EXPLODES)}: the loss is nan" in swept.stderr
    good, bad = rows(place / "runs/basic")
    assert (good["fit.learning_rate"], bad["fit.learning_rate"]) == ("0.001", "1e+30")
    assert good["run"] == "runs/basic/learning_rate-0.001"
    assert 0 <= float(good["val_miou"]) <= 1
    assert float(good["loss"]) > 0
    assert float(good["minutes"]) > 0
    assert good["fault"] == ""
    assert "the loss is nan" in bad["fault"]
    assert bad["val_miou"] == ""
    best = f"best: fit.learning_rate=0.001, val mIoU {float(good['val_miou']):.4f}: {good['run']}"
    assert best in swept.stdout
    assert "fit.learning_rate=0.001: runs/basic/learning_rate-0.001\n" in swept.stdout


def test_the_experiment_counts_in_each_job(swept, place):
    told = (place / "runs/basic/learning_rate-0.001/.hydra/config.yaml").read_text()
    assert yaml.safe_load(told)["loss"]["class_weights"] == "median"
    assert (place / "runs/basic/multirun.yaml").exists()


def test_a_repeated_sweep_finds_what_is_done_and_adds_to_the_table(swept, place):
    best = place / "runs/basic/learning_rate-0.001/best.safetensors"
    before = best.stat().st_mtime_ns
    words = ("fit.learning_rate=1e-3,1e-2", "experiment=demo", "run=runs/basic")
    done = train(place, "hydra.mode=MULTIRUN", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert best.stat().st_mtime_ns == before
    assert {r["fit.learning_rate"] for r in rows(place / "runs/basic")} == {"0.001", "0.01"}
    assert not any(r["fault"] for r in rows(place / "runs/basic"))


def test_the_folder_of_a_job_repeats_itself(swept, place):
    told = place / "runs/basic/learning_rate-0.001"
    words = ("--config-dir", str(told / ".hydra"), "--config-name", "config", "run=runs/again")
    done = run(*TRAIN, *words, cwd=place)
    assert done.returncode == 0, done.stderr
    again = place / "runs/again/best.safetensors"
    assert again.read_bytes() == (told / "best.safetensors").read_bytes()


def test_joblib_and_a_job_that_is_asked_for_twice(place):
    rates = f"fit.learning_rate={EXPLODES},1e-3,1e-3"
    words = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "fit.workers=1", rates)
    done = train(place, "-m", *words, "run=runs/joblib", programs=True)
    assert done.returncode == 1
    assert done.stderr.count("the loss is nan") == 1
    good, bad = rows(place / "runs/joblib")
    assert (good["fault"], good["run"]) == ("", "runs/joblib/learning_rate-0.001")
    assert "the loss is nan" in bad["fault"]
    assert done.stdout.count("epoch    1/1") == 1  # the second of the two found the first one's


def test_optuna_looks_for_the_highest_score(place):
    pytest.importorskip("optuna", minversion="4")
    words = (
        *("--multirun", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "run=runs/optuna"),
        *("hydra.sweeper.sampler.seed=0", "hydra.sweeper.storage=sqlite:///runs/trials.db"),
        "fit.learning_rate=tag(log,interval(1e-4,1e-2))",
    )
    (place / "runs").mkdir(exist_ok=True)
    done = train(place, *words, encoder=BETTER)
    assert done.returncode == 0, done.stderr
    table = rows(place / "runs/optuna")
    scores = [float(row["val_miou"]) for row in table]
    assert len(set(scores)) > 1
    assert scores == sorted(scores, reverse=True)
    found = yaml.safe_load((place / "runs/optuna/optimization_results.yaml").read_text())
    assert found["best_value"] == pytest.approx(max(scores), rel=1e-5)
    assert found["best_params"] == {"fit.learning_rate": float(table[0]["fit.learning_rate"])}


def test_nothing_is_searched_without_validation(place):
    pytest.importorskip("optuna", minversion="4")
    (place / "data/blind").mkdir()
    make_dataset(place / "data/blind", splits=("train",))
    words = ("dataset=data/blind/dataset", "seed=range(0,9)", "run=runs/blind")
    done = train(place, "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=1", *words)
    assert done.returncode == 1
    assert "no validation, and so no score to search by" in done.stderr
    done = train(place, "-m", "dataset=data/blind/dataset", "seed=3", "run=runs/blind")
    assert done.returncode == 0, done.stderr
    (row,) = rows(place / "runs/blind")
    assert (row["val_miou"], row["run"]) == ("", "runs/blind")
    assert float(row["loss"]) > 0
    assert "best:" not in done.stdout


def test_submitit_sends_jobs_to_a_queue(place):
    run = "run=runs/queue/${model.name}"
    done = train(place, "-m", "hydra/launcher=submitit_local", "seed=0,1", run, programs=True)
    assert done.returncode == 0, done.stderr
    folders = {f"runs/queue/pspnet/seed-{seed}" for seed in (0, 1)}
    assert {row["run"] for row in rows(place / "runs/queue")} == folders
    assert all((place / folder / "best.safetensors").exists() for folder in folders)


def test_an_interrupted_sweep_ends_with_one_line(place):
    words = ("-m", "fit.epochs=1000,1001", "run=runs/stopped")
    with Started(*TRAIN, *QUICK, f"model.encoder={ENCODER}", *words, cwd=place) as process:
        while not (place / "runs/stopped/epochs-1000/last.ckpt").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert told == "geoseg train: stopped; the same command goes on from here\n"


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        ("predict", ["-m", "tiling.size=64,128"], "only geoseg.train sweeps"),
        ("prepare", ["hydra.mode=MULTIRUN"], "only geoseg.train sweeps"),
        ("train", ["-m", "run=a,b"], "run=a,b: give one folder"),
        ("train", ["--multi", "run=${model.name}", "seed=1,2"], "begin with a folder"),
        ("train", ["-m", "seed=1,2", "fit.epoch=3"], "did you mean fit.epochs?"),
        ("train", ["-m", "seed=1,2", "hydra/launcher=none"], 'pip install "geoseg[sweep]"'),
    ],
)
def test_what_cannot_be_swept_is_refused_in_a_line(tmp_path, command, words, told):
    done = run("-m", f"geoseg.{command}", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"geoseg {command}: ")
    assert told in done.stderr
    assert not (tmp_path / "multirun").exists()


def test_torchrun_starts_no_sweep(monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(InputError, match="not under torchrun"):
        sweep.Sweep.open(["train", "-m", "seed=1,2"])


def test_a_process_that_was_killed_is_told_in_a_line():
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    running = sweep.Sweep(frozenset(), "mark")
    told = "without a word .TerminatedWorkerError: gone.; is there too little memory"
    with pytest.raises(InputError, match=told), running.reported():
        raise TerminatedWorkerError("gone\nsince then")
    with pytest.raises(InputError, match="no right to write"), running.reported():
        raise InputError("runs: no right to write in this folder")


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, ""),
        ({"fit.learning_rate": "0.001", "model": "unet"}, "learning_rate-0.001+model-unet"),
        ({"fit.learning_rate": "1e+30"}, "learning_rate-1e30"),
        ({"a.size": "1", "b.size": "2"}, "a.size-1+b.size-2"),
    ],
)
def test_names_of_folders_are_read_easily(settings, name):
    assert sweep.folder_name(settings) == name


TEXT = st.text(max_size=60)
PARSER = OverridesParser.create()


@given(st.dictionaries(TEXT, TEXT, min_size=1, max_size=5))
def test_names_of_folders_are_ones_that_hydra_and_disks_take(settings):
    name = sweep.folder_name(settings)
    assert 0 < len(name) < 200
    assert os.sep not in name
    parsed = PARSER.parse_override(f"checkpoint=runs/{name}")
    assert parsed.value() == f"runs/{name}"


def test_names_of_folders_tell_jobs_apart():
    values = ("a/b", "a_b", "a b", "[a,b]", "x" * 300, "x" * 301, "1e5", "1e-5")
    assert len({sweep.folder_name({"key": value}) for value in values}) == len(values)
