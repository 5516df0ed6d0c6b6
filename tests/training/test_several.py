"""Several classes for each tile: which they are, how they are learnt, told and written."""

import json
from dataclasses import replace

import numpy as np
import pyogrio
import pytest
import shapely
import torch
import torch.nn.functional as F

from geoseg.dataset.scene_classes import SceneClasses, SceneTiles
from geoseg.errors import InputError
from geoseg.geo.raster import Raster
from geoseg.geo.vector import write_layer
from geoseg.maps.landcover import ClassMap
from geoseg.models.card import ModelCard
from geoseg.models.settings import CLASSIFY, Model
from geoseg.prediction.tile_classes.predict import predict_tiles
from geoseg.samples.scenes import SceneSamples, presence_of
from geoseg.training.checks import check_scene, check_several
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.settings import Loss
from geoseg.training.objectives.several import SeveralLoss, SeveralScores, best_thresholds
from geoseg.training.settings import Fit
from geoseg.training.start import train_images
from tests.made.scene_tiles import write_dataset
from tests.made.scenes import write
from tests.made.tiles import LEGEND

SIDE = 32
SEVERAL = SceneClasses(several=True, share=0.2)
LENET = Model(CLASSIFY, encoder="lenet")
KINDS = np.array([[True, False], [False, True], [True, True]])
"""Tiles with low, with high, with both."""


def drawn(kinds):
    """A scene (1, H, W) and its codes (H, W): low is striped across, high down; both share."""
    wave = np.where(np.arange(SIDE) % 8 < 4, 60, 200).astype(np.uint8)
    across, down = np.tile(wave[:, None], (1, SIDE)), np.tile(wave, (SIDE, 1))
    upper = np.broadcast_to(np.arange(SIDE)[:, None] < SIDE // 2, (SIDE, SIDE))
    kind = kinds[..., None, None]
    is_low = (kind == 0) | ((kind == 2) & upper)
    whole = (len(kinds) * SIDE, -1)
    image = np.where(is_low, across, down).swapaxes(1, 2).reshape(1, *whole)
    return image, np.where(is_low, 3, 7).astype(np.uint8).swapaxes(1, 2).reshape(whole)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    kinds = np.add.outer(np.arange(6), np.arange(9)) % 3
    splits = ("train", 0, 5), ("val", 5, 7), ("test", 7, 9)
    return write_dataset(folder, *drawn(kinds), splits, side=SIDE)


def test_both_classes_of_tiles_are_learnt_told_and_written(dataset, tmp_path):
    fit = Fit(
        epochs=4, jitter=False, workers=0, logger="none", average=0.0, learning_rate=5e-3,
        precision="32",
    )  # fmt: skip
    config = TrainConfig(str(dataset.folder), str(tmp_path / "run"), model=LENET, fit=fit,
                         scene=SEVERAL)  # fmt: skip
    said = train_images(dataset, config)
    assert "several classes for each tile" in said or "error, of answers by tile and class" in said
    scores = json.loads((tmp_path / "run/scores.json").read_text())
    assert scores["test"]["error"] == 0
    card = ModelCard.read(tmp_path / "run/best.safetensors")
    assert scores["thresholds"] == dict(zip(LEGEND.names, card.thresholds, strict=True))
    assert "val_iou_high" in (tmp_path / "run/metrics.csv").read_text()

    kinds = np.array([[0, 1, 2], [2, 2, 0]])
    image, _ = drawn(kinds)
    image[:, :SIDE, : SIDE - 8] = 0  # most of the first tile has no image
    write(tmp_path / "new.tif", image)
    report = predict_tiles(tmp_path / "run", str(tmp_path / "new.tif"), tmp_path / "out")
    assert report.tiles == {"new": {"low": 4, "high": 4}}
    path = tmp_path / "out/tile_classes/new.tif"
    with Raster(path) as file:
        values, _ = file.read(file.grid.window)
    expected = np.moveaxis(KINDS[kinds], -1, 0).astype(int)
    expected[:, 0, 0] = 255
    assert values.tolist() == expected.tolist()
    with pytest.raises(InputError, match="expected one band of uint8"):
        ClassMap.read(path)
    meta, _, boxes, columns = pyogrio.raw.read(path.with_suffix(".gpkg"), layer="new")
    assert list(meta["fields"]) == ["has_low", "p_low", "has_high", "p_high"]
    assert len(boxes) == 5
    assert columns[0].tolist() == [0, 1, 1, 1, 1]
    assert ((columns[1] >= card.thresholds[0]) == columns[0].astype(bool)).all()
    again = predict_tiles(tmp_path / "run", str(tmp_path / "new.tif"), tmp_path / "out")
    assert again.before == ["new"]


def test_a_class_is_there_from_its_share_on():
    counts = np.array([[80, 20, 0], [81, 19, 0], [0, 0, 0]])
    assert SceneClasses(several=True, share=0.2).is_there(counts).tolist() == [
        [True, True, False], [True, False, False], [False, False, False],
    ]  # fmt: skip
    targets = np.zeros((2, 4, 4), np.uint8)
    targets[0, 0] = 1
    targets[1, 1:] = 255
    assert presence_of(targets, 3, SEVERAL).tolist() == [[1, 1, 0], [255, 255, 255]]


def test_polygons_list_their_classes(dataset, tmp_path):
    left, top = 500_000, 5_000_000
    middles = [(50, 40), (80, 100), (20, 150), (70, 150)]
    shapes = [shapely.box(left + x - 6, top - y - 6, left + x + 6, top - y + 6) for x, y in middles]
    uses = ["low; high", "high", "; ", None]
    path = tmp_path / "blocks.gpkg"
    write_layer(
        path, {"use": uses}, layer="blocks", geometries=np.array(shapes, object), crs="EPSG:32632"
    )
    scene = SceneClasses(polygons=f"{path}:use", several=True, separator=";")
    made = SceneTiles.of(dataset, scene)
    tiles = made.dataset.tiles("train")
    assert scene.presence(tiles).tolist() == [[True, True], [False, True]]
    assert "2 of 4 features have no use" in "\n".join(made.said(scene))
    assert "all train tiles have high" in "\n".join(made.said(scene))
    _, classes = SceneSamples(made.dataset, tiles, classes=scene, jitter=True).__getitems__([1, 0])
    assert classes.tolist() == [[0, 1], [1, 1]]
    with pytest.raises(InputError, match=r"does not know: low; high \(1 ×\)"):
        SceneTiles.of(dataset, SceneClasses(polygons=f"{path}:use"))


def test_the_loss_is_binary_cross_entropy_of_labelled_tiles():
    logits = torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True)
    target = torch.tensor([[1, 0], [255, 255]], dtype=torch.uint8)
    loss = SeveralLoss()(logits, target)
    wanted = F.binary_cross_entropy_with_logits(logits[:1], target[:1].float())
    assert loss.item() == pytest.approx(wanted.item())
    loss.backward()
    assert logits.grad[1].tolist() == [0, 0]
    assert SeveralLoss()(logits, torch.full_like(target, 255)).item() == 0


@pytest.mark.parametrize("seed", range(3))
def test_thresholds_have_the_highest_f1_that_any_has(seed):
    random = np.random.default_rng(seed)
    truth = random.random((40, 3)) < 0.3
    p = np.round(np.clip(0.3 * truth + 0.5 * random.random((40, 3)), 0, 1), 2)  # with ties
    found = SeveralScores.of(p >= np.array(best_thresholds(p, truth)), truth, ["a", "b", "c"])
    tried = [SeveralScores.of(p >= cut, truth, ["a", "b", "c"]).f1 for cut in np.arange(0, 1, 2e-3)]
    assert found.f1 == pytest.approx(np.max(tried, axis=0))


def test_where_nothing_can_be_chosen_the_threshold_is_a_half():
    p = np.array([[0.9, 0.4, 0.7], [0.8, 0.1, 0.2]])
    truth = np.array([[True, False, True], [True, False, False]])
    assert best_thresholds(p, truth) == [0.5, 0.5, 0.5]
    assert best_thresholds(np.array([[0.2], [0.1]]), truth[:, 2:]) == [pytest.approx(0.15)]


def test_what_has_no_part_in_it_is_refused(dataset):
    with pytest.raises(InputError, match=r"scene\.share: of tiles with several classes"):
        SceneClasses(share=0.2)
    with pytest.raises(InputError, match="whatever their share"):
        SceneClasses(several=True, share=0.2, polygons="a.gpkg:use")
    with pytest.raises(InputError, match=r"scene\.several=True: of model=classify"):
        check_scene(SceneClasses(several=True), Model(), dataset)
    with pytest.raises(InputError) as error:
        check_several(SEVERAL, Loss(terms={"hinge": 1.0}), Fit(refit=True), max)
    assert len(error.value.faults) == 3
    mixed = [replace(t, counts=(512, 512)) for t in dataset.tiles("train")]
    with pytest.raises(InputError, match=r"all train tiles have the same classes \(low, high\)"):
        check_scene(SEVERAL, LENET, dataset.with_splits(train=mixed))
    made = dataset.with_splits(train=dataset.tiles("train"), val=mixed)
    with pytest.raises(InputError, match="no val tile has a class"):
        check_scene(SceneClasses(several=True, share=0.6), LENET, made)


def test_a_card_with_thresholds_that_fit_no_classes_is_refused(dataset):
    from geoseg.training.cards import card_of

    card = replace(card_of(dataset, LENET), thresholds=(0.5, 0.4))
    assert ModelCard.from_json(card.to_json()).thresholds == (0.5, 0.4)
    with pytest.raises(InputError, match="thresholds"):
        ModelCard.from_json(replace(card, thresholds=(0.5,)).to_json())
