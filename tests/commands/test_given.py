"""Configuration files that somebody sent: settings are taken from them, and nothing is run."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from geoseg.commands import given
from geoseg.errors import InputError
from geoseg.received.yaml_file import parse_yaml
from geoseg.training.config import TrainConfig
from tests.made.started import run


@dataclass
class Room:
    size: int = 256
    address: str | None = None


@dataclass
class BendConfig:
    """Stands for the schema of a command."""

    path: Any = None
    run: str = "runs/bend"
    engine: Room = field(default_factory=Room)


@pytest.fixture(autouse=True)
def _store(monkeypatch):
    """A store of its own, so that no test meets the files of another."""
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", dict(store.repo))


def stored(folder, text: str, *, name: str = "config") -> tuple[dict, str]:
    """What Hydra sees of a file, and what is said."""
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    words = ["bend", "--config-dir", str(folder), "--config-name", path.stem]
    notes = given.take(words, "bend", BendConfig)
    repo = ConfigStore.instance().repo
    *groups, stem = name.split("/")
    for group in groups:
        repo = repo[group]
    return OmegaConf.to_container(repo[f"{stem}.yaml"].node, resolve=False), "\n".join(notes)


@pytest.mark.parametrize(
    "text",
    [
        "hydra: {job: {env_set: {GDAL_VRT_ENABLE_PYTHON: 'YES'}}}",
        "hydra: {callbacks: {a: {_target_: os.system, command: id}}}",
        "hydra: {launcher: {_target_: os.system}}",
        "hydra: {sweeper: {_target_: os.system, params: {hydra.job.env_set.A: b}}}",
        "hydra: {searchpath: ['/tmp']}",
        "hydra: {run: {dir: /tmp}}",
        "hydra: os.system",
        "path: ${oc.env:HOME}",
        "path: /tmp/${oc.decode:${oc.env:HOME}}",
        "path: {a: ['${hydra:runtime.cwd}']}",
        "run: ${${path}:HOME}",
        "path: {_target_: os.system, command: id}",
        "engine: {address: tcp://203.0.113.5:8786}",
        "${oc.env:HOME}: 3",
        "defaults: [{hydra/callbacks: a}]",
        "defaults: [{override hydra/launcher: joblib}]",
        "defaults: [{engine@hydra.job: a}]",
        "defaults: [{engine: ../../../tmp/a}]",
        "defaults: [/hydra/callbacks/a, other]",
        "defaults: a",
    ],
)
def test_what_is_not_a_setting_is_left_out_and_said(tmp_path, text):
    node, said = stored(tmp_path, text)
    # Of Hydra's own section there is only what keeps it from leaving a folder behind.
    assert node.pop("hydra") == {"run": {"dir": "."}, "output_subdir": None}
    assert not [part for part in ("hydra", "${", "_target_", "tcp:", "..") if part in str(node)]
    assert "left out" in said
    assert str(tmp_path / "config.yaml") in said


def test_what_a_run_writes_is_taken_whole_and_without_a_word(tmp_path):
    text = (
        "defaults: [bend_schema, _self_, {override hydra/job_logging: disabled},"
        " {override hydra/hydra_logging: disabled}]\n"
        "hydra: {run: {dir: .}, output_subdir: null}\n"
        "path: [a/b.tif, 1e-3]\nrun: runs/${engine.size}\nengine: {size: 3, address: null}\n"
    )
    node, said = stored(tmp_path, text)
    assert said == ""
    assert node["path"] == ["a/b.tif", 1e-3]
    assert node["run"] == "runs/${engine.size}"
    assert len(node["defaults"]) == 4


def test_groups_of_ones_own_and_what_a_sweep_tries_are_kept(tmp_path):
    text = "# mine\n# @package _global_\nhydra: {sweeper: {params: {engine.size: '1,2'}}}\nrun: a\n"
    stored(tmp_path, text, name="experiment/mine")
    entry = ConfigStore.instance().repo["experiment"]["mine.yaml"]
    assert dict(entry.node) == {
        "hydra": {"sweeper": {"params": {"engine.size": "1,2"}}},
        "run": "a",
    }
    assert entry.package == "_global_"


def test_a_schema_is_not_replaced_and_a_package_of_hydra_not_taken(tmp_path):
    ConfigStore.instance().store(name="bend_schema", node=BendConfig)
    (tmp_path / "bend_schema.yaml").write_text("anything: 1")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package hydra.job\nenv_set: {A: b}\n")
    words = ["bend", f"--config-dir={tmp_path}", "experiment=mine"]
    assert "hydra.job" in given.take(words, "bend", BendConfig)[0]
    assert "anything" not in str(ConfigStore.instance().repo["bend_schema.yaml"].node)
    assert "experiment" not in ConfigStore.instance().repo


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--experimental-rerun", "job.pickle"], "unpickles"),
        (["--experimental-r=job.pickle"], "unpickles"),
        (["--config-path", "/tmp"], "give a folder of configurations as --config-dir"),
        (["-cp", "/tmp"], "give a folder of configurations as --config-dir"),
        (["-cd", "nowhere"], "no such folder"),
    ],
)
def test_options_that_take_a_file_at_its_word_are_refused(words, told):
    with pytest.raises(InputError, match=told):
        given.take(["bend", *words], "bend", BendConfig)


@pytest.mark.parametrize(
    "text",
    [
        "a: [" * 2000,
        "a: " + "[" * 200 + "]" * 200,
        "\n".join(
            ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
        ),
        "a: 2020-99-99",
        "a: " + "9" * 10_000,
        "? [a]\n: b",
        "a: !!python/object/apply:os.system [id]",
        "a: *b",
        "\0",
    ],
)
def test_yaml_that_is_a_trap_is_said_in_a_line(text):
    with pytest.raises(InputError, match="not valid YAML"):
        parse_yaml(text, "legend.yaml")


def test_aliases_that_are_few_are_read():
    assert parse_yaml("a: &a [1, 2]\nb: *a", "x") == {"a": [1, 2], "b": [1, 2]}


def test_the_attacks_that_were_shown_do_nothing(tmp_path):
    """In a process of its own, as Hydra itself would run them."""
    ran = tmp_path / "ran"
    call = {
        "_target_": "pathlib.Path.touch",
        "_args_": [{"_target_": "pathlib.Path", "_args_": [str(ran)]}],
    }
    config = {
        "defaults": ["train_schema", "_self_"],
        "hydra": {
            "job": {"env_set": {"GDAL_VRT_ENABLE_PYTHON": "YES"}},
            "callbacks": {"a": call},
            "run": {"dir": str(tmp_path / "elsewhere")},
        },
        "dataset": str(tmp_path / "nothing"),
        "run": str(tmp_path / "run"),
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    words = ("--config-dir", str(tmp_path), "--config-name", "config")
    done = run("-m", "geoseg.train", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert all(f"hydra.{name}" in done.stderr for name in ("job", "callbacks", "run"))
    assert "left out" in done.stderr
    assert "no dataset.json" in done.stderr
    assert not ran.exists()
    assert not (tmp_path / "elsewhere").exists()


def test_every_command_has_settings_of_these_names():
    assert {"engine", "fit"} & {item.name for item in dataclasses.fields(TrainConfig)} == {"fit"}
