"""Training on series: every network learns, goes on where it stopped, and says how it did."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg.calibration.calibrate import calibrate
from geoseg.errors import InputError
from geoseg.evaluation.by_date import ByDate
from geoseg.models import checkpoint
from geoseg.models.card import JUDGED, ModelCard
from geoseg.models.device import choose
from geoseg.models.settings import Model
from geoseg.models.view import view_of
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from geoseg.prediction.network.judged import judged_by
from geoseg.samples.predict import predict_samples
from geoseg.samples.settings import SeriesSamples
from geoseg.train import main
from geoseg.training.config import TrainConfig
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import Fit, TrainingSettings
from geoseg.training.start import train_series
from geoseg.training.tasks import series as learnseries
from geoseg.training.tasks.series import fit_fold, indices
from tests.made.hurry import DRAW_BY_DATE
from tests.made.samples import LEGEND, made_dataset

FIT = {"batch_size": 16, "epoch_tiles": 64, "workers": 0, "device": "cpu", "precision": "32"}


def config(dataset, run, name="tempcnn", epochs=2, **options):
    fit = Fit(epochs=epochs, **FIT | options)
    return TrainConfig(str(dataset.folder), str(run), model=Model(name=name), fit=fit)


@pytest.mark.parametrize("unit", ["parcel", "pixel"])
@pytest.mark.parametrize("name", ["lstm", "tempcnn", "psetae", "ltae"])
def test_every_network_learns_and_its_file_predicts(tmp_path, name, unit):
    dataset = made_dataset(tmp_path / "d", unit)
    settings = config(dataset, tmp_path / "run", name, epochs=15, learning_rate=8e-3)
    text = train_series(dataset, settings)
    assert "test: 12 samples" in text
    network, card = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert card.series.unit == unit
    assert (card.series.fill == "linear") == (name == "tempcnn")
    test = dataset.samples("test")
    probabilities = predict_samples(
        network, dataset.folder, test, view_of(card), device=choose("cpu", "32")
    )
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    right = probabilities.argmax(axis=1) == indices(test.code, LEGEND.codes)
    assert right.mean() > 0.7


def test_a_run_folder_holds_what_a_person_looks_for(tmp_path, monkeypatch):
    monkeypatch.setattr(ByDate, "_draw", DRAW_BY_DATE)  # which other tests do without
    dataset = made_dataset(tmp_path / "d")
    main(config(dataset, tmp_path / "run"))
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert {
        "best.safetensors", "last.ckpt", "metrics.csv", "curves.png", "scores.json",
        "by_date.csv", "by_date.png", "tensorboard", ".hydra",
    } <= names  # fmt: skip
    assert (tmp_path / "run" / "by_date.png").read_bytes().startswith(b"\x89PNG")
    scores = json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8"))
    assert set(scores) == {"val", "test"}
    assert [c["name"] for c in scores["test"]["classes"]] == ["early", "late"]
    with (tmp_path / "run" / "by_date.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    days = [int(row["day"]) for row in rows]
    assert days == sorted(days)
    assert days[-1] == 359
    assert float(rows[-1]["overall_accuracy"]) == pytest.approx(
        scores["val"]["overall_accuracy"], abs=1e-5
    )


def test_the_learning_rate_set_is_the_one_used(tmp_path):
    dataset = made_dataset(tmp_path / "d")
    for rate in (1e-3, 4e-3):
        main(config(dataset, tmp_path / f"run{rate}", epochs=1, learning_rate=rate, warmup=0.0))
        with (tmp_path / f"run{rate}" / "metrics.csv").open(encoding="utf-8") as file:
            row = next(csv.DictReader(file))
        # One epoch of five steps: the last is four fifths down the cosine.
        expected = rate * (0.01 + 0.99 * (1 + np.cos(np.pi * 0.8)) / 2)
        assert float(row["learning_rate"]) == pytest.approx(expected, rel=1e-4)


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path):
    dataset = made_dataset(tmp_path / "d")
    main(config(dataset, tmp_path / "whole", "ltae", epochs=4))

    class StopError(Exception):
        pass

    import geoseg.training.loop

    real, calls = geoseg.training.loop._save, []

    def save(*args):
        real(*args)
        calls.append(args)
        if len(calls) == 2:
            raise StopError

    geoseg.training.loop._save = save
    try:
        with pytest.raises(StopError):
            main(config(dataset, tmp_path / "parts", "ltae", epochs=4))
    finally:
        geoseg.training.loop._save = real
    main(config(dataset, tmp_path / "parts", "ltae", epochs=4))
    a, b = (
        checkpoint.load(tmp_path / run / "best.safetensors")[0].state_dict()
        for run in ("whole", "parts")
    )
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_fold_trains_on_the_share_that_is_set(tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def stop(learning, train, *_, **__):
        raise StopError(len(train))

    monkeypatch.setattr(learnseries.SeriesLearning, "task", stop)
    dataset = made_dataset(tmp_path / "d")
    train = dataset.samples("train")
    fit = Fit(train_share=0.5, epochs=1, device="cpu", precision="32")
    with pytest.raises(StopError) as stopped:
        fit_fold(
            dataset, train, dataset.samples("val"),
            TrainingSettings(Model("lstm"), Loss(), fit, SeriesSamples(), 0),
        )  # fmt: skip
    assert stopped.value.args == (round(0.5 * len(train)),)


@pytest.mark.parametrize("unit", ["parcel", "pixel"])
def test_validation_looks_at_all_that_each_sample_holds(tmp_path, monkeypatch, unit):
    class StopError(Exception):
        pass

    def stop(**task):
        raise StopError(np.concatenate([target for _, target in task["val"]]))

    dataset = made_dataset(tmp_path / "d", unit)
    monkeypatch.setattr(learnseries, "Task", stop)
    settings = replace(config(dataset, tmp_path / "run"), model=Model("tempcnn", season=0))
    with pytest.raises(StopError) as stopped:
        train_series(dataset, settings)
    val = dataset.samples("val")
    each = np.repeat(val.code, val.pixels if unit == "pixel" else 1)
    np.testing.assert_array_equal(stopped.value.args[0], indices(each, LEGEND.codes))


def test_what_does_not_fit_is_refused_before_the_work(tmp_path):
    dataset = made_dataset(tmp_path / "d")
    with pytest.raises(InputError, match=r"model=unet: not for series .* choose from lstm"):
        main(config(dataset, tmp_path / "run", "unet"))
    with pytest.raises(InputError, match=r"tempcnn needs regular series; set series\.fill=linear"):
        main(replace(config(dataset, tmp_path / "run"), series=SeriesSamples(fill="none")))
    assert not (tmp_path / "run").exists()


def test_the_card_of_a_series_survives_its_file(tmp_path):
    dataset = made_dataset(tmp_path / "d")
    main(config(dataset, tmp_path / "run"))
    card = ModelCard.read(tmp_path / "run" / "best.safetensors")
    assert ModelCard.from_json(card.to_json()) == card
    assert card.series.grid[0] == 5
    assert card.series.grid[-1] >= 359


def test_a_fold_is_scaled_by_its_own_train_samples(tmp_path, monkeypatch):
    dataset = made_dataset(tmp_path / "d")
    seen = []
    real = fit_fold.__globals__["measure"]
    monkeypatch.setitem(
        fit_fold.__globals__,
        "measure",
        lambda folder, samples, bands: seen.append(samples) or real(folder, samples, bands),
    )
    everything = dataset.samples()
    train, out = everything.take(np.arange(40)), everything.take(np.arange(40, 60))
    probabilities = fit_fold(
        dataset, train, out,
        TrainingSettings(Model("tempcnn"), Loss(), Fit(epochs=1, **FIT), SeriesSamples(), 0),
    )  # fmt: skip
    assert probabilities.shape == (20, 2)
    assert [list(s.id) for s in seen] == [list(train.id)]


def test_scores_stay_those_of_what_val_had_not_taught(tmp_path):
    dataset = made_dataset(tmp_path / "d")
    settings = config(dataset, tmp_path / "run", refit=True)
    text = train_series(dataset, settings)
    assert "once more on train and val" in text
    scores = (tmp_path / "run" / "scores.json").read_bytes()
    weights = (tmp_path / "run" / "best.safetensors").read_bytes()
    run = tmp_path / "run"
    assert ModelCard.read(run / "best.safetensors").refit
    assert not ModelCard.read(run / JUDGED).refit
    network = TrainedNetwork.open(str(run), InferenceSettings("cpu", "32"))
    with pytest.raises(InputError, match=r"learnt from val too.*refit/judged\.safetensors"):
        calibrate(network, dataset.folder, run / "calibrated.safetensors")
    assert judged_by(str(run), "test") == (str(run), [])
    first = str(run / JUDGED)
    assert judged_by([str(run), first], "val")[0] == [first, first]
    found, notes = judged_by(str(run / "best.safetensors"), "val")
    assert found == first
    assert "val judges the weights of before" in notes[0]
    shutil.copy(run / "best.safetensors", run / "adapted.safetensors")
    assert judged_by(str(run / "adapted.safetensors"), "val") == (
        str(run / "adapted.safetensors"), [],
    )  # fmt: skip
    train_series(dataset, settings)  # nothing is left to do
    assert (tmp_path / "run" / "scores.json").read_bytes() == scores
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == weights
