"""Self-distillation: views, what agrees, the centre, what val says; and a short training."""

import csv
from contextlib import nullcontext
from dataclasses import replace

import pytest
import safetensors
import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from geoseg.errors import InputError
from geoseg.models.card import ENCODER, ENCODER_KEY, EncoderCard
from geoseg.models.settings import Model
from geoseg.pretrain import pretrain
from geoseg.training.config import PretrainConfig
from geoseg.training.objectives import distillation
from geoseg.training.objectives.distillation import (
    Distillation,
    DistillationValidator,
    Distilled,
    agreement,
    matched,
    view,
)
from geoseg.training.objectives.settings import Distilling, Masking
from geoseg.training.run.folder import _claimed
from geoseg.training.settings import Fit

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning")


class Means(nn.Module):
    """An encoder whose features are the bands, at a 32nd of the resolution."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, bands, 1, 1))

    def forward(self, image):
        return [image, nn.functional.avg_pool2d(image * self.weight, 32)]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_views_are_parts_of_their_tiles(monkeypatch):
    for name in ("GAIN", "SHIFT", "NOISE"):
        monkeypatch.setattr(distillation, name, 0.0)
    # Rows and columns in two bands: a view is a grid of even steps within the tile.
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    tiles = torch.stack((rows, columns)).expand(20, 2, 96, 96)
    views = view(tiles, (0.25, 0.25), 64)
    assert views.shape == (20, 2, 64, 64)
    assert views.min() >= 0
    assert views.max() <= 95
    spans = views.flatten(2).amax(2) - views.flatten(2).amin(2)
    # Half a side each way, less a pixel's.
    torch.testing.assert_close(spans, torch.full_like(spans, 48 * 63 / 64), atol=0.6, rtol=0)
    turned = (views[:, 0, 0] - views[:, 0, 1]).abs().mean(1) < 1e-3
    assert 0 < int(turned.sum()) < 20, "some are turned, others not"
    assert len(torch.unique(views[:, 0, 0, 0])) > 10


def test_views_follow_the_seed():
    tiles = torch.randn(2, 3, 64, 64)
    made = []
    for _ in range(2):
        torch.manual_seed(4)
        made.append(view(tiles, distillation.LARGE, 64))
    assert torch.equal(*made)
    assert not torch.equal(made[0], view(tiles, distillation.LARGE, 64))


def test_a_view_is_not_compared_with_itself():
    taught = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    # Two large views that say the opposite of what their own teachers do: all the others agree.
    said = torch.tensor([[[-9.0, 9.0]], [[9.0, -9.0]]])
    assert float(agreement(taught, said)) < 1e-6
    assert float(agreement(taught, -said)) > 100
    # A third, small view is compared with both.
    said = torch.cat((said, torch.zeros(1, 1, 2)))
    assert float(agreement(taught, said)) == pytest.approx(0.5 * 0.6931, abs=1e-3)


def test_the_centre_follows_the_teacher_and_gradients_reach_all_weights():
    model, teacher = Distilled(Means(3), 3, 16), Distilled(Means(3), 3, 16)
    objective = Distillation(Distilling(crops=1), autocast=nullcontext)
    image, valid = torch.randn(4, 3, 64, 64), torch.ones(4, 64, 64, dtype=torch.bool)
    loss = objective(model, teacher, (image, valid), 0.0)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert model.center.abs().sum() > 0
    before = model.center.clone()
    objective(model, teacher, (image, valid), 0.0)
    assert not torch.equal(before, model.center)
    assert "center" in model.state_dict(), "a training that goes on has it"
    assert float(objective(model, teacher, (image, ~valid), 0.0).detach()) == 0


@pytest.mark.parametrize("batch", [3, 8])
def test_val_tells_tiles_apart(batch):
    tiles = torch.randn(8, 16, 1, 1) + 0.1 * torch.randn(8, 16, 96, 96)
    fabric = Fabric(accelerator="cpu", devices=1)
    network = Distilled(Means(16), 16, 16)
    found = DistillationValidator()(network, DataLoader(TensorDataset(tiles), batch), fabric)
    assert found.columns["val_match_by_chance"] == 1 / 8
    assert 0.9 < found.score <= 1
    one = DataLoader(TensorDataset(tiles[:1]), batch)
    assert DistillationValidator()(network, one, fabric) is None


def test_features_that_are_all_the_same_match_by_chance():
    same = torch.ones(8, 5)
    assert matched(same, same) == pytest.approx(1 / 8)
    assert matched(torch.eye(8), torch.eye(8)) > 0.9


def test_settings_of_the_other_method_are_refused():
    with pytest.raises(InputError) as raised:
        PretrainConfig(method="distil", mask=Masking(0.5), fit=Fit(average=0))
    for part in ("mask: of method=reconstruct", "the teacher is the moving average"):
        assert part in str(raised.value)
    with pytest.raises(InputError, match=r"distil: of method=distil"):
        PretrainConfig(distil=Distilling(crops=0))
    with pytest.raises(InputError, match=r"method=dino: unknown; choose from reconstruct, distil"):
        PretrainConfig(method="dino")


def test_runs_of_before_keep_their_settings():
    assert not {"method", "distil"} & _claimed(PretrainConfig(), (), ()).keys()
    assert _claimed(PretrainConfig(method="distil"), (), ())["method"] == "distil"


def test_an_encoder_teaches_itself_and_goes_on(dataset, tmp_path):
    (scene,) = dataset.scenes
    fit = Fit(
        epochs=2, epoch_tiles=4, batch_size=4, workers=0, precision="32", device="cpu", pictures=0
    )
    made = PretrainConfig(
        run=str(tmp_path / "whole"), model=Model(encoder="tu-lcnet_050", pixels=0), fit=fit,
        method="distil", distil=Distilling(prototypes=32, crops=1), val=0.2,
    )  # fmt: skip
    made = replace(made, tiling=replace(made.tiling, size=64, overlap=16))
    said = pretrain([scene], made)
    assert "each part finds the other of its tile" in said
    with (tmp_path / "whole" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(0 < float(row["val_match"]) <= 1 for row in rows)
    with safetensors.safe_open(tmp_path / "whole" / ENCODER, "pt") as file:
        card = EncoderCard.from_json(file.metadata()[ENCODER_KEY])
        assert not any("head" in name or "prototypes" in name for name in file.keys())  # noqa: SIM118
    assert card.encoder == "tu-lcnet_050"
    # Longer by an epoch, it goes on, with its teacher and centre.
    pretrain([scene], replace(made, fit=replace(fit, epochs=3)))
    with (tmp_path / "whole" / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
