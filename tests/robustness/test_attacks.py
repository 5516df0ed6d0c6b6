"""Attacks stay within their bounds, and do what they say on networks that can be reckoned."""

import pytest
import torch
from torch import nn

from geoseg.geo.legend import IGNORED
from geoseg.robustness import attacks
from geoseg.robustness.attacks import Victim
from geoseg.samples.corruptions import Levels
from tests.robustness.made import Sums

EPSILON = 0.1
WEIGHTS = [0.5, -2.0, 1.0]


def convolving():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1)
    ).eval()


def victim(network, classes=3):
    random = torch.Generator().manual_seed(1)
    image = torch.randn(4, 3, 16, 16, generator=random)
    valid = torch.ones(4, 16, 16, dtype=torch.bool)
    valid[:, :3] = False
    image = image * valid[:, None]
    truth = torch.randint(0, classes, (4, 16, 16), generator=random).to(torch.uint8)
    truth[~valid] = IGNORED
    return Victim(network.requires_grad_(False), image, valid, truth)


def loss(of, image):
    with torch.no_grad():
        return of.losses(of.logits(image))


@pytest.mark.parametrize("name", ["fgsm", "pgd", "segpgd", "cospgd"])
def test_changes_stay_within_epsilon_and_never_help(name):
    of = victim(convolving())
    made = attacks.attack(name, of, EPSILON, steps=8, generator=torch.Generator().manual_seed(0))
    change = made - of.image
    assert change.abs().max() <= EPSILON + 1e-6
    assert (change[:, :, :3] == 0).all()
    assert (loss(of, made) > loss(of, of.image)).all()


def test_one_step_moves_a_linear_network_by_epsilon_times_the_sum_of_its_weights():
    network = Sums(WEIGHTS)
    of = victim(network, classes=2)
    made = attacks.fgsm(of, EPSILON)
    moved = network(made)[:, 0] - network(of.image)[:, 0]
    away = torch.where(of.truth == 0, -1.0, 1.0)
    wanted = EPSILON * torch.tensor(WEIGHTS).abs().sum() * away
    assert torch.allclose(moved[of.valid], wanted[of.valid], atol=1e-5)


def test_steps_that_go_on_are_no_weaker_than_one():
    of = victim(convolving())
    one = loss(of, attacks.fgsm(of, EPSILON))
    many = loss(of, attacks.stepwise(of, EPSILON, steps=30))
    assert many.mean() >= one.mean()


def test_what_is_one_for_all_images_is_weaker_than_one_for_each():
    of = victim(convolving())
    change = attacks.universal([of], EPSILON, steps=20)
    assert change.abs().max() <= EPSILON + 1e-6
    together = attacks.with_universal(of, change)
    assert (together[:, :, :3] == of.image[:, :, :3]).all()
    alone = attacks.stepwise(of, EPSILON, steps=30)
    clean = loss(of, of.image).sum()
    assert clean <= loss(of, together).sum() <= loss(of, alone).sum()


def test_a_patch_changes_a_square_that_does_not_count():
    of = victim(convolving())
    levels = Levels(dark=-2.0, bright=2.0)
    image, truth = attacks.patch(of, 0.06, levels, steps=10)
    changed = (image != of.image).any(1)
    side = 4
    assert changed.sum(dim=(1, 2)).max() <= side**2
    assert (truth[changed] == IGNORED).all()
    assert image.min() >= min(-2.0, float(of.image.min()))
    assert (truth != IGNORED).sum() == (of.truth != IGNORED).sum() - 4 * side**2
    beside = Victim(of.network, of.image, of.valid, truth)
    plain = torch.where(changed[:, None], torch.zeros(()), of.image)
    assert (loss(beside, image) >= loss(beside, plain) - 1e-6).all()


def test_images_without_labels_stay_as_they_are():
    of = victim(convolving())
    blank = Victim(of.network, of.image, of.valid, torch.full_like(of.truth, IGNORED))
    made = attacks.attack("pgd", blank, EPSILON, steps=3, generator=torch.Generator())
    assert (made == of.image).all()
