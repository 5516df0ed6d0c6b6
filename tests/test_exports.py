"""What `geoseg` and its rooms give a notebook."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = sorted(
    f"geoseg.{path.parent.name}" if path.parent.name != "geoseg" else "geoseg"
    for path in (*(ROOT / "geoseg").glob("*/__init__.py"), ROOT / "geoseg/__init__.py")
    if "lazily(__name__)" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_is_there_is_documented_and_hides_no_module(room):
    package = importlib.import_module(room)
    assert package.__all__
    folder = Path(package.__file__).parent
    for name in package.__all__:
        assert getattr(package, name).__doc__, name
        assert name in dir(package)
        assert not (folder / f"{name}.py").exists(), f"{room}.{name} is a module"
        assert not (folder / name).is_dir(), f"{room}.{name} is a room"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_importing_costs_nothing():
    loaded = (
        "import sys, geoseg; print([m for m in ('numpy', 'torch', 'rasterio') if m in sys.modules])"
    )
    code = loaded.replace("geoseg", ", ".join(ROOMS), 1)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_page_on_python_runs_as_it_stands_and_names_every_export(tmp_path, monkeypatch):
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    for room in ROOMS:
        for name in importlib.import_module(room).__all__:
            assert f"`{name}`" in text, name
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(compile(code, "docs/python.md", "exec"), names)
    assert (tmp_path / "report/report.html").exists()
