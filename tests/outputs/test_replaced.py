"""What is to be replaced is there until the new output is whole."""

import os
import shutil

import pytest

from geoseg.errors import InputError
from geoseg.outputs.claims import claim, clearing, is_claimed, read_claim
from geoseg.outputs.claims.replaced import Replaced, note_name

PRODUCTS = ("map.tif", "places")
OLD, NEW, OTHER = {"before": "old"}, {"before": "new"}, {"before": "other"}


def _files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _make(out, settings, *, fail=None, half=False, overwrite=True, name=""):
    with clearing(out, PRODUCTS, command="compare", name=name):
        claim(
            out, settings, command="compare", products=PRODUCTS, overwrite=overwrite, name=name
        )  # fmt: skip
        if not half and fail:
            (out / "log.txt").write_text("begun", encoding="utf-8")
            raise fail
        (out / "map.tif").write_text(settings["before"], encoding="utf-8")
        if fail:
            raise fail
        (out / "places").mkdir(exist_ok=True)
        (out / "places" / f"{settings['before']}.png").write_text("png", encoding="utf-8")


@pytest.fixture
def out(tmp_path):
    """An output that is whole, beside a file of somebody's own."""
    _make(tmp_path, OLD)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", ["", "one"])
@pytest.mark.parametrize("fail", [InputError("damaged"), MemoryError()])
def test_a_run_that_fails_leaves_what_it_was_to_replace(tmp_path, fail, name):
    _make(tmp_path, OLD, name=name)
    before = _files(tmp_path)
    with pytest.raises(type(fail)):
        _make(tmp_path, NEW, fail=fail, name=name)
    if name or not isinstance(fail, InputError):
        (tmp_path / "log.txt").unlink()  # others may write there, or it is needed
    assert _files(tmp_path) == before


def test_a_run_that_ends_well_leaves_nothing_of_what_it_replaced(out):
    _make(out, NEW)
    assert set(_files(out)) == {"map.tif", "places/new.png", "mine.txt", ".compare.json"}
    assert is_claimed(out, NEW, command="compare")


def test_a_run_that_makes_nothing_leaves_what_it_was_to_replace(out):
    before = _files(out)
    with clearing(out, PRODUCTS, command="compare"):
        claim(out, NEW, command="compare", products=PRODUCTS, overwrite=True)
        (out / "places").mkdir()
    assert _files(out) == before


@pytest.mark.parametrize("again", [OLD, NEW, OTHER])
def test_after_a_kill_what_was_there_is_there_again(out, again):
    before = _files(out)
    with pytest.raises(KeyboardInterrupt):
        _make(out, NEW, fail=KeyboardInterrupt())
    (out / "log.txt").unlink()
    if again != OLD:
        with pytest.raises(InputError, match="other settings"):
            _make(out, again, overwrite=False)
        assert _files(out) == before
    _make(out, again)
    assert is_claimed(out, again, command="compare")


def test_an_output_with_a_part_of_its_files_goes_on_and_forgets_the_old_one_at_its_end(out, capsys):
    with pytest.raises(InputError, match="full"):
        _make(out, NEW, fail=InputError("full"), half=True)
    assert f"kept in {out / '.compare.before'} until" in capsys.readouterr().err
    assert _files(out)[".compare.before/map.tif"] == "old"
    with pytest.raises(InputError, match="other settings"):
        _make(out, OLD, overwrite=False)
    _make(out, NEW, overwrite=False)
    assert set(_files(out)) == {"map.tif", "places/new.png", "mine.txt", ".compare.json"}


def test_the_old_command_brings_back_what_another_began_to_replace(out):
    before = _files(out)
    with pytest.raises(InputError, match="full"):
        _make(out, NEW, fail=InputError("full"), half=True)
    claim(out, OLD, command="compare", products=PRODUCTS, overwrite=True)
    assert _files(out) == before


@pytest.mark.parametrize("moved", [0, 1, 2, 3])
@pytest.mark.parametrize("back", [False, True])
def test_a_kill_while_files_are_moved_loses_none(out, monkeypatch, moved, back):
    before, replace, calls = _files(out), os.replace, []
    replaced = Replaced(out, note_name("compare"))
    if back:
        replaced.take(PRODUCTS)

    def killed(source, target):
        if len(calls) == moved:
            raise KeyboardInterrupt
        calls.append(source)
        replace(source, target)

    monkeypatch.setattr("geoseg.outputs.claims.replaced.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replaced.put_back() if back else replaced.take(PRODUCTS)
    monkeypatch.undo()
    claim(out, OLD, command="compare", products=PRODUCTS)
    assert _files(out) == before


def test_what_has_no_note_comes_back_without_one(out):
    (out / ".compare.json").unlink()
    before = _files(out)
    with pytest.raises(InputError, match="damaged"):
        _make(out, NEW, fail=InputError("damaged"))
    assert _files(out) == before
    assert read_claim(out, command="compare") is None
    shutil.rmtree(out)
