import gc
import importlib
import sys
from functools import partial

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


@pytest.mark.parametrize(("triton", "done"), [(False, "freeze"), (True, "unfreeze")])
def test_objects_are_left_unless_triton_would_report_them(triton, done, monkeypatch):
    asked = []
    for name in ("freeze", "unfreeze"):
        monkeypatch.setattr(gc, name, partial(asked.append, name))
    monkeypatch.setitem(sys.modules, "triton", sys)
    if not triton:
        monkeypatch.delitem(sys.modules, "triton")
    stopping.leave_objects()
    assert asked == [done]
