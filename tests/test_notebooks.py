"""The notebooks run from top to bottom, and show what they say."""

import ast
import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from geoseg.maps.landcover import ClassMap
from tests.made import started

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
FIRST_MAP = NOTEBOOKS / "01_first_map.ipynb"
AREAS = NOTEBOOKS / "02_areas_from_a_sample.ipynb"
LESSONS = sorted(set(NOTEBOOKS.glob("*.ipynb")) - {FIRST_MAP})
"""Kept with their pictures. The first takes minutes, and is kept as it is before it has run."""
WITH_EXERCISES = [path for path in LESSONS if path != AREAS]
ALL = os.environ.get("GEOSEG_NOTEBOOKS") == "all"
"""Whether each of them runs (`make notebooks`); else one of the quickest stands for the rest."""
QUICK = NOTEBOOKS / "04_convolution_by_hand.ipynb"
ITS_NETWORK = 'Model(name="unet", encoder="resnet18")'
SMALL_NETWORK = 'Model(name="pspnet", encoder="tu-lcnet_050", pixels=0)'
"""Of the first map, where it is only tried out."""
SHORTER = [(ITS_NETWORK, SMALL_NETWORK), ("epoch_tiles=16", "epoch_tiles=8")]
MOST_KB = 400
BEGIN = """
import os, matplotlib
matplotlib.use(os.environ["MPLBACKEND"])  # it may be loaded already, and not know of this
matplotlib.rcParams["figure.dpi"] = 30
del os, matplotlib
"""
"""What each kernel does before its notebook."""


def pictures(cell: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def complaints(cell: nbformat.NotebookNode) -> list[str]:
    return [
        output.get("text") or output.get("evalue", "")
        for output in cell.get("outputs", [])
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def code_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def executed(path, tmp_path, monkeypatch, *, other=()):
    """A notebook after all its cells have run, and these; its pictures are small.

    other: words of its code, and what stands in their place.
    """
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # not the user's own profile
    # The kernel imports this geoseg with this interpreter, whatever is installed.
    paths = [str(NOTEBOOKS.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    begin = tmp_path / "ipython" / "profile_default" / "startup" / "small.py"
    begin.parent.mkdir(parents=True)
    begin.write_text(BEGIN)
    notebook = nbformat.read(path, as_version=4)
    for words, instead in other:
        (cell,) = (cell for cell in code_of(notebook) if words in cell.source)
        cell.source = cell.source.replace(words, instead)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(
        notebook, timeout=300, startup_timeout=300, kernel_name="python3", resources=resources
    )
    client.create_kernel_manager()
    # A fork has loaded all, but fits its pixels in haste: not for lessons that train.
    client.km.kernel_spec.argv[0] = sys.executable if ALL else str(started.python())
    client.execute()
    return code_of(notebook)


def test_the_first_map_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOSEG_NOTEBOOK_QUICK", "1")
    monkeypatch.setenv("GEOSEG_NOTEBOOK_FOLDER", str(tmp_path / "first"))
    code = executed(FIRST_MAP, tmp_path, monkeypatch, other=SHORTER)
    assert all(cell.execution_count for cell in code)
    assert [text for cell in code for text in complaints(cell)] == []
    drawing = [cell for cell in code if "plt.show()" in cell.source]
    assert len(drawing) >= 8
    assert all(pictures(cell) == 1 for cell in drawing)
    found = ClassMap.read(tmp_path / "first" / "landcover.tif")
    assert found.legend.names == ["grassland", "crops", "forest", "water", "road", "building"]
    assert found.grid.height > 384  # more than one scene
    assert (tmp_path / "first" / "report" / "scores.json").is_file()


def test_estimates_are_right_on_average_and_counting_is_not(tmp_path, monkeypatch):
    code = executed(AREAS, tmp_path, monkeypatch)
    assert [text for cell in code for text in complaints(cell)] == []
    assert sum(pictures(cell) for cell in code) == 3
    said = "".join(
        output.get("text", "") for cell in code for output in cell.outputs if "text" in output
    )
    line = next(line for line in said.splitlines() if "building" in line and "right" in line)
    ground, estimate, counted = (float(n) for n in re.findall(r"([\d.]+) %", line))
    assert abs(estimate / ground - 1) < 0.02
    assert counted / ground > 1.2


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)
def test_lessons_run(path, tmp_path, monkeypatch):
    if not (ALL or path == QUICK):
        pytest.skip("all notebooks run by `make notebooks`")
    monkeypatch.setenv("GEOSEG_NOTEBOOK_FOLDER", str(tmp_path / "made"))
    monkeypatch.delenv("GEOSEG_REAL_DATA", raising=False)  # the demo, as in what is kept
    stored = code_of(nbformat.read(path, as_version=4))
    code = executed(path, tmp_path, monkeypatch)
    assert [text for cell in code for text in complaints(cell)] == []
    assert [pictures(cell) for cell in code] == [pictures(cell) for cell in stored]


def test_the_first_map_is_kept_without_outputs():
    notebook = nbformat.read(FIRST_MAP, as_version=4)
    nbformat.validate(notebook)
    code = code_of(notebook)
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_lessons_are_kept_as_they_ran_with_their_pictures(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = code_of(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert [text for cell in code for text in complaints(cell)] == []
    drawing = [cell for cell in code if "plt.show()" in cell.source]
    assert len(drawing) >= 2
    assert all(pictures(cell) >= 1 for cell in drawing)
    assert path.stat().st_size < MOST_KB * 1000


@pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)
def test_lessons_end_with_three_exercises_whose_solutions_are_folded(path):
    last = nbformat.read(path, as_version=4).cells[-1].source
    assert "## Exercises\n" in last
    asked, *solutions = last.split("<details>")
    assert re.findall(r"^(\d)\. \*\*", asked, flags=re.MULTILINE) == ["1", "2", "3"]
    assert len(solutions) == 3
    for number, solution in enumerate(solutions, start=1):
        assert solution.startswith(f"<summary>Solution of {number}</summary>\n\n")
        assert solution.rstrip().endswith("\n\n</details>")
        for block in re.findall(r"```python\n(.*?)```", solution, flags=re.DOTALL):
            ast.parse(block)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_what_notebooks_import_exists(path):
    missing = []
    for cell in code_of(nbformat.read(path, as_version=4)):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                missing += [a.name for a in node.names if not importlib.util.find_spec(a.name)]
            elif isinstance(node, ast.ImportFrom):
                missing += [f"{node.module}.{a.name}" for a in node.names if not found(node, a)]
    assert missing == []


def found(node: ast.ImportFrom, name: ast.alias) -> bool:
    assert node.module is not None
    if hasattr(importlib.import_module(node.module), name.name):
        return True
    return importlib.util.find_spec(f"{node.module}.{name.name}") is not None
