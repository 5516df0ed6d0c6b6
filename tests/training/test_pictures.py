"""Pictures of val tiles show what they say, and change nothing of the training."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from geoseg.dataset.tiles import Tile
from geoseg.geo.grid import Window
from geoseg.geo.legend import Legend
from geoseg.models.settings import Model
from geoseg.samples.augment import Augment
from geoseg.samples.tiles import ValTiles
from geoseg.scenes.bands import BandStatistics
from geoseg.training.run import pictures as strips
from geoseg.training.run import pictures as tilepictures
from geoseg.training.run import recorder
from geoseg.training.run.pictures import (
    GAP,
    HATCH,
    HATCHED,
    WRONG,
    TilePictures,
    choose,
    save_strips,
    strip,
)
from geoseg.training.settings import Fit
from geoseg.training.start import train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")

LEGEND = Legend.parse(
    [{"code": 4, "name": "wood", "color": "#00ff00"}, {"code": 9, "name": "lake", "color": "#00f"}],
    "test",
)
GREEN, BLUE, WHITE = (0, 255, 0), (0, 0, 255), (255, 255, 255)


def parts_of(picture):
    """The four parts of a strip."""
    side = (picture.shape[1] - 3 * GAP) // 4
    return [picture[:, n * (side + GAP) : n * (side + GAP) + side] for n in range(4)]


def test_a_strip_shows_image_labels_map_and_differences():
    labels = np.array([[4, 9, 255, 0]], np.uint8)
    found = np.array([[4, 4, 9, 0]], np.uint8)
    image = np.array([[[10, 0, 0, 77]], [[20, 0, 0, 77]], [[30, 0, 0, 77]]], np.uint8)
    picture = strip(image, labels, found, LEGEND)
    assert picture.shape == (1, 16 + 3 * GAP, 3)
    shown, there, made, differing = (part[0].tolist() for part in parts_of(picture))
    assert shown == [[10, 20, 30], [0, 0, 0], [0, 0, 0], [255, 255, 255]]
    assert there == [list(GREEN), list(BLUE), [HATCHED] * 3, list(WHITE)]
    assert made == [list(GREEN), list(GREEN), list(BLUE), list(WHITE)]
    assert differing == [[139] * 3, list(WRONG), [130] * 3, list(WHITE)]


def test_unlabelled_is_hatched():
    nothing = np.full((16, 16), 255, np.uint8)
    wood = np.full((16, 16), 4, np.uint8)
    _, there, _, differing = parts_of(strip(np.zeros((1, 16, 16), np.uint8), nothing, wood, LEGEND))
    assert (there == HATCH).all(axis=2).mean() == 0.25
    assert (there == HATCHED).all(axis=2).mean() == 0.75
    assert (differing == HATCH).all(axis=2).mean() == 0.25


def test_a_png_for_people(tmp_path):
    codes = np.full((20, 30), 4, np.uint8)
    one = strip(np.full((3, 20, 30), 200, np.uint8), codes, codes, LEGEND)
    save_strips({"a": one, "b": one[:10]}, tmp_path / "p" / "e.png", title="1", legend=LEGEND)
    picture = (255 * matplotlib.image.imread(tmp_path / "p" / "e.png")[..., :3]).round()
    zoom = round(strips.SMALL / 30)
    width = zoom * one.shape[1] + 28
    assert picture.shape[1] == width
    # Pixels of the map as they are, only larger, and so in the picture by their number.
    column = 14 + zoom * 2 * (30 + GAP)
    assert (picture[62 : 62 + 20 * zoom, column : column + 30 * zoom] == GREEN).all()
    below = 62 + 20 * zoom + 26
    assert (picture[below : below + 10 * zoom, column : column + 30 * zoom] == GREEN).all()
    assert not (picture[below - 26 : below] == WHITE).all()  # a caption


def tile(*counts):
    return Tile("s", "val", Window(0, 0, 8, 8), Window(0, 0, 8, 8), counts)


def test_tiles_are_chosen_from_all_parts_of_the_split():
    one, two, three = tile(64, 0, 0), tile(60, 4, 0), tile(30, 30, 4)
    assert choose([one] * 8) == [0, 2, 4, 6]
    assert choose([one, two, one, one, three, two, one, one]) == [1, 2, 4, 6]
    assert choose([one, two]) == [0, 1]
    assert choose([]) == []
    # The more even shares, of as many classes; a class of some pixels does not count.
    assert choose([tile(60, 4, 0), tile(40, 24, 0), tile(640, 240, 1)], 1) == [2]
    assert choose([tile(400, 240, 0), tile(599, 40, 1)], 1) == [0]
    # A narrow tile of many classes, only where there is none else.
    assert choose([tile(3, 3, 3), one], 1) == [1]


class Reader(nn.Module):
    """Knows the classes of the made-up scene; the statistics leave its values as they are."""

    def forward(self, image):
        high = (image[:, 0].round() % 50) >= 25
        return torch.stack([~high, high], dim=1).float()


@pytest.fixture
def fabric():
    return Fabric(accelerator="cpu", devices=1)


def test_the_map_lies_on_the_labels(dataset, fabric):
    tiles = ValTiles(dataset, "train")
    statistics = replace(dataset.statistics, p98=(200.0, 200.0))
    dataset = replace(dataset, statistics=statistics)
    pictures = TilePictures(dataset, tiles, fabric)(Reader())
    assert len(pictures) == 4
    for number in choose(tiles.tiles):
        w = tiles.tiles[number].window
        picture = pictures[f"s row {w.top} column {w.left}"]
        shown, there, made, differing = (part[:, : w.width] for part in parts_of(picture))
        rows, columns = np.mgrid[w.top : w.bottom, w.left : w.right]
        high = ((columns + 1) % 50 >= 25)[..., None]
        nodata = (rows < 10) & (columns < 10)
        labelled = (rows < 140) & ~nodata
        expected = np.where(high, 255, 0) * np.ones(3)
        np.testing.assert_array_equal(made[~nodata], expected[~nodata])
        np.testing.assert_array_equal(there[labelled], expected[labelled])
        assert (picture[:, : w.width][nodata] == 255).all()
        assert np.isin(there[~labelled & ~nodata], (HATCH, HATCHED)).all()
        assert not (differing == WRONG).all(axis=2).any()
        grey = ((columns + 1) / 200 * 255).astype(np.uint8)[..., None] * np.ones(3)
        assert np.abs(shown - grey)[~nodata].max() <= 1  # one of two bands, in grey


def test_natural_colours_are_stretched_by_the_statistics(dataset, fabric, monkeypatch):
    monkeypatch.setattr(type(dataset), "bands", ("nir", "Green", "RED", "blue"))
    statistics = BandStatistics(*(4 * (v,) for v in (0.0, 1.0, 10.0, 60.0, 0.0, 200.0)))
    pictures = TilePictures(replace(dataset, statistics=statistics), ValTiles(dataset), fabric)
    look = ValTiles(dataset).look(0)
    look.image = np.stack([np.full_like(look.image[0], v) for v in (0, 35, 60, 5)])
    shown = pictures._read(look)
    assert shown.image.shape == (3, *shown.labels.shape)
    assert [int(band[0, 0]) for band in shown.image] == [255, 127, 0]


def test_large_tiles_are_thinned_out(dataset, fabric, monkeypatch):
    whole = TilePictures(dataset, ValTiles(dataset), fabric)(Reader())
    monkeypatch.setattr(tilepictures, "SIDE", 25)
    thin = TilePictures(dataset, ValTiles(dataset), fabric)(Reader())
    assert whole.keys() == thin.keys()
    for name, picture in whole.items():
        large, small = parts_of(picture)[2], parts_of(thin[name])[2]
        assert max(small.shape) <= 25
        np.testing.assert_array_equal(small, large[::3, ::3])  # of tiles up to 64 pixels


def test_files_are_read_once_and_no_random_number_is_drawn(dataset, fabric, monkeypatch):
    pictures = TilePictures(dataset, ValTiles(dataset), fabric)
    state = torch.get_rng_state()
    first = pictures(Reader())
    monkeypatch.setattr(ValTiles, "look", None)
    second = pictures(Reader())
    assert all((first[name] == second[name]).all() for name in first)
    assert torch.equal(torch.get_rng_state(), state)


def same(a, b):
    """Whether nested states hold the same bits."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_pictures_change_nothing_of_the_training(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "SHOWING", 1e6)  # in a training of seconds they are seldom
    fit = Fit(epochs=3, epoch_tiles=8, batch_size=4, workers=0, precision="32", logger="none")
    for name, every in (("without", 0), ("with", 1)):
        how = {
            "model": Model("pspnet", "tu-lcnet_050", dropout=0.3, pixels=0),
            "augment": Augment(flips=True, brightness=0.2),
        }
        train(dataset, tmp_path / name, fit=replace(fit, pictures=every), seed=2, **how)
    made = [torch.load(tmp_path / n / "last.ckpt", weights_only=True) for n in ("without", "with")]
    for part in ("model", "average", "optimizer"):
        assert same(made[0][part], made[1][part])
    assert not (tmp_path / "without" / "pictures").exists()
    assert len(list((tmp_path / "with" / "pictures").iterdir())) == 3
