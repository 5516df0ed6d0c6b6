"""What tells known ground from unknown: formulas, and how they are kept."""

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.errors import InputError
from geoseg.models import checkpoint, novelty
from geoseg.models.looks import LEAST_CONTRAST, looks
from geoseg.models.networks import build
from geoseg.models.novelty import (
    Applicability,
    FeatureNovelty,
    applicability,
    bounds,
    gaussian,
    threshold_of,
)
from geoseg.models.scored import Listening, ScoredImages, ScoredSeries, deepest
from geoseg.models.settings import Model
from tests.made.scenes import CARD, Identity


def points(count=20, seed=0):
    """Points of four folds."""
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 3)) * [1, 10, 100] + 5, np.arange(count) % 4


def test_index_and_threshold_are_those_of_cast():
    """Worked out point by point, as CAST's trainDI does it (Meyer & Pebesma 2021)."""
    features, fold = points()
    scaled = (features - features.mean(0)) / features.std(0, ddof=1)
    mean, nearest = [], []
    for i, one in enumerate(scaled):
        away = np.sqrt(((scaled - one) ** 2).sum(1))
        mean.append(np.delete(away, i).mean())
        nearest.append(away[fold != fold[i]].min())
    index = np.array(nearest) / np.mean(mean)
    made, found = applicability(features, fold)
    assert np.allclose(found, index)
    low, high = np.quantile(index, 0.25), np.quantile(index, 0.75)
    assert float(made.threshold) == pytest.approx(min(high + 1.5 * (high - low), index.max()))
    assert threshold_of(np.array([1.0, 2, 3, 4, 100])) == pytest.approx(4 + 1.5 * 2)
    assert threshold_of(np.array([1.0, 2, 3, 4, 5])) == 5


def test_known_points_have_index_0_whatever_the_scale():
    features, fold = points()
    made, _ = applicability(features, fold)
    assert np.allclose(made.index(features), 0, atol=1e-9)
    other, _ = applicability(features * 7 - 3, fold)
    new = points(seed=1)[0]
    assert np.allclose(made.index(new), other.index(new * 7 - 3))
    assert made.index(features.mean(0)[None] + 1e5) > float(made.threshold)


def test_points_of_one_group_say_nothing():
    with pytest.raises(InputError, match="at least two are needed"):
        applicability(points()[0], np.zeros(20))


def test_precision_is_that_of_the_features():
    random = np.random.default_rng(0)
    mixing = np.array([[1.0, 0.5, 0], [0, 2, 0], [0, 0, 0.1]])
    features = random.normal(size=(50_000, 3)) @ mixing + [1, 2, 3]
    mean, precision, shrunk = gaussian(len(features), features.sum(0), features.T @ features)
    assert np.allclose(mean, [1, 2, 3], atol=0.05)
    assert shrunk < 0.01
    assert np.allclose(precision @ np.cov(features.T), np.eye(3), atol=0.02)


def test_a_feature_that_never_moved_does_not_outweigh_the_others():
    features = np.random.default_rng(0).normal(size=(1000, 4))
    features[:, 3] = 0
    _, precision, _ = gaussian(len(features), features.sum(0), features.T @ features)
    assert np.isfinite(precision).all()
    assert precision[3, 3] < 200


def novelty_of(size=3, mixture=None):
    quantiles = np.linspace(0, 1, 101)
    none = np.zeros((0, 0)) if mixture is None else mixture
    looks = np.zeros(8), np.eye(8), quantiles, quantiles
    return FeatureNovelty(np.zeros(size), np.eye(size), none, quantiles, quantiles, *looks)


def test_kept_beside_the_weights_and_none_of_them(tmp_path):
    network = build.build(Model("unet", "resnet18"), 1, 3)
    checkpoint.save(tmp_path / "a.safetensors", network, CARD)
    made = novelty_of()
    copied = tmp_path / "b.safetensors"
    checkpoint.copy(tmp_path / "a.safetensors", copied, CARD, beside=made.tensors())
    assert novelty.read(tmp_path / "a.safetensors", series=False) is None
    found = novelty.read(copied, series=False)
    for name in ("mean", "precision", "mixture", "distance", "energy"):
        assert np.allclose(getattr(found, name), getattr(made, name))
    again, _ = checkpoint.load(copied)
    assert set(again.state_dict()) == set(network.state_dict())
    with pytest.raises(InputError, match="incomplete"):
        novelty.read(copied, series=True)


def test_shapes_that_do_not_go_together():
    tensors = novelty_of().tensors() | {"novelty.precision": np.eye(4)}
    with pytest.raises(InputError, match="do not go together"):
        FeatureNovelty.of_tensors(tensors)


def test_ranks_are_percentiles_and_100_is_beyond_all():
    from geoseg.prediction.layers import Ranker

    made = novelty_of()
    assert len(bounds(made.together)) == 99
    sums = torch.tensor([-1.0, 0.005, 0.505, 0.9801, 1.0, 1.01])
    # In units of 0.4 from 0.5 on: what is added to the first is taken from the second.
    scores = torch.stack([0.5 + 0.4 * (sums + 1), 0 * sums + 0.1, 0 * sums + 0.5])[:, None]
    assert Ranker(made)(scores).tolist() == [[1, 1, 51, 99, 99, 100]]
    assert np.allclose(made.sums(scores[:, 0].numpy().T), sums, atol=1e-6)
    scores[1] = -1000  # as usual as anything can be: it does not hide what is new
    scores[0] += 10
    assert Ranker(made)(scores).tolist() == [[100] * 6]
    known = Applicability(*(np.ones(s) for s in ((2, 3), 3, 3, (), ())))
    index = torch.tensor([[[0.0, 0.5, 1.0, 1.001, 7]]])
    assert Ranker(known)(index).tolist() == [[1, 50, 99, 100, 100]]


@pytest.mark.parametrize(
    "model",
    [Model("unet", "resnet18"), Model("segnet", "vgg11_bn"), Model("deeplabv3plus", "resnet18")],
)
def test_distance_of_each_network_s_encoder(model):
    network = build.build(model, 3, 2).eval()
    images = torch.randn(2, 3, 64, 64)
    logits, features = Listening(network).both(images)
    size = features.shape[1]
    made = ScoredImages(network, novelty_of(size))
    with torch.inference_mode():
        found = made(images)
    assert found.shape == (2, 5, 64, 64)
    assert torch.allclose(found[:, :2], logits, atol=1e-5)
    assert torch.allclose(found[:, 3], -logits.logsumexp(1), atol=1e-5)
    norm = features.norm(dim=1)
    assert found[:, 2].min() >= norm.min() * 0.999
    assert found[:, 2].max() <= norm.max() * 1.001
    half = ScoredImages(network, novelty_of(4, np.ones((size, 4)) / size))
    assert half(images).shape == (2, 5, 64, 64)


def test_networks_without_an_encoder_are_named():
    with pytest.raises(InputError, match="Identity has no encoder"):
        Listening(Identity(3))
    tensor = torch.zeros(1)
    assert deepest((tensor, [])) is tensor
    assert deepest([None, tensor]) is tensor


class Sees(nn.Module):
    """A network for series whose classifier sees the mean of all values."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Sequential(nn.Linear(2, 3))

    def forward(self, values, valid, days, shape):
        from geoseg.models.networks.masked import on_valid

        return on_valid(
            lambda x: self.classifier(x.flatten(1, 2).mean(1)), valid.flatten(1).any(1), values
        )


def test_series_tell_how_dissimilar_they_are():
    values = torch.randn(6, 4, 1, 2)
    valid = torch.ones(6, 4, 1, dtype=torch.bool)
    valid[2] = False
    features = values.flatten(1, 2).mean(1).numpy()
    made, _ = applicability(features.astype(np.float64), np.arange(6) % 2)
    with torch.inference_mode():
        found = ScoredSeries(Sees(), made)(values, valid, torch.zeros(6, 4), torch.zeros(6, 4))
    assert found.shape == (6, 4)
    assert torch.allclose(found[:, 3], torch.zeros(6), atol=1e-3)
    assert (found[2] == 0).all()
    far = values + 100
    with torch.inference_mode():
        found = ScoredSeries(Sees(), made)(far, valid, torch.zeros(6, 4), torch.zeros(6, 4))
    assert (found[[0, 1, 3, 4, 5], 3] > float(made.threshold)).all()


def test_looks_are_means_and_contrasts_of_what_is_there():
    images = torch.randn(2, 3, 64, 96) * torch.tensor([1.0, 2, 0.5])[:, None, None] + 3
    found, share = looks(images)
    assert found.shape == (2, 8, 2, 3)
    assert (share == 1).all()
    cell = images[1, :, 32:, 64:]
    assert torch.allclose(found[1, :3, 1, 2], cell.mean((1, 2)), atol=1e-4)
    spread = torch.stack([*cell, *(cell[1:] - cell[:-1])]).flatten(1).std(1, unbiased=False)
    assert torch.allclose(found[1, 3:, 1, 2], (spread + LEAST_CONTRAST).log(), atol=1e-3)
    # Nodata, which networks see as 0, changes nothing but the share.
    holed = images.clone()
    holed[:, :, :32, :16] = 0
    again, share = looks(holed)
    assert share[0, 0].tolist() == [[0.5, 1, 1], [1, 1, 1]]
    assert torch.allclose(again[:, :, 1], found[:, :, 1], atol=1e-4)
    half = images[0, :, :32, 16:32].mean((1, 2))
    assert torch.allclose(again[0, :3, 0, 0], half, atol=1e-4)
    assert looks(torch.zeros(1, 1, 8, 8))[0].shape == (1, 2, 1, 1)  # one band, no cell of 32 pixels
