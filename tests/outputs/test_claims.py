"""An output is made, follows inputs that changed, or is one of other settings."""

import json
import shutil

import pytest

from geoseg.errors import InputError
from geoseg.outputs.claims import claim, follows, is_made, note_made, noted_inputs, nothing_to_do
from geoseg.outputs.claims.fingerprint import changed, fingerprint
from geoseg.outputs.stamp import stamps

MADE = {"size": (3, 4), "inputs": [["a.tif", 1, 2]]}
CHANGED = MADE | {"inputs": [["a.tif", 1, 3]]}
OTHER = MADE | {"size": (3, 5)}


@pytest.fixture
def out(tmp_path):
    """An output of a command, with one file."""
    claim(tmp_path, MADE, command="stress", products=("a.txt",))
    (tmp_path / "a.txt").write_text("made", encoding="utf-8")
    note_made(tmp_path, stamps(tmp_path, [tmp_path / "a.txt"]), command="stress")
    return tmp_path


def test_an_output_is_made_of_just_its_settings_and_inputs(out):
    assert is_made(out, MADE, command="stress")
    assert not is_made(out, CHANGED, command="stress")
    assert not is_made(out, OTHER, command="stress")
    assert not is_made(out, MADE, command="explain")
    assert not is_made(out, MADE, command="stress", name="b")
    said = str(nothing_to_do("there", out, MADE, command="stress"))
    assert "there: already made of this with these settings; nothing to do" in said
    assert nothing_to_do("there", out, CHANGED, command="stress") is None


def test_what_is_broken_or_was_never_whole_is_not_made(out, tmp_path):
    (out / "a.txt").write_text("changed", encoding="utf-8")
    assert not is_made(out, MADE, command="stress")
    claim(tmp_path / "new", MADE, command="stress", products=("a.txt",))
    assert not is_made(tmp_path / "new", MADE, command="stress")


def test_it_follows_inputs_that_changed_and_no_other_settings(out):
    assert follows(out, MADE, command="stress")
    assert follows(out, CHANGED, command="stress")
    assert not follows(out, OTHER, command="stress")
    assert not follows(out / "none", MADE, command="stress")
    with pytest.raises(InputError, match="other settings \\(size\\)"):
        claim(out, OTHER, command="stress", products=("a.txt",))


@pytest.mark.parametrize(
    "read",
    [
        {"labels": {"path": "{}/targets"}},
        {"inputs": [["{}/targets/a.tif", 1, 2]]},
        {"zones": "{}/targets/zones.gpkg:name"},
        {"before": "{}/targets/a.tif"},
        {"map": ["{}/targets/a.tif", 1, 2]},
    ],
)
def test_what_is_read_is_never_removed(tmp_path, read):
    (tmp_path / "targets").mkdir()
    for name in ("a.tif", "zones.gpkg"):
        (tmp_path / "targets" / name).write_text("mine", encoding="utf-8")
    settings = json.loads(json.dumps(read).replace("{}", tmp_path.as_posix()))
    options = {"command": "prepare", "products": ("targets",), "overwrite": True}
    with pytest.raises(InputError, match=r"targets.*, which is read, .* overwrite=true would"):
        claim(tmp_path, settings, **options)
    assert len(list((tmp_path / "targets").iterdir())) == 2
    claim(tmp_path, {"labels": str(tmp_path / "elsewhere")}, **options)
    assert not (tmp_path / "targets").exists()


def _begin(folder, settings, **options):
    claim(folder, settings, command="compare", products=("change.tif",), **options)
    (folder / "change.tif").write_text("made", encoding="utf-8")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with two files, where commands are given."""
    project = tmp_path / "project"
    (project / "maps").mkdir(parents=True)
    for name in ("map.tif", "zones.gpkg"):
        (project / "maps" / name).write_text(name, encoding="utf-8")
    (project / "link").symlink_to("maps")
    monkeypatch.chdir(project)
    return project


@pytest.mark.parametrize(
    "spelt",
    ["maps/{}", "./maps/{}", "maps/../maps/{}", "link/{}", "{project}/maps/{}", "../maps/{}"],
)
@pytest.mark.parametrize("told", ["before", "dataset", "where"])
def test_a_file_is_the_same_however_it_is_spelt(project, monkeypatch, spelt, told):
    def settings(text):
        path, zones = (text.format(n, project=project) for n in ("map.tif", "zones.gpkg:name"))
        return {told: path, "zones": zones, "inputs": [[path, 1, 2]]}

    _begin(project / "out", settings("maps/{}"))
    if spelt.startswith(".."):
        monkeypatch.chdir(project / "out")
    _begin(project / "out", settings(spelt))  # not refused
    other = settings(spelt) | {told: spelt.format("zones.gpkg", project=project)}
    with pytest.raises(InputError, match=f"other settings \\({told}\\)"):
        _begin(project / "out", other)


def test_one_spelling_of_two_files_is_no_same_file(project, tmp_path, monkeypatch):
    _begin(project / "out", {"map": "maps/map.tif", "split": "maps"})
    labels = {"labels": {"path": str(project / "maps/map.tif"), "name": "maps"}}
    _begin(project / "named", labels)
    shutil.copytree(project / "maps", tmp_path / "maps")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"other settings \(map\)"):
        _begin(project / "out", {"map": "maps/map.tif", "split": "maps"})
    _begin(project / "named", labels)  # a name is no path, even where a folder is called so


@pytest.mark.parametrize("spelt", ["maps/map.tif", "{}/maps/map.tif"])
def test_what_moved_together_with_its_output_is_the_same(project, tmp_path, monkeypatch, spelt):
    _begin(project / "out", {"map": spelt.format(project)})
    moved = project.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    _begin(moved / "out", {"map": spelt.format(moved)})  # not refused
    with pytest.raises(InputError, match=r"other settings \(map\)"):
        _begin(moved / "out", {"map": "maps/zones.gpkg"})


def test_inputs_that_changed_are_found_from_another_folder(project, monkeypatch):
    path = "maps/map.tif"
    _begin(project / "out", {"inputs": [fingerprint(path)]})
    monkeypatch.chdir(project / "out")
    noted = noted_inputs(project / "out", command="compare")
    assert not changed(noted)
    (project / path).write_text("changed", encoding="utf-8")
    assert changed(noted) == [str(project / path)]


def test_an_output_whose_note_says_no_place_is_known_by_the_same_spelling(project):
    _begin(project / "out", {"map": "maps/map.tif"})
    note = project / "out" / ".compare.json"
    note.write_text(json.dumps({"map": "maps/map.tif"}), encoding="utf-8")
    _begin(project / "out", {"map": "./maps/map.tif"})  # not refused
    with pytest.raises(InputError, match=r"other settings \(map\)"):
        _begin(project / "out", {"map": "maps/zones.gpkg"})
