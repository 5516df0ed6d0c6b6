"""Seconds are laid to whose they are: imports, geoseg's files, libraries."""

import sys
import time
from types import SimpleNamespace

import pytest

from benchmarks import where


def frame(*stack):
    """A frame below which others stand, by (file, function), the innermost first."""
    below = None
    for path, name in reversed(stack):
        below = SimpleNamespace(
            f_code=SimpleNamespace(co_filename=path, co_name=name), f_back=below
        )
    return below


NUMPY = ("/x/site-packages/numpy/core.py", "dot")
GEOSEG = [("/x/geoseg/geoseg/maps/join.py", name) for name in ("inner", "outer")]


def test_a_look_counts_once_for_each_that_called(monkeypatch):
    clock = iter((2.0, 5.0, 9.0))
    monkeypatch.setattr(time, "thread_time", lambda: next(clock))
    looks = where.Looks(last=1.0)
    looks.look(0, frame(NUMPY, GEOSEG[0], GEOSEG[0], GEOSEG[1]))
    looks.look(0, frame(*GEOSEG))
    looks.look(0, frame(NUMPY, where.IMPORTING, GEOSEG[1]))
    assert looks.own == {"numpy": 1, "geoseg.maps.join": 3}
    assert looks.whole == {"geoseg.maps.join:inner": 4, "geoseg.maps.join:outer": 4}
    assert looks.imports == 4
    said = where.told(looks, main_thread=8.0, process=10.0)
    assert "2.00  in threads" in said
    assert said.index("3.00  geoseg.maps.join") < said.index("1.00  numpy")


@pytest.mark.parametrize("end", [0, 3])
def test_a_command_is_watched_to_its_end(monkeypatch, capsys, end):
    def run(name, **_):
        assert (name, sys.argv) == ("geoseg.mosaic", ["mosaic", "out=x"])
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass
        raise SystemExit(end)

    monkeypatch.setattr(where.runpy, "run_module", run)
    monkeypatch.setattr(sys, "argv", ["where", "mosaic", "out=x"])
    assert where.main() == end
    assert "this process, of which" in capsys.readouterr().out
