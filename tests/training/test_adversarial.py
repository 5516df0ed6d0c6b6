"""Training on tiles that are perturbed by the network's own gradient."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from geoseg.errors import InputError
from geoseg.geo.legend import IGNORED
from geoseg.models.settings import FOREST, Model
from geoseg.training.checks import check_fit
from geoseg.training.objectives.adversarial import Adversarial, bare
from geoseg.training.objectives.supervised import Supervised
from geoseg.training.settings import Fit

EPSILON = 0.2


class Loss(nn.Module):
    def forward(self, logits, target):
        return F.cross_entropy(logits, target.long(), ignore_index=IGNORED)


def network():
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(made, nn.Conv2d(8, 2, 1))


def batch():
    random = torch.Generator().manual_seed(1)
    image = torch.randn(4, 2, 12, 12, generator=random)
    image[:, :, :2] = 0
    target = (image.sum(1) > 0).to(torch.uint8)
    target[:, :2] = IGNORED
    return image, target


def objective(**fit):
    return Adversarial(Loss(), Fit(epsilon=EPSILON, **fit), autocast=nullcontext)


def state(of):
    return [tensor.clone() for tensor in of.state_dict().values()]


@pytest.mark.parametrize("steps", [1, 5])
def test_tiles_are_moved_within_bounds_so_that_the_loss_grows(steps):
    net, (image, target) = network().train(), batch()
    before = state(net)
    made = objective(adversarial=1.0, adversarial_steps=steps).perturbed(net, image, target)
    assert (made - image).abs().max() <= EPSILON + 1e-6
    assert (made[:, :, :2] == 0).all()
    assert all(torch.equal(a, b) for a, b in zip(before, state(net), strict=True))
    assert all(module.training for module in net.modules())
    assert all(weights.grad is None for weights in net.parameters())
    net.eval()
    assert Loss()(net(made), target) > Loss()(net(image), target) + 0.01


def test_frozen_parts_stay_frozen():
    net, (image, target) = network().train(), batch()
    net[0].eval()
    objective(adversarial=1.0).perturbed(net, image, target)
    assert not net[0].training
    assert not net[0][1].training
    assert net[1].training


def test_a_share_of_the_tiles_is_perturbed():
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = network().train()

        def forward(self, image):
            seen.append(image.detach())
            return self.inside(image)

    image, target = batch()
    torch.manual_seed(0)
    loss = objective(adversarial=0.5)(Watched(), nn.Identity(), (image, target), 0.0)
    loss.backward()
    moved = (seen[-1] != image).flatten(1).any(1)
    assert int(moved.sum()) == 2
    assert len(seen[0]) == 2


def test_it_learns_to_withstand_what_a_plain_training_does_not():
    """A band that tells the class well but faintly, and one that tells it less well and loudly."""
    random = torch.Generator().manual_seed(2)
    target = torch.randint(0, 2, (8, 16, 16), generator=random).to(torch.uint8)
    sign = 2 * target.float() - 1
    noisy = sign * (2 * (torch.rand(sign.shape, generator=random) > 0.15).float() - 1)
    image = torch.stack([0.1 * sign, noisy], dim=1)
    right = {}
    for name, made in (("plain", Supervised(Loss())), ("robust", objective(adversarial=1.0))):
        torch.manual_seed(0)
        net = nn.Conv2d(2, 2, 1)
        for _ in range(100):  # by hand: torch's optimizers import its compiler, which takes long
            loss = made(net, net, (image, target), 0.0)
            slopes = torch.autograd.grad(loss, list(net.parameters()))
            with torch.no_grad():
                for weights, slope in zip(net.parameters(), slopes, strict=True):
                    weights.sub_(0.2 * slope.sign())
        attacked = objective(adversarial=1.0, adversarial_steps=10).perturbed(net, image, target)
        right[name] = [
            float((net(x).argmax(1) == target).float().mean()) for x in (image, attacked)
        ]
    assert right["plain"][0] > right["robust"][0]
    assert right["robust"][1] > right["plain"][1] + 0.05


def test_wrappers_are_taken_off():
    inner = network()
    assert bare(nn.DataParallel(inner)) is inner
    assert bare(inner) is inner


def test_what_has_no_part_in_it_is_refused():
    with pytest.raises(InputError, match="a forest has no gradients"):
        check_fit(Fit(adversarial=0.5), Model(name=FOREST))
    with pytest.raises(InputError, match=r"fit\.adversarial: for networks of images"):
        check_fit(Fit(adversarial=0.5), Model(name="ltae"))
    with pytest.raises(InputError) as error:
        Fit(adversarial=1.5, epsilon=0, adversarial_steps=0)
    assert len(error.value.faults) == 3
    with pytest.raises(InputError, match="not together with"):
        Fit(adversarial=0.5, unlabelled="scenes")
