"""How norms' statistics begin."""

import pytest
import torch
from torch import nn

from geoseg.training.optimizer import YoungNorms


def _train(network: nn.Module, batches: list[torch.Tensor]) -> nn.Module:
    norms = YoungNorms(network)
    for batch in batches:
        with norms.seeing_a_batch():
            network(batch)
    return network


def test_the_first_batches_count_alike_in_the_statistics_of_norms():
    torch.manual_seed(0)
    batches = list(3 + 0.1 * torch.randn(14, 8, 2, 5))
    norm = _train(nn.BatchNorm1d(2), batches[:4])
    means = torch.stack([batch.mean((0, 2)) for batch in batches])
    torch.testing.assert_close(norm.running_mean, means[:4].mean(0))
    # Then as torch has it.
    norm, plain = _train(norm, batches[4:]), nn.BatchNorm1d(2)
    assert norm.momentum == plain.momentum
    plain.running_mean.copy_(means[:10].mean(0))
    for batch in batches[10:]:
        plain(batch)
    torch.testing.assert_close(norm.running_mean, plain.running_mean)


@pytest.mark.parametrize("seen", [3, 50])
def test_statistics_that_were_loaded_count_by_the_batches_that_they_have_seen(seen):
    norm = nn.BatchNorm1d(1)
    norm.num_batches_tracked.fill_(seen)
    _train(norm, [torch.full((8, 1), 2.0)])
    assert float(norm.running_mean) == pytest.approx(max(2 / (seen + 1), 0.2))


def test_norms_without_statistics_are_left_alone():
    network = nn.Sequential(
        nn.BatchNorm1d(1, track_running_stats=False), nn.BatchNorm1d(1, momentum=None)
    )
    _train(network, [torch.randn(4, 1)])
    assert [norm.momentum for norm in network] == [0.1, None]
