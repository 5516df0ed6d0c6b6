"""Run the notebooks, and show them with their pictures as pages of the site.

They run in their quick form, whose maps are poor. A page is made again when its notebook changes.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

SECONDS = 600
"""That a cell may take."""


def run(path: Path, root: Path) -> nbformat.NotebookNode:
    """A notebook with its outputs; it imports the geoseg of this checkout, by this interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GEOSEG_NOTEBOOK_QUICK"] = "1"
        os.environ["GEOSEG_NOTEBOOK_FOLDER"] = str(Path(folder) / path.stem)
        os.environ["IPYTHONDIR"] = str(Path(folder) / "ipython")
        paths = [str(root), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        notebook = nbformat.read(path, as_version=4)
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources=resources
        )
        client.create_kernel_manager()
        client.km.kernel_spec.argv[0] = sys.executable
        return client.execute()


def page(notebook: nbformat.NotebookNode, pictures: Path) -> str:
    """Markdown of a notebook; its pictures are written beside."""
    parts: list[str] = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            for turn, output in enumerate(cell.outputs):
                parts += _shown(output, pictures / f"{number}_{turn}.png")
    return "\n\n".join(parts) + "\n"


def _shown(output: nbformat.NotebookNode, picture: Path) -> list[str]:
    data = output.get("data", {})
    if "image/png" in data:
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_bytes(base64.b64decode(data["image/png"]))
        return [f"![output]({picture.parent.name}/{picture.name})"]
    if "text/html" in data:
        return [f"```{{raw}} html\n{data['text/html']}\n```"]
    text = output.get("text") or data.get("text/plain", "")
    return [f"````text\n{text.rstrip()}\n````"] if text.strip() else []


def write(app: Any) -> None:
    source = Path(app.srcdir)
    for path in sorted((source.parent / "notebooks").glob("*.ipynb")):
        made = source / "notebooks" / f"{path.stem}.md"
        if made.exists() and made.stat().st_mtime >= path.stat().st_mtime:
            continue
        made.parent.mkdir(exist_ok=True)
        text = page(run(path, source.parent), made.with_suffix(""))
        made.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
