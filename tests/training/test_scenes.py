"""One class for each tile: trained, told, predicted as a grid, and refused elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
import torch

from geoseg.crossvalidation.config import CrossvalidateConfig
from geoseg.dataset.scene_classes import SceneClasses, SceneTiles, classes_of
from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.geo.raster import Raster
from geoseg.geo.tiling import Tiling
from geoseg.geo.vector import write_layer
from geoseg.labels.shapes import project
from geoseg.maps.landcover import ClassMap
from geoseg.models import checkpoint, transfer
from geoseg.models.card import ModelCard
from geoseg.models.networks.build import build
from geoseg.models.settings import CLASSIFY, Model
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.tile_classes.classify import TileClassifier
from geoseg.prediction.tile_classes.predict import is_of_tiles, predict_tiles
from geoseg.samples.scenes import SceneSamples
from geoseg.samples.scenes import classes_of as classes_of_targets
from geoseg.training.cards import card_of
from geoseg.training.checks import check_fit, check_scene
from geoseg.training.objectives import loss
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit
from geoseg.training.start import train
from tests.made.scene_tiles import write_dataset
from tests.made.scenes import write
from tests.made.tiles import LEGEND

SIDE = 32
LENET = Model(CLASSIFY, encoder="lenet")


def checkers(rows, columns, *, flipped=0):
    """Class 0 or 1 of each tile."""
    return (np.add.outer(np.arange(rows), np.arange(columns)) + flipped) % 2


def picture(classes):
    """A scene (1, H, W): stripes across in tiles of class 0, down in those of class 1."""
    wave = np.where(np.arange(SIDE) % 8 < 4, 60, 200).astype(np.uint8)
    down, across = np.tile(wave, (SIDE, 1)), np.tile(wave[:, None], (1, SIDE))
    tiles = np.where(classes[:, :, None, None] == 1, down, across)
    return tiles.swapaxes(1, 2).reshape(1, len(classes) * SIDE, -1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Tiles of two textures, all of one class each; a tile of test has few labels."""
    folder = tmp_path_factory.mktemp("scenes")
    classes = checkers(6, 10)
    codes = np.where(classes == 1, 7, 3).astype(np.uint8).repeat(SIDE, 0).repeat(SIDE, 1)
    codes[: SIDE - 4, -SIDE:] = 255
    splits = ("train", 0, 6), ("val", 6, 8), ("test", 8, 10)
    return write_dataset(folder, picture(classes), codes, splits, side=SIDE)


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A trained LeNet, and what was said."""
    folder = tmp_path_factory.mktemp("run")
    fit = Fit(epochs=6, jitter=False, workers=0, logger="none", average=0.0, learning_rate=5e-3)
    said = train(dataset, folder / "run", model=LENET, fit=replace(fit, precision="32"))
    return folder / "run", said


def test_textures_are_learnt_and_errors_stand_side_by_side(run):
    folder, said = run
    assert "error: train 0.0%, val 0.0%, test 0.0%" in said
    scores = json.loads((folder / "scores.json").read_text())
    assert set(scores) == {"train", "val", "test"}
    assert scores["test"]["confusion"] == [[6, 0], [0, 5]]
    assert scores["test"]["by_scene"] == {"s": {"tiles": 11, "overall_accuracy": 1.0}}
    assert "train_miou" in (folder / "metrics.csv").read_text()
    assert (folder / "curves.png").exists()
    card = ModelCard.read(folder / "best.safetensors")
    assert (card.model.name, card.tiling) == (CLASSIFY, Tiling(SIDE, 0))
    assert card.scores["miou"] == 1


def test_a_grid_of_classes_is_predicted(run, tmp_path):
    classes = checkers(3, 4, flipped=1)
    image = picture(classes)[:, :, : 4 * SIDE - 20]
    image[:, :SIDE, : SIDE - 8] = 0  # most of the first tile has no image
    write(tmp_path / "new.tif", image)
    write(tmp_path / "other.tif", np.concatenate([image, image]))
    assert is_of_tiles(str(run[0]))
    report = predict_tiles(run[0], str(tmp_path / "*.tif"), tmp_path / "out")
    assert "3 bands" in report.refused["other"] or "2 bands" in report.refused["other"]
    with pytest.raises(InputError, match="scenes without classes: 1 "):
        report.raise_if_incomplete()
    path = tmp_path / "out/tile_classes/new.tif"
    made = ClassMap.read(path)
    assert made.legend == LEGEND
    assert made.grid.resolution == (SIDE, SIDE)
    with Raster(path) as file:
        codes = file.read(file.grid.window)[0][0]
    expected = np.where(classes == 1, 7, 3)
    expected[0, 0] = expected[:, 3] = 0
    assert codes.tolist() == expected.tolist()
    assert path.with_suffix(".qml").exists()
    _, _, boxes, (numbers, names, sure) = pyogrio.raw.read(path.with_suffix(".gpkg"), layer="new")
    assert len(boxes) == (expected > 0).sum()
    assert numbers.tolist() == expected[expected > 0].tolist()
    assert set(names) == {"low", "high"}
    assert (sure >= 0.5).all()
    assert "layer_styles" in pyogrio.list_layers(path.with_suffix(".gpkg"))[:, 0]
    again = predict_tiles(run[0], str(tmp_path / "new.tif"), tmp_path / "out")
    assert again.before == ["new"]
    assert "1 were done before" in str(again)
    path.write_bytes(path.read_bytes()[:500])
    mended = predict_tiles(run[0], str(tmp_path / "new.tif"), tmp_path / "out")
    assert list(mended.done) == ["new"]


def test_a_network_without_numbers_gives_no_class(run, tmp_path, monkeypatch):
    write(tmp_path / "new.tif", picture(checkers(2, 2)))
    numbers = np.full((4, 2), np.nan, np.float32)
    monkeypatch.setattr(TileClassifier, "_probabilities", lambda self, tiles: numbers[: len(tiles)])
    report = predict_tiles(run[0], str(tmp_path / "new.tif"), tmp_path / "out")
    assert "gives no number (NaN)" in report.failed["new"]
    assert not (tmp_path / "out/tile_classes/new.tif").exists()


def test_commands_of_pixels_refuse_it_in_a_sentence(run):
    with pytest.raises(InputError, match="gives whole tiles a class") as error:
        TrainedNetwork.open(run[0])
    assert len(error.value.faults) == 1
    with pytest.raises(InputError, match="not for folds, which are of pixels"):
        CrossvalidateConfig(model=LENET)
    settings = InferenceSettings(smooth=3, layers=["entropy"])
    with pytest.raises(InputError, match=r"predict\.smooth: of maps of pixels") as error:
        predict_tiles(run[0], "none.tif", "out", running=settings)
    assert len(error.value.faults) == 2


def test_only_networks_of_its_kind_start_from_it(run, dataset):
    model = replace(LENET, weights=str(run[0]), keep="network")
    network = checkpoint.build(card_of(dataset, model))
    said = str(transfer.load(network, model, card_of(dataset, model)))
    assert "low, high keep their weights" in said
    with pytest.raises(InputError, match="classifies whole tiles, the other pixels"):
        transfer.load(network, Model(weights=str(run[0])), card_of(dataset, model))


def test_tiles_without_class_are_left_out_and_counted(dataset):
    made = SceneTiles.of(dataset, SceneClasses())
    assert made.without == 1
    assert "1 tile left out, of which less than 50%" in made.said(SceneClasses())[0]
    assert SceneTiles.of(dataset, SceneClasses(labelled=0.1)).without == 0
    assert len(made.dataset.tiles("test")) == 11


def test_what_leaves_nothing_to_learn_is_refused(dataset):
    tiles = dataset.tiles("train")
    one = dataset.with_splits(train=[t for t, c in zip(tiles, classes_of(tiles), strict=True) if c])
    with pytest.raises(InputError, match=r"all train tiles are of one class \(high\)"):
        check_scene(SceneClasses(), LENET, one)
    few = dataset.with_splits(train=[replace(t, counts=(3, 0)) for t in tiles])
    with pytest.raises(InputError, match="no train tile has a class"):
        check_scene(SceneClasses(), LENET, few)
    with pytest.raises(InputError, match="of model=classify"):
        check_scene(SceneClasses(labelled=0.2), Model(), dataset)
    with pytest.raises(InputError, match="must be in"):
        SceneClasses(labelled=0)
    with pytest.raises(InputError) as error:
        check_fit(Fit(hard=0.5, baseline="forest", remember="runs/a", freeze=2), LENET)
    assert len(error.value.faults) == 4


@pytest.fixture
def blocks(tmp_path):
    """Polygons with a class, of which one has none and one lies elsewhere, in another CRS."""
    left, top = 500_000, 5_000_000
    middles = [(2 * SIDE, 3 * SIDE), (3 * SIDE + 5, 20), (8 * SIDE, 9), (9 * SIDE, 90), (20, 20)]
    shapes = [shapely.box(left + x - 6, top - y - 6, left + x + 6, top - y + 6) for x, y in middles]
    shapes.append(shapely.box(0, 0, 5, 5))
    uses = ["low", "high", "high", "low", None, "low"]
    geometries, _ = project(
        np.array(shapes, object), "EPSG:32632", "EPSG:3857", pixel=1.0,
        within=(0, 0, 900_000, 6_000_000),
    )  # fmt: skip
    path = tmp_path / "blocks.gpkg"
    write_layer(path, {"use": uses}, layer="blocks", geometries=geometries, crs="EPSG:3857")
    return path


def test_a_polygon_is_a_tile_with_the_class_of_its_attribute(dataset, blocks):
    scene = SceneClasses(polygons=f"{blocks}:use")
    made = SceneTiles.of(dataset, scene)
    tiles = {split: made.dataset.tiles(split) for split in ("train", "val", "test")}
    assert {split: classes_of(some).tolist() for split, some in tiles.items()} == {
        "train": [0, 1], "val": [], "test": [1, 0],
    }  # fmt: skip
    assert tiles["train"][0].window == Window(3 * SIDE - 16, 2 * SIDE - 16, SIDE, SIDE)
    assert tiles["test"][0].window == Window(0, 8 * SIDE, SIDE, SIDE)  # moved out of val
    said = "\n".join(made.said(scene))
    assert "1 of 6 features have no use" in said
    assert "1 of 6 features have no middle in a tile" in said
    samples = SceneSamples(made.dataset, tiles["test"], classes=scene)
    images, classes = samples.__getitems__([1, 0])
    assert images.shape == (2, 1, SIDE, SIDE)
    assert classes.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [("{}:kind", "no attribute 'kind'"), ("{}", "no field; write"), ("none.gpkg:use", "none.gpkg")],
)
def test_a_layer_without_the_attribute_is_refused(dataset, blocks, given, reason):
    with pytest.raises(InputError, match=reason):
        check_scene(SceneClasses(polygons=given.format(blocks)), LENET, dataset)


def test_polygons_of_unknown_classes_or_elsewhere_are_refused(dataset, tmp_path):
    path = tmp_path / "other.gpkg"
    for use, reason in (("marsh", r"does not know: marsh \(1 ×\)"), ("low", "no polygon with")):
        shapes = np.array([shapely.box(0, 0, 5, 5)], object)
        write_layer(path, {"use": [use]}, layer="other", geometries=shapes, crs="EPSG:32632")
        with pytest.raises(InputError, match=reason):
            check_scene(SceneClasses(polygons=f"{path}:use"), LENET, dataset)
        path.unlink()


def test_the_class_is_that_of_most_labelled_pixels():
    targets = np.full((3, 4, 4), 255, np.uint8)
    targets[0, :2], targets[0, 2:, :3] = 1, 0
    targets[1, 0] = 2
    targets[2, :3], targets[2, 0, 0] = 2, 0
    assert classes_of_targets(targets, 3, 0.5).tolist() == [1, 255, 2]


@pytest.mark.parametrize(
    "encoder", ["lenet", "alexnet", "vgg11_bn", "resnet18", "inception_v3", "densenet121",
                "tu-mobilenetv3_small_050"],
)  # fmt: skip
def test_networks_take_any_bands_and_sizes(encoder):
    with torch.device("meta"):  # shapes alone: some have 130 million weights
        network = build(Model(CLASSIFY, encoder=encoder), 5, 3)
        assert network(torch.randn(2, 5, 40, 48)).shape == (2, 3)
    names = list(network.state_dict())
    assert {name.split(".")[1] for name in names} == {"encoder", "classifier"}


def test_a_network_that_nobody_knows_is_refused():
    with pytest.raises(InputError, match="did you mean resnet50"):
        build(Model(CLASSIFY, encoder="resnet5"), 3, 2)
    with pytest.raises(InputError, match="no network for whole tiles"):
        build(Model(CLASSIFY, encoder="tu-nothing"), 3, 2)


def test_settings_are_groups():
    conf = Path(__file__).parent.parent.parent / "conf"
    assert "name: classify" in (conf / "model/classify.yaml").read_text()
    assert "hinge" in (conf / "loss/hinge.yaml").read_text()


def test_the_hinge_loss_is_the_support_vector_machines():
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.tensor([0, 1, 1, 255, 0, 1])
    made = loss.build(Loss(terms={"hinge": 1.0}), names=["low", "high"])(logits, target)
    sign, margin = torch.tensor([-1.0, 1, 1, -1, 1]), logits[:, 1] - logits[:, 0]
    known = margin[target != 255]
    assert made.item() == pytest.approx(float((1 - sign * known).clamp(min=0).mean().detach()))
    made.backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[3] == 0).all()
