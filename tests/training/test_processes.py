"""Training on several devices: as one process would with the whole batch, and all end together."""

import csv
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.models.checkpoint import load
from geoseg.models.settings import Model
from geoseg.samples.series import InOrder
from geoseg.samples.settings import SeriesSamples
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.settings import Loss
from geoseg.training.processes import launch
from geoseg.training.sampler import BatchShuffle, Share, Shuffle
from geoseg.training.settings import Fit
from geoseg.training.start import train, train_series
from tests.jobs import gradients, processes
from tests.made import started
from tests.made.samples import made_dataset

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")

SERIES = (
    "model=lstm",
    "model.dropout=0",
    "series.drop_dates=0",
    "series.noise=0",
    "fit.learning_rate=1e-3",
    "loss=cross_entropy_dice",
    "loss.class_weights=none",
    "loss.label_smoothing=0",
    "fit.batch_size=16",
    "fit.epoch_tiles=32",
)
COMMON = ("fit.device=cpu", "fit.precision=32", "fit.workers=0")
TORCHRUN = ("-m", "tests.jobs.torchrun")


def command(dataset, run, *settings, start=()):
    """The words for Python that start a training; start: what comes before the module."""
    return [*start, "-m", "geoseg.train", f"dataset={dataset}", f"run={run}", *COMMON, *settings]


def called(call):
    """The processes that train together are forks of one that has loaded torch."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    return started.run(*call, env=environment, forks=True)


def spread(job):
    """Have a function called by two processes, forks too."""
    return called(["-m", "tests.jobs.spread", job.__module__, job.__name__])


def rows(run):
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(run):
    return load(run / "best.safetensors")[0].state_dict()


def last(run):
    return torch.load(run / "last.ckpt", weights_only=True)["model"]


def batched(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


@given(
    tiles=st.integers(1, 40),
    least=st.integers(1, 60),
    part=st.integers(1, 6),
    ranks=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_the_parts_of_each_batch_are_the_batch_of_one_process(tiles, least, part, ranks, epoch):
    size = part * ranks

    def drawn(sampler):
        sampler.epoch = epoch
        return list(sampler)

    def shuffle():
        return Shuffle(tiles, least=least, batch=size, seed=1)

    whole = batched(drawn(shuffle()), size)
    shares = [Share(shuffle(), batch=size, rank=rank, ranks=ranks) for rank in range(ranks)]
    parts = [batched(drawn(share), part) for share in shares]
    joined = [list(chain(*of_ranks)) for of_ranks in zip(*parts, strict=True)]
    assert joined == whole
    assert [len(share) for share in shares] == [len(whole) * part] * ranks
    listed = [drawn(BatchShuffle(share, part)) for share in shares]
    assert listed == parts


@given(count=st.integers(0, 40), size=st.integers(1, 9), ranks=st.integers(1, 5))
def test_validation_sees_each_sample_once(count, size, ranks):
    orders = [InOrder(count, size, rank=rank, ranks=ranks) for rank in range(ranks)]
    seen = [number for order in orders for draws in order for number, _ in draws]
    assert sorted(seen) == list(range(count))
    assert all(len(list(order)) == len(order) for order in orders)


def test_losses_norms_and_decisions_are_those_of_one_process():
    done = spread(gradients.gradients)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_fault_of_one_process_ends_all_and_is_said_once():
    begin = time.monotonic()
    assert spread(processes.fault).stderr == "s.tif: is gone\n"
    with pytest.raises(InputError, match="process 1 ended with SIGKILL"):
        launch.spread(processes.killed, devices=2)
    assert time.monotonic() - begin < 50


def test_the_first_process_is_the_one_whose_result_counts():
    assert launch.spread(processes.place, devices=2) == "0 of 2"
    assert launch.spread(processes.place, devices=None) == "0 of 1"


def test_started_processes_are_not_started_again(monkeypatch):
    given = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    given |= {"MASTER_ADDR": "a", "MASTER_PORT": "1"}
    given |= {"GROUP_RANK": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert launch.place() == launch.Place(3, 4, 2)
    assert not launch.first()
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert launch.spread(processes.place, devices=2, nodes=2) == "3 of 4"
    with pytest.raises(InputError, match=r"fit.devices=3: 2 processes were started") as error:
        launch.spread(processes.place, devices=3, nodes=3)
    assert len(error.value.faults) == 2


def test_what_can_not_be_is_refused_at_the_door(monkeypatch):
    with pytest.raises(InputError, match="does not divide among 3"):
        Fit(batch_size=16, devices=3)
    with pytest.raises(InputError, match=r"set fit\.device=cuda"):
        Fit(device="cuda:1", devices=2)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match=r"fit.nodes=2: start the command with torchrun"):
        launch.spread(processes.place, devices=1, nodes=2)
    monkeypatch.setenv("NODE_RANK", "1")
    assert launch.first()
    assert not launch.first(nodes=2)


def test_torchrun_trains_as_one_process_does(dataset, tmp_path):
    """With batch norms, one of them over a lone value, layers that are not used, uneven labels,
    accumulated steps and a validation in two parts."""
    settings = ("fit.epochs=2", "fit.epoch_tiles=12", "fit.batch_size=4", "fit.accumulate=2")
    settings += ("fit.learning_rate=1e-4", "model=pspnet", "model.dropout=0", "fit.pictures=0")
    settings += ("model.encoder=resnet18",)  # whose last layers a PSPNet does not use
    call = command(
        dataset.folder, tmp_path / "two", *settings, "augment=none", "seed=3", start=TORCHRUN
    )
    done = called(call)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train tiles") == done.stdout.count("weights:") == 1
    assert "× 2" in done.stdout
    assert not done.stderr
    loss = Loss(terms={"cross_entropy": 1.0, "dice": 1.0})
    fit = Fit(
        epochs=2, epoch_tiles=12, batch_size=4, accumulate=2, learning_rate=1e-4, device="cpu",
        precision="32", workers=0, pictures=0,
    )  # fmt: skip
    model = Model("pspnet", "resnet18")
    train(dataset, tmp_path / "one", model=model, loss=loss, fit=fit, seed=3)
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        # Adam's first steps make rounding larger: it divides tiny gradients by themselves.
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=2e-3)
        assert float(two["val_miou"]) == pytest.approx(float(one["val_miou"]), abs=0.02)


def test_an_interrupt_ends_all():
    code = (
        "from geoseg.training.processes import launch\n"
        "from tests.jobs import processes\n"
        "try:\n    launch.spread(processes.forever, devices=2)\n"
        "except KeyboardInterrupt:\n    exit(130)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    assert [process.stdout.readline() for _ in range(2)] == ["runs\n"] * 2
    crew = children(process.pid)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (130, "")
    assert_ended(crew)


def test_two_processes_killed_end_as_undisturbed_ones_and_as_one(tmp_path):
    folder = made_dataset(tmp_path / "d").folder
    settings = (*SERIES, "fit.devices=2", "fit.epochs=6")
    done = called(command(folder, tmp_path / "two", *settings))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("train samples") == done.stdout.count("weights:") == 1
    assert not done.stderr

    kill_after_an_epoch(command(folder, tmp_path / "parts", *settings), tmp_path / "parts")
    done = called(command(folder, tmp_path / "parts", *settings))
    assert done.returncode == 0, done.stderr
    two, parts = last(tmp_path / "two"), last(tmp_path / "parts")
    assert all(torch.equal(two[name], parts[name]) for name in two)

    fit = Fit(
        epochs=6, batch_size=16, epoch_tiles=32, workers=0, device="cpu", precision="32",
        learning_rate=1e-3,
    )  # fmt: skip
    loss = Loss(
        {"cross_entropy": 1.0, "dice": 1.0}, class_weights="none", label_smoothing=0.0
    )  # fmt: skip
    config = TrainConfig(
        str(folder), str(tmp_path / "one"), model=Model("lstm"), fit=fit, loss=loss,
        series=SeriesSamples(drop_dates=0.0, noise=0.0),
    )  # fmt: skip
    train_series(made_dataset(tmp_path / "d"), config)
    for one, two in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), rel=1e-3)
    a, b = last(tmp_path / "one"), last(tmp_path / "two")
    # A softmax over dates does not feel this one: its gradient is rounding, which Adam enlarges.
    for name in a.keys() - {"score.bias"}:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)


def test_two_processes_with_all_samplers_killed_end_as_undisturbed_ones(dataset, tmp_path):
    scene = dataset.folder.parent / "s.tif"
    settings = (
        *("model=pspnet", "model.encoder=tu-lcnet_050", "model.dropout=0.2", "fit.batch_size=4"),
        *("fit.epoch_tiles=8", "fit.epochs=4", "fit.balance=0.5", "fit.hard=0.5"),
        *("fit.swa=0.4", f"fit.unlabelled={scene}", "fit.confidence=0.5", "fit.devices=2"),
        *("fit.pictures=0", "model.pixels=0"),
    )
    done = called(command(dataset.folder, tmp_path / "two", *settings))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    call = command(dataset.folder, tmp_path / "parts", *settings)
    kill_after_an_epoch(call, tmp_path / "parts", delay=0.15)
    done = called(call)
    assert done.returncode == 0, done.stderr
    two, parts = (
        torch.load(tmp_path / run / "last.ckpt", weights_only=True) for run in ("two", "parts")
    )
    assert two["history"]["difficulty"] == parts["history"]["difficulty"]
    assert min(two["history"]["difficulty"]) > 0
    assert two["average"]["evenly"]
    for name, tensor in two["average"]["network"].items():
        assert torch.equal(tensor, parts["average"]["network"][name]), name


def kill_after_an_epoch(call, run: Path, *, delay: float = 0.0) -> None:
    """Kill the process that starts the others, which must end by themselves."""
    with started.Started(*call, forks=True) as process:
        while process.poll() is None and not (run / "last.ckpt").exists():
            time.sleep(0.002)
        time.sleep(delay)
        crew = children(process.pid)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert_ended(crew)


def assert_ended(crew: list[int]) -> None:
    """Processes, among them the one that counts their semaphores, end soon."""
    assert len(crew) >= 2
    until = time.monotonic() + 10
    while any(alive(number) for number in crew):
        assert time.monotonic() < until, "processes outlive the one that started them"
        time.sleep(0.02)


def children(number: int) -> list[int]:
    path = Path(f"/proc/{number}/task/{number}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def alive(number: int) -> bool:
    """Whether a process runs; one that ended and whose end nobody has asked for doesn't."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_loss_that_is_no_number_ends_all_with_one_message(tmp_path):
    folder = made_dataset(tmp_path / "d").folder
    wild = ("fit.learning_rate=1e30", "fit.clip=0", "fit.warmup=0", "fit.epochs=3")
    done = called(command(folder, tmp_path / "run", *SERIES, *wild, "fit.devices=2"))
    assert done.returncode == 1
    assert done.stderr.count("geoseg train:") == len(done.stderr.splitlines()) == 1
    assert "lower fit.learning_rate" in done.stderr
    assert not (tmp_path / "run").exists()
