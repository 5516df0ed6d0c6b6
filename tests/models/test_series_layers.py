"""What networks for series are made of, against plain definitions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geoseg.models.networks import attention, ltae, masked, pixel_set, psetae

T = 9
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in network.state_dict().items() if "running" in k}


def test_days_are_encoded_as_published():
    days, width = torch.tensor([-60.0, 0.0, 0.5, 364.0, 5000.0]), 12
    encoded = attention.encode_days(days, width)
    for row, day in zip(encoded, days.tolist(), strict=True):
        for channel, value in enumerate(row.tolist()):
            angle = day / 1000 ** (2 * (channel // 2) / width)
            expected = math.cos(angle) if channel % 2 else math.sin(angle)
            assert value == pytest.approx(expected, abs=1e-3)


def test_turned_keys_give_the_products_of_plain_ones():
    keys, x = nn.Linear(12, 8), torch.randn(3, 5, 12)
    query = torch.randn(3, 2, 4)
    plain = torch.einsum("nhd,nthd->nht", query, keys(x).unflatten(-1, (2, 4)))
    torch.testing.assert_close(psetae.dot_products(query, keys, x), plain)
    light = ltae.LightAttention(12, heads=2, keys=4, dropout=0.0)
    plain = torch.einsum("hd,nthd->nht", light.query, light.keys(x).unflatten(-1, (2, 4)))
    torch.testing.assert_close(light.scores(x), plain / 2)


@hypothesis_settings(deadline=None, max_examples=30)
@given(groups=st.sampled_from([1, 2, 6]), seed=st.integers(0, 100))
def test_dates_norm_is_group_norm_over_the_valid_dates(groups, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 8, 6, generator=generator) * 5 + 2
    valid = torch.rand(3, 8, generator=generator) < 0.6
    normed = attention.DatesNorm(6, groups=groups)(x, valid, torch.zeros(3, 8))
    for number in range(3):
        chosen = x[number, valid[number]]
        if len(chosen) > 1:  # Torch's refuses a lone value; ours gives its shift.
            plain = F.group_norm(chosen.t().unsqueeze(0), groups)[0].t()
            torch.testing.assert_close(normed[number, valid[number]], plain, **CLOSE)
    assert normed.isfinite().all()


def test_scale_and_shift_of_a_season_come_round_with_the_year():
    norm = attention.DatesNorm(2, groups=1, knots=4)
    parameter = torch.tensor([[0.0, 1], [4, 1], [8, 1], [4, 1]])
    quarter = norm.YEAR / 4
    days = quarter * torch.tensor([0.0, 0.5, 1, 2, 3, 3.5, 4, -0.5])
    expected = torch.tensor([0.0, 2, 4, 8, 4, 2, 0, 2])
    at = norm.at(days, parameter)
    torch.testing.assert_close(at, torch.stack([expected, torch.ones(8)], 1), **CLOSE)


def test_mean_and_deviation_of_pixels():
    pixels = torch.randn(4, 7, 3)
    valid = torch.rand(4, 7) < 0.6
    valid[:, 0] = True
    valid[3, 1:] = False
    mean, deviation = pixel_set.mean_and_deviation(pixels * valid.unsqueeze(-1), valid)
    for number in range(4):
        chosen = pixels[number, valid[number]]
        torch.testing.assert_close(mean[number], chosen.mean(0))
        expected = chosen.std(0, correction=0)
        torch.testing.assert_close(deviation[number], expected, rtol=1e-4, atol=2e-3)
    # A single pixel takes a way of its own, to the same end.
    alone = pixel_set.mean_and_deviation(pixels[3:, :1], valid[3:, :1])
    torch.testing.assert_close(alone, (mean[3:], deviation[3:]))


def test_norms_joined_to_weights_predict_the_same():
    layer = masked.Dense(3, 5)
    layer.norm.running_mean.normal_()
    layer.norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(layer.norm.weight)
    nn.init.normal_(layer.norm.bias)
    layer.eval()
    x = torch.randn(7, 3)
    torch.testing.assert_close(layer(x), layer.norm(layer.linear(x)).relu())


def test_attentions_norm_sees_no_cell_without_data():
    found = []
    x, days = torch.randn(6, T, 8), torch.arange(T).expand(6, -1)
    valid = torch.ones(6, T, dtype=torch.bool)
    for count in (6, 4):
        torch.manual_seed(0)
        light = ltae.LightAttention(16, heads=2, keys=4, dropout=0.0)
        valid[4:] = count == 6
        features, weights = light(x, valid, days)
        assert (features[count:] == 0).all()
        assert (weights[count:] == 0).all()
        found.append(statistics(light))
        torch.manual_seed(0)
        light = ltae.LightAttention(16, heads=2, keys=4, dropout=0.0)
        light(x[:count], torch.ones(count, T, dtype=torch.bool), days[:count])
        for key, tensor in statistics(light).items():
            torch.testing.assert_close(found[-1][key], tensor, **CLOSE)
    assert not torch.allclose(*(next(iter(each.values())) for each in found))


@given(flags=st.lists(st.booleans(), min_size=1, max_size=12))
def test_valid_entries_are_taken_and_put_back(flags):
    valid = torch.tensor(flags).view(1, -1)
    x = torch.arange(1.0, 1 + 2 * len(flags)).view(1, -1, 2)
    seen = []
    doubled = masked.on_valid(lambda some: seen.append(len(some)) or 2 * some, valid, x)
    assert seen == [sum(flags)]
    assert torch.equal(doubled, 2 * x * valid.unsqueeze(-1))
