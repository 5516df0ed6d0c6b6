"""Write the pages that the code itself tells: keys of the commands, and the Python API.

They are written below docs/reference before Sphinx reads its sources, and ignored by git.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geoseg.commands import schema, verbs
from geoseg.commands.schema import UNKNOWN, Section, Setting

PACKAGE = Path(verbs.__file__).parent.parent
FUNCTIONS = {
    "dataset": ("geoseg.dataset.prepare.prepare",),
    "maps": ("geoseg.maps.mosaic.mosaic",),
    "evaluation": ("geoseg.evaluation.evaluate.evaluate",),
}
"""Functions that have the name of their module, and are imported from there."""


def command_page(verb: str) -> str:
    """All keys of a command, with type, default and meaning."""
    lines = [f"# geoseg {verb}", "", _text(schema.purpose_of(verb)), ""]
    lines += ["```bash", f"geoseg {verb} key=value …", "```", ""]
    for section in schema.sections_of(verb):
        lines += _section(section)
    return "\n".join(lines)


def _section(section: Section) -> list[str]:
    lines = [f"## {section.name}", ""] if section.name else ["## Keys", ""]
    if section.doc and section.name:
        lines += [_text(section.doc), ""]
    for setting in section.settings:
        lines += [_term(setting), f": {_text(setting.doc) or 'See the section above.'}", ""]
    return lines


def _term(setting: Setting) -> str:
    default = setting.default
    if default is UNKNOWN:
        return f"`{setting.key}`"
    text = "none" if default is None else str(default)
    if isinstance(default, bool):
        text = text.lower()
    return f"`{setting.key}` = `{text or 'empty'}`"


def _text(text: str) -> str:
    """One line of Markdown; what would be markup outside of `code` is shown as it is."""
    parts = " ".join(text.split()).split("`")
    for number in range(0, len(parts), 2):
        for mark in "\\*_<[#$":
            parts[number] = parts[number].replace(mark, f"\\{mark}")
    return "`".join(parts)


def api_page(room: str) -> str | None:
    """What a room of the package offers; None if it offers nothing by name."""
    module = importlib.import_module(f"geoseg.{room}")
    names: Sequence[str] = getattr(module, "__all__", ())
    functions = FUNCTIONS.get(room, ())
    if not names and not functions:
        return None
    lines = [f"# geoseg.{room}", "", _text((module.__doc__ or "").strip()), "", "```{eval-rst}"]
    for name in names:
        value = getattr(module, name)
        directive = "autoclass" if isinstance(value, type) else "autofunction"
        if not callable(value):
            directive = "autodata"
        lines += [f".. {directive}:: geoseg.{room}.{name}"]
        lines += ["   :members:", ""] if directive == "autoclass" else [""]
    for name in functions:
        lines += [f".. autofunction:: {name}", ""]
    return "\n".join([*lines, "```", ""])


def write(app: Any) -> None:
    """Bring the generated pages up to date; what has not changed keeps its time."""
    reference = Path(app.srcdir) / "reference"
    pages = {f"commands/{verb}.md": command_page(verb) for verb in verbs.VERBS}
    for path in sorted(PACKAGE.glob("*/__init__.py")):
        page = api_page(path.parent.name)
        if page is not None:
            pages[f"api/{path.parent.name}.md"] = page
    for old in [*reference.glob("commands/*.md"), *reference.glob("api/*.md")]:
        if str(old.relative_to(reference)) not in pages:
            old.unlink()
    for name, text in pages.items():
        path = reference / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def without_project_files(app: Any, page: str, source: list[str]) -> None:
    """Name files above docs/ (SECURITY.md) instead of linking to them: the site has none."""
    if "/" not in page:
        source[0] = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"`\1`", source[0])


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", write)
    app.connect("source-read", without_project_files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
