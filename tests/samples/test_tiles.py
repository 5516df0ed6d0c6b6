import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from geoseg.geo.grid import Window
from geoseg.geo.legend import IGNORED
from geoseg.samples.augment import Augment, build
from geoseg.samples.tiles import TrainTiles, ValTiles, gather
from geoseg.training.sampler import Shuffle
from geoseg.training.settings import Fit


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


def test_of_a_share_of_the_tiles_no_other_label_is_seen(dataset):
    """A tile moves over its neighbours, whose images are there, but not their labels."""
    tiles = dataset.tiles("train")
    (one,) = [tile for tile in tiles if tile.window == Window(0, 64, 64, 56)]
    some, every = TrainTiles(dataset, tiles=[one]), TrainTiles(dataset, tiles=tiles)
    moved = 0
    for seed in range(30):
        window, whole = some.window(0, seed), every[tiles.index(one), seed][1]
        assert window == every.window(tiles.index(one), seed)
        image, target = some[0, seed]
        assert torch.equal(image, every[tiles.index(one), seed][0])
        mine = torch.zeros(64, 64, dtype=torch.bool)
        mine[: 64 - window.top, 64 - window.left :] = True
        assert torch.equal(target[mine], whole[mine])
        assert (target[~mine] == IGNORED).all()
        moved += int((whole[~mine] != IGNORED).sum())
    assert moved > 0


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


@pytest.mark.parametrize("jitter", [False, True])
def test_squares_come_from_everywhere_in_a_tile_and_nowhere_else(dataset, jitter):
    train = TrainTiles(dataset, crop=32, jitter=jitter)
    assert train[0, 0][0].shape == (2, 32, 32)
    number = next(n for n, t in enumerate(train.tiles) if t.window == Window(64, 0, 64, 64))
    windows = [train.window(number, seed) for seed in range(600)]
    beyond = 16 if jitter else 0
    assert {w.top for w in windows} == set(range(64 - beyond, 96 + beyond + 1))
    assert {w.left for w in windows} == set(range(0, 32 + beyond + 1))  # where its part begins
    image, target = train[number, 5]
    labelled = target != IGNORED
    assert torch.equal(target[labelled] == 1, image[0][labelled] % 50 >= 25)
    assert torch.equal(image[0, 0], torch.arange(32.0) + train.window(number, 5).left + 1)


def test_an_epoch_of_squares_shows_as_many_pixels(dataset):
    counts = [tile.counts for tile in dataset.tiles("train")]
    fit = Fit(batch_size=4, epoch_tiles=len(counts))
    whole, squares = (Shuffle.of(counts, fit, 0, parts=parts) for parts in (1, 4))
    assert (len(whole), len(squares)) == (-(-len(counts) // 4) * 4, 4 * len(counts))


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


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("augment", [None, Augment(), Augment(flips=True, contrast=0.1)])
def test_batches_hold_the_samples(dataset, workers, augment):
    train = TrainTiles(dataset, augment and build(augment))
    draws = list(Shuffle(len(train), least=6, batch=3, seed=0))
    loader = DataLoader(train, 3, sampler=draws, collate_fn=gather, num_workers=workers)
    batches = list(loader)
    assert len(batches) == len(draws) // 3
    for number, (images, targets) in enumerate(batches):
        assert (images.dtype, targets.dtype) == (torch.float32, torch.uint8)
        assert images.shape == (3, 2, 64, 64)
        for place, draw in enumerate(draws[3 * number : 3 * number + 3]):
            image, target = train[draw]
            assert torch.equal(images[place], image)
            assert torch.equal(targets[place], target)


def test_validation_is_gathered_too(dataset):
    val = ValTiles(dataset)
    images, targets = next(iter(DataLoader(val, 2, collate_fn=gather)))
    assert torch.equal(images, torch.stack([val[0][0], val[1][0]]))
    assert torch.equal(targets, torch.stack([val[0][1], val[1][1]]))


def test_a_window_is_where_the_draw_looks(dataset):
    train = TrainTiles(dataset)
    for number, seed in ((0, 3), (1, 4)):
        image, _ = train[number, seed]
        assert image[0, 30, 30] == train.window(number, seed).left + 31
