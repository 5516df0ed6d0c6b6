"""Give a package its public names without importing what they need until somebody uses them."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    The names are those that its `__init__.py` imports below `if TYPE_CHECKING:`, so that a type
    checker and Python read the same list.
    """
    module = sys.modules[package]
    origins = _imports(Path(str(module.__file__)))

    def get(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(origins[name]), name)
        setattr(module, name, value)  # the next one who asks does not come here
        return value

    return get, lambda: sorted({*vars(module), *origins}), sorted(origins)


def _imports(path: Path) -> dict[str, str]:
    """Name → module of the imports that only a type checker sees."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                if isinstance(line, ast.ImportFrom) and line.module:
                    found |= {alias.name: line.module for alias in line.names}
    return found
