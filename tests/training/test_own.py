"""Networks and losses of other code: trained, gone on with, opened again, or a fault is told."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from geoseg.commands import given
from geoseg.errors import InputError
from geoseg.models import checkpoint
from geoseg.models.card import ModelCard
from geoseg.models.networks.build import AnySize
from geoseg.models.settings import Model
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.worker import Worker
from geoseg.received.target import describe
from geoseg.samples.augment import Augment
from geoseg.training.cards import card_of, card_of_samples
from geoseg.training.config import PretrainConfig, TrainConfig
from geoseg.training.objectives.own import Criterion, own_loss
from geoseg.training.objectives.settings import Loss
from geoseg.training.own import check_own
from geoseg.training.run.folder import _claimed
from geoseg.training.settings import Fit, Own, TrainingSettings
from geoseg.training.start import train
from tests.made.samples import made_dataset

QUICK = Fit(epochs=1, epoch_tiles=8, batch_size=4, workers=0, precision="32", device="cpu",
            logger="none", pictures=0)  # fmt: skip
SOURCE = """
from torch import nn
class Net(nn.Module):
    margin = 0.3  # a name that geoseg's forest has for something else
    def __init__(self, channels, classes, width=4):
        super().__init__()
        first = nn.Conv2d(channels, width, 3, padding=1)
        self.encoder = nn.Sequential(first, nn.BatchNorm2d(width))
        self.layers = nn.Sequential(self.encoder, nn.ReLU(), nn.Conv2d(width, classes, 1))
    def forward(self, image):
        return self.layers(image)
class OfSeries(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.last = nn.Linear(channels, classes)
    def forward(self, values, valid, days, shape):
        known = valid[..., None].float()
        return self.last((values * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1))
"""


class Small(nn.Module):
    """A network of this test, of which only Python knows."""

    def __init__(self, channels=2, classes=2, *, change=None):
        super().__init__()
        self.last = nn.Conv2d(channels, classes, 1)
        self.change = change

    def forward(self, image):
        logits = self.last(image)
        return logits if self.change is None else self.change(logits)


@pytest.fixture
def nets(tmp_path, monkeypatch):
    (tmp_path / "nets_ab.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "nets_ab", raising=False)
    return "nets_ab"


def squared(logits, target):
    known = target != 255
    true = F.one_hot(target.where(known, 0), logits.shape[1]).movedim(-1, 1)
    return ((logits.softmax(1) - true).square() * known[:, None]).sum() / known.sum()


def tried(dataset, network=None, *, fit=QUICK, **own):
    """What is said of objects before they are trained."""
    rooms = {"model": Model, "loss": Loss, "augment": Augment}
    settings = {name: kind() for name, kind in rooms.items()}
    if network is not None:
        settings["model"] = Model("own", target=describe(network))
    if "loss" in own:
        settings["loss"] = Loss(target=describe(own["loss"]))
    study = TrainingSettings(
        settings["model"], settings["loss"], fit, None, 0, augment=settings["augment"],
        own=Own(network, **own),
    )  # fmt: skip
    check_own(study, card_of(dataset, settings["model"]))


def fault(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    return str(caught.value)


def test_objects_of_python_train_go_on_and_predict(dataset, tmp_path):
    network, run = Small(), tmp_path / "run"
    start = [weights.clone() for weights in network.parameters()]

    def kappa(matrix):
        return {"right": float(np.trace(matrix)) / matrix.sum()}

    def go(epochs):
        fit = replace(QUICK, epochs=epochs)
        return train(dataset, run, model=network, loss=squared, metric=kappa, fit=fit)

    assert "loss given in Python: squared" in capture(go, 1)
    go(2)
    assert all(map(torch.equal, start, network.parameters()))
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    right = [float(row["val_right"]) for row in rows]
    assert right == [pytest.approx(float(row["val_overall_accuracy"]), rel=1e-3) for row in rows]
    card = ModelCard.read(run / "best.safetensors")
    assert card.model.target == describe(network)
    said = fault(TrainedNetwork.open, run)
    assert "open it in Python, with the module" in said
    opened = TrainedNetwork.open(run, model=Small()).load()
    assert not torch.equal(opened.last.weight, network.last.weight)
    other = nn.Conv2d(2, 2, 3, padding=1)
    assert "other settings" in fault(train, dataset, run, model=other, loss=squared, fit=QUICK)


def capture(call, *args):
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as out:
        text = call(*args)
    return out.getvalue() + text


def test_a_target_trains_and_its_file_imports_only_what_is_named(dataset, tmp_path, nets):
    run, target = tmp_path / "run", f"{nets}:Net"
    model = Model(target=target, options={"width": 3})
    train(dataset, run, model=model, fit=replace(QUICK, freeze=1, encoder_lr_scale=0.5))
    card = ModelCard.read(run / "best.safetensors")
    assert (card.model.name, card.model.target, card.model.options) == ("own", target, {"width": 3})
    assert f"name it: model.target={target}" in fault(TrainedNetwork.open, run)
    assert "not os:system" in fault(TrainedNetwork.open, run, model="os:system")
    assert f"model.target={target}" in fault(checkpoint.load, run / "best.safetensors")
    running = InferenceSettings("cpu", "32")
    network = TrainedNetwork.open(run, running, tta="flips", model=["other:One", target])
    loaded = network.load()
    assert loaded.encoder[0].out_channels == 3
    shown = torch.randn(1, 2, 37, 51)
    worker = Worker(network)
    assert worker.decide([]).backend == "torch"
    assert worker.modules[0](shown).shape == (1, 2, 37, 51)


def test_series_are_trained_too(tmp_path, nets):
    dataset = made_dataset(tmp_path / "d")
    model = Model(target=f"{nets}:OfSeries")
    fit = replace(QUICK, epochs=2, batch_size=16)
    assert "test: 12 samples" in train(dataset, tmp_path / "run", model=model, fit=fit)
    for options, said in (
        ({"fit": replace(QUICK, freeze=1)}, "fit.freeze: for networks of images"),
        ({"augment": lambda image, mask: None}, "series vary as the settings series"),
    ):
        assert said in fault(train, dataset, tmp_path / "no", model=model, **options)
    assert not (tmp_path / "no").exists()
    study = TrainingSettings(model, Loss(), QUICK, TrainConfig().series, 0)
    wrong = replace(study, model=Model("own", target=describe(Small())), own=Own(Small()))
    card = card_of_samples(dataset, study, dataset.statistics)
    assert "2 series of 4 dates × 3 pixels × 2 bands" in fault(check_own, wrong, card)
    for masks, values in ((None, ()), ("clouds", (0, 3))):  # those of products tell themselves
        said = dataset.settings["series"] | {"masks": masks, "mask_values": [0, 3]}
        masked = replace(dataset, settings=dataset.settings | {"series": said})
        of_masked = card_of_samples(masked, study, dataset.statistics)
        assert of_masked.series.mask_values == values


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Small(3), "fails on images of 2 × 2 bands × 64 × 64 pixels: RuntimeError"),
        (Small(2, 5), "gives (2, 5, 64, 64)"),
        (Small(change=lambda logits: logits[..., ::2]), "expected logits (2, 2, 64, 64)"),
        (Small(change=lambda logits: logits * torch.nan), "no numbers (NaN or infinite)"),
        (Small(change=lambda logits: logits.detach()), "no gradient comes through"),
        (Small(change=lambda logits: {"out": logits}), "gives a dict"),
        (Small(change=lambda x: x[..., : x.shape[-2] // 32 * 32, :]), "geoseg.models.AnySize"),
        (nn.LazyConv2d(2, 1), "lazy layers"),
        (nn.Identity(), "no parameters that can be trained"),
    ],
)
def test_a_network_that_is_none_is_told_before_training(dataset, network, said):
    assert said in fault(tried, dataset, network)


def test_a_network_that_is_one_passes(dataset):
    tried(dataset, Small())
    tried(dataset, AnySize(nn.Sequential(nn.Conv2d(2, 4, 2, 2), nn.ConvTranspose2d(4, 2, 2, 2))))


def test_settings_of_an_encoder_need_one(dataset):
    assert "no attribute `encoder`" in fault(tried, dataset, Small(), fit=replace(QUICK, freeze=2))


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (nn.CrossEntropyLoss(), "ignore_index=255"),
        (nn.CrossEntropyLoss(ignore_index=255, reduction="none"), "expected one number"),
        (lambda logits, target: 1.0, "gives a float"),
        (lambda logits: logits.mean(), "TypeError"),
        (lambda logits, target: logits.detach().sum(), "no gradient comes through"),
        (lambda logits, target: logits.sum() / 0, "expected a finite number"),
        (nn.Bilinear(1, 1, 1), "has parameters to train"),
        (nn.CrossEntropyLoss, "give an instance"),
        (3, "expected a class or a function"),
    ],
)
def test_a_loss_that_is_none_is_told_before_training(dataset, loss, said):
    assert said in fault(tried, dataset, loss=loss)


def test_a_batch_without_labels_says_nothing():
    criterion = Criterion(nn.CrossEntropyLoss(ignore_index=255))
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = criterion(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert float(loss.detach()) == 0
    assert not logits.grad.any()
    target = torch.randint(2, (1, 4, 4)).to(torch.uint8)
    assert torch.equal(criterion(logits, target), F.cross_entropy(logits, target.long()))


def test_a_loss_of_a_target_is_made_or_bound():
    made = own_loss(Loss(target="torch.nn:CrossEntropyLoss", options={"ignore_index": 255}))
    assert made.ignore_index == 255
    bound = own_loss(
        Loss(target="torch.nn.functional:cross_entropy", options={"ignore_index": 255})
    )
    assert bound.keywords == {"ignore_index": 255}


def test_a_metric_gives_numbers_under_names_of_its_own(dataset):
    assert "could not convert" in fault(tried, dataset, metric=lambda matrix: "good")
    assert "geoseg's own column" in fault(tried, dataset, metric=lambda matrix: {"miou": 1})


def test_objects_that_cannot_be_sent_are_told(dataset):
    said = fault(tried, dataset, Small(change=lambda logits: logits), fit=replace(QUICK, devices=2))
    assert "can't be sent to the other processes" in said


def test_settings_of_geosegs_networks_are_none_of_an_own_one():
    said = fault(Model, target="a:B", width=3, encoder="resnet50", weights="imagenet")
    assert [line.split("=")[0] for line in said.splitlines()] == [
        "model.encoder", "model.weights", "model.width",
    ]  # fmt: skip
    assert Model("segnet", encoder="vgg16_bn", target="a:B") == Model("own", target="a:B")
    assert "model.name=own" in fault(Model, "own")
    assert "loss.terms" in fault(Loss, terms={"dice": 1.0}, target="a:B")
    assert "of trainings with labels" in fault(PretrainConfig, augment=Augment(target="a:B"))


def test_runs_of_before_are_claimed_as_they_were():
    settings = _claimed(TrainConfig(), (), ())
    assert not any("target" in settings[room] for room in ("model", "loss", "augment"))
    settings = _claimed(TrainConfig(model=Model(target="a:B", options={"c": 1})), (), ())
    assert (settings["model"]["target"], settings["model"]["options"]) == ("a:B", {"c": 1})
    auto, started = Augment(auto=True), Model("unet", weights="lite0")
    for config in (TrainConfig(model=Model(), augment=auto), TrainConfig(model=started)):
        assert "auto" not in _claimed(config, (), ())["augment"]
    assert _claimed(TrainConfig(model=started, augment=auto), (), ())["augment"]["auto"]


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"target": "os:system"}},
        {"loss": {"options": {"target": "os:system"}}, "model": "${loss.options}"},
        {"hydra": {"sweeper": {"params": {"model.target": "os:system"}}}},
        {"hydra": {"sweeper": {"params": {"model": "{target: os:system}"}}}},
    ],
)
def test_a_received_configuration_never_names_code(content, tmp_path):
    import yaml

    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    left_out: list[str] = []
    fields = {"model", "loss", "augment", "run"}
    node, _ = given._clean(path, "", "train", fields, left_out)
    assert "os:system" not in str(node)
    assert left_out
