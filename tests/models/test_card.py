"""Model card and checkpoint: what is saved comes back, and nothing else is taken for it."""

import json
import struct
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from geoseg.errors import InputError
from geoseg.models import checkpoint
from geoseg.models.card import KEY, ModelCard, find_weights, weights_hash
from geoseg.models.networks import build as models
from geoseg.models.networks import build_series
from geoseg.models.settings import Model
from tests.made.scenes import CARD, with_bands

SMALL = with_bands(CARD, "red", "green", nodata=float("nan"), extra={"height": "dem/*.tif"})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    torch.manual_seed(0)
    network = models.build(SMALL.model, 2, 3).to(memory_format=torch.channels_last)
    checkpoint.save(path, network, SMALL)
    return path, network


def test_card_comes_back_from_json():
    card = replace(SMALL, nodata=-9999.0)
    assert ModelCard.from_json(card.to_json()) == card


def test_network_and_card_come_back(saved):
    path, network = saved
    loaded, card = checkpoint.load(path)
    assert card.to_json() == SMALL.to_json()
    assert not loaded.training
    image = torch.rand(1, 2, 40, 50)
    with torch.inference_mode():
        # Another layout in memory sums in another order.
        assert torch.allclose(loaded(image), network.eval()(image), atol=1e-4)
    assert ModelCard.read(path).bands == ("red", "green")
    assert find_weights(path.parent) == find_weights(path) == path
    assert len(weights_hash(path)) == 16


def test_the_same_weights_make_the_same_file(saved, tmp_path):
    path, network = saved
    plain_layout = network.to(memory_format=torch.contiguous_format)
    checkpoint.save(tmp_path / "again.safetensors", plain_layout, SMALL)
    assert weights_hash(tmp_path / "again.safetensors") == weights_hash(path)


def test_a_file_cut_short(saved, tmp_path):
    whole = saved[0].read_bytes()
    for length in (0, 5, 300, len(whole) // 2, len(whole) - 1):
        cut = tmp_path / "cut.safetensors"
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.safetensors: (not a safetensors|cut short)"):
            ModelCard.read(cut)
        with pytest.raises(InputError, match=r"cut\.safetensors"):
            checkpoint.load(cut)


def test_a_file_of_another_program(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"without geoseg's model card.*geoseg\.train"):
        ModelCard.read(path)
    torch.save({"a": torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="not a safetensors file"):
        ModelCard.read(tmp_path / "model.pt")


def write_header(path, card_text):
    header = json.dumps({"__metadata__": {KEY: card_text}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def test_a_card_of_another_version(tmp_path):
    path = tmp_path / "new.safetensors"
    values = json.loads(CARD.to_json())
    for change in ({"model": {"name": "from the future"}}, {"colour": 1}):
        write_header(path, json.dumps(values | change))
        with pytest.raises(InputError, match=r"new\.safetensors"):
            ModelCard.read(path)
    write_header(path, json.dumps(values | {"model": values["model"] | {"name": "auto"}}))
    with pytest.raises(InputError, match=r"model\.name=auto: .* name one"):
        ModelCard.read(path)
    write_header(path, "{")
    with pytest.raises(InputError, match="can't read"):
        ModelCard.read(path)


def test_weights_that_do_not_fit_the_card(saved, tmp_path):
    path = tmp_path / "mixed.safetensors"
    checkpoint.save(path, saved[1], with_bands(CARD, "a", "b", "c"))
    with pytest.raises(InputError, match="do not fit their card"):
        checkpoint.load(path)


def test_no_network_is_built_before_one_is_chosen():
    for build in (models.build, build_series.build):
        with pytest.raises(InputError, match=r"model\.name=auto: .* name one"):
            build(Model("auto"), 3, 2)


def test_no_weights(tmp_path):
    with pytest.raises(InputError, match=r"best\.safetensors: no such file; set checkpoint="):
        find_weights(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        find_weights(tmp_path / "nothing.safetensors")


def test_a_folder_that_cannot_be_written(saved, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another"):
        checkpoint.save(tmp_path / "file" / "best.safetensors", saved[1], SMALL)
