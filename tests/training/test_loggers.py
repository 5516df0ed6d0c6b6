"""Loggers: each epoch is told once, over stops; what they can't take costs no training."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from geoseg.errors import InputError
from geoseg.models.settings import Model
from geoseg.outputs.files import read_json
from geoseg.training.run import folder as runfolder
from geoseg.training.run import loggers, recorder
from geoseg.training.run.folder import check_logger
from geoseg.training.run.loggers import LoggerFollower
from geoseg.training.run.recorder import RunRecorder
from geoseg.training.settings import Fit
from geoseg.training.start import train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")

QUICK = Fit(epochs=3, epoch_tiles=8, batch_size=4, workers=0, precision="32", pictures=2)
SMALL = Model("pspnet", "tu-lcnet_050", pixels=0)
PICTURE = {"tile": np.zeros((4, 8, 3), np.uint8)}


def rows(count):
    return [{"epoch": n + 1, "step": 10 * (n + 1), "loss": 1 / (n + 1)} for n in range(count)]


class Told:
    """A logger that remembers, and fails while `away`."""

    def __init__(self, run="one"):
        self.id, self.away = run, False
        self.said, self.ends = [], []

    def log(self, numbers, pictures, step):
        if self.away:
            raise ConnectionError("server is away")
        self.said.append((int(numbers["epoch"]), step, list(pictures)))

    def close(self, *, well):
        self.ends.append(well)


@pytest.fixture
def told(monkeypatch):
    logger = Told()
    monkeypatch.setattr(loggers, "_open", lambda name, folder, run: logger)
    return logger


def test_each_epoch_is_told_once_over_stops(told, tmp_path):
    LoggerFollower("mlflow", tmp_path).tell(rows(2), PICTURE)
    follower = LoggerFollower("mlflow", tmp_path)
    follower.tell(rows(2))  # the last epoch was not saved, and is done again
    follower.tell(rows(3), PICTURE)
    follower.end(rows(3), well=True)
    assert told.said == [(1, 10, []), (2, 20, ["tile"]), (3, 30, ["tile"])]
    assert told.ends == [True]
    assert read_json(tmp_path / loggers.NOTE) == {"mlflow": {"id": "one", "epoch": 3}}


def test_numbers_that_are_none_are_not_told(monkeypatch, tmp_path):
    seen = []
    logger = Told()
    logger.log = lambda numbers, pictures, step: seen.append(numbers)
    monkeypatch.setattr(loggers, "_open", lambda *_: logger)
    LoggerFollower("wandb", tmp_path).tell(
        [{"epoch": 1, "step": 1, "loss": 2.0, "val": float("nan")}]
    )
    assert seen == [{"epoch": 1, "step": 1, "loss": 2.0}]


def test_a_fault_warns_once_and_what_is_missing_is_told_later(told, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loggers, "PAUSE", 0.0)
    follower = LoggerFollower("mlflow", tmp_path)
    follower.tell(rows(1))
    told.away = True
    follower.tell(rows(2))
    follower.tell(rows(3))
    told.away = False
    follower.tell(rows(4))
    assert [epoch for epoch, *_ in told.said] == [1, 2, 3, 4]
    stderr = capsys.readouterr().err
    assert stderr.count("WARNING") == 1
    assert "fit.logger=mlflow: ConnectionError: server is away; the training goes on" in stderr


def test_a_server_that_is_away_is_not_waited_for_each_epoch(told, tmp_path):
    tries = []
    told.log = lambda numbers, pictures, step: tries.append(step) or 1 / 0
    follower = LoggerFollower("mlflow", tmp_path)
    for count in range(1, 6):
        follower.tell(rows(count))
    assert tries == [10]
    follower.end(rows(5), well=True)  # the last chance does not wait for the pause
    assert tries == [10, 10]


def test_a_logger_chosen_later_is_told_the_past(told, tmp_path):
    LoggerFollower("wandb", tmp_path).tell(rows(1))
    LoggerFollower("mlflow", tmp_path).tell(rows(3))
    assert [epoch for epoch, *_ in told.said] == [1, 1, 2, 3]
    assert read_json(tmp_path / loggers.NOTE)["wandb"] == {"id": "one", "epoch": 1}


def test_a_run_that_was_deleted_is_told_anew(told, tmp_path):
    LoggerFollower("mlflow", tmp_path).tell(rows(2))
    told.id = "two"
    LoggerFollower("mlflow", tmp_path).tell(rows(3))
    assert [epoch for epoch, *_ in told.said] == [1, 2, 1, 2, 3]


def test_who_begins_is_told_that_the_logger_is_not_there(monkeypatch, tmp_path, capsys):
    def refuse(*_):
        raise ConnectionError("nobody\nthere")

    monkeypatch.setattr(loggers, "_open", refuse)
    with pytest.raises(InputError, match=r"can't begin \(ConnectionError: nobody there\); look at"):
        LoggerFollower("mlflow", tmp_path)
    # One that goes on does so without.
    monkeypatch.setattr(loggers, "_open", lambda *_: Told())
    LoggerFollower("mlflow", tmp_path).tell(rows(1))
    monkeypatch.setattr(loggers, "_open", refuse)
    LoggerFollower("mlflow", tmp_path).tell(rows(2))
    assert "nobody there; the training goes on" in capsys.readouterr().err


def test_a_failing_end_costs_nothing(told, tmp_path, capsys):
    follower = LoggerFollower("mlflow", tmp_path)
    told.close = lambda well: 1 / 0
    follower.end([], well=False)
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_none_leaves_nothing(tmp_path):
    follower = LoggerFollower("none", tmp_path)
    follower.tell(rows(1), PICTURE)
    follower.end(rows(1), well=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("mlflow", "fit.logger=mlflow: not installed; pip install geoseg[mlflow]"),
        ("alembic", "fit.logger=mlflow: needs alembic, which is not installed; pip install geoseg"),
    ],
)
def test_a_missing_package_is_said_before_torch_is_loaded(dataset, tmp_path, missing, said):
    code = f"""
import importlib.machinery, importlib.util, sys
there = importlib.machinery.ModuleSpec("there", None, origin="there.py")
importlib.util.find_spec = lambda name: None if name == {missing!r} else there
from geoseg.dataset.tiles import Dataset; from geoseg.errors import InputError
from geoseg.training.settings import Fit; from geoseg.training.start import train
try:
    fit = Fit(logger="mlflow")
    train(Dataset.load({str(dataset.folder)!r}), {str(tmp_path / "run")!r}, fit=fit)
except InputError as error:
    print(error, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(said)
    assert done.stdout.strip().endswith("False")
    assert not (tmp_path / "run").exists()


def test_a_folder_of_runs_is_not_the_package(tmp_path, monkeypatch):
    (tmp_path / "runs_of_some_logger").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(runfolder, "LOGGER_PACKAGES", {"wandb": ("runs_of_some_logger",)})
    fit = Fit(logger="wandb")
    with pytest.raises(InputError, match="not installed"):
        check_logger(fit)
    check_logger(fit, tried=True)  # which has no logger
    (tmp_path / "runs_of_some_logger" / "__init__.py").touch()
    check_logger(fit)


def stop_in_epoch_2(dataset, run, monkeypatch, fit):
    """Interrupt a training when its second epoch was told, but is not saved yet."""
    write = RunRecorder.write

    def interrupted(self, network, history, validation, *, better):
        write(self, network, history, validation, better=better)
        if history.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunRecorder, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(dataset, run, model=SMALL, fit=fit)


def train_with_stop(dataset, run, monkeypatch, fit):
    """Train, the second epoch twice: the first time it is told but not saved."""
    stop_in_epoch_2(dataset, run, monkeypatch, fit)
    train(dataset, run, model=SMALL, fit=fit)


def test_tensorboard_has_each_epoch_once_and_pictures(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "SHOWING", 1e6)  # in a training of seconds they are seldom
    train_with_stop(dataset, tmp_path, monkeypatch, QUICK)
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    assert [event.value for event in events.Scalars("epoch")] == [1, 2, 3]
    assert [event.step for event in events.Scalars("val_miou")] == [3, 6, 9]
    tags = events.Tags()["images"]
    assert len(tags) == 4
    assert all(tag.startswith("val/s row ") for tag in tags)
    assert [event.step for event in events.Images(tags[0])] == [3, 6, 9]  # 1st, 2nd and last
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["epoch_0001.png", "epoch_0002.png", "epoch_0003.png"]


def test_a_run_goes_on_with_another_logger_and_other_pictures(dataset, tmp_path, monkeypatch):
    silent = replace(QUICK, logger="none", pictures=0)
    stop_in_epoch_2(dataset, tmp_path, monkeypatch, silent)
    assert not (tmp_path / "pictures").exists()
    assert not (tmp_path / "tensorboard").exists()
    train(dataset, tmp_path, model=SMALL, fit=replace(QUICK, pictures=1))
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("epoch")] == [1, 2, 3]
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["epoch_0002.png", "epoch_0003.png"]


def test_overwrite_begins_new_logs(dataset, tmp_path):
    one = replace(QUICK, epochs=1)
    train(dataset, tmp_path, model=SMALL, fit=one)
    train(dataset, tmp_path, model=SMALL, fit=one, seed=1, overwrite=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert len(events.Scalars("epoch")) == 1


def test_mlflow_goes_on_in_the_same_run(dataset, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    train_with_stop(dataset, tmp_path / "a run", monkeypatch, replace(QUICK, logger="mlflow"))
    home = tmp_path / "a run" / "mlruns"
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("geoseg")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "a run"
    assert run.info.status == "FINISHED"
    assert run.data.params["fit.epochs"] == "3"
    assert run.data.params["model.encoder"] == "resnet18"
    assert not any(name.startswith(("hydra", "defaults")) for name in run.data.params)
    told = client.get_metric_history(run.info.run_id, "epoch")
    assert [(metric.step, metric.value) for metric in told] == [(3, 1), (6, 2), (9, 3)]
    assert "val_iou_low" in run.data.metrics
    assert len(list((home / "artifacts").rglob("images/**/*.png"))) == 12


def test_mlflow_in_a_given_store(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from geoseg.training.run.mlflow import MLflow

    store = f"sqlite:///{tmp_path / 'all.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "land cover")
    monkeypatch.chdir(tmp_path)  # where MLflow puts artifacts of such a store
    many = {"fit": {"epochs": 3, "long": "x" * 9000}, "list": [1], "empty": {}}
    many |= {f"n{number}": number for number in range(150)}
    first = MLflow(tmp_path / "r", many, "")
    first.log({"val_iou_Wald & Wiese": 0.5}, {"val/Köln, 1": PICTURE["tile"]}, 7)
    first.close(well=False)
    run = first._client.get_run(first.id)
    assert run.info.status == "FAILED"
    assert len(run.data.params) == 154
    assert run.data.params["list"] == "[1]"
    assert (
        first._client.get_experiment_by_name("land cover").experiment_id == run.info.experiment_id
    )
    assert not (tmp_path / "r").exists()
    again = MLflow(tmp_path / "r", many, first.id)
    assert again.id == first.id
    assert again._client.get_run(first.id).info.status == "RUNNING"
    again._client.delete_run(first.id)
    assert MLflow(tmp_path / "r", many, first.id).id != first.id
    assert MLflow(tmp_path / "r", many, 32 * "0").id not in (first.id, 32 * "0")


def test_wandb_goes_on_in_the_same_run(dataset, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    run = tmp_path / "a_run"
    train_with_stop(dataset, run, monkeypatch, replace(QUICK, logger="wandb"))
    parts = sorted(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(parts) == 2
    assert len({part.name for part in parts}) == 1  # named by the run's id
    assert parts[0].name == f"run-{read_json(run / loggers.NOTE)['wandb']['id']}.wandb"
    first, second = map(wandb_records, parts)
    assert [row["epoch"] for row in first["rows"]] == ["1", "2"]
    assert [row["epoch"] for row in second["rows"]] == ["3"]
    assert second["rows"][0]["_step"] == "9"
    assert sum("image-file" in value for value in second["rows"][0].values()) == 4
    assert first["run"].display_name == "a_run"
    assert first["run"].project == "geoseg"
    config = {item.key: item.value_json for item in first["run"].config.update}
    assert '"epochs":3' in config["fit"].replace(" ", "")
    assert (first["exit"], second["exit"]) == (1, 0)
    assert len(list(run.glob("wandb/offline-run-*/files/media/images/val/*.png"))) == 12


def wandb_records(path):
    """What a file of W&B holds: rows, run and exit status."""
    from wandb.proto import wandb_internal_pb2

    found = {"rows": []}
    for data in leveldb_log(path.read_bytes(), start=7):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = record.history.item
            row = {i.key or "/".join(i.nested_key): i.value_json for i in items}
            found["rows"].append(row)
        elif kind == "run":
            found["run"] = record.run
        elif kind == "exit":
            found["exit"] = record.exit.exit_code
    return found


def leveldb_log(content, start):
    """Records of a log as LevelDB writes it, after the header of a file.

    (github.com/google/leveldb/blob/main/doc/log_format.md)
    """
    block, at, data = 32768, start, b""
    while at + 7 <= len(content):
        if block - at % block < 7:
            at += block - at % block
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        data += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield data
            data = b""
