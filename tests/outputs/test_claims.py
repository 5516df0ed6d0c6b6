"""An output is made, follows inputs that changed, or is one of other settings."""

import pytest

from geoseg.errors import InputError
from geoseg.outputs.claims import claim, follows, is_made, note_made, nothing_to_do
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
