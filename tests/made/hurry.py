"""Trainings that lose no time beside what is learnt: those of tests, unless they say otherwise."""

from geoseg.training import advice
from geoseg.training.quick import pixels, season


def hurry() -> None:
    """Have trainings of this process fit pixels and seasons in few steps, and advise by few tiles.

    In full both take seconds each time, which nearly no test needs: they still happen, and what
    comes of them is still saved, loaded, exchanged and told. Tests of them say how long theirs
    last.
    """
    pixels.TILES, pixels.STEPS, pixels.BATCH = 4, 5, 256
    season.STEPS = 5
    advice.MOST = 2
