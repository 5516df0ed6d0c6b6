"""Refinement: right where a person clicked, unchanged far away, undone to the byte."""

import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
import torch

from geoseg.errors import InputError
from geoseg.evaluation.truth import from_corrections
from geoseg.geo import raster
from geoseg.geo.grid import Window
from geoseg.geo.legend import IGNORED
from geoseg.geo.tiling import Tiling
from geoseg.geo.vector import Table, write_layers
from geoseg.labels.corrections import Corrections
from geoseg.maps.landcover import ClassMap
from geoseg.models import checkpoint
from geoseg.models.networks import build as models
from geoseg.models.settings import Model
from geoseg.outputs.files import read_json
from geoseg.prediction.images import predict
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.refinement import refine as engine
from geoseg.refinement import write as writing
from geoseg.refinement.adapt import Adapter, adaptable, shortest, way_of
from geoseg.refinement.again import scenes_key
from geoseg.refinement.features import _cut
from geoseg.refinement.old_maps import OldMap
from geoseg.refinement.patch import Patch
from geoseg.refinement.refine import Inputs, refine
from geoseg.refinement.settings import Refining
from geoseg.refinement.spread import fading, spread, touched
from geoseg.refinement.windows import Spots, closeness, influence, inner
from geoseg.scenes.bands import BandStatistics
from tests.made.narrow import narrow_unets
from tests.made.scenes import CARD, LEGEND, grid, with_bands, write

SIZE = 64
GRID = grid(150, 300)
SETTINGS = Refining(device="cpu", precision="32")
RUNNING = InferenceSettings(
    device="cpu", precision="32", layers=["confidence", "margin", "probabilities", "second"]
)


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    with narrow_unets():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A U-Net with random weights, its maps of two scenes, and these scenes."""
    folder = tmp_path_factory.mktemp("refine")
    random = np.random.default_rng(0)
    coarse = random.integers(1, 255, (10, 19)).repeat(16, 0).repeat(16, 1)[:150, :300]
    image = np.clip(coarse + random.integers(-20, 20, GRID.window.area).reshape(150, 300), 1, 255)
    for name, left in (("a", 500_000.0), ("b", 600_000.0)):
        write(folder / f"scenes/{name}.tif", image.astype(np.uint8), grid=grid(150, 300, left=left))
    torch.manual_seed(0)
    card = with_bands(CARD, "gray", model=Model("unet", "tu-lcnet_050"), tiling=Tiling(SIZE, 16))
    statistics = card.statistics.__class__((128.0,), (70.0,), (10.0,), (245.0,), (1.0,), (254.0,))
    card = card.__class__(**{**card.__dict__, "statistics": statistics})
    network = models.build(card.model, 1, 3)
    checkpoint.save(folder / "best.safetensors", network, card)
    trained = TrainedNetwork.open(folder / "best.safetensors", RUNNING)
    predict(trained, folder / "scenes", folder / "maps").raise_if_incomplete()
    return folder


@pytest.fixture(scope="module")
def inputs(place):
    network = TrainedNetwork.open(place / "best.safetensors", RUNNING)
    return Inputs.open(network, place / "scenes", place / "maps")


def corrected(path, places, codes, *, where=GRID):
    """A file of clicks at (row, column)."""
    points = [shapely.Point(where.transform @ (c + 0.5, r + 0.5)) for r, c in places]
    write_layers(path, {"clicks": Table({"class": codes}, np.array(points), where.crs)})
    return path


def read(path):
    with raster.Raster(path) as file:
        return file.read(file.grid.window)[0]


def maps_of(folder):
    """Bytes of all rasters."""
    files = sorted(p for p in folder.rglob("*.tif") if "steps" not in p.parts)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def others(codes, places):
    """Another class than the map has, at each place."""
    return [next(c for c in LEGEND.codes if c != codes[place]) for place in places]


def test_scenes_and_maps_that_changed_since_are_said(tmp_path, place, inputs, capsys):
    shutil.copytree(place / "scenes", tmp_path / "scenes")
    shutil.copytree(place / "maps", tmp_path / "maps")
    record = (tmp_path / "maps/predict.json").read_text()
    (tmp_path / "maps/predict.json").write_text(record.replace(str(place), str(tmp_path)))
    for name in "ab":
        shutil.copystat(place / f"scenes/{name}.tif", tmp_path / f"scenes/{name}.tif")
    os.utime(tmp_path / "scenes/b.tif")
    opened = Inputs.open(inputs.network, tmp_path / "scenes", tmp_path / "maps")
    said = capsys.readouterr().err
    assert f"{tmp_path}/scenes/b.tif: changed since" in said
    assert "a.tif" not in said
    (tmp_path / "maps/margin/a.tif").unlink()
    with pytest.raises(InputError, match=r"margin/a\.tif: is gone; predict again"):
        refine(opened, None, tmp_path / "out")


def test_clicks_are_right_far_pixels_unchanged_and_steps_undone_to_the_byte(
    tmp_path, place, inputs
):
    before = read(place / "maps/landcover/a.tif")[0]
    places = [(40, 50), (45, 60), (100, 200)]
    codes = others(before, places)
    out = tmp_path / "out"
    kept = maps_of(place / "maps")
    said = refine(inputs, None, out)
    assert "corrections.gpkg" in str(said)
    assert maps_of(out) == kept
    one = refine(
        inputs, corrected(tmp_path / "c.gpkg", places[:2], codes[:2]), out, settings=SETTINGS
    )
    first = maps_of(out)
    two = refine(inputs, corrected(tmp_path / "c.gpkg", places, codes), out, settings=SETTINGS)
    assert "step 2 of 2" in str(two)
    assert "geoseg.train" in str(one)
    after = read(out / "landcover/a.tif")[0]
    assert [after[place] for place in places] == codes
    for row, column in places:
        assert read(out / "confidence/a.tif")[0][row, column] == 100
        shares = read(out / "probabilities/a.tif")[:, row, column]
        assert LEGEND.codes[int(shares.argmax())] == after[row, column]
    distance = np.min([np.hypot(*np.ogrid[-r : 150 - r, -c : 300 - c]) for r, c in places], axis=0)
    changed = after != before
    assert changed.sum() > 3
    assert not changed[distance > SIZE // 2].any()
    assert ClassMap.read(out / "landcover/a.tif").tags["GEOSEG_REFINED"]
    assert (out / "landcover/b.tif").read_bytes() == (place / "maps/landcover/b.tif").read_bytes()
    assert maps_of(place / "maps") == kept
    second = maps_of(out)
    refine(inputs, None, out, undo=1)
    assert maps_of(out) == first
    refine(inputs, None, out, undo=0)
    assert maps_of(out) == kept
    refine(inputs, None, out, undo=2)
    assert maps_of(out) == second
    # The same corrections at once come to the same map as one after the other.
    refine(inputs, tmp_path / "c.gpkg", tmp_path / "other", settings=SETTINGS)
    assert maps_of(tmp_path / "other") == second
    evaluated = from_corrections(
        str(tmp_path / "c.gpkg"), ClassMap.read(out / "landcover/a.tif")
    ).read(GRID.window)[0]
    seen = evaluated != 255
    assert (after[seen] == evaluated[seen]).all()


def test_clicks_where_there_is_no_image_are_told(tmp_path, inputs, monkeypatch):
    read_ = OldMap.read
    monkeypatch.setattr(OldMap, "read", lambda *given: 0 * read_(*given))
    clicks = corrected(tmp_path / "c.gpkg", [(40, 50)], [3])
    said = str(refine(inputs, clicks, tmp_path / "out", settings=SETTINGS))
    assert "WARNING: 1 corrected pixel has no image, and stays without a class" in said
    assert "are right in the maps" not in said


def test_a_further_click_computes_only_its_own_window(tmp_path, inputs, monkeypatch):
    calls = []
    plain = Adapter.__call__
    monkeypatch.setattr(
        Adapter, "__call__", lambda self, *args: calls.append(1) or plain(self, *args)
    )
    settings = Refining(device="cpu", precision="32", steps=1)
    out = tmp_path / "out"
    refine(
        inputs,
        corrected(tmp_path / "c.gpkg", [(40, 50), (100, 200)], [3, 3]),
        out,
        settings=settings,
    )
    assert len(calls) == 2
    more = corrected(tmp_path / "c.gpkg", [(40, 50), (100, 200), (20, 280)], [3, 3, 9])
    refine(inputs, more, out, settings=settings)
    assert len(calls) == 3
    said = refine(inputs, more, out, settings=settings)
    assert len(calls) == 3
    assert "step 2 of 2" in str(said)
    fewer = corrected(tmp_path / "c.gpkg", [(40, 50)], [3])
    assert "2 corrections of step 2 are not in the file" in str(
        refine(inputs, fewer, out, settings=settings)
    )
    assert len(Corrections.read(out / "steps/0002/corrections.gpkg", LEGEND)) == 3


@pytest.mark.parametrize("at", ["patch", "journal", "map", "record"])
def test_a_call_that_is_killed_is_made_good(tmp_path, inputs, monkeypatch, at):
    settings = Refining(device="cpu", precision="32", steps=1)
    path = corrected(tmp_path / "c.gpkg", [(40, 50)], [3])
    refine(inputs, path, tmp_path / "whole", settings=settings)
    wanted = maps_of(tmp_path / "whole")
    out = tmp_path / "out"
    refine(inputs, None, out, settings=settings)

    class Killed(BaseException):
        pass

    def die(*args, **options):
        raise Killed

    with monkeypatch.context() as patch:
        where, name = {
            "patch": (Patch, "save"),
            "journal": (engine.Journal, "add"),
            "map": (writing, "write_side_files"),
            "record": (writing, "stamps"),
        }[at]
        patch.setattr(where, name, die)
        with pytest.raises(Killed):
            refine(inputs, path, out, settings=settings)
    refine(inputs, path, out, settings=settings)
    assert maps_of(out) == wanted
    assert read_json(out / "refine.json")["at"] == 1
    # A map that somebody emptied meanwhile is written again.
    os.truncate(out / "landcover/a.tif", 100)
    refine(inputs, path, out, settings=settings)
    assert maps_of(out) == wanted


def test_an_output_that_is_replaced_keeps_what_was_drawn(tmp_path, place, inputs):
    out = tmp_path / "out"
    settings = Refining(device="cpu", precision="32", steps=0)
    path = corrected(tmp_path / "c.gpkg", [(40, 50)], [3])
    refine(inputs, path, out, settings=settings)
    others = replace(inputs, maps=replace(inputs.maps, settings={"tta": "none"}))
    with pytest.raises(InputError, match="other settings"):
        refine(others, path, out, settings=settings)
    assert "the corrections of the output" in str(
        refine(others, path, out, settings=settings, overwrite=True)
    )
    assert len(Corrections.read(out / "steps.1/0001/corrections.gpkg", LEGEND)) == 1
    entries = {n: e | {"stamp": "another"} for n, e in inputs.maps.entries.items()}
    anew = replace(others, maps=replace(others.maps, entries=entries))
    with pytest.raises(InputError, match=r"predicted anew.*corrections="):
        refine(anew, None, out)
    assert "step 2 of 2" in str(refine(anew, path, out, settings=settings))


def test_what_does_not_fit_is_said(tmp_path, place, inputs):
    network = inputs.network
    with pytest.raises(InputError, match=r"no predict\.json"):
        Inputs.open(network, place / "scenes", tmp_path)
    with pytest.raises(InputError, match="which are kept"):
        refine(inputs, None, place / "maps")
    far = corrected(tmp_path / "f.gpkg", [(9000, 9000)], [3])
    with pytest.raises(InputError, match="lies outside the maps"):
        refine(inputs, far, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"undo=4: there is no such step"):
        refine(inputs, None, tmp_path / "out", undo=4)
    write(tmp_path / "scenes/c.tif", np.full((150, 300), 9, np.uint8))
    with pytest.raises(InputError, match="scene c: has no map"):
        Inputs.open(network, tmp_path / "scenes", place / "maps")
    with pytest.raises(InputError, match="must be above 0"):
        Refining(learning_rate=0)


def test_a_network_learns_a_click_and_forgets_it_for_the_next_window(inputs):
    network = inputs.network
    adapter = Adapter(network, Refining(device="cpu", precision="32", steps=40))
    random = np.random.default_rng(0)
    image = random.integers(1, 255, (1, SIZE, SIZE)).astype(np.uint8)
    seen = np.ones((SIZE, SIZE), bool)
    nothing = np.full((SIZE, SIZE), 255, np.uint8)
    plain = adapter(image, seen, nothing)
    assert plain.steps == 0
    assert np.array_equal(plain.before, plain.after)
    clicks = nothing.copy()
    clicks[30, 30] = (plain.before[:, 30, 30].argmax() + 1) % 3
    made = adapter(image, seen, clicks)
    assert 0 < made.steps <= 40
    assert made.after[:, 30, 30].argmax() == clicks[30, 30]
    again = adapter(image, seen, nothing)
    assert np.array_equal(again.after, plain.after)
    module = network.load()
    learning = sum(p.numel() for p in adaptable(module))
    assert 0 < learning < 0.01 * sum(p.numel() for p in module.parameters())


def test_a_click_tells_of_its_object_only():
    index = np.zeros((20, 20), np.uint8)
    index[:, 10:] = 1
    clicks = np.full((20, 20), 255, np.uint8)
    clicks[10, 9] = 2
    made = spread(clicks, index, 3)
    assert (made[:, :10] == 2).sum() > 10
    assert (made[:, 10:] == 255).all()


def test_only_objects_that_a_click_touches_change():
    before = np.zeros((9, 20), np.uint8)
    after = before.copy()
    after[2:5, 2:5] = after[5, 5] = after[2:5, 12:15] = 1
    after[6:8, 1:3] = 2
    clicks = np.full(before.shape, 255, np.uint8)
    clicks[3, 3] = 1
    clicks[7, 18] = 2  # which changed nothing
    kept = touched(before, after, clicks)
    assert kept.sum() == 10
    assert kept[5, 5]
    assert not kept[:, 10:].any()


def test_no_more_changes_than_corrections_need():
    before = torch.zeros(1, 2, 1, 4)
    before[0, 0] = torch.tensor([[1.0, 1.0, 3.0, 9.0]])
    after = before.clone()
    after[0, 1] = 4.0
    wanted = torch.full((1, 4), 255)
    wanted[0, :2] = 1
    share = shortest(before, after, wanted)
    assert share == pytest.approx(0.3)
    made = (before + share * (after - before)).argmax(dim=1)
    assert made.tolist() == [[[1, 1, 0, 0]]]  # the third would have followed at the end
    wanted[0, 2] = 1
    assert shortest(before, after, wanted) == pytest.approx(0.8)


def test_windows_cover_all_corrections_and_more_of_them_move_none(tmp_path):
    random = np.random.default_rng(1)
    places = [tuple(map(int, p)) for p in random.integers(0, [150, 300], (30, 2))]
    before: tuple[Window, ...] = ()
    for count in (5, 15, 30):
        path = corrected(tmp_path / "c.gpkg", places[:count], [3] * count)
        spots = Spots.around(Corrections.read(path, LEGEND).on(GRID), GRID, SIZE)
        assert spots.windows[: len(before)] == before
        before = spots.windows
        total = np.zeros((150, 300))
        for window in spots.windows:
            inside = window.intersect(GRID.window)
            mask = np.zeros((150, 300), bool)
            for p in places[:count]:
                mask[p] = True
            part = np.zeros((SIZE, SIZE), bool)
            part[inside.within(window)] = mask[inside.within(GRID.window)]
            total[inside.within(GRID.window)] += influence(window, GRID, part, SIZE // 2)[
                inside.within(window)
            ]
        assert all(total[p] > 0.9 for p in places[:count])
        # Each window learns from what lies well inside: nothing is left out.
        learnt = np.zeros((150, 300), bool)
        for window in spots.windows:
            learnt[inner(window, GRID).intersect(GRID.window).within(GRID.window)] = True
        assert all(learnt[p] for p in places[:count])


def test_what_learning_changes_fades_with_the_distance():
    one = np.full((9, 200), IGNORED, np.uint8)
    one[4, 10] = 1
    share = fading(one, 24).numpy()
    assert share[4, 10] == 1
    assert share[4, 34] == pytest.approx(np.exp(-0.5))
    assert share[4, 130] < 1e-4
    assert (fading(one, 0) == 1).all()


def test_each_window_learns_from_what_lies_well_inside_and_leaves_the_rest_to_others():
    window = Window(50, 50, 64, 64)
    assert inner(window, GRID) == Window(66, 66, 32, 32)
    assert inner(Window(0, 236, 64, 64), GRID) == Window(0, 252, 48, 48)
    one = np.zeros((64, 64), bool)
    one[32, 32] = True
    close = closeness(one, 32)
    assert close[32, 32] == 1
    assert close[32, 36] == 0.5


@pytest.fixture(scope="module")
def seeing():
    """A U-Net that is shown clicks, with random weights."""
    torch.manual_seed(0)
    model = Model("unet", "tu-lcnet_050")
    card = with_bands(CARD, "gray", model=model, tiling=Tiling(SIZE, 16))
    statistics = BandStatistics((128.0,), (70.0,), (10.0,), (245.0,), (1.0,), (254.0,))
    card = replace(card, clicks=True, statistics=statistics)
    network = checkpoint.build(card)
    torch.nn.init.normal_(network.click_path.last.weight, std=3)
    return TrainedNetwork(card, "seeing", network)


def test_a_network_that_sees_clicks_is_shown_them_and_learns_nothing(seeing):
    random = np.random.default_rng(0)
    image = random.integers(1, 255, (1, 64, 192)).astype(np.float32)
    one = np.full((64, 192), IGNORED, np.uint8)
    one[30, 20] = 2
    seen = np.ones(one.shape, bool)
    settings = replace(SETTINGS, by="channels", others=True)
    assert way_of(seeing, settings) == "channels"
    made = Adapter(seeing, settings)(image, seen, one)
    assert made.steps == 0
    moved = np.abs(made.after - made.before).max(axis=0)
    assert moved[30, 20] > 0.01
    assert not moved[:, 84:].any()
    learnt = Adapter(seeing, replace(settings, by="learn"))(image, seen, one)
    assert learnt.steps > 0
    assert np.array_equal(learnt.before, made.before)
    both = Adapter(seeing, replace(settings, by="both"))(image, seen, one)
    assert not np.array_equal(both.after, learnt.after)
    assert both.after[:, 30, 20].argmax() == 2


def test_a_network_that_sees_none_is_refused_for_channels(tmp_path, inputs):
    with pytest.raises(InputError, match=r"refine\.by=channels: .* fit\.clicks=true"):
        refine(inputs, None, tmp_path / "out", settings=Refining(by="channels"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="choose from learn, channels, both"):
        Refining(by="magic")


def test_features_are_cut_where_they_are_pictures_of_the_window():
    near = Window(32, 0, 64, 96)
    whole = [torch.arange(96 * 128).reshape(1, 1, 96, 128), torch.arange(12).reshape(1, 1, 3, 4)]
    fine, coarse = _cut(whole, near, (96, 128))
    assert torch.equal(fine, whole[0][..., 32:96, :96])
    assert torch.equal(coarse, whole[1][..., 1:3, :3])
    assert _cut([torch.zeros(1, 1, 5, 7)], near, (96, 128)) is None  # no pixel begins at row 32
    assert _cut([torch.zeros(1, 13, 8)], near, (96, 128)) is None
    assert _cut((whole[0], [whole[1]]), near, (96, 128)) is None  # SegNet's, with its maxima


@pytest.mark.parametrize(
    ("paths", "pattern", "said"),
    [
        ([("a.tif",), ("b.tif",)], None, "scenes=[a.tif,b.tif]"),
        ([("a_red.tif", "a_nir.tif")], "(?P<band>red|nir)", "scenes=[a_red.tif,a_nir.tif]"),
        ([("a.tif",), ("b/red.tif", "b/nir.tif")], None, "scenes=<as before>"),
    ],
)
def test_a_new_training_is_told_files_where_they_say_their_bands(paths, pattern, said):
    scenes = [SimpleNamespace(paths=some) for some in paths]
    assert scenes_key({"bands": {"pattern": pattern}}, scenes) == said
