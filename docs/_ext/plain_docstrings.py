"""Let autodoc show docstrings that are plain text with `code` in it, not reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

EXAMPLE = re.compile(r"^\s*>>>")
CODE = re.compile(r"(`+)(.+?)\1")


def readable(lines: list[str]) -> list[str]:
    """The same text as reStructuredText that shows every character as it is written."""
    made: list[str] = []
    for paragraph in _paragraphs(lines):
        if EXAMPLE.match(paragraph[0]):
            made += ["::", "", *(f"    {line}" for line in paragraph), ""]
        else:
            made += [*_line_block(paragraph), ""]
    return made


def _paragraphs(lines: list[str]) -> Iterator[list[str]]:
    """Lines between empty ones; an example ends the text above it."""
    found: list[str] = []
    for line in lines:
        if not line.strip() or (EXAMPLE.match(line) and found and not EXAMPLE.match(found[0])):
            if found:
                yield found
            found = []
        if line.strip():
            found.append(line)
    if found:
        yield found


def _line_block(paragraph: list[str]) -> list[str]:
    """A paragraph; lines such as `Raises: …` or `size: …` begin a new one."""
    made: list[str] = []
    for line in paragraph:
        text = line.strip()
        if made and re.match(r"^(?:Raises|Returns|Yields|[a-z_]+(?:, [a-z_]+)*):(?: |$)", text):
            made.append("")
        made.append(text)
    joined: list[str] = []
    for text in made:
        if text and joined and joined[-1]:
            joined[-1] += f" {text}"
        else:
            joined.append(text)
    return [_escaped(text) for text in joined]


def _escaped(text: str) -> str:
    parts: list[str] = []
    end = 0
    for found in CODE.finditer(text):
        parts += [_plain(text[end : found.start()]), rf"\ ``{found[2]}``\ "]
        end = found.end()
    return "".join([*parts, _plain(text[end:])])


def _plain(text: str) -> str:
    return re.sub(r"([\\*`|_:<>\[\]+=~^#.\-])", r"\\\1", text)


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = readable(lines)


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
