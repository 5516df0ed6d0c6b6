"""The loop: it learns, it ends when told, and a killed training ends like an undisturbed one."""

import csv
import shutil
import signal
import time
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.models import mobilenetv3

from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.models.card import ModelCard
from geoseg.models.checkpoint import load
from geoseg.models.settings import Model
from geoseg.samples.augment import Augment
from geoseg.scenes.bands import BandStatistics
from geoseg.training import advice, refit, start
from geoseg.training import loop as fit_room
from geoseg.training.loop import read_well
from geoseg.training.objectives.settings import Loss
from geoseg.training.optimizer import learning_rate, optimizer_of
from geoseg.training.run import curves, folder, recorder
from geoseg.training.run.history import History, Validation
from geoseg.training.settings import Fit
from tests.made.hurry import DECODE, ON_VAL
from tests.made.started import Started

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")


@given(st.floats(0, 1), st.floats(0, 0.5))
def test_learning_rate_stays_between_0_and_its_peak(progress, warmup):
    fit = Fit(learning_rate=0.1, warmup=warmup)
    assert 0 < learning_rate(fit, progress) <= 0.1 + 1e-12


def test_learning_rate_rises_then_falls():
    fit = Fit(learning_rate=1.0, warmup=0.1)
    assert learning_rate(fit, 0.05) == pytest.approx(0.5)
    assert learning_rate(fit, 0.1) == pytest.approx(1)
    assert learning_rate(fit, 0.55) == pytest.approx(0.505)
    assert learning_rate(fit, 1) == pytest.approx(0.01)


def test_the_end_has_a_reason():
    assert History().finished(Fit()) is None
    assert "2 epochs" in str(History(epoch=2).finished(Fit(epochs=2)))
    assert "max_minutes" in str(History(minutes=3).finished(Fit(max_minutes=3)))
    assert "patience" in str(History(epoch=9, risen=4).finished(Fit(patience=5)))
    assert History(epoch=8, risen=4).finished(Fit(patience=5)) is None


def test_a_lucky_epoch_is_not_the_best():
    history = History()
    row = {"loss": 1.0}
    for score in (0.5, 0.9, 0.4, 0.6, 0.7, 0.72, 0.74):
        history.add(dict(row), Validation(score, {}, {}), 0.0)
    assert history.best_epoch == 7
    assert history.best == 0.74


def test_norms_and_biases_do_not_decay():
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    groups = optimizer_of(network, Fit(weight_decay=0.1)).param_groups
    decays = {id(w): group["weight_decay"] for group in groups for w in group["params"]}
    assert [decays[id(w)] for w in network.parameters()] == [0.1, 0, 0, 0]


SMALL = Model("pspnet", "tu-lcnet_050", pixels=0)
"""Each step of a test takes a tenth of what the usual network takes."""
WITH_PIXELS = replace(SMALL, pixels=32)


def train(dataset, run, *, model=SMALL, **given):
    return start.train(dataset, run, model=model, **given)


QUICK = Fit(
    epochs=3, epoch_tiles=8, batch_size=4, workers=0, precision="32", warmup=0.1, pictures=0
)
LIGHT = Augment(flips=True, brightness=0.2)


def weights(run):
    return load(run / "best.safetensors")[0].state_dict()


def last(run):
    return torch.load(run / "last.ckpt", weights_only=True)


def test_it_learns_what_a_pixel_value_tells(dataset, tmp_path, monkeypatch):
    compared, compare = [], advice.compare

    def compare_and_note(*given):
        compared.append(compare(*given))
        return compared[-1]

    monkeypatch.setattr(recorder, "draw_curves", curves.draw_curves)  # which tests do without
    monkeypatch.setattr(mobilenetv3, "decode_arch_def", DECODE)  # one that learns in few epochs
    monkeypatch.setattr(advice, "on_val", ON_VAL)
    monkeypatch.setattr(advice, "compare", compare_and_note)
    fit = Fit(
        epochs=12, epoch_tiles=16, batch_size=4, workers=0, learning_rate=3e-3, pictures=0
    )  # fmt: skip
    statistics = BandStatistics(*(2 * (v,) for v in (100.0, 50.0, 0.0, 200.0, 0.0, 200.0)))
    dataset = replace(dataset, statistics=statistics)
    text = train(
        dataset, tmp_path / "run", model=WITH_PIXELS, loss=Loss(class_weights="inverse"), fit=fit
    )
    assert "best validation mIoU" in text
    card = ModelCard.read(tmp_path / "run" / "best.safetensors")
    assert card.scores["miou"] > 0.7
    # The ways of predicting are compared by the best weights, not the last ones.
    assert compared[0][advice.USUAL] == pytest.approx(card.scores["miou"], abs=0.01)
    assert card.legend == dataset.legend
    assert card.bands == dataset.bands
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert float(rows[-1]["loss"]) < 0.5 * float(rows[0]["loss"])
    for name in ("tensorboard", ".hydra/config.yaml"):
        assert (tmp_path / "run" / name).exists()
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_training_ends_like_an_undisturbed_one(dataset, tmp_path):
    model = replace(SMALL, dropout=0.2)
    train(dataset, tmp_path / "a", model=model, augment=LIGHT, fit=QUICK, seed=3)
    code = (
        "from geoseg.samples.augment import Augment; from geoseg.dataset.tiles import Dataset;"
        "from geoseg.training.settings import Fit; from geoseg.models.settings import Model;"
        "from geoseg.training.start import train;"
        f"train(Dataset.load({str(dataset.folder)!r}), {str(tmp_path / 'b')!r},"
        f" model={model!r}, augment={LIGHT!r}, fit={QUICK!r}, seed=3)"
    )
    (tmp_path / "killed.py").write_text(code)
    with Started("-m", "killed", cwd=tmp_path) as process:
        while not (tmp_path / "b" / "last.ckpt").exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert last(tmp_path / "b")["history"]["epoch"] < 3
    train(dataset, tmp_path / "b", model=model, augment=LIGHT, fit=QUICK, seed=3)
    a, b = last(tmp_path / "a"), last(tmp_path / "b")
    assert a["history"]["epoch"] == b["history"]["epoch"] == 3
    assert all(torch.equal(a["model"][k], b["model"][k]) for k in a["model"])
    best_a, best_b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(best_a[k], best_b[k]) for k in best_a)


def test_of_equal_epochs_the_last_is_kept_and_patience_counts_from_the_first():
    history, fit = History(), Fit(epochs=20, patience=4)
    kept = [
        history.add({"loss": 1.0}, Validation(score, {}, {}), 0.1) for score in (0.5, 1, 1, 1, 1, 1)
    ]
    assert kept == [True] * 6
    assert (history.best_epoch, history.risen) == (6, 4)
    assert history.finished(fit) is None
    for score in (1, 1):
        history.add({"loss": 1.0}, Validation(score, {}, {}), 0.1)
    assert history.best_epoch == 8
    assert "patience" in (history.finished(fit) or "")
    assert not history.add({"loss": 1.0}, Validation(0.9, {}, {}), 0.1)
    assert not history.add({"loss": 1.0}, Validation(float("nan"), {}, {}), 0.1)


def test_a_finished_training_is_not_repeated(dataset, tmp_path):
    one = Fit(**vars(QUICK) | {"epochs": 1})
    train(dataset, tmp_path, fit=one)
    before = (tmp_path / "best.safetensors").stat().st_mtime_ns
    assert "1 epoch is done" in train(dataset, tmp_path, fit=one)
    assert (tmp_path / "best.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"other settings \(fit.accumulate\)"):
        train(dataset, tmp_path, fit=replace(one, accumulate=2))


def test_a_finished_training_that_is_to_last_longer_goes_on(dataset, tmp_path, capsys):
    one = replace(QUICK, epochs=1, swa=0.3, patience=9)
    train(dataset, tmp_path, fit=one)
    rates = [float(row["learning_rate"]) for row in rows_of(tmp_path)]
    longer = replace(one, epochs=4, patience=0)
    (tmp_path / "metrics.csv").unlink()
    assert "4 epochs are done" in train(dataset, tmp_path, fit=longer)
    said = capsys.readouterr().out
    assert "goes on (fit.epochs 1 → 4, fit.patience 9 → none)" in said
    assert "the learning rate rises again" in said
    rates = [float(row["learning_rate"]) for row in rows_of(tmp_path)]
    assert len(rates) == 4
    # Three steps an epoch: the second epoch's last is at (1 + 2/3) / 4 of the whole.
    assert rates[1] == pytest.approx(learning_rate(longer, (1 + 2 / 3) / 4), rel=1e-4)
    assert rates[1] > rates[0]
    assert last(tmp_path)["average"]["evenly"]
    assert ModelCard.read(tmp_path / "best.safetensors")
    with pytest.raises(InputError, match=r"other settings \(fit.epochs\)"):
        train(dataset, tmp_path, fit=replace(longer, epochs=2))
    damage = {"last.ckpt": b"", "best.safetensors": b"x" * 99}
    for name, content in damage.items():
        kept = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}: gone or damaged.*overwrite=true"):
            train(dataset, tmp_path, fit=longer)
        (tmp_path / name).write_bytes(kept)
    (tmp_path / "last.ckpt").write_bytes(kept[: len(kept) // 2])
    train(dataset, tmp_path, fit=longer, overwrite=True)
    assert len(rows_of(tmp_path)) == 4
    assert rows_of(tmp_path)[0]["epoch"] == "1"


def rows_of(run):
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("old", "new", "longer"),
    [(1, 2, 1), (2, 1, 0), (2.0, None, 1), (None, 2.0, 0), (5, 0, 1), (0, 5, 0)],
)
def test_what_ends_a_training_later(old, new, longer):
    assert folder._is_longer(old, new) == longer


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed. ", "ended from outside"),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "ended from outside"),
        ("unable to write to file </torch_1>: No space left; shared memory", "memory is full"),
    ],
)
def test_readers_that_are_killed_name_the_setting(words, told):
    with pytest.raises(InputError, match=rf"^fit\.workers: .*{told}.*fit\.workers=1"), read_well():
        raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="else"), read_well():
        raise RuntimeError("something else")


def test_a_run_folder_that_is_removed_ends_the_training(dataset, tmp_path, monkeypatch):
    def remove(path, *_):
        shutil.rmtree(path.parent)

    monkeypatch.setattr(fit_room, "_save", remove)
    with pytest.raises(InputError, match="run: somebody removed or renamed this run folder"):
        train(dataset, tmp_path / "run", fit=QUICK)
    assert not (tmp_path / "run").exists()


def test_a_refit_trains_on_val_too_and_keeps_the_scores(dataset, tmp_path):
    fit = Fit(**vars(QUICK) | {"epochs": 2, "refit": True})
    text = train(dataset, tmp_path, fit=fit, augment=LIGHT)
    assert "once more on train and val" in text
    first = last(tmp_path)["model"]
    again = last(tmp_path / "refit")
    assert again["history"]["epoch"] == last(tmp_path)["history"]["best_epoch"]
    card = ModelCard.read(tmp_path / "best.safetensors")
    assert 0 <= card.scores["miou"] <= 1
    saved = weights(tmp_path)
    second = load(tmp_path / "refit" / "best.safetensors")[0].state_dict()
    assert all(torch.equal(saved[name], second[name]) for name in saved)
    assert not all(torch.equal(first[name], again["model"][name]) for name in first)
    before = (tmp_path / "best.safetensors").read_bytes()
    first_weights = refit.judged_weights(tmp_path)
    assert first_weights.read_bytes() != before  # what val judges has not learnt from val
    assert train(dataset, tmp_path, fit=fit, augment=LIGHT) == text
    assert (tmp_path / "best.safetensors").read_bytes() == before
    assert refit.judged_weights(tmp_path) == first_weights


def test_accumulated_batches_end_the_epoch_with_a_step(dataset, tmp_path):
    fit = Fit(**vars(QUICK) | {"epochs": 1, "epoch_tiles": 20, "accumulate": 3})
    train(dataset, tmp_path, fit=fit)
    assert last(tmp_path)["history"]["step"] == 6  # 6 tiles, four rounds, batches of 4


def test_without_val_tiles_the_last_weights_are_kept(dataset, tmp_path, monkeypatch):
    tiles = Dataset.tiles
    monkeypatch.setattr(Dataset, "tiles", lambda d, split: tiles(d, split) * (split != "val"))
    fit = Fit(**vars(QUICK) | {"epochs": 2, "average": 0.0})
    text = train(dataset, tmp_path / "run", fit=fit)
    assert "best validation" not in text
    saved, model = weights(tmp_path / "run"), last(tmp_path / "run")["model"]
    assert all(torch.equal(saved[name], model[name]) for name in saved)


def test_minutes_end_a_training(dataset, tmp_path, monkeypatch):
    ticks = count(0.0, 0.1)  # each look at the clock takes a tenth of a second, however fast we are
    monkeypatch.setattr(fit_room, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    fit = Fit(**vars(QUICK) | {"epochs": 10_000, "max_minutes": 0.02})
    statistics = BandStatistics(*(2 * (v,) for v in (100.0, 50.0, 0.0, 200.0, 0.0, 200.0)))
    dataset = replace(dataset, statistics=statistics)
    text = train(dataset, tmp_path, fit=fit)
    assert "fit.max_minutes=0.02 are over" in text
    assert last(tmp_path)["optimizer"]["param_groups"][0]["lr"] < 0.5 * fit.peak


def test_a_loss_that_explodes_is_said(dataset, tmp_path):
    fit = Fit(**vars(QUICK) | {"learning_rate": 1e30, "clip": 0.0, "warmup": 0.0})
    with pytest.raises(InputError, match=r"lower fit.learning_rate"):
        train(dataset, tmp_path, fit=fit)


def test_scenes_that_are_gone_are_named_before_the_work(dataset, tmp_path):
    (tmp_path / "s.tif").rename(tmp_path / "moved.tif")
    with pytest.raises(InputError, match=r"s\.tif.*put them back"):
        train(dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()
