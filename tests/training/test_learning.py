"""What decides how and from what a network learns: chances, rates, averages, unlabelled tiles."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geoseg.dataset.unlabelled import cut
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import IGNORED
from geoseg.models.card import ModelCard
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.samples.augment import Augment
from geoseg.samples.draw import part_of
from geoseg.samples.unlabelled import SceneTiles
from geoseg.scenes.scene import find_scenes
from geoseg.training import loop as fit_room
from geoseg.training import lr_find
from geoseg.training.checks import described
from geoseg.training.config import TrainConfig
from geoseg.training.objectives import loss as loss_room
from geoseg.training.objectives.mean_teacher import MeanTeacher, mixed, risen
from geoseg.training.objectives.settings import Loss
from geoseg.training.optimizer import Average, learning_rate, optimizer_of, set_frozen, set_rate
from geoseg.training.run.history import History, Validation
from geoseg.training.sampler import Shuffle, balanced, drawn
from geoseg.training.settings import Fit
from geoseg.training.start import train, train_images
from tests.made import started

MOVED = Affine.translation(200, 0)
"""By the width of the scene: it lies beside it then."""
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")

SMALL = "tu-lcnet_050"
QUICK_NETWORK = Model("pspnet", SMALL, pixels=0)
"""Of which a step takes a quarter of the time of a U-Net's."""
QUICK = Fit(
    epochs=2, epoch_tiles=8, batch_size=4, workers=0, precision="32", device="cpu", pictures=0
)
COUNTS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=20
)


# Which tiles are drawn


@given(COUNTS, st.floats(0.01, 1))
def test_chances_lie_between_all_tiles_and_all_classes_alike(counts, alpha):
    counts = np.array(counts, float)
    chances = balanced(counts, alpha)
    if not counts.any():
        assert chances is None
        return
    assert chances.sum() == pytest.approx(1)
    assert (chances >= (1 - alpha) / len(counts) - 1e-12).all()
    full = balanced(counts, 1.0)
    np.testing.assert_allclose(chances, (1 - alpha) / len(counts) + alpha * full)
    present = counts.sum(0) > 0
    # The chance that a class was the reason is the same for each.
    reasons = (counts / np.maximum(counts.sum(0), 1))[:, present].sum(0)
    np.testing.assert_allclose(reasons, 1)


def test_a_rare_class_comes_up_more_often():
    counts = [[100, 0]] * 9 + [[50, 50]]
    assert balanced(counts, 0) is None
    shuffle = Shuffle(10, least=100, batch=4, seed=0, chances=balanced(counts, 1))
    seen = np.bincount([number for number, _ in shuffle], minlength=10)
    assert seen[9] == pytest.approx(100 * (0.5 + 0.5 * 50 / 950), abs=1)
    assert len(list(shuffle)) == len(shuffle) == 100


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=30),
    st.integers(1, 200),
    st.integers(0, 99),
)
def test_each_is_drawn_as_often_as_its_share_says(chances, count, seed):
    shares = np.array(chances) / sum(chances)
    found = np.bincount(drawn(shares, count, np.random.default_rng(seed)), minlength=len(shares))
    assert found.sum() == count
    assert (np.abs(found - shares * count) < 1 + 1e-6).all()


def test_difficult_tiles_come_up_more_often():
    shuffle = Shuffle(4, least=80, batch=4, seed=0, hard=0.5)
    before = list(shuffle)
    shuffle.difficulty = [0.0, 0.0, 0.0, 0.0]
    assert list(shuffle) == before
    shuffle.difficulty = [3.0, 1.0, 0.0, 0.0]
    seen = np.bincount([number for number, _ in shuffle], minlength=4)
    np.testing.assert_allclose(seen, [40, 20, 10, 10], atol=1)


@given(st.integers(1, 100), st.floats(0.01, 0.5), st.integers(0, 9))
def test_larger_shares_hold_the_smaller_ones(count, share, seed):
    small, large = part_of(count, share, seed), part_of(count, 2 * share, seed)
    assert set(small) <= set(large)
    assert len(small) == max(1, round(share * count))
    assert part_of(count, 1.0, seed).tolist() == list(range(count))


# How fast which weights move


def test_the_rate_stays_while_weights_are_averaged_evenly():
    fit = Fit(learning_rate=1.0, warmup=0.1, swa=0.3)
    assert learning_rate(fit, 0.1) == pytest.approx(1)
    assert learning_rate(fit, 0.4) == pytest.approx(0.625)
    assert learning_rate(fit, 0.7) == learning_rate(fit, 1.0) == pytest.approx(0.25)


def network():
    torch.manual_seed(0)
    return models.build(Model(encoder=SMALL), channels=2, classes=2)


def test_the_encoder_learns_at_a_rate_of_its_own():
    made = network()
    optimizer = optimizer_of(made, Fit(encoder_lr_scale=0.1))
    set_rate(optimizer, 0.5)
    rates = {id(w): g["lr"] for g in optimizer.param_groups for w in g["params"]}
    encoder = {id(w) for w in made.encoder.parameters()}
    assert len(rates) == len(list(made.parameters()))
    for weights in made.parameters():
        assert rates[id(weights)] == pytest.approx(0.05 if id(weights) in encoder else 0.5)
    assert {g["scale"] for g in optimizer_of(made, Fit()).param_groups} == {1.0}


def test_a_frozen_encoder_stands_still_and_thaws():
    made = network()
    optimizer = optimizer_of(made, Fit())

    def learn():
        before = {name: t.clone() for name, t in made.state_dict().items()}
        made(torch.randn(2, 2, 64, 64)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        after = made.state_dict()
        return {name for name in before if not torch.equal(before[name], after[name])}

    set_frozen(made, frozen=True)
    moved = learn()
    assert moved
    assert not any("encoder" in name for name in moved)
    set_frozen(made, frozen=False)
    moved = learn()
    assert any("encoder" in name and "running_mean" in name for name in moved)
    assert any("encoder" in name and "weight" in name for name in moved)


def test_weights_are_averaged_as_the_formulas_say():
    values = [3.0, 5.0, 1.0, 8.0, 2.0]
    layer = nn.BatchNorm1d(1)
    average = Average(layer, 0.2)
    expected = None
    for step, value in enumerate(values):
        layer.weight.data.fill_(value)
        layer.num_batches_tracked.fill_(step)
        average.update(layer)
        kept = min(0.2, (1 + step) / (10 + step)) if step else 0.0
        expected = value if expected is None else kept * expected + (1 - kept) * value
        assert float(average.network.weight) == pytest.approx(expected)
        assert int(average.network.num_batches_tracked) == step
    average.begin_evenly()
    seen = [expected]
    for value in values:
        layer.weight.data.fill_(value)
        average.update(layer)
        seen.append(value)
        assert float(average.network.weight) == pytest.approx(np.mean(seen))
    other = Average(layer, 0.2)
    other.load_state_dict(average.state_dict())
    layer.weight.data.fill_(100.0)
    for each in (average, other):
        each.update(layer)
        assert float(each.network.weight) == pytest.approx(np.mean([*seen, 100.0]))


def test_an_even_average_may_move_again():
    layer = nn.Linear(1, 1)
    average = Average(layer, 0.9)
    layer.weight.data.fill_(1.0)
    average.update(layer)
    average.begin_evenly()
    layer.weight.data.fill_(3.0)
    average.update(layer)
    assert float(average.network.weight) == pytest.approx(2.0)
    average.begin_moving()
    layer.weight.data.fill_(12.0)
    average.update(layer)
    assert float(average.network.weight) == pytest.approx(0.9 * 2 + 0.1 * 12)


def test_without_a_share_the_average_is_the_weights():
    layer = nn.Linear(1, 1)
    average = Average(layer, 0.0)
    for value in (1.0, 2.0):
        layer.weight.data.fill_(value)
        average.update(layer)
        assert float(average.network.weight) == value


# What is said


def rows(*losses, **columns):
    return [{"loss": loss} | columns for loss in losses]


def test_a_loss_that_does_not_fall_is_said():
    (said,) = History(rows=rows(1.0, 1.02, 0.99)).remarks()
    assert "did not fall (1 in the first epoch, 0.99 in the last)" in said
    assert "lr_find=true" in said
    assert not History(rows=rows(1.0, 0.9, 0.99)).remarks()
    assert not History(rows=rows(1.0, 1.0)).remarks()


def test_a_score_of_one_class_is_said():
    def of(**iou):
        columns = {f"val_iou_{name}": value for name, value in iou.items()}
        return History(epoch=1, best_epoch=1, rows=rows(1.0, **columns)).remarks()

    assert not of(a=0.5, b=0.02)
    assert not of(a=0.5, b=0.02, c=0.0)
    (said,) = of(a=0.9, b=0.0, c=math.nan)
    assert said.startswith("a alone makes the val score; nothing is right of b")
    (said,) = of(a=0.9, b=math.nan)
    assert "one class only, a" in said
    (said,) = of(a=0.0, b=0.0)
    assert "no class was found" in said


def test_no_advice_is_given_on_a_class_that_no_label_has():
    history = History()
    counts = [{"name": "building", "truth_pixels": 9}, {"name": "other", "truth_pixels": 0}]
    columns = {"val_iou_building": 0.9, "val_iou_other": 0.0}
    history.add({"loss": 1.0}, Validation(0.45, columns, {"classes": counts}), 0.1)
    (said,) = history.remarks()
    assert "one class only, building" in said
    assert "other" not in said.replace("another", "")


def test_the_tiles_of_a_broken_batch_are_named(dataset, tmp_path):
    wild = Fit(**vars(QUICK) | {"learning_rate": 1e30, "clip": 0.0, "warmup": 0.0})
    with pytest.raises(InputError, match=r"epoch 1, batch 2, of s \(rows \d+ to \d+, columns"):
        train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=wild)


def test_a_training_of_no_time_has_a_batch_and_an_honest_loss(dataset, tmp_path):
    none = Fit(**vars(QUICK) | {"epochs": 50, "max_minutes": 1e-6})
    train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=none)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert int(row["step"]) == 1
    assert float(row["loss"]) > 0
    assert (tmp_path / "run" / "best.safetensors").exists()


def test_an_epoch_without_time_is_none(dataset, tmp_path, monkeypatch):
    """The minutes pass between two epochs, while pictures are made."""
    spent = iter([0.0] * 9 + [9.0] * 99)
    monkeypatch.setattr(fit_room.Clock, "minutes", lambda self: next(spent))
    fit = Fit(**vars(QUICK) | {"epochs": 50, "epoch_tiles": 32, "max_minutes": 1.0})
    said = train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=fit)
    assert "fit.max_minutes=1 are over: 9.0 minutes" in said
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["history"]
    assert (last["epoch"], last["minutes"], len(last["rows"])) == (1, 9.0, 1)


def test_losses_are_looked_at_now_and_then():
    losses = fit_room.Losses(3)
    for value in (1.0, math.nan, 2.0):
        assert losses.broken is None
        losses.add(torch.tensor(value))
    assert losses.broken == losses.first_broken() == 1
    assert math.isnan(losses.mean())


def test_too_little_memory_names_the_setting(dataset, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(fit_room.Training, "step", full)
    with pytest.raises(InputError, match=r"fit\.batch_size=4: too much .*CUDA out of memory"):
        train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=QUICK)


def test_a_random_encoder_is_not_frozen(dataset, tmp_path):
    with pytest.raises(InputError, match=r"fit\.freeze=2: .* would stay random"):
        train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=Fit(freeze=2))


# The range test


def test_learning_rates_are_tried_and_nothing_is_trained(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(lr_find, "STEPS", 40)
    config = TrainConfig(run=str(tmp_path / "run"), model=QUICK_NETWORK, fit=QUICK, lr_find=True)
    said = train_images(dataset, config)
    found = float(said.partition("fit.learning_rate=")[2].split()[0])
    assert 1e-7 <= found <= 0.1
    with (tmp_path / "run" / "lr_find.csv").open() as file:
        table = list(csv.DictReader(file))
    rates = [float(row["learning_rate"]) for row in table]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-6)
    lowest = min(table, key=lambda row: float(row["loss"]))
    assert found == pytest.approx(float(lowest["learning_rate"]) / 10, rel=0.5)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["lr_find.csv", "lr_find.png"]
    train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=QUICK)
    assert (tmp_path / "run" / "best.safetensors").exists()


# Unlabelled tiles


def test_tiles_of_scenes_are_scaled_moved_and_never_empty(dataset):
    (scene,) = dataset.scenes
    tiles = SceneTiles(cut([scene], 64), 64, dataset.statistics)
    assert len(tiles) == 3 * 4
    random = np.random.default_rng(0)
    for number in range(len(tiles)):
        image, valid = tiles.draw(number, random)
        assert image.shape == (2, 64, 64)
        assert valid.any()
        assert not image[:, ~valid].any()
    image, valid = tiles.still(0)
    assert not valid[:10, :10].any()
    assert image[0, 20, 20] == 21  # the statistics leave values as they are


class Fixed(nn.Module):
    """Logits that a batch's first band decides: sure of class 0 or 1, or of neither."""

    def forward(self, image):
        return torch.stack((-image[:, 0], image[:, 0]), 1)


def teacher(**changes):
    criterion = loss_room.build(Loss(), names=["a", "b"])
    fit = Fit(**{"confidence": 0.9} | changes)
    return MeanTeacher(criterion, fit, autocast=torch.no_grad)


def test_only_what_the_teacher_is_sure_of_is_taught():
    image = torch.tensor([-9.0, 0.1, 9.0]).reshape(1, 1, 1, 3)
    assert teacher().teach(Fixed(), image).tolist() == [[[0, IGNORED, 1]]]
    assert teacher(confidence=0.5).teach(Fixed(), image).tolist() == [[[0, 1, 1]]]


def test_agreement_is_a_mean_over_all_that_is_seen():
    logits = torch.zeros(1, 2, 1, 4)
    taught = torch.tensor([[[0, 1, IGNORED, IGNORED]]])
    seen = torch.tensor([[[True, True, True, False]]])
    found = teacher().agreement(logits, taught, seen)
    assert float(found) == pytest.approx(2 * math.log(2) / 3)


def test_boxes_bring_what_is_taught_with_them():
    torch.manual_seed(0)
    number = torch.arange(3.0).reshape(3, 1, 1)
    strong = number[:, None].expand(3, 2, 20, 30)
    taught, seen = number.expand(3, 20, 30).long(), torch.ones(3, 20, 30, dtype=torch.bool)
    seen[2] = False
    image, classes, shown = mixed(strong, taught, seen)
    assert (image[:, 0] == classes).all()
    assert ((image[:, 0] == 2) == ~shown).all()
    covered = (classes[0] != 0).float().mean()
    assert 0.4 < float(covered) < 0.6
    assert (classes[0][classes[0] != 0] == 2).all()


def test_the_unlabelled_loss_rises():
    assert risen(0) == pytest.approx(math.exp(-5))
    assert risen(0.15) == pytest.approx(math.exp(-1.25))
    assert risen(0.3) == risen(1) == 1


def test_the_student_learns_from_labels_and_teacher():
    torch.manual_seed(0)
    student = nn.Conv2d(1, 2, 1)
    image = torch.randn(2, 1, 8, 8)
    target = torch.full((2, 8, 8), IGNORED)
    other = 9 * torch.randn(2, 1, 8, 8).sign()
    seen = torch.ones(2, 8, 8, dtype=torch.bool)
    objective, steps = teacher(), torch.optim.SGD(student.parameters(), 0.5)
    for _ in range(20):
        loss = objective(student, Fixed(), ((image, other, other / 9, seen), target), 1.0)
        steps.zero_grad()
        loss.backward()
        steps.step()
    assert (student(other / 9).argmax(1) == (other[:, 0] > 0)).all()


def test_the_ground_of_val_tiles_is_told_whatever_the_path(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "renamed.tif").write_bytes((dataset.folder.parent / "s.tif").read_bytes())
    for spec in ("s.tif", "copy"):
        (_, note) = described(dataset, find_scenes(spec))
        assert "they show ground of val tiles" in note
    far = replace(dataset.scenes[0].grid, transform=dataset.scenes[0].grid.transform @ MOVED)
    with raster.create(tmp_path / "far.tif", far, dtype="uint8", count=2) as writer:
        writer.write(np.ones((2, far.height, far.width), np.uint8), far.window)
    assert len(described(dataset, find_scenes("far.tif"))) == 1


def test_other_unlabelled_scenes_make_another_run(dataset, tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    scene = (dataset.folder.parent / "s.tif").read_bytes()
    (folder / "a.tif").write_bytes(scene)
    fit = Fit(**vars(QUICK) | {"epochs": 1, "unlabelled": str(folder)})
    train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=fit)
    (folder / "b.tif").write_bytes(scene)
    with pytest.raises(InputError, match=r"other settings \(files\)"):
        train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=fit)


def test_scenes_that_do_not_suit_are_refused(dataset, tmp_path):
    (scene,) = dataset.scenes
    coarse = Grid(scene.grid.crs, scene.grid.transform @ type(scene.grid.transform).scale(3), 9, 9)
    with raster.create(tmp_path / "u" / "x.tif", coarse, dtype="uint8", count=1) as writer:
        writer.write(np.ones((1, 9, 9), np.uint8), coarse.window)
    with pytest.raises(InputError, match=r"fit\.unlabelled: .*x\.tif: 1 bands?\b"):
        train(dataset, tmp_path / "run", fit=Fit(unlabelled=str(tmp_path / "u")))
    with pytest.raises(InputError, match=r"fit\.unlabelled: .*no such file"):
        train(dataset, tmp_path / "run", fit=Fit(unlabelled=str(tmp_path / "none")))
    with pytest.raises(InputError, match=r"teacher is the moving average"):
        Fit(unlabelled="a", average=0.0)
    assert not (tmp_path / "run").exists()


def test_faults_of_a_damaged_data_set_are_told_before_anything_is_made_of_it(dataset, tmp_path):
    damaged = replace(dataset, folder=tmp_path / "moved", settings={})
    with pytest.raises(InputError, match=r"files are gone"):
        train(damaged, tmp_path / "run", model=QUICK_NETWORK, fit=QUICK)


def test_a_training_with_unlabelled_scenes_says_what_it_sees(dataset, tmp_path, capsys):
    fit = Fit(**vars(QUICK) | {"unlabelled": str(dataset.folder.parent / "s.tif")})
    train(dataset, tmp_path / "run", model=QUICK_NETWORK, fit=fit, augment=Augment(flips=True))
    said = capsys.readouterr().out
    assert "1 unlabelled scene of 0.0 Mpx" in said
    assert "note: they show ground of val tiles" in said
    assert ModelCard.read(tmp_path / "run" / "best.safetensors").bands == dataset.bands


# Nothing is lost


@pytest.mark.parametrize("case", ["accumulate", "balance", "swa", "unlabelled"])
def test_killed_trainings_end_like_undisturbed_ones(dataset, tmp_path, case):
    done = started.run("-m", "tests.jobs.kill_training", tmp_path, case)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] >= 3
    assert result["epochs"] == [5, 5]
    assert not result["wrong"]
    assert not result["strays"]
