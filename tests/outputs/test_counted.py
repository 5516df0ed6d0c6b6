"""Counts are said in plain English."""

import pytest

from geoseg.outputs.counted import counted, decimals


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


@pytest.mark.parametrize(
    ("whole", "said"), [(5e6, 1), (425.0, 1), (30.0, 2), (1.7, 3), (0.02, 4), (0.0, 1)]
)
def test_parts_of_a_small_map_are_more_than_zeros(whole, said):
    assert decimals(whole) == said
