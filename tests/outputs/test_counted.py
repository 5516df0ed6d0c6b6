"""Counts are said in plain English."""

import pytest

from geoseg.outputs.counted import counted


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (0, ("scene", "have"), "0 scenes have"),
        (1, ("scene", "have"), "1 scene has"),
        (2, ("file", "do"), "2 files do"),
        (1, ("file", "do"), "1 file does"),
        (1, ("epoch", "are"), "1 epoch is"),
        (1, ("epoch",), "1 epoch"),
        (3, ("epoch",), "3 epochs"),
    ],
)
def test_noun_and_verb_agree_with_the_count(count, words, said):
    assert counted(count, *words) == said
