"""What a user names as module:attribute is imported, or a sentence says why not."""

import functools
import sys

import pytest
import torch

from geoseg.errors import InputError
from geoseg.received.target import called, check_target, describe, is_given, load_target


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def fault(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    return str(caught.value)


def test_a_module_is_found_in_the_current_folder_and_in_a_package_there(here):
    (here / "alone_ab.py").write_text("class Net: size = 3")
    (here / "pack_ab").mkdir()
    (here / "pack_ab" / "nets.py").write_text("class Outer:\n    class Net: size = 5")
    assert load_target("model.target", "alone_ab:Net").size == 3
    assert load_target("model.target", "pack_ab.nets:Outer.Net").size == 5


def test_what_cannot_be_imported_is_told_in_a_sentence(here):
    (here / "broken_ab.py").write_text("import numpy\n1 / 0")
    (here / "needs_ab.py").write_text("import no_such_module_ab")
    (here / "other_ab.py").write_text("import numpy\nclass Near: pass")
    said = fault(load_target, "loss.target", "nowhere_ab.nets:Net")
    assert said.startswith("loss.target=nowhere_ab.nets:Net: there is no module nowhere_ab")
    said = fault(load_target, "loss.target", "broken_ab:Net")
    assert "ZeroDivisionError: division by zero" in said
    assert "broken_ab.py, line 2" in said
    assert "no_such_module_ab" in fault(load_target, "loss.target", "needs_ab:Net")
    assert fault(load_target, "loss.target", "other_ab:Nea").endswith("has no Nea; it has Near")


@pytest.mark.parametrize("target", ["Net", "a.b", "a:b:c", "a/b:Net", "os:", ":Net", "os:a b", 3])
def test_a_target_has_a_module_and_an_attribute(target):
    assert "expected module:attribute" in fault(check_target, "model", target, {})


def test_options_are_plain_values_of_a_target():
    check_target("model", "a:B", {"width": 3, "rates": [1, 0.5], "name": "x", "no": None})
    assert "set model.target=module:attribute" in fault(check_target, "model", None, {"width": 3})
    assert "options.f=" in fault(check_target, "model", "a:B", {"f": object()})


def test_an_object_of_python_is_described_and_never_imported():
    one, other = torch.nn.Linear(2, 3), torch.nn.Linear(2, 4)
    assert is_given(describe(one))
    assert describe(one) == describe(torch.nn.Linear(2, 3)) != describe(other)
    for given in (len, lambda x: x, functools.partial(max, 1), object(), torch.nn.Linear):
        assert is_given(describe(given)), describe(given)
        check_target("model", describe(given), {})
        assert "give it again in Python" in fault(load_target, "model.target", describe(given))


def test_a_call_that_does_not_fit_is_told_with_its_arguments():
    def net(channels, classes, width=8):
        raise RuntimeError("first\nsecond")

    assert "(3, 2, depth=1): got an unexpected" in fault(called, "model", net, 3, 2, depth=1)
    said = fault(called, "model", net, 3, 2, width=9)
    assert said.startswith("model: called with (3, 2, width=9): RuntimeError: first (")
