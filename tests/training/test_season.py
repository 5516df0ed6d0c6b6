import numpy as np
import pytest
import torch

from geoseg.models.networks.season import SeasonPath
from geoseg.training.objectives import loss
from geoseg.training.objectives.settings import Loss
from geoseg.training.quick import season

GRID = range(0, 60, 10)


class Series:
    """The class is whether the third date exceeds the fourth; the last one hardly varies."""

    def __init__(self, count: int = 60) -> None:
        self._count = count
        self.drawn = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, draws):
        numbers = np.array([number for number, _ in draws])
        self.drawn += numbers.tolist()
        random = np.random.default_rng(0).normal(size=(self._count, 6, 1, 1)).astype(np.float32)
        random[:, 5] = 0.5 + 1e-5 * random[:, 5]
        values = torch.from_numpy(random[numbers])
        days = torch.tensor(GRID).float().expand(len(numbers), -1)
        target = (values[:, 2, 0, 0] > values[:, 3, 0, 0]).long()
        valid = torch.ones(values.shape[:3], dtype=torch.bool)
        return (values, valid, days, torch.zeros(len(numbers), 4)), target


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(season, "SERIES", 500)
    monkeypatch.setattr(season, "STEPS", 200)


def fitted(series, seed=0) -> SeasonPath:
    torch.manual_seed(seed)
    path = SeasonPath(1, 2, 16, grid=GRID, filled=False)
    criterion = loss.build(
        Loss(terms={"cross_entropy": 1.0}, class_weights="none"), names=["low", "high"]
    )
    season.fit(path, series, criterion, seed=seed)
    return path.eval()


def test_it_learns_what_two_dates_tell_and_then_stays(quick):
    series = Series()
    path = fitted(series)
    assert not path.is_new
    assert not any(weights.requires_grad for weights in path.parameters())
    (values, valid, days, _), target = series[[(number, 0) for number in range(60)]]
    assert (path(values, valid, days).argmax(1) == target).float().mean() > 0.95
    # What hardly varies in training is left out, however far it lies elsewhere.
    values = values.clone()
    before = path(values, valid, days)
    values[:, 5] = 100
    assert torch.equal(path(values, valid, days), before)


def test_each_sample_is_read_as_often_as_the_next(quick):
    series = Series(30)
    fitted(series)
    counts = np.bincount(series.drawn[1:], minlength=30)  # one is read to see how large they are
    assert counts.min() >= counts.max() - 1 > 0


def test_the_seed_decides(quick):
    one, again, other = (fitted(Series(), seed) for seed in (0, 0, 1))
    first, second, third = (path.layers[0].weight for path in (one, again, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
