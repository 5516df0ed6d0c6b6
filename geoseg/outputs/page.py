"""Write HTML pages that need nothing beside them, all in one style."""

from __future__ import annotations

import base64
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from geoseg import __version__
from geoseg.outputs.files import replacing


def write_page(path: Path, room: str, name: str, content: dict[str, Any]) -> None:
    """Write the template `name` of a room as a page, whole or not at all.

    content: what the template names, besides `style`, `date` and `version`, which all pages share.
    Raises: InputError if it can't be written.
    """
    shared = {
        "style": Markup(_read("geoseg.outputs", "page.css")),
        "date": datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "version": __version__,
    }
    page = _template(room, name).render(content | shared)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


@cache
def _template(room: str, name: str) -> Template:
    """A template as Python code, which takes longer to make than most pages take to fill."""
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(_read(room, name))


def _read(room: str, name: str) -> str:
    return resources.files(room).joinpath("templates", name).read_text(encoding="utf-8")


def png_uri(png: bytes) -> str:
    """A picture as a page holds it in itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
