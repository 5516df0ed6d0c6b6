"""Read the settings of a command from its source, without importing anything that they need.

Help and completion come at once this way: the modules that hold settings also hold what works with
them, and bring numpy, rasterio and more along.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from geoseg.commands import verbs

UNKNOWN = object()
"""A default that only running code would tell."""


@dataclass(frozen=True)
class Setting:
    """A key of a command."""

    key: str
    type: str
    """As annotated: `int | None`."""
    default: Any
    doc: str


@dataclass(frozen=True)
class Section:
    """Settings that share the part of their key before the last dot; "" = none."""

    name: str
    doc: str
    settings: tuple[Setting, ...]

    @property
    def keys(self) -> list[str]:
        return [setting.key for setting in self.settings]


def sections(schema: type) -> list[Section]:
    """The settings of a dataclass."""
    return read(Path(inspect.getsourcefile(schema) or ""), schema.__name__)


def sections_of(verb: str) -> list[Section]:
    """The settings of a command, by its name."""
    return read(verbs.source(verb), verbs.schema_of(verb))


def purpose_of(verb: str) -> str:
    """What the dataclass with a command's settings says of it."""
    return _purpose(verbs.source(verb), verbs.schema_of(verb))


def purpose(schema: type) -> str:
    return inspect.cleandoc(schema.__doc__ or "")


def read(path: Path, name: str) -> list[Section]:
    """The settings of the dataclass `name` in the file `path`, its own ones first."""
    return list(_read(path, name))


@cache
def _read(path: Path, name: str) -> tuple[Section, ...]:
    return tuple(_sections(path, name, "", {}))


def _purpose(path: Path, name: str) -> str:
    return ast.get_docstring(_class(path, name)[1]) or ""


def _class(path: Path, name: str) -> tuple[Path, ast.ClassDef]:
    found = _find(path, name)
    if found is None or not isinstance(found[1], ast.ClassDef):
        raise LookupError(f"{path}: no class {name}")
    return found[0], found[1]


def _sections(path: Path, name: str, prefix: str, given: dict[str, Any]) -> Iterator[Section]:
    """given: defaults of a command that has its own for this dataclass."""
    own, parts = [], []
    for item in _fields(path, name):
        part = _find(item.file, item.type) if item.type.isidentifier() else None
        if part and isinstance(part[1], ast.ClassDef) and _is_dataclass(part[1]):
            parts.append((item, part))
        else:
            default = given.get(item.name, item.default)
            own.append(Setting(prefix + item.name, item.type, default, item.doc))
    if own:
        yield Section(prefix.rstrip("."), _purpose(path, name), tuple(own))
    for item, (file, node) in parts:
        assert isinstance(node, ast.ClassDef)
        defaults = item.default if isinstance(item.default, dict) else {}
        for section in _sections(file, node.name, f"{prefix}{item.name}.", defaults):
            doc = item.doc or section.doc if section.name == prefix + item.name else section.doc
            yield replace(section, doc=doc)


@dataclass(frozen=True)
class _Field:
    name: str
    type: str
    default: Any
    doc: str
    file: Path


def _fields(path: Path, name: str) -> list[_Field]:
    path, node = _class(path, name)
    fields: dict[str, _Field] = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and _find(path, base.id):
            fields |= {item.name: item for item in _fields(path, base.id)}
    for line, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)):
            continue
        doc = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            doc = " ".join(str(following.value.value).split())
        default = _default(line.value, path)
        kind = ast.unparse(line.annotation)
        fields[line.target.id] = _Field(line.target.id, kind, default, doc, path)
    return list(fields.values())


def _default(node: ast.expr | None, path: Path) -> Any:
    """The value of a default; of a dataclass with values of its own a dictionary of these."""
    if node is None:
        return UNKNOWN
    if not (
        isinstance(node, ast.Call) and ast.unparse(node.func) in ("field", "dataclasses.field")
    ):
        return _value(node, path)
    words = {word.arg: word.value for word in node.keywords}
    if "default" in words:
        return _value(words["default"], path)
    factory = words.get("default_factory")
    if isinstance(factory, ast.Lambda):
        return _value(factory.body, path)
    if isinstance(factory, ast.Name) and factory.id in ("list", "dict"):
        return [] if factory.id == "list" else {}
    return UNKNOWN


def _value(node: ast.expr, path: Path) -> Any:
    if isinstance(node, ast.Name):
        found = _find(path, node.id)
        if found and isinstance(found[1], ast.expr):
            return _value(found[1], found[0])
        return UNKNOWN
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        names = [item.name for item in _fields(path, node.func.id)]
        pairs = [*zip(names, node.args, strict=False), *((k.arg, k.value) for k in node.keywords)]
        return {str(name): _value(part, path) for name, part in pairs}
    if isinstance(node, ast.List):
        parts = [_value(part, path) for part in node.elts]
        return UNKNOWN if UNKNOWN in parts else parts
    try:
        return ast.literal_eval(node)
    except ValueError:
        return UNKNOWN


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(ast.unparse(line).startswith("dataclass") for line in node.decorator_list)


def _find(path: Path, name: str) -> tuple[Path, ast.ClassDef | ast.expr] | None:
    """The class or the value that a name has in a file, wherever it was imported from."""
    for node in _parsed(path).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return path, node
        if isinstance(node, ast.Assign):
            for target, value in _named(node):
                if target == name:
                    return path, value
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("geoseg."):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    file = verbs.PACKAGE.parent.joinpath(*str(node.module).split("."))
                    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
                    return _find(file, alias.name)
    return None


def _named(node: ast.Assign) -> Iterator[tuple[str, ast.expr]]:
    """Names and values of an assignment; those of `A, B = 1, 2` one by one."""
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(map(ast.unparse, target.elts), node.value.elts, strict=False)
        else:
            yield ast.unparse(target), node.value


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
