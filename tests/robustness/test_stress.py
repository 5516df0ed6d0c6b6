"""Stress from a run and a data set to figures and a page."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.models.settings import FOREST, Model
from geoseg.robustness.settings import StressSettings
from geoseg.robustness.stress import PRODUCTS, stress
from geoseg.robustness.tally import ATTACK, UNTOUCHED, WORST, Case, Figures, Tallies, Tally
from geoseg.samples.fitted import some_tiles
from tests.calibration.test_calibrate import made_dataset
from tests.made.scenes import CARD, Identity
from tests.robustness.made import saved

SETTINGS = StressSettings(
    kinds=["noise", "blur", "bands", "rotation"], strengths=2,
    attacks=["all", "universal", "patch"],
    epsilon=[0.3, 0.7], steps=3, tiles=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A whole run: folder, network, data set."""
    folder = tmp_path_factory.mktemp("stress")
    dataset = made_dataset(folder, wrong=(0.0, 0.1))
    network = saved(folder, Identity(3, first=1))
    text = str(stress([network, network], dataset, folder / "out", split="val", settings=SETTINGS))
    return folder, network, dataset, text


def rows(folder):
    with (folder / "out/stress.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_everything_is_written(made):
    folder, _, _, text = made
    assert {p.name for p in (folder / "out").iterdir() if p.name[0] != "."} == set(PRODUCTS)
    page = (folder / "out/stress.html").read_text(encoding="utf-8")
    assert "Two trainings, before and after" in page
    assert "left out, as there is one band: bands" in text
    assert {p.stem for p in (folder / "out/places").iterdir()} == {
        *("noise", "blur", "rotation", "fgsm", "pgd", "segpgd", "cospgd", "patch")
    }


def test_untouched_tiles_score_as_the_network_does(made):
    folder, _, dataset, _ = made
    clean = rows(folder)[0]
    tiles = some_tiles(Dataset.load(dataset), "val", SETTINGS.tiles)
    assert len(tiles) == 6
    # One label of ten is wrong in one of the two scenes, and none in the other.
    share = np.mean([0.1 if tile.scene == "s1" else 0.0 for tile in tiles])
    assert float(clean["overall_accuracy"]) == pytest.approx(1 - share, abs=0.02)


def test_noise_and_attacks_cost_the_more_the_stronger(made):
    found = {(r["kind"], float(r["strength"])): r for r in rows(made[0]) if r["run"] == "run"}
    right = {key: float(row["overall_accuracy"]) for key, row in found.items()}
    clean = right["clean", 0.0]
    assert clean > right["noise", 0.5] > right["noise", 1.0]
    for epsilon in (0.3, 0.7):
        singles = [right[name, epsilon] for name in ("fgsm", "pgd", "segpgd", "cospgd")]
        assert right[WORST, epsilon] <= min(singles)
    # Classes are 1 apart: no change below 0.5 takes a pixel out of its class.
    assert right[WORST, 0.3] == clean
    assert right[WORST, 0.7] < clean - 0.3


def test_the_record_says_what_strengths_are(made):
    record = json.loads((made[0] / "out/stress.json").read_text(encoding="utf-8"))
    assert record["epsilon_in_units_of_the_bands"] == {"gray": [0.3, 0.7]}
    assert {row["name"] for row in record["before_and_after"]} == {"run", "against"}
    first, second = record["before_and_after"]
    assert first["before"] == second["before"]


def test_done_once_it_is_not_done_again_and_not_mixed(made):
    folder, network, dataset, _ = made
    out = folder / "out"
    told = str(stress([network, network], dataset, out, split="val", settings=SETTINGS))
    assert "nothing to do" in told
    with pytest.raises(InputError, match=r"other settings \(.*stress\.steps"):
        stress([network, network], dataset, out, split="val", settings=replace(SETTINGS, steps=2))


def refused(network, dataset, against=(), **options):
    with pytest.raises(InputError) as error:
        stress([network, *against], dataset, Path(dataset).parent / "none", **options)
    assert not (Path(dataset).parent / "none").exists()
    return str(error.value)


def test_what_can_not_be_done_is_said_before_the_work(made):
    _, network, dataset, _ = made
    forest = replace(network, card=replace(CARD, model=Model(name=FOREST)))
    settings = StressSettings(attacks=["pgd"])
    assert "a forest, which has no gradients" in refused(forest, dataset, settings=settings)
    assert "split=test: " in refused(network, dataset)
    assert "split=all: choose" in refused(network, dataset, split="all")
    pair = replace(network, others=(network,))
    assert "one network is stressed at a time" in refused(pair, dataset, split="val")
    entries = [{"code": c, "name": f"k{c}", "color": "#000000"} for c in (1, 2)]
    legend = Legend.parse(entries, "test")
    other = replace(network, card=replace(CARD, legend=legend))
    assert "same classes" in refused(network, dataset, split="val", against=[other])
    assert "has the classes" in refused(other, dataset, split="val")
    nothing = StressSettings(kinds=[])
    assert "nothing is left" in refused(network, dataset, split="val", settings=nothing)
    apart = StressSettings(kinds=["shift", "bands"])
    said = refused(network, dataset, split="val", settings=apart)
    assert "shift, bands need several bands" in said
    assert "sees gray alone" in said
    with pytest.raises(InputError) as error:
        StressSettings(kinds=["fog"], attacks=["axe"], epsilon=[0], patch=[2], strengths=0)
    assert len(error.value.faults) == 5


def test_the_worst_of_several_attacks_is_chosen_tile_by_tile():
    def tally(right):
        shares = np.eye(2, dtype=np.float32)[np.array([0] * right + [1] * (4 - right))]
        return Tally.of(shares, np.zeros(4, np.uint8))

    found = Tallies()
    for number in (4, 3):
        found.add(UNTOUCHED, tally(number))
    found.add(Case(ATTACK, "pgd", 0.1), tally(1))
    figures = Figures(found.rows(["a", "b"]))
    assert figures.clean.scores.overall_accuracy == 7 / 8
    assert figures.clean.pixels == 8
    assert [row.scores.overall_accuracy for row in figures.curve("pgd")] == [7 / 8, 1 / 4]
    assert figures.clean.ece == pytest.approx(1 / 8)
