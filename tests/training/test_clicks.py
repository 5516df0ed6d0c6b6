"""Training for clicks: whom it asks, what learns, what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from geoseg.errors import InputError
from geoseg.geo.legend import IGNORED
from geoseg.models.clicks import encode
from geoseg.models.networks.build import Clicked
from geoseg.models.settings import Model
from geoseg.training.checks import check_fit
from geoseg.training.objectives.clicks import Clicks, ClicksValidator, SimulatedPerson
from geoseg.training.optimizer import set_frozen
from geoseg.training.settings import Fit


def truth() -> torch.Tensor:
    """Two squares of class 1 in class 0, and an edge that nobody knows."""
    target = torch.zeros(1, 64, 64, dtype=torch.uint8)
    target[0, 10:30, 10:30] = 1
    target[0, 40:50, 40:50] = 1
    target[0, :4] = IGNORED
    return target


def logits_of(index: torch.Tensor) -> torch.Tensor:
    return 4 * F.one_hot(index.long(), 2).movedim(-1, 1).float()


def test_a_person_clicks_into_the_middle_of_the_largest_wrong_part_then_of_the_next():
    target = truth()
    person = SimulatedPerson(target, rounds=2)
    nothing = logits_of(torch.zeros(1, 64, 64))
    clicks = person(nothing)
    row, column = np.unravel_index(int(clicks[0, 1].argmax()), (64, 64))
    assert 18 <= row <= 21
    assert 18 <= column <= 21
    assert not clicks[0, 0].any()
    found = torch.zeros(1, 64, 64)
    found[0, 10:30, 10:30] = 1
    both = person(logits_of(found))
    assert (both[0, 1] == 1).sum() == 2
    corrected = np.where(both[0, 1].numpy() == 1, 1, IGNORED).astype(np.uint8)
    assert torch.equal(both[0], torch.from_numpy(encode(corrected, 2, ignored=IGNORED)))
    right = target[0].clone()
    right[right == IGNORED] = 1
    assert torch.equal(person(logits_of(right[None])), both)


@pytest.mark.parametrize("seed", range(5))
def test_random_clicks_tell_the_truth_and_none_lies_where_nobody_knows(seed):
    target = truth()
    person = SimulatedPerson(target, np.random.default_rng(seed), rounds=2)
    clicks = person(logits_of(torch.ones(1, 64, 64)))
    clicks = person(logits_of(torch.zeros(1, 64, 64)))
    places = (clicks == 1).nonzero().tolist()
    assert places
    assert all(target[b, row, column] == code for b, code, row, column in places)


class Batches(list):
    """What a validator needs of a loader."""

    dataset = (0,)


def network() -> Clicked:
    torch.manual_seed(0)
    return Clicked(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)), bands=1, classes=2)


def criterion(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.float(), target.long(), ignore_index=IGNORED)


def test_what_sees_clicks_learns_and_the_rest_stays_to_the_bit():
    made, target = network(), truth()
    made.still = True
    before = {n: t.clone() for n, t in made.state_dict().items() if "click_path" not in n}
    image = torch.randn(1, 1, 64, 64)
    objective = Clicks(criterion, only=True)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(25):
        set_frozen(made, frozen=False)
        loss = objective(made, made, (image, target), 0.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * losses[0]
    after = made.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert objective.counts is not None
    fabric = SimpleNamespace(
        device=torch.device("cpu"), autocast=torch.no_grad, world_size=1, global_rank=0
    )
    val = Batches([(image, target)])
    found = ClicksValidator(["a", "b"], only=True)(made, val, fabric)
    assert found is not None
    assert found.score == found.columns["val_miou_clicks"] > found.columns["val_miou"]
    plain = ClicksValidator(["a", "b"])(made, val, fabric)
    assert plain is not None
    assert plain.score == plain.columns["val_miou"]


def test_both_learn_together():
    made = network()
    loss = Clicks(criterion)(made.train(), made, (torch.randn(1, 1, 64, 64), truth()), 0.0)
    loss.backward()
    assert all(
        weights.grad is not None and weights.grad.any()
        for name, weights in made.named_parameters()
        if name in ("network.0.weight", "click_path.last.weight")
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"clicks": True, "adversarial": 0.5}, "fit.clicks=true: not together"),
        ({"clicks": True, "unlabelled": "here"}, "fit.clicks=true: not together"),
        ({"clicks_only": True}, "set that too"),
    ],
)
def test_settings_that_do_not_go_together(values, said):
    with pytest.raises(InputError, match=said):
        Fit(**values)


@pytest.mark.parametrize(
    ("model", "fit"),
    [
        (Model("forest"), Fit(clicks=True)),
        (Model("tempcnn"), Fit(clicks=True)),
        (Model("own", target="a:b"), Fit(clicks=True)),
        (Model("unet"), Fit(clicks=True, clicks_only=True)),
        (Model("unet", weights="x"), Fit(clicks=True, clicks_only=True)),
    ],
)
def test_networks_that_have_no_part_for_it(model, fit):
    with pytest.raises(InputError, match=r"fit\.clicks"):
        check_fit(fit, model)
