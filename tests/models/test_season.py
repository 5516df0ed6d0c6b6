import numpy as np
import pytest
import torch

from geoseg.models.networks import build_series
from geoseg.models.networks.season import SeasonPath
from geoseg.models.settings import Model

GRID = range(0, 50, 10)


def fitted(*, filled: bool = False, bands: int = 2) -> SeasonPath:
    torch.manual_seed(0)
    path = SeasonPath(bands, 3, 8, grid=GRID, filled=filled).eval()
    path.mean.normal_()
    path.scale.uniform_(0.5, 2)
    path.layers[-1].reset_parameters()
    return path


def series(batch=4, dates=6, pixels=3, bands=2):
    values = torch.randn(batch, dates, pixels, bands)
    valid = torch.rand(batch, dates, pixels) < 0.7
    valid[:, 0] = True
    days = torch.randint(0, 45, (batch, dates)).float().sort(dim=1).values
    return values, valid, days


def test_a_new_path_says_nothing():
    path = SeasonPath(2, 3, 8, grid=GRID, filled=False)
    assert path.is_new
    assert not path(*series()).any()
    assert not fitted().is_new


def test_gaps_are_filled_between_the_dates_as_numpy_does():
    values, valid, days = series()
    made = fitted().features(values, valid, days).unflatten(1, (len(GRID), 2))
    for sample in range(len(values)):
        seen = valid[sample].any(dim=1)
        weight = valid[sample, seen].float()
        for band in range(2):
            means = (values[sample, seen, :, band] * weight).sum(1) / weight.sum(1)
            wanted = np.interp(list(GRID), days[sample, seen].numpy(), means.numpy())
            # Of two dates on one day any may count.
            if len(set(days[sample, seen].tolist())) == int(seen.sum()):
                assert made[sample, :, band].numpy() == pytest.approx(wanted, abs=1e-5)


def test_series_on_the_grid_are_taken_as_they_are():
    values = torch.randn(2, len(GRID), 1, 2)
    valid, days = torch.ones(2, len(GRID), 1, dtype=torch.bool), torch.tensor(GRID).float()
    days = days.expand(2, -1)
    assert torch.equal(fitted(filled=True).features(values, valid, days), values.flatten(1))
    taken = fitted().features(values, valid, days)
    assert torch.allclose(taken, values.flatten(1), atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "tempcnn", "ltae", "psetae"])
def test_a_network_predicts_the_mean_of_both_and_learns_alone(name):
    dates = len(GRID)
    network = build_series.build(Model(name), 2, 3, grid=GRID, filled=name == "tempcnn").eval()
    path = network.season
    assert path is not None
    path.scale.fill_(1.0)
    path.layers[-1].reset_parameters()
    values, valid, days = series(dates=dates)
    valid[2] = False  # never seen
    days = torch.tensor(GRID).float().expand(4, -1) if name == "tempcnn" else days
    shape = torch.zeros(4, 4)
    with torch.inference_mode():
        alone = network.classify(values, valid, days, shape)
        together = network(values, valid, days, shape)
        mean = (alone.softmax(1) + path(values, valid, days).softmax(1)) / 2
        assert torch.allclose(together.softmax(1), mean, atol=1e-6)
        assert not together[2].any()
    learnt = [name for name, weights in network.named_parameters() if weights.requires_grad]
    assert learnt
    assert not any(name.startswith("season") for name in learnt)
    network.train()(values, valid, days, shape).sum().backward()
    assert all(weights.grad is None for weights in path.parameters())


def test_without_it_a_network_has_no_weights_of_it():
    for model, grid in ((Model("lstm", season=0), GRID), (Model("lstm"), None)):
        network = build_series.build(model, 2, 3, grid=grid)
        assert not any("season" in key for key in network.state_dict())
