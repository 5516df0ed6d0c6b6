"""Networks for series: what they must not depend on, published sizes, gradients, learning."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models import settings
from geoseg.models.networks import build_series, masked, utae

PIXEL_SETS = ("lstm", "tempcnn", "psetae", "ltae")
ANY_DATES = ("lstm", "psetae", "ltae")
OPTIONS = [
    ("lstm", {}),
    ("lstm", {"cell": "gru", "pooling": "last", "layers": 1}),
    ("lstm", {"bidirectional": False, "pooling": "last"}),
    ("lstm", {"cell": "gru", "bidirectional": False, "width": 8}),
    ("psetae", {}),
    ("psetae", {"shape": False, "width": 32, "heads": 2, "keys": 4}),
    ("ltae", {}),
    ("ltae", {"shape": False, "width": 64, "heads": 4, "keys": 4}),
]
"""Networks for any number of dates."""
FIXED = [("tempcnn", {}), ("tempcnn", {"width": 8, "layers": 2})]
T, C, K = 9, 4, 3
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build(name: str, *, dates: int = T, **options) -> nn.Module:
    """A network whose norms have seen other data, ready to predict."""
    model = settings.Model(name=name, **{"season": 0} | options)
    grid, filled = range(0, 10 * dates, 10), name == "tempcnn"
    network = build_series.build(model, C, K, grid=grid, filled=filled)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def samples(batch: int = 4, dates: int = T, pixels: int = 5) -> list[Tensor]:
    """Values, valid, days and shape; the first sample is whole, no date is without pixels."""
    valid = torch.rand(batch, dates, pixels) < 0.7
    valid[..., 0] = True
    valid[0] = True
    days = torch.stack([torch.randperm(425)[:dates].sort()[0] - 60 for _ in range(batch)])
    values = torch.where(valid.unsqueeze(-1), torch.randn(batch, dates, pixels, C), torch.nan)
    return [values, valid, days.float(), torch.rand(batch, 4)]


def padded(inputs: list[Tensor], count: int) -> list[Tensor]:
    """With so many dates of nonsense spread among the others."""
    values, valid, days, shape = inputs
    batch, dates, pixels = valid.shape
    order = torch.cat([torch.randn(dates), torch.randn(count)]).argsort()
    nonsense = torch.full((batch, count, pixels, C), torch.nan)
    values = torch.cat([values, nonsense], 1)[:, order]
    valid = F.pad(valid, (0, 0, 0, count))[:, order]
    wrong = torch.randn(batch, count) * 1e6
    wrong[-1] = torch.nan
    days = torch.cat([days, wrong], 1)[:, order]
    return [values, valid, days, shape]


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {k: v for k, v in network.state_dict().items() if "running" in k}


# What the output must not depend on


@torch.inference_mode()
@pytest.mark.parametrize(("name", "options"), OPTIONS + FIXED)
def test_a_sample_does_not_depend_on_its_batch(name, options):
    network = build(name, **options)
    inputs = samples(5)
    together = network(*inputs)
    assert together.shape == (5, K)
    for number in range(5):
        alone = network(*(x[number : number + 1] for x in inputs))
        torch.testing.assert_close(alone[0], together[number], **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "options"), OPTIONS)
@pytest.mark.parametrize("count", [1, 30])
def test_padding_dates_change_nothing(name, options, count):
    network = build(name, **options)
    inputs = samples()
    torch.testing.assert_close(network(*padded(inputs, count)), network(*inputs), **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "options"), OPTIONS + FIXED)
def test_padding_pixels_change_nothing(name, options):
    network = build(name, **options)
    values, valid, days, shape = samples()
    more = F.pad(values, (0, 0, 0, 7), value=torch.inf), F.pad(valid, (0, 7))
    torch.testing.assert_close(
        network(*more, days, shape), network(values, valid, days, shape), **CLOSE
    )


@torch.inference_mode()
@pytest.mark.parametrize(("name", "options"), OPTIONS + FIXED)
def test_dates_come_in_any_order(name, options):
    network = build(name, **options)
    values, valid, days, shape = samples()
    order = torch.randperm(T)
    shuffled = network(values[:, order], valid[:, order], days[:, order], shape)
    torch.testing.assert_close(shuffled, network(values, valid, days, shape), **CLOSE)
    # Which date has which values does count.
    mixed = network(values[:, order], valid[:, order], days, shape)
    assert not torch.allclose(mixed, shuffled, **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "options"), OPTIONS + FIXED)
def test_pixels_come_in_any_order(name, options):
    network = build(name, **options)
    values, valid, days, shape = samples()
    order = torch.randperm(valid.shape[2])
    shuffled = network(values[:, :, order], valid[:, :, order], days, shape)
    torch.testing.assert_close(shuffled, network(values, valid, days, shape), **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "options"), OPTIONS + FIXED)
def test_many_samples_are_read_in_parts_to_the_same_end(name, options, monkeypatch):
    network = build(name, **options)
    inputs = samples(7)
    whole = network(*inputs)
    monkeypatch.setattr(masked, "PART", 3 * T)  # one to three samples at a time
    torch.testing.assert_close(network(*inputs), whole, **CLOSE)


# Dates and days


@torch.inference_mode()
@pytest.mark.parametrize("name", ANY_DATES)
def test_any_number_of_dates(name):
    network = build(name)
    for dates in (1, 2, 150):
        assert network(*samples(2, dates, pixels=1)).isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("name", ANY_DATES)
def test_a_shift_of_all_days_moves_the_output_smoothly(name):
    network = build(name)
    values, valid, days, shape = samples()
    base = network(values, valid, days, shape)
    assert torch.equal(network(values, valid, days + 0.0, shape), base)
    slight = (network(values, valid, days + 1e-3, shape) - base).abs().max()
    assert 0 < slight < 0.01
    for shift in (-500, 20, 2000):
        assert not torch.allclose(network(values, valid, days + shift, shape), base, **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize("name", PIXEL_SETS)
def test_days_that_all_samples_share_are_days_like_others(name):
    network = build(name)
    values, valid, days, shape = samples()
    shared = days[:1].expand_as(days)
    differing = shared.clone()
    differing[-1] += 3
    torch.testing.assert_close(
        network(values, valid, shared, shape)[:-1],
        network(values, valid, differing, shape)[:-1],
        **CLOSE,
    )


def test_tempcnn_refuses_another_number_of_dates():
    network = build("tempcnn")
    with pytest.raises(ValueError, match="8 dates, the network was built for 9"):
        network(*samples(dates=8))
    with pytest.raises(ValueError, match="filled on a grid"):
        build_series.build(settings.Model(name="tempcnn"), C, K)


# Nothing valid, training


@torch.inference_mode()
@pytest.mark.parametrize(("name", "options"), OPTIONS + FIXED)
def test_a_sample_without_data_gets_no_opinion_and_disturbs_no_other(name, options):
    network = build(name, **options)
    values, valid, days, shape = samples()
    base = network(values, valid, days, shape)
    valid[1] = False
    logits = network(values, valid, days, shape)
    assert (logits[1] == 0).all()
    others = [0, 2, 3]
    torch.testing.assert_close(logits[others], base[others], **CLOSE)
    assert (network(values, torch.zeros_like(valid), days, shape) == 0).all()


@pytest.mark.parametrize(("name", "options"), OPTIONS + FIXED)
@pytest.mark.parametrize("pixels", [1, 5])
def test_gradients_reach_every_weight_and_are_finite(name, options, pixels):
    network = build(name, **options).train()
    values, valid, days, shape = samples(pixels=pixels)
    valid[1, 2:4] = False
    valid[2] = False
    network(values, valid, days, shape).square().sum().backward()
    for key, parameter in network.named_parameters():
        if name == "lstm" and options.get("pooling") == "last" and key.startswith("score"):
            continue
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(("name", "options"), OPTIONS + FIXED)
def test_a_lone_sample_can_be_trained_on(name, options):
    network = build(name, **options).train()
    for batch in (samples(1, pixels=1), samples(1)):
        batch[1][:, 1:] = False
        assert network(*batch).isfinite().all()
        batch[1][:] = False
        assert network(*batch).isfinite().all()
    assert all(x.isfinite().all() for x in statistics(network).values())


@pytest.mark.parametrize("name", ["psetae", "ltae", "tempcnn"])
def test_batch_norms_see_valid_entries_only(name):
    inputs = samples()
    without_data = [torch.cat([x, x[:1]]) for x in inputs]
    without_data[1][-1] = False
    more_pixels = [F.pad(inputs[0], (0, 0, 0, 3)), F.pad(inputs[1], (0, 3)), *inputs[2:]]
    variants = [inputs, more_pixels, without_data]
    if name != "tempcnn":
        variants.append(padded(inputs, 20))
    found = []
    for variant in variants:
        torch.manual_seed(0)
        network = build(name).train()
        network(*variant)
        found.append(statistics(network))
    for other in found[1:]:
        for key, tensor in found[0].items():
            torch.testing.assert_close(other[key], tensor, **CLOSE)


@pytest.mark.parametrize("name", [*PIXEL_SETS, "utae"])
def test_dropout_works_in_training_only(name):
    network = build(name, dropout=0.5)
    inputs = images(1) if name == "utae" else samples()
    with torch.no_grad():
        assert torch.equal(network(*inputs), network(*inputs))
        network.train()
        assert not torch.equal(network(*inputs), network(*inputs))
    assert build(name).state_dict().keys() == network.state_dict().keys()


@pytest.mark.parametrize("name", [*PIXEL_SETS, "utae"])
def test_weights_can_be_saved_and_loaded(name):
    first, second = build(name), build(name)
    inputs = images(1) if name == "utae" else samples()
    with torch.inference_mode():
        assert not torch.allclose(first(*inputs), second(*inputs))
        second.load_state_dict(first.state_dict())
        assert torch.equal(first(*inputs), second(*inputs))


@pytest.mark.parametrize("name", [*PIXEL_SETS, "utae"])
def test_bfloat16_is_near_float32(name):
    network = build(name)
    inputs = images(2) if name == "utae" else samples(16)
    with torch.inference_mode():
        exact = network(*inputs)
        with torch.autocast("cpu", torch.bfloat16):
            near = network(*inputs)
    assert (near.float() - exact).abs().max() < 0.1 * exact.std() + 0.05
    network.train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(*inputs)
    logits.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", PIXEL_SETS)
def test_learns_which_band_peaks_when(name):
    """Classes differ only in the date of their peak: a mean over dates tells nothing."""
    network = build(name).train()
    values, valid, _, shape = samples(48, pixels=3)
    days = torch.linspace(0, 240, T).expand(48, -1)
    target = torch.arange(48) % K
    values = torch.zeros_like(values) + 0.1 * torch.randn(values.shape)
    values[torch.arange(48), 3 * target + 1, :, 0] = 1
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(60):
        loss = F.cross_entropy(network(values, valid, days, shape), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 < 0.8 < losses[0]


# Sizes


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def test_published_numbers_of_parameters():
    published = {"psetae": 164_116, "ltae": 143_124, "utae": 1_087_260}
    networks = {
        name: build_series.build(settings.Model(name=name), 10, 20, shape_features=4)
        for name in published
    }
    assert {name: count(network) for name, network in networks.items()} == published
    parts = {name: count(part) for name, part in networks["psetae"].named_children()}
    assert parts == {"pixels": 19_936, "time": 132_992, "classifier": 11_188}
    assert count(networks["ltae"].time) == 112_000


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("ltae", {"width": 100}, ["model.width=100", "multiple of 32", "set model.width=96"]),
        ("ltae", {"heads": 3}, ["model.width=256", "multiple of 6", "set model.width=258"]),
        ("utae", {"width": 8}, ["model.width=8", "multiple of 16", "set model.width=16"]),
        ("psetae", {"width": 7, "layers": 2}, ["model.width=7", "model.layers=2", "leave"]),
        ("lstm", {"heads": 4}, ["model.heads=4", "width and layers only"]),
    ],
)
def test_sizes_that_do_not_go_are_refused(name, options, expected):
    with pytest.raises(InputError) as raised:
        build_series.build(settings.Model(name=name, **options), C, K)
    for part in expected:
        assert part in str(raised.value)


# U-TAE


def images(batch: int = 2, dates: int = 4, height: int = 16, width: int = 24) -> list[Tensor]:
    """Values, valid and days, with clouds."""
    valid = F.interpolate(torch.rand(batch, dates, 4, 4), (height, width)) < 0.8
    valid[:, :, : height // 2, : width // 2] = True
    values = torch.randn(batch, dates, C, height, width)
    values = torch.where(valid.unsqueeze(2), values, torch.nan)
    days = torch.stack([torch.randperm(365)[:dates].sort()[0] - 60 for _ in range(batch)])
    return [values, valid, days.float()]


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(37, 50), (1, 1), (3, 40), (64, 16)])
def test_utae_takes_every_size(height, width):
    logits = build("utae")(*images(1, 3, height, width))
    assert logits.shape == (1, K, height, width)
    assert logits.isfinite().all()


@torch.inference_mode()
def test_utae_does_not_depend_on_batch_padding_or_order():
    network = build("utae", heads=8, width=16)
    values, valid, days = images()
    together = network(values, valid, days)
    assert together.std() > 0.01
    alone = network(values[1:], valid[1:], days[1:])
    torch.testing.assert_close(alone[0], together[1], **CLOSE)
    order = torch.randperm(4)
    shuffled = network(values[:, order], valid[:, order], days[:, order])
    torch.testing.assert_close(shuffled, together, **CLOSE)
    nonsense = torch.full_like(values, torch.nan)[:, :3]
    more = torch.cat([nonsense, values], 1), F.pad(valid, (0, 0, 0, 0, 3, 0))
    longer = network(*more, F.pad(days, (3, 0), value=-7e5))
    torch.testing.assert_close(longer, together, **CLOSE)
    clear = torch.where(valid.unsqueeze(2), values, 1e5)
    torch.testing.assert_close(network(clear, valid, days), together, **CLOSE)


@torch.inference_mode()
def test_utae_reads_only_dates_with_data():
    network = build("utae", width=16)
    seen = []
    network.encoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    values, valid, days = images()
    valid[0, 1:] = False
    network(values, valid, days)
    assert seen == [1 + 4]


@torch.inference_mode()
def test_utae_reads_days():
    network = build("utae", width=16)
    values, valid, days = images()
    base = network(values, valid, days)
    assert 0 < (network(values, valid, days + 1e-3) - base).abs().max() < 0.01
    assert not torch.allclose(network(values, valid, days + 40), base, **CLOSE)


def test_utae_without_data_is_finite_and_its_norms_see_no_padding():
    found = []
    for count in (0, 3):
        torch.manual_seed(1)
        network = build("utae", width=16).train()
        torch.manual_seed(2)
        values, valid, days = images()
        values = F.pad(values, (0, 0, 0, 0, 0, 0, 0, count), value=torch.nan)
        valid = F.pad(valid, (0, 0, 0, 0, 0, count))
        logits = network(values, valid, F.pad(days, (0, count)))
        logits.square().mean().backward()
        assert all(p.grad.isfinite().all() for p in network.parameters())
        found.append(statistics(network))
    for key, tensor in found[0].items():
        torch.testing.assert_close(found[1][key], tensor, **CLOSE)
    assert network(values, torch.zeros_like(valid), F.pad(days, (0, 3))).isfinite().all()
    network.eval()
    valid[0] = False
    assert network(values, valid, F.pad(days, (0, 3))).isfinite().all()


def test_merging_dates_that_agree_gives_them_back():
    valid = torch.rand(2, 5, 8, 8) < 0.5
    one = torch.randn(2, 1, 6, 8, 8)
    weights = torch.rand(2, 3, 5, 4, 4).softmax(2)
    merged = utae.merge(one.expand(-1, 5, -1, -1, -1), weights, valid)
    torch.testing.assert_close(merged, one[:, 0] * valid.any(1, keepdim=True), **CLOSE)


def test_utae_learns_where_the_peak_is_when():
    network = build("utae", width=16).train()
    values, valid, days = images(4, 3, 16, 16)
    target = torch.arange(4).view(4, 1, 1).expand(-1, 16, 16).clone() % K
    target[:, 8:] = (target[:, 8:] + 1) % K
    values = 0.1 * torch.randn(values.shape)
    values[:, :, 0] += F.one_hot(target, K).permute(0, 3, 1, 2)
    valid[:] = True
    days = torch.tensor([0.0, 90, 180]).expand(4, -1)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(network(values, valid, days), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
