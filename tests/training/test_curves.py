"""What a run says of itself while it goes on: curves, time left, train beside validation."""

import csv
import math
import sys

import numpy as np
import pytest
import torch
from matplotlib import image

from geoseg.evaluation.accuracy import confusion as by_numpy
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.processes import launch
from geoseg.training.run.curves import draw_curves
from geoseg.training.run.history import History, write_metrics
from geoseg.training.run.recorder import _line
from geoseg.training.settings import Fit
from geoseg.training.validation import confusion

COLOR = (0x12, 0xAB, 0x89)


def rows(count):
    return [
        {"epoch": n, "loss": 2 / n, "learning_rate": 1e-3, "train_miou": 1 - 1 / (n + 1)}
        | {"val_loss": 1 / n, "val_miou": 0.5, "val_iou_water": 0.3 + n / 100}
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("count", [1, 5])
def test_classes_have_the_colours_of_the_legend_also_in_the_first_epoch(tmp_path, count):
    draw_curves(rows(count), tmp_path / "curves.png", colors={"water": "#12ab89"})
    drawn = np.rint(image.imread(tmp_path / "curves.png")[..., :3] * 255).astype(int)
    middle = drawn[:, 400 : drawn.shape[1] * 55 // 100]  # without the list of names
    assert (np.abs(middle - COLOR).max(axis=-1) < 8).sum() > 20


def test_a_metric_that_an_older_version_did_not_write(tmp_path):
    older = {"epoch": 1, "loss": 2.0, "learning_rate": 1e-3, "val_miou": 0.4}
    write_metrics(tmp_path / "metrics.csv", [older, rows(2)[1]])
    with (tmp_path / "metrics.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["val_loss"], second["val_loss"]) == ("", "0.5")
    draw_curves([older, rows(2)[1]], tmp_path / "curves.png")


@pytest.mark.parametrize(
    ("fit", "epoch", "minutes", "told"),
    [
        (Fit(epochs=11), 1, 2.0, "2.0 min, 20 min left"),
        (Fit(epochs=301), 1, 2.0, "2.0 min, 10.0 h left"),
        (Fit(epochs=4), 3, 0.3, "0.3 min, 6 s left"),
        (Fit(epochs=1000, max_minutes=30), 2, 5.0, "5.0 min, 25 min left"),
        (Fit(epochs=3, max_minutes=30), 2, 5.0, "5.0 min, 2 min left"),
        (Fit(max_minutes=30), 2, 5.0, "5.0 min, 25 min left"),
        (Fit(epochs=2), 2, 5.0, "5.0 min"),
    ],
)
def test_after_the_first_epoch_the_time_left_is_told(fit, epoch, minutes, told):
    history = History(epoch, minutes=minutes, rows=rows(epoch), best=0.5, best_epoch=1)
    assert _line(history, fit).endswith(f"  {told}")
    assert History().minutes_left(fit) is None


@pytest.mark.parametrize("shape", [(4, 3, 8, 6), (9, 3)])
def test_training_counts_what_it_learns_from(shape):
    torch.manual_seed(0)
    logits = torch.randn(shape)
    target = torch.randint(0, 3, (shape[0], *shape[2:]), dtype=torch.uint8)
    target[0] = 255
    truth, found = target[target != 255].numpy(), logits.argmax(1)[target != 255].numpy()
    expected = by_numpy(truth, found, 3)
    assert (confusion(logits, target).numpy() == expected).all()
    objective = Supervised(lambda logits, _: logits.sum())
    for _ in range(2):
        objective(lambda _: logits, torch.nn.Identity(), (torch.zeros(1, 1, 1, 1), target), 0.0)
    assert (objective.counts.numpy() == 2 * expected).all()
    assert not math.isnan(float(objective.counts.sum()))


def test_before_torch_loads_a_line_says_so(monkeypatch, capsys):
    launch.announce_torch()
    assert capsys.readouterr().out == ""  # it is there already
    monkeypatch.delitem(sys.modules, "torch")
    launch.announce_torch()
    assert capsys.readouterr().out == "loading torch …\n"
    monkeypatch.setenv("NODE_RANK", "1")
    launch.announce_torch(nodes=2)
    assert capsys.readouterr().out == ""
