import importlib

import pytest

from geoseg.outputs import stopping


@pytest.mark.parametrize(
    ("name", "again"), [("predict", "goes on from here"), ("evaluate", "begins anew")]
)
def test_what_is_stopped_says_what_the_same_command_does(name, again):
    assert stopping.said(name) == f"geoseg {name}: stopped; the same command {again}"


def test_all_that_begins_anew_is_a_command():
    for name in stopping.ANEW:
        importlib.import_module(f"geoseg.{name}")
