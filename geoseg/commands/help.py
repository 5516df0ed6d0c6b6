"""Write the help of a command from the docstrings of its settings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Any

from geoseg.commands import conf


def help_text(name: str, schema: type) -> str:
    """Purpose, keys with default and meaning, groups; from the docstrings beside the settings."""
    lines = [f"python -m geoseg.{name} key=value …", "", inspect.getdoc(schema) or "", ""]
    rows = list(_keys(schema))
    width = max(len(key) for key, _, _ in rows)
    for key, default, doc in rows:
        lines.append(f"  {key:<{width}}  {doc}" + (f" [{default}]" if default != "" else ""))
    groups = [(f.name, conf.CONF / f.name) for f in dataclasses.fields(schema)]
    ready = [
        f"  {g}={'|'.join(sorted(p.stem for p in d.glob('*.yaml')))}"
        for g, d in groups
        if d.is_dir()
    ]
    if ready:
        lines += ["", "Ready-made groups:", *ready]
    return "\n".join(lines)


def _keys(schema: type, prefix: str = "", given: Any = None) -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning. given: defaults of a command that has its own for a room."""
    docs = _field_docs(schema)
    types = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        kind = types[field.name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            factory = field.default_factory
            own = factory() if factory not in (kind, dataclasses.MISSING) else None
            yield from _keys(kind, f"{prefix}{field.name}.", own)
            continue
        default: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if given is not None:
            default = getattr(given, field.name)
        text = "" if default is None or default is dataclasses.MISSING else str(default)
        yield prefix + field.name, text, docs.get(field.name, "")


def _field_docs(schema: type) -> dict[str, str]:
    """The string below each field of a dataclass: Python keeps it only in the source."""
    tree = ast.parse(inspect.cleandoc(inspect.getsource(schema))).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for line, following in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            docs[line.target.id] = " ".join(str(following.value.value).split())
    return docs
