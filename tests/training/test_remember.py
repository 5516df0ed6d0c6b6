"""New classes are learnt without forgetting those of an earlier run."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from geoseg.errors import InputError
from geoseg.geo.legend import IGNORED, Legend
from geoseg.models import checkpoint
from geoseg.models.settings import FOREST, Model
from geoseg.training.cards import card_of
from geoseg.training.checks import check_fit
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.remember import Earlier, Remember
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.settings import Fit
from geoseg.training.tasks.earlier import EarlierRun, remembering

OLD, NEW = [2, 0], [1]
"""Places of the old and the new classes among all."""


class Loss(nn.Module):
    def forward(self, logits, target):
        return F.cross_entropy(logits, target.long(), ignore_index=IGNORED)


def objective(before, **options):
    made = {"weight": 3.0, "autocast": nullcontext} | options
    return Remember(Loss(), Earlier(before, [1, 0], OLD), **made)


def test_the_terms_are_those_of_the_paper():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, generator=random)
    known = torch.randn(2, 2, 4, 4, generator=random).softmax(1)
    free = torch.rand(2, 4, 4, generator=random) > 0.5
    made = objective(nn.Identity(), weight=0.0).forgetting(logits, known, free)
    p = logits.softmax(1)
    of_old = p[:, OLD].sum(1)
    assert made == pytest.approx(float(-of_old[free].log().mean()))
    weighted = objective(nn.Identity(), weight=1.0).forgetting(logits, known, free) - made
    shares = p[:, OLD] / of_old[:, None]
    divergence = (known * (known / shares).log()).sum(1)
    assert weighted == pytest.approx(float(divergence[free].mean()), rel=1e-5)


def test_nothing_is_lost_where_all_is_remembered_and_nothing_is_free():
    known = torch.tensor([0.25, 0.75]).reshape(1, 2, 1, 1).expand(1, 2, 3, 3)
    logits = torch.full((1, 3, 3, 3), -80.0)
    logits[:, OLD] = known.log()
    free = torch.ones(1, 3, 3, dtype=torch.bool)
    made = objective(nn.Identity())
    assert made.forgetting(logits, known, free) == pytest.approx(0, abs=1e-6)
    assert made.forgetting(-logits, known, ~free) == 0


def scene():
    """Bands that tell three classes apart, and their labels; a row without an image."""
    random = torch.Generator().manual_seed(1)
    truth = torch.randint(0, 3, (4, 16, 16), generator=random)
    image = F.one_hot(truth, 3).permute(0, 3, 1, 2).float()[:, :2] * 2 - 0.7
    image[:, :, 0] = 0
    return image, truth


def trained(made, net, batch):
    for _ in range(150):  # by hand: torch's optimizers import its compiler, which takes long
        loss = made(net, net, batch, 0.0)
        slopes = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for weights, slope in zip(net.parameters(), slopes, strict=True):
                weights.sub_(0.1 * slope.sign())
    return net(batch[0]).argmax(1)[:, 1:]


def test_old_classes_stay_where_they_are_not_labelled():
    image, truth = scene()
    torch.manual_seed(0)
    before = nn.Conv2d(2, 2, 1)
    old = torch.full((3,), IGNORED)
    old[OLD] = torch.arange(2)
    trained(Supervised(Loss()), before, (image[:, [1, 0]], old[truth].to(torch.uint8)))
    later = truth.where(truth == NEW[0], IGNORED).to(torch.uint8)
    kept = truth[:, 1:] != NEW[0]
    right = {}
    for name, made in (("without", Supervised(Loss())), ("with", objective(before))):
        torch.manual_seed(1)
        found = trained(made, nn.Conv2d(2, 3, 1), (image, later))
        right[name] = float((found == truth[:, 1:])[kept].float().mean())
        assert (found == truth[:, 1:])[~kept].float().mean() > 0.95
    assert right["without"] < 0.7
    assert right["with"] > 0.95
    assert not before.training
    assert all(weights.grad is None for weights in before.parameters())


def test_the_earlier_network_is_none_that_is_trained():
    before = nn.Conv2d(2, 2, 1)
    made = objective(before)
    assert not any(weights.requires_grad for weights in made.parameters())


@pytest.fixture
def earlier(dataset, tmp_path):
    """A data set, and an earlier run of it that knows one class by another code, and scaled."""
    names = [{"code": 9, "name": "high", "color": "#ffffff"},
             {"code": 4, "name": "low", "color": "#000000"}]  # fmt: skip
    statistics = replace(dataset.statistics, mean=(3.0, 4.0), std=(2.0, 5.0))
    card = replace(
        card_of(dataset, Model(pixels=0, detail=0)),
        legend=Legend.parse(names, "test"),
        statistics=statistics,
    )
    path = tmp_path / "run" / "best.safetensors"
    checkpoint.save(path, nn.Identity(), card)
    return dataset, path, card


def test_bands_classes_and_scaling_of_the_earlier_run_are_found_by_name(earlier):
    dataset, path, card = earlier
    run = EarlierRun.find(str(path.parent), dataset, Model())
    assert run.path == path
    assert run.classes == (1, 0)
    assert run.bands == (0, 1)
    assert run.scaled(dataset).statistics == card.statistics
    assert dataset.statistics.mean == (0.0, 0.0)
    said = "\n".join(run.said(dataset.legend.names))
    assert "remembers high, low" in said
    assert "new: none" in said


def test_an_earlier_run_that_does_not_go_with_the_data_set_is_refused(earlier, tmp_path):
    dataset, path, card = earlier
    other = Legend.parse([{"code": 1, "name": n, "color": "#000000"} for n in ["reed"]], "test")
    high = tuple(np.array(card.statistics.high) * 100)
    for values, reason in (
        ({"legend": other}, "knows reed, and the legend of .* has low, high"),
        ({"bands": ("red", "nir", "swir"), "statistics": replace(
            card.statistics, **{k: (*v, v[0]) for k, v in card.statistics.to_dict().items()})},
         "no swir|no red"),
        ({"statistics": replace(card.statistics, high=high)}, "in the units of that run"),
        ({"model": Model(name=FOREST)}, r"^fit\.remember=.*: a forest"),
        ({"model": Model(encoder="vgg11")}, "set model.name=unet model.encoder=vgg11"),
    ):  # fmt: skip
        checkpoint.save(path, nn.Identity(), replace(card, **values))
        with pytest.raises(InputError, match=reason):
            EarlierRun.find(str(path), dataset, Model())
    with pytest.raises(InputError, match="no such run"):
        EarlierRun.find(str(tmp_path / "none"), dataset, Model())


def test_the_training_starts_from_the_run_it_remembers(earlier):
    _, path, _ = earlier
    config = TrainConfig(model=Model(), fit=Fit(remember=str(path)))
    made = remembering(config)
    assert (made.model.weights, made.model.keep) == (str(path), "network")
    again = replace(config, model=Model(weights=str(path.parent)))
    assert remembering(again).model.keep == "network"
    with pytest.raises(InputError, match="starts from that run"):
        remembering(replace(config, model=Model(weights="imagenet")))
    with pytest.raises(InputError, match="alone start from an earlier run"):
        remembering(replace(config, model=Model(target="my.net:Net")))
    assert remembering(TrainConfig()) == TrainConfig()


def test_what_can_keep_no_classes_is_refused():
    with pytest.raises(InputError, match="can keep no classes"):
        check_fit(Fit(remember="runs/a"), Model(name=FOREST))
    with pytest.raises(InputError, match=r"fit\.remember: for networks of images"):
        check_fit(Fit(remember="runs/a"), Model(name="ltae"))
    with pytest.raises(InputError) as error:
        Fit(remember="runs/a", unlabelled="scenes", adversarial=0.5, remember_weight=-1)
    assert len(error.value.faults) == 4
