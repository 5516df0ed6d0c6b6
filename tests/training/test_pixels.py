import numpy as np
import pytest
import torch

from geoseg.geo.legend import IGNORED
from geoseg.models.networks.pixels import PixelPath
from geoseg.training.objectives import loss
from geoseg.training.objectives.settings import Loss
from geoseg.training.quick import pixels

NAMES = ["low", "high"]


class Tiles:
    """The class is whether the first band exceeds the second; a third band hardly varies."""

    def __init__(self, count: int = 3, labelled: bool = True) -> None:
        self._count, self._labelled = count, labelled
        self.drawn = []

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, draw):
        number, seed = draw
        self.drawn.append(draw)
        random = np.random.default_rng((number, seed))
        image = random.normal(size=(3, 24, 24)).astype(np.float32)
        image[2] = 0.5 + 1e-5 * image[2]
        target = (image[0] > image[1]).astype(np.uint8)
        target[:8] = IGNORED
        if not self._labelled:
            target[:] = IGNORED
        return torch.from_numpy(image), torch.from_numpy(target)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(pixels, "TILES", 8)
    monkeypatch.setattr(pixels, "STEPS", 150)
    monkeypatch.setattr(pixels, "BATCH", 512)


class Fixed:
    """Val tiles: some of `Tiles`, always the same."""

    def __init__(self, count=0, *, turned=False):
        self._count, self._turned = count, turned

    def __len__(self):
        return self._count

    def __getitem__(self, number):
        image, target = Tiles()[number, 7]
        if self._turned:
            target = torch.where(target == IGNORED, IGNORED, 1 - target)
        return image, target


def made(tiles, seed=0, val=None) -> PixelPath:
    torch.manual_seed(seed)
    path = PixelPath(3, 2, 16)
    criterion = loss.build(Loss(terms={"cross_entropy": 1.0}, class_weights="none"), names=NAMES)
    pixels.fit(path, tiles, val or Fixed(), criterion, seed=seed)
    return path


def test_it_learns_what_single_pixels_tell(quick):
    tiles = Tiles()
    path = made(tiles)
    image, target = Tiles()[0, 99]
    found = path(image[None])[0].argmax(0)
    known = target != IGNORED
    assert (found[known] == target[known]).float().mean() > 0.95
    assert {number for number, _ in tiles.drawn} == {0, 1, 2}, "each tile is seen"
    assert not path.scale[2], "a band that hardly varies counts for nothing"
    assert all(torch.isfinite(tensor).all() for tensor in path.state_dict().values())


def test_the_seed_alone_decides(quick):
    one, same, other = made(Tiles()), made(Tiles()), made(Tiles(), seed=1)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name]), name
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)


def test_without_labels_it_stays_new(quick):
    assert made(Tiles(labelled=False)).is_new


def test_val_says_when_it_is_enough(quick, monkeypatch):
    monkeypatch.setattr(pixels, "LOOK", 10)
    last, same, first = (
        made(Tiles(), val=val) for val in (Fixed(), Fixed(2), Fixed(2, turned=True))
    )
    image, target = Tiles()[0, 99]
    known = target != IGNORED

    def right(path) -> float:
        return float((path(image[None])[0].argmax(0)[known] == target[known]).float().mean())

    assert right(last) > 0.95
    assert right(same) > 0.95
    # Where val says the contrary of train, the least that was learnt is the best.
    size = last.layers[-1].weight.abs().sum()
    assert first.layers[-1].weight.abs().sum() < 0.9 * size
