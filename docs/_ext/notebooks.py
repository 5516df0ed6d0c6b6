"""Show the notebooks as pages, with the outputs that are stored in them; nothing is run.

They are written below docs/notebooks before Sphinx reads its sources, and ignored by git.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

FOLDER = "notebooks"
MATH = re.compile(
    r"(?P<code>```.*?```|`[^`\n]+`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL
)


def page(name: str, notebook: Any) -> tuple[str, dict[str, bytes]]:
    """A notebook as Markdown, and its pictures by file name."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(with_math(source))
            continue
        parts.append(fenced(source, "python"))
        for output in cell["outputs"]:
            if "text" in output:
                parts.append(fenced("".join(output["text"]), "text"))
            picture = output.get("data", {}).get("image/png")
            if picture is not None:
                file = f"{name}_{len(pictures)}.png"
                pictures[file] = base64.b64decode("".join(picture))
                parts.append(f"![]({file})")
    first, *rest = parts
    hint = f"*The notebook itself, to run and change: `notebooks/{name}.ipynb`.*"
    return "\n\n".join([first, hint, *rest, ""]), pictures


def fenced(text: str, language: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````"


def with_math(text: str) -> str:
    """Formulas between dollars as roles and directives, which need no setting for all pages."""

    def replaced(found: re.Match[str]) -> str:
        if found["block"] is not None:
            return f"\n```{{math}}\n{found['block'].strip()}\n```\n"
        return f"{{math}}`{found['inline'].strip()}`" if found["inline"] else found[0]

    return MATH.sub(replaced, text)


def write(app: Any) -> None:
    """Bring the pages up to date; what has not changed keeps its time."""
    out = Path(app.srcdir) / FOLDER
    files: dict[str, bytes] = {}
    for path in sorted((Path(app.srcdir).parent / FOLDER).glob("*.ipynb")):
        text, pictures = page(path.stem, json.loads(path.read_text(encoding="utf-8")))
        files[f"{path.stem}.md"] = text.encode()
        files |= pictures
    out.mkdir(exist_ok=True)
    for old in out.iterdir():
        if old.name not in files:
            old.unlink()
    for name, content in files.items():
        path = out / name
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def link_pages(app: Any, page: str, source: list[str]) -> None:
    """Have links to notebooks, which work on a forge, lead to their pages."""
    source[0] = re.sub(r"\]\(\.\./notebooks/(\w+)\.ipynb\)", r"](notebooks/\1.md)", source[0])


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write)
    app.connect("source-read", link_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
