"""Pretraining: what is hidden, what is measured, and an encoder's file like any other."""

import csv
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geoseg.dataset.unlabelled import Imagery, cut
from geoseg.errors import InputError
from geoseg.geo import raster
from geoseg.geo.tiling import Tiling
from geoseg.models.card import ENCODER, ENCODER_KEY, EncoderCard
from geoseg.models.settings import Model
from geoseg.pretrain import pretrain
from geoseg.samples.unlabelled import SceneTiles
from geoseg.scenes.scene import find_scenes
from geoseg.training import loop as fit_room
from geoseg.training.config import PretrainConfig
from geoseg.training.objectives.reconstruction import Reconstruction, error, hidden
from geoseg.training.objectives.settings import Masking
from geoseg.training.settings import Fit
from geoseg.training.start import train
from tests.made.narrow import narrow_unets

rng = np.random.default_rng
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning_fabric")

QUICK = Fit(
    epochs=2, epoch_tiles=8, batch_size=4, workers=0, precision="32", device="cpu", pictures=0
)


@pytest.fixture(scope="module", autouse=True)
def _narrow():
    with narrow_unets():
        yield


def config(run, **changes):
    made = PretrainConfig(run=str(run), model=Model(encoder="tu-lcnet_050"), fit=QUICK)
    return replace(made, tiling=replace(made.tiling, size=64, overlap=16), **changes)


@given(
    st.integers(1, 4), st.integers(1, 80), st.integers(1, 80), st.integers(1, 40),
    st.floats(0.05, 0.95),
)  # fmt: skip
def test_hidden_squares_are_whole_and_as_many_as_asked(count, height, width, size, share):
    away = hidden((count, height, width), Masking(share, size))
    assert away.shape == (count, height, width)
    assert away.dtype == torch.bool
    squares = -(-height // size) * -(-width // size)
    for tile in away:
        corners = tile[::size, ::size]
        assert int(corners.sum()) == max(1, round(share * squares))
        assert (
            tile == corners.repeat_interleave(size, 0).repeat_interleave(size, 1)[:height, :width]
        ).all()


def test_the_error_is_of_hidden_valid_pixels_alone():
    image, filled = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    filled[0, :, 0, 0] = torch.tensor([1.0, 3.0])
    filled[0, :, 1, 1] = 100
    where = torch.tensor([[[True, True], [False, False]]])
    assert float(error(filled, image, where)) == 2

    class Zero(nn.Module):
        def forward(self, given):
            assert not given[:, :, :1].any() or not given[:, :, 1:].any()
            return torch.zeros_like(given)

    image = torch.full((1, 1, 2, 1), 5.0)
    objective = Reconstruction(Masking(0.5, 1))
    valid = torch.ones(1, 2, 1, dtype=torch.bool)
    assert float(objective(Zero(), Zero(), (image, valid), 0.0)) == 5
    assert float(objective(Zero(), Zero(), (image, ~valid), 0.0)) == 0


def test_tiles_are_kept_aside_and_bands_measured(dataset):
    (scene,) = dataset.scenes
    made = Imagery.of([scene], 64, val=0.25, seed=1)
    assert len(made.train) == 9
    assert len(made.val) == 3
    assert {w for _, w in (*made.train, *made.val)} == {w for _, w in cut([scene], 64)}
    with scene.open() as reader:
        parts = [reader.read(window) for _, window in made.train]
    pixels = np.concatenate([image[:, valid] for image, valid in parts], axis=1)
    np.testing.assert_allclose(made.statistics.mean, pixels.mean(1), rtol=1e-6)
    np.testing.assert_allclose(made.statistics.std, pixels.std(1), rtol=1e-6)
    with pytest.raises(InputError, match=r"1 tile of 512 px in 1 scene: too few"):
        Imagery.of([scene], 512, val=0.1, seed=0)


def test_no_moved_tile_touches_those_kept_aside(dataset, monkeypatch):
    (scene,) = dataset.scenes
    made = Imagery.of([scene], 64, val=0.2, seed=0)
    seen = []
    read = SceneTiles._scaled

    def watched(self, of, window):
        seen.append(window)
        return read(self, of, window)

    monkeypatch.setattr(SceneTiles, "_scaled", watched)
    tiles, random = SceneTiles(made.train, 64, made.statistics, aside=made.val), rng(0)
    for number in range(len(tiles)):
        for _ in range(30):
            tiles.draw(number, random)
    assert len({(window.top, window.left) for window in seen}) > 40
    assert not any(window.intersect(held) for window in seen for _, held in made.val)


def test_an_encoder_learns_and_is_taken_by_a_training(dataset, tmp_path, capsys):
    (scene,) = dataset.scenes
    long = replace(QUICK, epochs=5, epoch_tiles=32, learning_rate=3e-3)
    said = pretrain([scene], config(tmp_path / "pre", fit=long, val=0.2, mask=Masking(0.5, 8)))
    with (tmp_path / "pre" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    errors = [float(row["val_error"]) for row in rows]
    assert min(errors) < 0.8 * float(rows[0]["val_error_of_mean"])
    assert "hidden pixels are filled in" in said
    path = tmp_path / "pre" / ENCODER
    with safetensors.safe_open(path, "pt") as file:
        card = EncoderCard.from_json(file.metadata()[ENCODER_KEY])
        names = set(file.keys())
    assert card.bands == scene.bands
    assert card.encoder == "tu-lcnet_050"
    capsys.readouterr()
    model = Model(encoder="tu-lcnet_050", weights=str(path))
    train(dataset, tmp_path / "run", model=model, fit=QUICK)
    assert f"{len([n for n in names if 'num_batches' not in n])} of " in capsys.readouterr().out


def test_a_pretraining_goes_on_to_the_same_encoder(dataset, tmp_path, monkeypatch):
    (scene,) = dataset.scenes
    # A worker, as by default: its loader must draw nothing that hidden squares would miss.
    with_worker = partial(config, fit=replace(QUICK, workers=1))
    pretrain([scene], with_worker(tmp_path / "whole"))
    save, calls = fit_room._save, []

    def stop(*args):
        save(*args)
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_room, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain([scene], with_worker(tmp_path / "parts"))
    pretrain([scene], with_worker(tmp_path / "parts"))
    whole, parts = ((tmp_path / name / ENCODER).read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    assert "2 epochs are done" in pretrain([scene], with_worker(tmp_path / "parts"))
    with pytest.raises(InputError, match=r"other settings \(mask\.share\)"):
        pretrain([scene], with_worker(tmp_path / "parts", mask=Masking(share=0.5)))


def test_what_can_not_be_is_refused(dataset, tmp_path):
    with pytest.raises(InputError, match=r"model=lstm: not for single images") as fault:
        PretrainConfig(model=Model("lstm"), val=1.0, fit=Fit(hard=0.5, freeze=1))
    assert len(fault.value.faults) == 4
    with pytest.raises(InputError, match=r"model\.width=4: of lstm") as fault:
        PretrainConfig(model=Model(pixels=8, width=4), fit=Fit(refit=True, adversarial=0.5))
    assert len(fault.value.faults) == 4
    with pytest.raises(InputError, match=r"mask\.size=32: .* nothing of a tile of tiling\.size=32"):
        PretrainConfig(tiling=Tiling(32))
    grid = dataset.scenes[0].grid
    with raster.create(tmp_path / "t.tif", grid, dtype="uint8", count=3) as writer:
        writer.write(np.ones((3, grid.height, grid.width), np.uint8), grid.window)
    scenes = [*dataset.scenes, *find_scenes(str(tmp_path / "t.tif"))]
    with pytest.raises(InputError, match=r"t\.tif: 3 bands"):
        pretrain(scenes, config(tmp_path / "run"))
    assert not (tmp_path / "run" / ENCODER).exists()
