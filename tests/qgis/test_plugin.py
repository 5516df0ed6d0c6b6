"""The parts of the QGIS plugin that need no QGIS, and that it knows the commands as they are."""

import configparser
import importlib.util
import json
import os
import sys
import time
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "qgis"


def module(path, name):
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[])
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


build = module(HERE / "build.py", "geoseg_qgis_build")
module(HERE / "geoseg_tools/__init__.py", "geoseg_tools")
executable = module(HERE / "geoseg_tools/executable.py", "geoseg_tools.executable")
runner = module(HERE / "geoseg_tools/runner.py", "geoseg_tools.runner")


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Writes an executable; nothing else is found."""
    monkeypatch.delenv("GEOSEG_EXECUTABLE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    def write(text, name="geoseg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def run(words, cancelled=lambda: False):
    said = {"say": [], "warn": [], "progress": []}
    runner.run(words, "", cancelled=cancelled, **{k: v.append for k, v in said.items()})
    return said


def test_the_plugin_knows_the_commands_as_they_are():
    held = (HERE / "geoseg_tools/commands.json").read_text(encoding="utf-8")
    assert json.loads(held) == build.commands(), "run make qgis"


def test_keys_named_by_the_plugin_are_keys():
    for verb, command in build.commands()["commands"].items():
        names = [p["name"] for p in command["parameters"]]
        assert len({name.lower() for name in names}) == len(names)
        assert set(build.REQUIRED[verb]) <= set(names)
        assert any(p["kind"].startswith("out") for p in command["parameters"]), verb
        assert not [p for p in command["parameters"] if "demo's" in p["help"]], verb


def test_the_plugin_knows_lists_and_what_goes_on():
    commands = build.commands()["commands"]
    kinds = {p["name"]: p["kind"] for p in commands["vectorize"]["parameters"]}
    assert (kinds["vector.keep"], kinds["vector.minimum_m2"]) == ("list", "text")
    assert commands["vectorize"]["goes_on"]
    assert not commands["evaluate"]["goes_on"]


def test_the_zip_is_a_plugin(tmp_path):
    build.pack(tmp_path / "a.zip")
    build.pack(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        names = set(archive.namelist())
        parser = configparser.ConfigParser()
        parser.read_string(archive.read("geoseg_tools/metadata.txt").decode())
    general = parser["general"]
    assert {"name", "description", "about", "author", "qgisMinimumVersion"} <= {*general} | {
        "qgisMinimumVersion"
    }
    assert general["version"] == build.commands()["version"]
    assert general.getboolean("hasProcessingProvider")
    assert f"geoseg_tools/{general['icon']}" in names
    assert {"geoseg_tools/__init__.py", "geoseg_tools/LICENSE"} <= names


def test_the_executable_is_found_in_usual_environments(program):
    with pytest.raises(executable.ExecutableError, match=r"cannot be found.*Settings > Options"):
        executable.find()
    path = program("echo geoseg 0.1.0", "miniforge3/envs/eo/bin/geoseg")
    assert executable.find() == path
    nearer = program("echo geoseg 0.1.0", "project/.venv/bin/geoseg")
    assert executable.find(near=os.path.dirname(nearer.replace("/.venv/bin", ""))) == nearer
    assert executable.find(nearer.removesuffix("/bin/geoseg")) == nearer
    with pytest.raises(executable.ExecutableError, match=r"/no/where .*does not exist"):
        executable.find("/no/where")


def test_another_version_or_program_is_refused(program):
    executable.check_version(program("echo geoseg 0.1.7", "near"), "0.1.0")
    with pytest.raises(executable.ExecutableError, match=r"version 9.0.0.*made for 0.1.0"):
        executable.check_version(program("echo geoseg 9.0.0", "far"), "0.1.0")
    with pytest.raises(executable.ExecutableError, match=r"not a working geoseg.*boom"):
        executable.check_version(program("echo boom; exit 3", "broken"), "0.1.0")


def test_what_a_command_says_is_passed_on(program):
    path = program("echo 'a: done (1 of 4)'; echo geoseg-progress 60 >&2; echo careful >&2")
    said = run([path, "predict"])
    assert said["say"] == ["a: done (1 of 4)"]
    assert said["warn"] == ["careful"]
    assert sorted(said["progress"]) == [25.0, 60.0]


def test_an_error_is_told_whole(program):
    with pytest.raises(runner.CommandError, match=r"^geoseg predict: one\ngeoseg predict: two$"):
        run([program("echo 'geoseg predict: one\ngeoseg predict: two' >&2; exit 1"), "predict"])
    with pytest.raises(runner.CommandError, match=r"status 3 without an error.*\nhello"):
        run([program("echo hello; exit 3"), "predict"])


def test_cancelling_ends_the_whole_group(program, tmp_path):
    mark = tmp_path / "child"
    path = program(f"sleep 300 & echo $! > {mark}.new; mv {mark}.new {mark}; wait")
    start = time.monotonic()
    with pytest.raises(runner.CancelledError):
        run([path, "train"], cancelled=mark.exists)
    assert time.monotonic() - start < 60
    state = Path(f"/proc/{int(mark.read_text())}/stat")
    for _ in range(50):
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child of a cancelled command lives on")


def test_variables_of_qgis_do_not_reach_geoseg(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/opt/qgis")
    monkeypatch.setenv("PROJ_LIB", "/opt/qgis/proj")
    assert not {"PYTHONHOME", "PROJ_LIB"} & set(executable.environment())
