"""Levels of a decoder that learn by themselves: what they are judged by, and what stays of them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from geoseg.models import checkpoint
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.samples.settings import SeriesSamples
from geoseg.training import recipe
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.deep import DeepSupervised
from geoseg.training.objectives.settings import Loss
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.optimizer import Average
from geoseg.training.run.folder import _claimed
from geoseg.training.settings import Fit, TrainingSettings
from tests.made.scenes import CARD, LEGEND, plain
from tests.made.tiles import make_dataset

SMALL = Model(encoder="tu-lcnet_050", detail=4, pixels=4)
LEVELS = (8, 4, 2)
"""Strides of the levels that learn so."""
TWO = replace(LEGEND, classes=LEGEND.classes[:2])


class Noted(nn.Module):
    """Cross-entropy that keeps what it was given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, logits, target):
        self.given.append((logits, target))
        return nn.functional.cross_entropy(logits, target)


def study(model, fit, loss=None):
    return TrainingSettings(model, loss or Loss(), fit, SeriesSamples(), 0)


def made(seed=0):
    torch.manual_seed(seed)
    return models.build(SMALL, 3, 2).train()


def batch(height=70, width=100):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, height, width, generator=generator)
    return image, torch.randint(0, 2, (2, height, width), generator=generator)


def test_each_level_is_judged_at_its_own_pixels():
    """Whatever the size, which is padded to multiples of 32: every step-th pixel of the labels."""
    criterion, (image, target) = Noted(), batch()
    network = made()
    objective = DeepSupervised(criterion, network, 2, weight=0.5)
    loss = objective(network, network, (image, target), 0.0)
    (whole, _), *levels = criterion.given
    assert whole.shape[-2:] == target.shape[-2:]
    path = network.pixel_path(image)
    for step, (said, truth) in zip(LEVELS, levels, strict=True):
        assert torch.equal(truth, target[:, step // 2 :: step, step // 2 :: step])
        # At first the levels say nothing, and what single pixels tell stands there.
        assert torch.allclose(said, path[..., step // 2 :: step, step // 2 :: step], atol=1e-5)
    expected = [nn.functional.cross_entropy(*given) for given in criterion.given]
    total = expected[0] + 0.5 * sum(expected[1:]) / 3
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    criterion.given.clear()
    objective(network, network, (image, target), 0.0)
    assert len(criterion.given) == 4  # nothing of the first batch is left


def test_deeper_layers_hear_of_the_labels_at_once():
    """As the last layer begins at zero, nothing else would reach them in the first two steps."""
    moved = {}
    for weight in (0.0, 0.4):
        network, given = made(), batch(64, 64)
        network.silence()
        objective: nn.Module = Supervised(Noted())
        if weight:
            objective = DeepSupervised(Noted(), network, 2, weight=weight)
            for side in network.sides:
                nn.init.normal_(side.weight, generator=torch.Generator().manual_seed(0))
        objective(network, network, given, 0.0).backward()
        moved[weight] = float(network.network.decoder.blocks[1].conv1[0].weight.grad.abs().sum())
    assert moved[0.0] == 0 < moved[0.4]


def test_copies_and_validations_keep_nothing_and_no_file_has_the_levels(tmp_path):
    network, given = made(), batch(64, 64)
    objective = DeepSupervised(Noted(), network, 2, weight=0.4)
    average = Average(network, 0.9)
    average.network.eval()(given[0])
    with torch.no_grad():  # as statistics of norms are taken anew
        average.network.train()(given[0])
    objective(network, average.network, given, 0.0)
    assert len(objective.criterion.given) == 4
    card = replace(CARD, model=SMALL, bands=("a", "b", "c"), statistics=plain(3), legend=TWO)
    assert any(name.startswith("sides.") for name in network.state_dict())
    checkpoint.save(tmp_path / "best.safetensors", average.network, card)
    loaded, _ = checkpoint.load(tmp_path / "best.safetensors")
    assert not hasattr(loaded, "sides")
    average.network.eval()
    assert torch.equal(loaded(given[0]), average.network(given[0]))


def test_runs_of_before_go_on_where_nothing_changed():
    """A U-Net's settings name the levels, unless they are left out as there were none before."""
    for name, deep, named in (
        ("unet", None, True), ("unet", 0.0, False), ("segnet", None, False), ("segnet", 0.2, True),
    ):  # fmt: skip
        config = TrainConfig(model=Model(name), loss=Loss(deep=deep))
        assert ("deep" in _claimed(config, (), ())["loss"]) == named


@pytest.mark.parametrize(
    ("model", "fit", "deep"),
    [
        (SMALL, Fit(), recipe.DEEP),
        (SMALL, Fit(adversarial=0.1), 0),
        (SMALL, Fit(clicks=True), 0),
        (Model("segnet"), Fit(), 0),
    ],
)
def test_a_u_net_from_labels_learns_so_unless_told_otherwise(tmp_path, model, fit, deep):
    dataset = make_dataset(tmp_path)
    chosen = recipe.for_images(study(model, fit), dataset)
    assert (chosen.loss.deep or 0) == deep
    assert ("of the decoder's levels" in recipe.said(chosen)) == bool(deep)
    told = recipe.for_images(study(model, fit, Loss(deep=0.0)), dataset)
    assert told.loss.deep == 0
    asked = recipe.for_images(study(model, fit, Loss(deep=0.7)), dataset)
    assert ("loss.deep" in recipe.said(asked).partition("note:")[2]) == (not deep)
