"""torch's compiler is loaded when something is to be compiled, not with the networks; commands load
libraries without a search for garbage."""

import gc
import importlib
import subprocess
import sys

import pytest
import torch

from geoseg.lazily import (
    ASKED,
    COMPILER,
    ImportsWithoutCompiler,
    ImportsWithoutSearch,
    _disable_later,
    _without_compiler,
)


@pytest.fixture
def unloaded(monkeypatch):
    """As if nothing had loaded the compiler."""
    for name in (COMPILER, ASKED):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)


def test_networks_are_loaded_without_the_compiler():
    code = (
        "import gc, sys; from geoseg.lazily import ImportsWithoutSearch as WithoutSearch\n"
        "WithoutSearch.install()\n"
        "import geoseg.models.checkpoint, segmentation_models_pytorch, torchvision, torch\n"
        "assert not {'torch._dynamo', 'sympy', 'triton'} & {*sys.modules}, 'compiler loaded'\n"
        "step = torch.compile(torch.nn.Linear(2, 1), backend='eager')\n"
        "assert step(torch.ones(3, 2)).shape == (3, 1) and 'torch._dynamo' in sys.modules\n"
        "assert gc.isenabled(), 'never searched again'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_put_in_its_place_goes_again(unloaded):
    disable = torch.compiler.disable
    with _without_compiler():
        assert torch.compiler.disable is not disable
        assert ASKED in sys.modules
        with _without_compiler():  # timm imports torchvision
            pass
        assert ASKED in sys.modules
    assert torch.compiler.disable is disable
    assert ASKED not in sys.modules


def test_other_names_are_those_of_the_compiler(unloaded, monkeypatch):
    real = type(sys)(ASKED)
    real.counters = {"frames": 1}
    monkeypatch.setattr(importlib, "import_module", {ASKED: real}.__getitem__)
    with _without_compiler():
        assert sys.modules[ASKED].counters == {"frames": 1}
        assert ASKED not in sys.modules  # what it imports itself finds the real one


def test_functions_are_disabled_once_there_is_a_compiler(unloaded, monkeypatch):
    asked = []

    def disable(function, recursive, *, reason):
        asked.append((recursive, reason))
        return lambda x: ("disabled", function(x))

    def double(x):
        return 2 * x

    later = _disable_later(disable)(recursive=False, reason="loops")(double)
    assert later.__name__ == "double"
    assert later(2) == 4
    assert not asked
    monkeypatch.setitem(sys.modules, COMPILER, torch)
    assert [later(2), later(3)] == [("disabled", 4), ("disabled", 6)]
    assert asked == [(False, "loops")]


def test_it_finds_what_others_find():
    ImportsWithoutCompiler.install()
    ImportsWithoutCompiler.install()
    (finder,) = (f for f in sys.meta_path if isinstance(f, ImportsWithoutCompiler))
    assert finder.find_spec("timm", None).origin.endswith("__init__.py")
    assert finder.find_spec("rasterio", None) is None


def test_what_libraries_make_is_not_searched_for_garbage(tmp_path, monkeypatch):
    """The inner one is imported by the outer one, and both finders know it."""
    (tmp_path / "made_inner.py").write_text("import gc\nsearched = [gc.isenabled()]")
    outer = "import gc\nfrom made_inner import searched\nsearched.append(gc.isenabled())"
    (tmp_path / "made_outer.py").write_text(outer)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ImportsWithoutSearch, "NAMES", ("made_inner", "made_outer"))
    monkeypatch.setattr(ImportsWithoutCompiler, "NAMES", ("made_inner",))
    finders = [ImportsWithoutSearch(), ImportsWithoutCompiler()]
    others = [finder for finder in sys.meta_path if type(finder) not in map(type, finders)]
    monkeypatch.setattr(sys, "meta_path", [*finders, *others])
    assert importlib.import_module("made_outer").searched == [False, False]
    assert gc.isenabled()
