"""Every option of every group is composed against its schema and built."""

import importlib
from functools import cache
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException

from geoseg.commands import conf, run
from geoseg.errors import InputError
from geoseg.geo.legend import Legend
from geoseg.models.networks import build as models
from geoseg.models.networks import build_series
from geoseg.models.settings import AUTO
from geoseg.samples import augment
from geoseg.training import recipe
from geoseg.training.objectives import loss
from geoseg.training.objectives.settings import LOSSES
from geoseg.training.run import folder

SCHEMAS = {
    "demo": "DemoConfig",
    "prepare": "PrepareConfig",
    "train": "TrainConfig",
    "pretrain": "PretrainConfig",
    "calibrate": "CalibrateConfig",
    "predict": "PredictConfig",
    "mosaic": "MosaicConfig",
    "evaluate": "EvaluateConfig",
    "compare": "CompareConfig",
    "vectorize": "VectorizeConfig",
    "export": "ExportConfig",
    "prepare_series": "PrepareSeriesConfig",
    "crossvalidate": "CrossvalidateConfig",
    "sample": "SampleConfig",
    "assess": "AssessConfig",
    "height": "HeightConfig",
    "adapt": "AdaptConfig",
    "stress": "StressConfig",
    "explain": "ExplainConfig",
    "suggest": "SuggestConfig",
    "refine": "RefineConfig",
    "pointnet": "PointnetConfig",
    "translate": "TranslateConfig",
}
GROUPS = {
    p.name: sorted(f.stem for f in p.glob("*.yaml")) for p in conf.CONF.iterdir() if p.is_dir()
}
OF_TRAIN = ("model", "loss", "augment", "fit", "experiment")
OPTIONS = [(group, option) for group, options in sorted(GROUPS.items()) for option in options]


def schema_of(name):
    module = f"geoseg.{name}.__main__" if name in ("demo", "export") else f"geoseg.{name}"
    return getattr(importlib.import_module(module), SCHEMAS[name])


@cache
def registered(name):
    """The schema of a command, which Hydra knows from now on; to tell it takes a while."""
    schema = schema_of(name)
    run.register(name, schema)
    return schema


def composed(name, *overrides):
    schema = registered(name)
    with initialize_config_dir(str(conf.CONF), version_base="1.3"):
        return run.to_objects(compose(name, overrides=list(overrides)), schema)


@pytest.mark.parametrize("name", SCHEMAS)
def test_defaults_compose(name):
    composed(name)


def test_every_command_has_its_file():
    assert {p.stem for p in conf.CONF.glob("*.yaml")} == set(SCHEMAS)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_is_composed_and_built(group, option):
    name = "train" if group in OF_TRAIN else "predict" if group == "engine" else "prepare"
    config = composed(name, f"{group}={option}")
    if group == "model" and config.model.for_series:
        made = recipe.from_what_is_named(config.model)
        assert build_series.build(made, 4, 3, grid=range(12), filled=True)
    elif group == "model" and option != AUTO:  # the data set decides
        assert models.build(recipe.from_what_is_named(config.model), 4, 3)
    elif group == "loss":
        assert loss.build(config.loss, [0.9, 0.1], names=["a", "b"])
    elif group == "augment":
        assert augment.build(config.augment)
    elif group == "engine":
        assert config.engine.name == option
    elif group == "legend":
        assert len(config.legend.load()) >= 2


@pytest.mark.parametrize("option", GROUPS["loss"])
def test_a_loss_is_what_its_file_says_and_no_more(option):
    text = (conf.CONF / "loss" / f"{option}.yaml").read_text(encoding="utf-8")
    terms = yaml.safe_load(text)["terms"]
    for name in ("train", "crossvalidate"):
        assert composed(name, f"loss={option}").loss.terms == terms
    other = next(name for name in LOSSES if name not in terms)
    both = composed("train", f"loss={option}", f"+loss.terms.{other}=0.5").loss.terms
    assert both == terms | {other: 0.5}


def test_an_experiment_changes_what_it_names_and_nothing_else():
    plain, demo = composed("train"), composed("train", "experiment=demo")
    assert demo.fit.max_minutes == 2.5
    assert demo.model == plain.model
    assert composed("train", "experiment=buildings_segnet").model.name == "segnet"


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("fit.epoch=3", ConfigCompositionException),  # unknown key
        ("fit.epochs=many", ConfigCompositionException),  # wrong type
        ("fit.epochs=0", InputError),  # impossible value
        ("model.name=yolo", InputError),
    ],
)
def test_bad_overrides(override, error):
    with pytest.raises(error):
        composed("train", override)


def test_faults_of_all_rooms_come_together():
    with pytest.raises(InputError) as error:
        composed("train", "model.name=yolo", "fit.epochs=0", "loss.label_smoothing=2")
    assert len(error.value.faults) == 3


def test_a_run_can_be_repeated_from_its_own_record(tmp_path):
    config = composed("train", "model=fpn", "fit.epochs=7", "loss=focal", "seed=5")
    folder.record(tmp_path, "train", config)
    with initialize_config_dir(str(tmp_path / ".hydra"), version_base="1.3"):
        again = run.to_objects(compose("config"), type(config))
    assert again == config


def test_legends_of_the_groups_are_files_that_legend_path_takes():
    for path in (conf.CONF / "legend").glob("*.yaml"):
        assert Legend.load(path).names


def test_files_hold_only_what_schemas_know():
    """YAML that is never composed could hold anything."""
    for path in Path(conf.CONF).rglob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path
