"""The notebooks run from top to bottom, and show what they say."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from geoseg.maps.landcover import ClassMap

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
FIRST_MAP = NOTEBOOKS / "01_first_map.ipynb"


def pictures(cell: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def complaints(cell: nbformat.NotebookNode) -> list[str]:
    return [
        output.get("text") or output.get("evalue", "")
        for output in cell.get("outputs", [])
        if output.output_type == "error" or output.get("name") == "stderr"
    ]


def executed(path, tmp_path, monkeypatch):
    """A notebook after all its cells have run, and these."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))  # not the user's own profile
    # The kernel imports this geoseg with this interpreter, whatever is installed.
    paths = [str(NOTEBOOKS.parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources)
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable
    client.execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_first_map_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOSEG_NOTEBOOK_QUICK", "1")
    monkeypatch.setenv("GEOSEG_NOTEBOOK_FOLDER", str(tmp_path / "first"))
    begin = tmp_path / "ipython" / "profile_default" / "startup" / "hurry.py"
    begin.parent.mkdir(parents=True)
    begin.write_text("from tests.made.hurry import hurry\nhurry()\ndel hurry\n")
    code = executed(FIRST_MAP, tmp_path, monkeypatch)
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
    code = executed(NOTEBOOKS / "02_areas_from_a_sample.ipynb", tmp_path, monkeypatch)
    assert [text for cell in code for text in complaints(cell)] == []
    assert sum(pictures(cell) for cell in code) == 3
    said = "".join(
        output.get("text", "") for cell in code for output in cell.outputs if "text" in output
    )
    line = next(line for line in said.splitlines() if "building" in line and "right" in line)
    ground, estimate, counted = (float(n) for n in re.findall(r"([\d.]+) %", line))
    assert abs(estimate / ground - 1) < 0.02
    assert counted / ground > 1.2


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)
