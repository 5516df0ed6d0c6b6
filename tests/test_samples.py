import numpy as np
import torch

from geoseg.grid import Window
from geoseg.legend import IGNORED
from geoseg.samples.shuffle import Shuffle
from geoseg.samples.tiles import TrainTiles, ValTiles


def test_tiles_come_back_as_written(dataset):
    tiles = dataset.tiles("val")
    assert [t.window for t in tiles] == dataset.tiling.tiles(Window(0, 130, 150, 70))


def test_image_and_target_stay_together(dataset):
    train = TrainTiles(dataset)
    seen = 0
    for seed in range(40):
        image, target = train[seed % len(train), seed]
        assert image.shape == (2, 64, 64)
        assert target.dtype == torch.uint8
        labelled = target != IGNORED
        assert torch.equal(target[labelled] == 1, image[0][labelled] % 50 >= 25)
        seen += int(labelled.sum())
    assert seen > 40 * 64 * 64 * 0.7


def test_no_pixel_of_another_split_is_seen(dataset):
    train = TrainTiles(dataset)
    highest = max(
        float(train[n, seed][0][0].max()) for n in range(len(train)) for seed in range(20)
    )
    assert highest <= 120


def test_nodata_is_zero_and_ignored(dataset):
    train = TrainTiles(dataset, jitter=False)
    image, target = train[0, 0]
    assert (image[0, :10, :10] == 0).all()
    assert (target[:10, :10] == IGNORED).all()
    assert (target[10:, 10:24] == 0).all()


def test_jitter_moves_and_seeds_decide(dataset):
    train = TrainTiles(dataset)
    first = [train[1, seed][0] for seed in range(5)]
    again = [train[1, seed][0] for seed in range(5)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({float(image.sum()) for image in first}) > 1


def test_validation_counts_each_pixel_once_and_sees_context(dataset):
    val = ValTiles(dataset)
    assert val.side % 32 == 0
    labelled = sum(
        int((target != IGNORED).sum()) for _, target in (val[i] for i in range(len(val)))
    )
    assert labelled == 140 * 70
    image, target = val[0]
    context = (target == IGNORED) & (image[0] > 0)
    assert float(image[0][context].min()) < 130  # pixels west of the val region


def test_every_tile_is_drawn_equally_often():
    shuffle = Shuffle(5, least=20, batch=4, seed=1)
    draws = list(shuffle)
    assert len(draws) == len(shuffle) == 20
    assert np.bincount([number for number, _ in draws]).tolist() == [4] * 5
    assert list(shuffle) == draws
    shuffle.epoch = 1
    assert list(shuffle) != draws


def test_the_last_batch_is_full():
    assert len(list(Shuffle(5, least=1, batch=4, seed=0))) == 8
